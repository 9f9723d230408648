//! What faults do.

use casemate_core::cvm::{Boot, VmPower};

use super::*;
use crate::node::{
    CallError,
    sim::{Answer, FaultKind, Faults, Method, StartedBy},
};

#[tokio::test]
async fn a_lost_answer_leaves_what_was_done() {
    let world = World::new();
    world.fault(Fault::new(FaultKind::LoseAnswer).on(Method::Create));
    let answer = world.node.create(&config(1, "")).await;
    assert!(matches!(answer, Err(CallError::Unknown(_))), "{answer:?}");
    assert_eq!(world.node.find(&mark(1)).await.unwrap().len(), 1);
    world.create(&config(1, "")).await;
    let call = &world.host.calls().unwrap()[0];
    assert_eq!((call.carried_out, call.method), (1, Method::Create));
    assert!(matches!(call.answer, Answer::Unknown(_)));
    assert_eq!(call.faults, [FaultKind::LoseAnswer]);
}

#[tokio::test]
async fn dropped_refused_and_unreachable_calls_do_nothing() {
    let world = World::new();
    for kind in [FaultKind::DropCall, FaultKind::Refuse, FaultKind::Unreachable] {
        world.fault(Fault { text: "why".to_owned(), ..Fault::new(kind) });
        let answer = world.node.create(&config(1, "")).await.unwrap_err();
        match kind {
            FaultKind::Refuse => assert_eq!(answer, CallError::Rejected("why".to_owned())),
            FaultKind::Unreachable => assert_eq!(answer, CallError::Unreachable("why".to_owned())),
            _ => assert!(matches!(answer, CallError::Unknown(_)), "{answer:?}"),
        }
    }
    assert_eq!(world.node.list().await.unwrap(), []);
    assert!(world.host.audit().unwrap().marks.is_empty());
    assert!(world.host.calls().unwrap()[..3].iter().all(|call| call.carried_out == 0));
}

#[tokio::test]
async fn a_repeated_create_makes_two_vms_and_tells_of_the_second() {
    let world = World::new();
    world.fault(Fault::new(FaultKind::Repeat));
    let told = world.create(&config(1, "")).await;
    let found = world.node.find(&mark(1)).await.unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(found[1].id, told);
}

#[tokio::test]
async fn a_fault_is_for_its_method_and_mark_and_has_its_turn() {
    let world = World::new();
    let one = world.create(&config(1, "")).await;
    let two = world.create(&config(2, "")).await;
    world.fault(Fault::new(FaultKind::Refuse).on(Method::Start).of("app-1").after(1).times(2));
    let mut refused = Vec::new();
    for _ in 0..4 {
        assert_eq!(world.node.start(&two).await, Ok(()));
        assert_eq!(world.node.stop(&one).await, Ok(()));
        refused.push(world.node.start(&one).await.is_err());
    }
    assert_eq!(refused, [false, true, true, false]);
    world.fault(Fault::new(FaultKind::Refuse).always());
    for _ in 0..5 {
        assert!(world.node.list().await.is_err());
    }
    world.host.clear_faults().unwrap();
    assert!(world.node.list().await.is_ok());
}

#[tokio::test]
async fn the_same_faults_set_again_count_anew() {
    let world = World::new();
    for _ in 0..3 {
        world.fault(Fault::new(FaultKind::Refuse));
        assert!(world.node.list().await.is_err());
        assert!(world.node.list().await.is_ok());
    }
}

#[tokio::test]
async fn a_restarted_vmm_forgets_boots_but_not_guests() {
    let world = World::new();
    let vm = world.booted(&config(1, "")).await;
    world.started(&config(2, "")).await;
    world.pass(1000);
    let before = world.observed(&mark(1)).await;
    assert_eq!(before.boot, Boot::Done);
    world.fault(Fault::new(FaultKind::RestartVmm));
    let after = world.observed(&mark(1)).await;
    assert_eq!((after.power, &after.boot), (VmPower::Running, &Boot::Unknown));
    assert_eq!((after.instance_id, after.started_at), (before.instance_id, before.started_at));
    assert!(world.node.resolve_port(&vm, 80).await.is_ok());
    assert_eq!(world.observed(&mark(2)).await.boot, Boot::Unknown);
    world.pass(1000);
    assert_eq!(world.observed(&mark(1)).await.boot, Boot::Unknown);
    assert_eq!(world.observed(&mark(2)).await.boot, Boot::Done);
}

#[tokio::test]
async fn a_start_of_a_running_vm_boots_nothing_and_forgets_the_progress() {
    let world = World::new();
    let vm = world.booted(&config(1, "")).await;
    world.node.start(&vm).await.unwrap();
    let observed = world.observed(&mark(1)).await;
    assert_eq!((observed.power, observed.boot), (VmPower::Running, Boot::Unknown));
    assert_eq!(world.host.audit().unwrap().mark(&mark(1)).starts, 1);
}

