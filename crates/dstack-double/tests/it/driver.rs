//! `DstackNode` over a socket: what it survives.

use std::{future::Future, time::Duration};

use casemate_core::{
    cvm::{Boot, ObservedVm, PortMap, VmPower},
    id::DeviceId,
    preflight::{Anonymous, KmsProbe},
};
use casemate_dstack_double::{Fault, Profile};
use casemate_engine::node::{
    CallError, LogQuery, Mark, Node as _, Tee, VmConfig,
    dstack::{DstackConfig, DstackNode},
    sim::{Fault as SimFault, FaultKind, Method},
};
use futures_util::TryStreamExt as _;

use crate::stage::{Real, Stage, config, secret};

async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, look: impl Fn() -> F) -> T {
    for _ in 0..500 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

async fn the_one(stage: &Stage, mark: &Mark) -> ObservedVm {
    let mut found = stage.node.find(mark).await.unwrap();
    assert_eq!(found.len(), 1);
    found.remove(0)
}

async fn until(stage: &Stage, mark: &Mark, what: &str, holds: impl Fn(&ObservedVm) -> bool) {
    eventually(what, || async {
        let seen = stage.node.find(mark).await.unwrap();
        seen.first().is_some_and(&holds).then_some(())
    })
    .await;
}

fn fault(stage: &Stage, fault: SimFault) {
    stage.host.sim.host().set_faults(vec![fault]).unwrap();
}

#[tokio::test]
async fn a_vm_lives_and_goes_on_every_build() {
    for profile in Profile::ALL {
        let stage = Stage::new(profile).await;
        let node = &stage.node;
        let config = config("web");
        let vm = node.create(&config).await.unwrap();
        assert_eq!(the_one(&stage, &config.mark).await.power, VmPower::Stopped);
        let changed = VmConfig { vcpu: 2, user_config: Some("u".to_owned()), ..config.clone() };
        node.push(&vm, &changed).await.unwrap();
        node.push(&vm, &changed).await.unwrap();
        let has = stage.host.vms().unwrap().remove(0).config;
        assert_eq!((has.vcpu, has.user_config.as_deref()), (2, Some("u")));
        node.start(&vm).await.unwrap();
        until(&stage, &config.mark, "up", |seen| seen.boot == Boot::Done).await;
        assert!(the_one(&stage, &config.mark).await.instance_id.is_some());
        let containers = node.guest_containers(&vm).await.unwrap();
        assert_eq!(containers.len(), 1);
        assert_eq!((&*containers[0].names[0], &*containers[0].state), ("/dstack-web-1", "running"));
        assert_eq!(node.guest_system(&vm).await.unwrap().num_cpus, 2);
        let network = node.guest_network(&vm).await.unwrap();
        assert_eq!(network.internal_ip.as_deref(), Some("10.8.0.2"));
        assert_eq!(network.latest_handshake.as_deref(), Some("5 seconds ago"));
        node.shutdown(&vm).await.unwrap();
        until(&stage, &config.mark, "down", |seen| seen.power == VmPower::Stopped).await;
        assert!(matches!(node.guest_system(&vm).await, Err(CallError::Rejected(_))));
        node.start(&vm).await.unwrap();
        node.stop(&vm).await.unwrap();
        assert_eq!(the_one(&stage, &config.mark).await.power, VmPower::Stopped);
        node.remove(&vm).await.unwrap();
        eventually("gone", || async {
            node.find(&config.mark).await.unwrap().is_empty().then_some(())
        })
        .await;
        assert!(matches!(node.remove(&vm).await, Err(CallError::Rejected(_))));
    }
}

/// A guest on SEV-SNP tells the device; one on TDX says the hash of nothing, which is none.
#[tokio::test]
async fn an_inventory_tells_the_build_and_learns_the_device_from_a_guest_that_tells_it() {
    for told in [None, Some(DeviceId::from_bytes([8; 32]))] {
        let stage = Stage::new(Profile::of("0.6.0").unwrap()).await;
        if let Some(device) = told {
            stage.host.set_device_id(device);
        }
        let before = stage.node.inventory().await.unwrap();
        assert_eq!((before.version.as_str(), before.tee), ("0.6.0", Tee::Tdx));
        assert_eq!(before.capacity.slots, 64);
        let is_unknown =
            |notes: &[String]| notes.iter().any(|note| note.contains("device id unknown"));
        assert!(is_unknown(&before.notes), "{before:?}");
        let config = config("web");
        let vm = stage.node.create(&config).await.unwrap();
        stage.node.start(&vm).await.unwrap();
        until(&stage, &config.mark, "up", |seen| seen.boot == Boot::Done).await;
        let after = stage.node.inventory().await.unwrap();
        assert_eq!(after.device_id, told.unwrap_or(before.device_id));
        assert_eq!(is_unknown(&after.notes), told.is_none(), "{after:?}");
    }
}

#[tokio::test]
async fn vms_of_others_are_not_ours() {
    let stage = Stage::new(Profile::newest()).await;
    stage.host.add_foreign("somebody-else");
    assert!(stage.node.list().await.unwrap().is_empty());
    let config = config("web");
    stage.node.create(&config).await.unwrap();
    let listed = stage.node.list().await.unwrap();
    assert_eq!(listed.into_iter().map(|(mark, _)| mark).collect::<Vec<_>>(), [config.mark]);
}

#[tokio::test]
async fn a_field_that_was_dropped_in_silence_is_a_refusal_by_name_and_nothing_stays() {
    let stage = Stage::new(Profile::newest()).await;
    stage.host.set_faults(vec![Fault::Ignores(vec!["ports".to_owned()])]);
    let ports = vec![PortMap {
        protocol: "tcp".to_owned(),
        host_port: 20_001,
        vm_port: 80,
        host_address: None,
    }];
    let config = VmConfig { ports, ..config("web") };
    let error = stage.node.create(&config).await.unwrap_err();
    let CallError::Rejected(why) = error else { panic!("{error}") };
    assert_eq!(why, "dstack-vmm accepted ports and does not have it");
    eventually("gone", || async { stage.host.vms().unwrap().is_empty().then_some(()) }).await;
}

#[tokio::test]
async fn a_lost_answer_is_unknown_and_the_vm_is_found_by_its_mark() {
    let stage = Stage::new(Profile::newest()).await;
    let config = config("web");
    fault(&stage, SimFault::new(FaultKind::LoseAnswer).on(Method::Create));
    assert!(matches!(stage.node.create(&config).await, Err(CallError::Unknown(_))));
    assert_eq!(the_one(&stage, &config.mark).await.power, VmPower::Stopped);
}

#[tokio::test]
async fn a_host_that_hangs_is_unknown_in_bounded_time_and_one_that_is_away_unreachable() {
    let stage = Stage::new(Profile::newest()).await;
    let config = config("web");
    stage.host.set_faults(vec![Fault::Hangs]);
    assert!(matches!(stage.node.find(&config.mark).await, Err(CallError::Unknown(_))));
    stage.host.set_faults(vec![Fault::Away]);
    assert!(matches!(stage.node.find(&config.mark).await, Err(CallError::Unreachable(_))));
    stage.host.set_faults(Vec::new());
    assert!(stage.node.find(&config.mark).await.unwrap().is_empty());
    stage.server.abort();
    let dead = DstackNode::open(DstackConfig {
        address: "http://127.0.0.1:9".parse().unwrap(),
        ..stage.settings()
    });
    let error = dead.await.unwrap().find(&config.mark).await.unwrap_err();
    assert!(matches!(&error, CallError::Unreachable(why) if why.contains("refused")), "{error}");
}

/// 0.5 builds write the document before they refuse a size: sizes go first, so nothing is half done.
#[tokio::test]
async fn a_refused_size_leaves_the_document_of_an_old_build_alone() {
    for profile in Profile::ALL {
        let stage = Stage::new(profile).await;
        let before = config("web");
        let vm = stage.node.create(&before).await.unwrap();
        stage.node.start(&vm).await.unwrap();
        let compose = before.compose.replace("web", "other");
        let hash = casemate_core::compose::app_compose::hash(&compose);
        let wanted = VmConfig { compose, compose_hash: hash, vcpu: 4, ..before.clone() };
        let error = stage.node.push(&vm, &wanted).await.unwrap_err();
        assert!(
            matches!(&error, CallError::Rejected(why) if why.contains("stopped before resize"))
        );
        let has = stage.host.vms().unwrap().remove(0).config;
        assert_eq!((&has.compose, has.vcpu), (&before.compose, 1));
    }
}

#[tokio::test]
async fn a_restarted_vmm_has_forgotten_and_a_denied_guest_is_not_up() {
    let stage = Stage::new(Profile::newest()).await;
    let up = config("up");
    let vm = stage.node.create(&up).await.unwrap();
    stage.node.start(&vm).await.unwrap();
    until(&stage, &up.mark, "up", |seen| seen.boot == Boot::Done).await;
    fault(&stage, SimFault::new(FaultKind::RestartVmm));
    assert_eq!(the_one(&stage, &up.mark).await.boot, Boot::Unknown);
    let mut denied = config("denied");
    denied.compose = denied.compose.replace("denied", "x-sim-boot: deny");
    denied.compose_hash = casemate_core::compose::app_compose::hash(&denied.compose);
    let vm = stage.node.create(&denied).await.unwrap();
    stage.node.start(&vm).await.unwrap();
    until(&stage, &denied.mark, "denied", |seen| seen.boot_error.is_some()).await;
    let seen = the_one(&stage, &denied.mark).await;
    assert_eq!(
        (seen.power, seen.boot),
        (VmPower::Running, Boot::Progress("requesting app keys".to_owned()))
    );
}

#[tokio::test]
async fn a_vm_whose_process_ended_says_why() {
    let stage = Stage::new(Profile::newest()).await;
    let config = config("web");
    let vm = stage.node.create(&config).await.unwrap();
    stage.node.start(&vm).await.unwrap();
    until(&stage, &config.mark, "up", |seen| seen.boot == Boot::Done).await;
    fault(&stage, SimFault::new(FaultKind::CrashGuest));
    let seen = the_one(&stage, &config.mark).await;
    let why = "qemu-system-x86_64: the double's guest ended";
    assert_eq!((seen.power, seen.boot_error.as_deref()), (VmPower::Exited, Some(why)));
}

#[tokio::test]
async fn an_annotation_goes_to_builds_that_have_them() {
    for (version, has) in [("0.5.16", false), ("0.6.0", false), ("0.6.6", true)] {
        let stage = Stage::new(Profile::of(version).unwrap()).await;
        let config = config("web");
        let vm = stage.node.create(&config).await.unwrap();
        let sent = stage.host.annotations(&vm);
        let mark = serde_json::json!({"casemate.mark": config.mark.to_string()});
        assert_eq!(sent, has.then_some(mark), "{version}");
    }
}

#[tokio::test]
async fn a_rotated_token_is_read_again_and_a_wrong_one_names_the_remedy() {
    let stage = Stage::new(Profile::newest()).await;
    let settings = stage.settings();
    let path = settings.files.token.clone().unwrap();
    secret(&path, "wrong");
    let node = DstackNode::open(settings).await.unwrap();
    let error = node.inventory().await.unwrap_err();
    assert!(
        matches!(&error, CallError::Unreachable(why) if why.contains("check its token")),
        "{error}"
    );
    secret(&path, crate::stage::TOKEN);
    node.inventory().await.unwrap();
    let mut basic = stage.settings();
    basic.files.user = Some("casemate".to_owned());
    DstackNode::open(basic).await.unwrap().inventory().await.unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&path, mode).unwrap();
    let error = DstackNode::open(stage.settings()).await.unwrap_err().to_string();
    assert!(error.contains("chmod 600") && !error.contains(crate::stage::TOKEN), "{error}");
}

