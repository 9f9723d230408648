//! The life of a VM without faults.

use casemate_core::cvm::{Boot, PortMap, VmPower};
use sha2::{Digest, Sha256};

use super::*;
use crate::node::{CallError, Dial, DialError, Tee, sim::store::Which};

fn rejected<T: std::fmt::Debug>(answer: Result<T, CallError>) -> String {
    match answer {
        Err(CallError::Rejected(text)) => text,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_host_says_that_it_is_simulated() {
    let inventory = World::new().node.inventory().await.unwrap();
    assert_eq!(inventory.tee, Tee::Simulated);
    assert_eq!(
        inventory.device_id.to_string(),
        "374708fff7719dd5979ec875d56cd2286f6d3cf7ec317a3b25632aab28ec37bb"
    );
    assert_eq!(inventory.images.len(), 4);
}

#[tokio::test]
async fn creating_twice_makes_two_vms_of_one_name_the_older_first() {
    let world = World::new();
    let a = world.create(&config(1, "")).await;
    let b = world.create(&config(1, "")).await;
    world.create(&config(2, "")).await;
    assert_ne!(a, b);
    let found = world.node.find(&mark(1)).await.unwrap();
    assert_eq!(found.iter().map(|vm| &vm.id).collect::<Vec<_>>(), [&a, &b]);
    assert!(found.iter().all(|vm| vm.power == VmPower::Stopped && vm.boot == Boot::Unknown));
    let listed = world.node.list().await.unwrap();
    assert_eq!(
        listed.iter().map(|(mark, _)| mark.clone()).collect::<Vec<_>>(),
        [mark(1), mark(1), mark(2)]
    );
    assert_eq!(world.host.audit().unwrap().mark(&mark(1)).creates, 2);
}

#[tokio::test]
async fn a_boot_goes_through_dstacks_words_and_is_running_long_before_it_is_done() {
    let world = World::new();
    world.started(&config(1, "")).await;
    let mut words = Vec::new();
    for _ in 0..2000 {
        let vm = world.observed(&mark(1)).await;
        assert_eq!(vm.power, VmPower::Running);
        if words.last().map(String::as_str) != Some(vm.boot.as_str()) {
            words.push(vm.boot.as_str().to_owned());
        }
        let told = words.iter().any(|word| word == "data disk ready");
        assert_eq!(vm.instance_id.is_some(), told, "{words:?}");
        world.pass(1);
    }
    assert_eq!(
        words,
        [
            "booting",
            "requesting app keys",
            "initializing data disk",
            "data disk ready",
            "setting up dstack-gateway",
            "setting up docker",
            "starting containers",
            "done",
        ]
    );
}

#[tokio::test]
async fn the_instance_id_is_the_guests_and_outlives_its_runs() {
    let world = World::new();
    let vm = world.booted(&config(1, "")).await;
    let id = world.observed(&mark(1)).await.instance_id.unwrap();
    world.node.stop(&vm).await.unwrap();
    assert_eq!(world.observed(&mark(1)).await.instance_id, Some(id));
    world.node.start(&vm).await.unwrap();
    assert_eq!(world.observed(&mark(1)).await.instance_id, Some(id));
    world.booted(&document(2, &serde_json::json!({ "no_instance_id": true }))).await;
    assert_eq!(world.observed(&mark(2)).await.boot, Boot::Done);
    assert_eq!(world.observed(&mark(2)).await.instance_id, None);
}

#[tokio::test]
async fn markers_make_boots_fail_hang_or_exit() {
    let world = World::new();
    for (n, text) in (1..).zip(["fail", "never", "deny", "exit", "warn"]) {
        world.started(&config(n, &format!("services: {{}} # x-sim-boot: {text}"))).await;
    }
    world.pass(60_000);
    let fail = world.observed(&mark(1)).await;
    assert_eq!(fail.boot, Boot::Failed("failed to start containers".to_owned()));
    assert_eq!(fail.power, VmPower::Running);
    let never = world.observed(&mark(2)).await;
    assert_eq!(never.boot, Boot::Progress("starting containers".to_owned()));
    let deny = world.observed(&mark(3)).await;
    assert_eq!(deny.boot, Boot::Progress("requesting app keys".to_owned()));
    assert!(deny.boot_error.unwrap().contains("Boot denied"));
    assert_eq!(deny.instance_id, None);
    let exit = world.observed(&mark(4)).await;
    assert_eq!(exit.power, VmPower::Exited);
    assert!(exit.exited_at.unwrap() > exit.started_at.unwrap());
    let warn = world.observed(&mark(5)).await;
    assert_eq!(warn.boot, Boot::Done);
    assert!(warn.boot_error.is_some());
}

#[tokio::test]
async fn a_stop_is_immediate_and_repeatable_and_leaves_the_last_word() {
    let world = World::new();
    let vm = world.booted(&config(1, "")).await;
    for _ in 0..2 {
        world.node.stop(&vm).await.unwrap();
        let observed = world.observed(&mark(1)).await;
        assert_eq!((observed.power, observed.boot), (VmPower::Stopped, Boot::Done));
        assert_eq!(observed.exited_at, None);
    }
    world.node.start(&vm).await.unwrap();
    assert_eq!(world.observed(&mark(1)).await.boot, Boot::Progress("booting".to_owned()));
}

#[tokio::test]
async fn a_shutdown_needs_a_guest_agent_and_takes_its_time() {
    let world = World::new();
    let vm = world.started(&config(1, "")).await;
    assert!(rejected(world.node.shutdown(&vm).await).contains("Connect"));
    world.pass(2000);
    world.node.shutdown(&vm).await.unwrap();
    let observed = world.observed(&mark(1)).await;
    assert_eq!(observed.power, VmPower::Stopping);
    assert_eq!(observed.shutdown_progress.as_deref(), Some("powering off"));
    world.pass(699);
    assert_eq!(world.observed(&mark(1)).await.power, VmPower::Stopping);
    world.pass(1);
    let observed = world.observed(&mark(1)).await;
    assert_eq!((observed.power, observed.exited_at), (VmPower::Stopped, Some(world.now())));
    assert!(rejected(world.node.shutdown(&vm).await).contains("Connect"));
}

#[tokio::test]
async fn some_guests_do_not_go_down_by_themselves() {
    let world = World::new();
    let never = world.booted(&config(1, "# x-sim-shutdown: never")).await;
    let ignore = world.booted(&config(2, "# x-sim-shutdown: ignore")).await;
    for vm in [&never, &ignore] {
        world.node.shutdown(vm).await.unwrap();
    }
    world.pass(600_000);
    assert_eq!(world.observed(&mark(1)).await.power, VmPower::Stopping);
    assert_eq!(world.observed(&mark(2)).await.power, VmPower::Running);
    world.node.stop(&never).await.unwrap();
    assert_eq!(world.observed(&mark(1)).await.power, VmPower::Stopped);
}

#[tokio::test]
async fn a_start_during_a_shutdown_does_not_save_the_guest() {
    let world = World::new();
    let vm = world.booted(&config(1, "")).await;
    world.node.shutdown(&vm).await.unwrap();
    world.node.start(&vm).await.unwrap();
    assert_eq!(world.observed(&mark(1)).await.power, VmPower::Running);
    world.pass(1000);
    assert_eq!(world.observed(&mark(1)).await.power, VmPower::Exited);
}

#[tokio::test]
async fn a_removal_ends_later_and_for_good() {
    let world = World::new();
    let vm = world.booted(&config(1, "")).await;
    world.node.remove(&vm).await.unwrap();
    world.node.remove(&vm).await.unwrap();
    assert_eq!(world.observed(&mark(1)).await.power, VmPower::Removing);
    assert_eq!(rejected(world.node.start(&vm).await), "VM is being removed");
    world.pass(300);
    assert_eq!(world.node.find(&mark(1)).await.unwrap(), []);
    for answer in [
        world.node.start(&vm).await,
        world.node.stop(&vm).await,
        world.node.shutdown(&vm).await,
        world.node.remove(&vm).await,
        world.node.push(&vm, &config(1, "")).await,
    ] {
        assert_eq!(rejected(answer), "VM not found");
    }
    let audit = world.host.audit().unwrap();
    assert_eq!(audit.removed.len(), 1);
    assert!(audit.removed[0].had_run && !audit.removed[0].behind_back);
    assert!(audit.mark(&mark(1)).present.is_empty());
}

#[tokio::test]
async fn a_push_takes_effect_at_the_next_boot() {
    let world = World::new();
    let (old, new) = (config(1, "old"), config(1, "new # x-sim-boot: fail"));
    let vm = world.booted(&old).await;
    world.node.push(&vm, &new).await.unwrap();
    assert_eq!(world.observed(&mark(1)).await.boot, Boot::Done);
    assert_eq!(world.host.vms().unwrap()[0].booted, Some(old.compose_hash));
    world.node.stop(&vm).await.unwrap();
    world.node.start(&vm).await.unwrap();
    world.pass(2000);
    assert!(matches!(world.observed(&mark(1)).await.boot, Boot::Failed(_)));
    let audit = world.host.audit().unwrap();
    let ran: Vec<_> = audit.starts_of(&mark(1)).iter().map(|s| s.config.compose_hash).collect();
    assert_eq!(ran, [old.compose_hash, new.compose_hash]);
}

#[tokio::test]
async fn resources_change_on_a_stopped_vm_only_and_disks_do_not_shrink() {
    let world = World::new();
    let vm = world.booted(&config(1, "")).await;
    let larger = VmConfig { vcpu: 4, disk_gb: 40, ..config(1, "") };
    let text = rejected(world.node.push(&vm, &larger).await);
    assert_eq!(text, format!("vm should be stopped before resize: {vm}"));
    world.node.stop(&vm).await.unwrap();
    world.node.push(&vm, &larger).await.unwrap();
    assert_eq!(rejected(world.node.push(&vm, &config(1, "")).await), "Cannot shrink disk size");
    assert_eq!(*world.host.vms().unwrap()[0].config, larger);
    let other_app = VmConfig { app_id: AppId::from_bytes([9; 20]), ..larger };
    assert!(rejected(world.node.push(&vm, &other_app).await).contains("app id"));
}

#[tokio::test]
async fn what_was_not_promised_does_not_start() {
    let world = World::new();
    let other = VmConfig { compose_hash: config(2, "other").compose_hash, ..config(1, "") };
    let vm = world.create(&other).await;
    assert!(rejected(world.node.start(&vm).await).contains("compose hash mismatch"));
    let no_image = VmConfig { image: "dstack-9.9.9".to_owned(), ..config(1, "") };
    assert!(rejected(world.node.create(&no_image).await).contains("Failed to load image"));
}

#[tokio::test]
async fn capacity_is_never_enforced_but_host_ports_are() {
    let world = World::with(SimConfig { journal: Journal::Off, ..SimConfig::default() });
    let port =
        PortMap { protocol: "tcp".to_owned(), host_port: 8080, vm_port: 80, host_address: None };
    let huge = VmConfig { vcpu: u32::MAX, ports: vec![port], ..config(1, "") };
    let vm = world.create(&huge).await;
    let text = rejected(world.node.create(&huge).await);
    assert_eq!(text, format!("host port mapping conflicts with VM {vm}: tcp 8080:80"));
    world.node.push(&vm, &huge).await.unwrap();
    for n in 0..100 {
        world.create(&config(n, "")).await;
    }
}

#[tokio::test]
async fn a_booted_vm_answers_with_a_page_that_says_what_it_is() {
    let world = World::new();
    let vm = world.started(&config(1, "")).await;
    let early = world.node.resolve_port(&vm, 8080).await;
    assert_eq!(early, Err(DialError::NotUp("the CVM is starting: booting".to_owned())));
    world.pass(2000);
    let Dial::Page(page) = world.node.resolve_port(&vm, 8080).await.unwrap() else {
        panic!("no page")
    };
    let observed = world.observed(&mark(1)).await;
    for part in [
        "simulated CVM",
        "Nothing runs here",
        &config(1, "").app_id.to_string(),
        &config(1, "").compose_hash.to_string(),
        &observed.instance_id.unwrap().to_string(),
        ">8080<",
    ] {
        assert!(page.contains(part), "{part}");
    }
    world.node.stop(&vm).await.unwrap();
    let down = world.node.resolve_port(&vm, 8080).await;
    assert_eq!(down, Err(DialError::NotUp("the CVM is stopped".to_owned())));
}

#[tokio::test]
async fn the_instance_id_is_made_as_dstack_makes_it() {
    let world = World::new();
    world.booted(&config(1, "")).await;
    let id = world.observed(&mark(1)).await.instance_id.unwrap();
    let seed = world.node.shared.store.locked(|disk| {
        let key = disk.keys(Which::All)?.remove(0);
        Ok(disk.vm(&key)?.instance_seed)
    });
    let mut bytes = hex::decode(seed.unwrap()).unwrap();
    assert_eq!(bytes.len(), 20);
    bytes.extend([1; 20]);
    assert_eq!(id.as_bytes()[..], Sha256::digest(bytes)[..20]);
}