#[tokio::test]
async fn a_rebooted_host_boots_the_wanted_vms_with_what_is_on_their_disks() {
    let world = World::new();
    let (old, new) = (config(1, "old"), config(1, "new"));
    let up = world.booted(&old).await;
    let down = world.booted(&config(2, "")).await;
    world.node.stop(&down).await.unwrap();
    world.node.push(&up, &new).await.unwrap();
    world.fault(Fault::new(FaultKind::RebootHost));
    let observed = world.observed(&mark(1)).await;
    assert_eq!((observed.power, observed.boot.as_str()), (VmPower::Running, "booting"));
    let observed = world.observed(&mark(2)).await;
    assert_eq!((observed.power, observed.boot), (VmPower::Stopped, Boot::Unknown));
    let audit = world.host.audit().unwrap();
    let runs = audit.starts_of(&mark(1));
    assert_eq!(runs.len(), 2);
    assert_eq!((runs[1].by, runs[1].config.compose_hash), (StartedBy::Host, new.compose_hash));
    assert_eq!(runs[0].until, Some(world.now()));
    assert_eq!(audit.mark(&mark(1)).starts, 1);
    assert_eq!(audit.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn things_happen_behind_our_back() {
    let world = World::new();
    for n in 1..=3 {
        world.booted(&config(n, "")).await;
    }
    world
        .host
        .set_faults(vec![
            Fault::new(FaultKind::StopBehindBack).of("app-1"),
            Fault::new(FaultKind::Vanish).of(mark(2).to_string()),
            Fault::new(FaultKind::CrashGuest).of("app-3"),
        ])
        .unwrap();
    let listed = world.node.list().await.unwrap();
    let powers: Vec<_> = listed.iter().map(|(mark, vm)| (mark.clone(), vm.power)).collect();
    assert_eq!(powers, [(mark(1), VmPower::Stopped), (mark(3), VmPower::Exited)]);
    let audit = world.host.audit().unwrap();
    assert!(audit.removed[0].behind_back);
    assert!(audit.starts.iter().all(|run| run.until == Some(world.now())));
}

#[tokio::test]
async fn a_fault_on_a_call_hits_the_vms_of_the_call() {
    let world = World::new();
    world.booted(&config(1, "")).await;
    world.booted(&config(2, "")).await;
    world.fault(Fault::new(FaultKind::Vanish).on(Method::Find));
    assert_eq!(world.node.find(&mark(2)).await.unwrap(), []);
    assert_eq!(world.node.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_torn_push_keeps_the_vm_from_starting_until_it_is_pushed_whole() {
    let world = World::new();
    let vm = world.create(&config(1, "old")).await;
    world.fault(Fault::new(FaultKind::TearPush).on(Method::Push));
    let new = config(1, "new");
    assert!(matches!(world.node.push(&vm, &new).await, Err(CallError::Unknown(_))));
    assert!(matches!(world.node.start(&vm).await, Err(CallError::Rejected(_))));
    world.node.push(&vm, &new).await.unwrap();
    world.node.start(&vm).await.unwrap();
    assert_eq!(world.host.vms().unwrap()[0].booted, Some(new.compose_hash));
}

#[tokio::test]
async fn a_slow_boot_is_slow() {
    let world = World::new();
    world.fault(Fault::new(FaultKind::SlowBoot).on(Method::Start));
    world.started(&config(1, "")).await;
    world.pass(14_000);
    assert_ne!(world.observed(&mark(1)).await.boot, Boot::Done);
    world.pass(2_000);
    assert_eq!(world.observed(&mark(1)).await.boot, Boot::Done);
}

#[tokio::test]
async fn two_running_vms_of_one_mark_are_a_violation() {
    let world = World::new();
    let a = world.booted(&config(1, "")).await;
    let b = world.create(&config(1, "")).await;
    world.node.stop(&a).await.unwrap();
    world.node.start(&b).await.unwrap();
    assert_eq!(world.host.audit().unwrap().overlaps, []);
    world.pass(1);
    world.node.start(&a).await.unwrap();
    let audit = world.host.audit().unwrap();
    assert_eq!(audit.overlaps.len(), 1);
    assert_eq!((&audit.overlaps[0].first, &audit.overlaps[0].second), (&b, &a));
    assert_eq!(audit.violations().len(), 1);
}

#[tokio::test]
async fn random_faults_come_about_as_often_as_asked_and_repeat_with_the_seed() {
    let mut runs = Vec::new();
    for seed in [1, 1, 2] {
        let world = World::with(SimConfig { seed: Some(seed), ..SimConfig::default() });
        let random = [(FaultKind::Unreachable, 0.3)].into();
        world.host.set_faults(Faults { random, ..Faults::default() }).unwrap();
        let mut hits = Vec::new();
        for _ in 0..300 {
            hits.push(world.node.list().await.is_err());
        }
        runs.push(hits);
    }
    let count = runs[0].iter().filter(|hit| **hit).count();
    assert!((60..120).contains(&count), "{count}");
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
}

#[tokio::test]
async fn the_documented_file_is_read_and_nonsense_is_not_ignored() {
    let text = r#"{
      "faults": [
        {"fault": "lose_answer", "method": "create", "mark": "web", "count": 1},
        {"fault": "refuse", "method": "start", "text": "no more GPUs", "skip": 2},
        {"fault": "reboot_host", "method": "find", "count": null}
      ],
      "random": {"lose_answer": 0.05, "drop_call": 0.05, "restart_vmm": 0.01}
    }"#;
    let faults: Faults = serde_json::from_str(text).unwrap();
    assert_eq!(
        faults.faults,
        [
            Fault::new(FaultKind::LoseAnswer).on(Method::Create).of("web"),
            Fault {
                text: "no more GPUs".to_owned(),
                ..Fault::new(FaultKind::Refuse).on(Method::Start).after(2)
            },
            Fault::new(FaultKind::RebootHost).on(Method::Find).always(),
        ]
    );
    let dir = tempfile::tempdir().unwrap();
    let world = World::in_dir(dir.path(), SimConfig::fast(), clock());
    std::fs::write(dir.path().join("faults.json"), r#"{"fault": []}"#).unwrap();
    let answer = world.node.list().await;
    assert!(matches!(&answer, Err(CallError::Unreachable(text)) if text.contains("faults.json")));
}