#[tokio::test]
async fn the_serial_log_is_there_where_no_guest_answers() {
    let stage = Stage::new(Profile::newest()).await;
    let config = config("web");
    let vm = stage.node.create(&config).await.unwrap();
    stage.node.start(&vm).await.unwrap();
    until(&stage, &config.mark, "a word", |seen| seen.boot != Boot::Unknown).await;
    let query = LogQuery { follow: false, tail: 100 };
    let text: Vec<bytes::Bytes> =
        stage.node.logs(&vm, query).await.unwrap().try_collect().await.unwrap();
    let text = String::from_utf8(text.concat()).unwrap();
    assert!(!text.is_empty() && text.lines().all(|line| line.starts_with("serial | ")), "{text}");
    let nobody = casemate_core::id::EngineVmId("nobody".to_owned());
    let error = stage.node.logs(&nobody, query).await.err().unwrap();
    assert!(matches!(error, CallError::Rejected(_)), "{error}");
}

#[tokio::test]
async fn a_probe_knocks_without_a_credential_and_asks_the_kms_through_the_vmm() {
    for profile in Profile::ALL {
        let stage = Stage::new(profile.clone()).await;
        let probe = stage.node.probe(&Real).await.unwrap().unwrap();
        assert_eq!(probe.anonymous, Anonymous::Refused);
        assert_eq!(probe.document, profile.document);
        assert_eq!(probe.missing, Vec::<String>::new(), "{}", profile.version);
        assert!(
            matches!(&probe.kms, KmsProbe::Answers { host, .. } if host == "https://kms.example:8000")
        );
        assert_eq!(probe.clock_skew_s, Some(0), "axum sends a date");
        assert!(!probe.guest_token);
        stage.host.set_faults(vec![Fault::KmsDown]);
        let probe = stage.node.probe(&Real).await.unwrap().unwrap();
        assert!(
            matches!(&probe.kms, KmsProbe::Silent { why } if why.contains("refused")),
            "{probe:?}"
        );
    }
}

#[tokio::test]
async fn configurations_are_read_page_by_page_and_only_of_our_vms() {
    let stage = Stage::new(Profile::newest()).await;
    stage.host.add_foreign("somebody-else");
    let mut sent = Vec::new();
    for number in 0..60 {
        let config = config(&format!("web-{number}"));
        stage.host.sim.create(&config).await.unwrap();
        sent.push((config.mark.clone(), config.compose_hash));
    }
    let told = stage.node.configs().await.unwrap();
    let mut told: Vec<_> = told
        .into_iter()
        .map(|(mark, _, config)| {
            assert_eq!((config.vcpu, config.memory_mb, config.disk_gb), (1, 2048, 10));
            (mark, config.compose_hash)
        })
        .collect();
    let by_name = |(mark, _): &(Mark, _)| mark.to_string();
    told.sort_by_key(by_name);
    sent.sort_by_key(by_name);
    assert_eq!(told, sent);
}

#[tokio::test]
async fn the_hash_of_an_image_is_told_by_the_first_guest_that_booted_it() {
    let stage = Stage::new(Profile::newest()).await;
    let config = config("web");
    let hash = async || {
        let images = stage.node.inventory().await.unwrap().images;
        images.into_iter().find(|image| image.name == config.image).unwrap().os_image_hash
    };
    assert_eq!(hash().await, None);
    let vm = stage.node.create(&config).await.unwrap();
    stage.node.start(&vm).await.unwrap();
    until(&stage, &config.mark, "up", |seen| seen.boot == Boot::Done).await;
    let expected = stage.host.sim.inventory().await.unwrap().images;
    let expected = expected.into_iter().find(|image| image.name == config.image).unwrap();
    assert_eq!(hash().await, expected.os_image_hash);
}
