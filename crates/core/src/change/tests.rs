use proptest::prelude::*;

use super::*;
use crate::{
    compose::ComposeInput,
    cvm::{DesiredState, EngineState, Power, Resources, Status, StopMode},
    id::{AppId, EngineVmId},
    node::{Capabilities, NodeKind},
    seal::EnvPublicKey,
};

const COMPOSE: &str = "services:\n  web:\n    image: nginx\n    environment: [A, 'B=${B}']\n";
const OTHER: &str = "services:\n  api:\n    image: api\n";

pub(super) fn configuration() -> Configuration {
    let input = ComposeInput {
        docker_compose_file: Some(COMPOSE.to_owned()),
        allowed_envs: vec!["A".to_owned(), "B".to_owned()],
        ..ComposeInput::default()
    };
    let document = AppCompose::new(input, "my-app", &[]).unwrap();
    let spec = Spec {
        revision: 3,
        name: "my-app".to_owned(),
        app_id: AppId::from_bytes([7; 20]),
        compose_hash: hash(&document.document()),
        facts: document.facts(),
        env_public_key: Some(EnvPublicKey::from_bytes([9; 32])),
        resources: Resources {
            instance_type: Some("tdx.small".to_owned()),
            vcpu: 1,
            memory_mb: 2048,
            disk_gb: 20,
            hugepages: false,
            pin_numa: false,
            gpus: None,
        },
        image: "dstack-0.5.4".to_owned(),
        ports: Vec::new(),
        user_config: None,
        kms_urls: Vec::new(),
        gateway_urls: Vec::new(),
        vpc_server_app_id: None,
        listed: true,
        env_keys: vec!["A".to_owned()],
        shutdown_timeout_s: 60,
        allow_force_stop: true,
        vm: 1,
        instance_seed: None,
        deployer: None,
    };
    Configuration { spec, document, sealed_env: Some("00".to_owned()) }
}

fn changed(change: &Change) -> (Configuration, Effect) {
    apply(&configuration(), change, None).unwrap()
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn another_instance_id_is_not_put_off() {
    let now = configuration();
    for renew in [Renew::Vm, Renew::Seed(InstanceSeed::from_bytes([1; 20]))] {
        let change = Change { renew: Some(renew), at_next_start: true, ..Change::default() };
        let (next, effect) = apply(&now, &change, None).unwrap();
        assert_eq!((effect, next.spec.revision), (Effect::Restart, now.spec.revision + 1));
    }
    let without = ComposeInput { no_instance_id: Some(true), ..ComposeInput::from(&now.document) };
    let document = AppCompose::new(without, "my-app", &[]).unwrap();
    let now = Configuration { document, ..now };
    let refused =
        apply(&now, &Change { renew: Some(Renew::Vm), ..Change::default() }, None).unwrap_err();
    assert_eq!(refused.field, "instance_id");
}

#[test]
fn each_field_has_its_effect_and_no_other() {
    let gpus = Gpus { gpus: Vec::new(), attach_mode: "all".to_owned() };
    let port = PortMap { protocol: "tcp".to_owned(), host_port: 1, vm_port: 2, host_address: None };
    let size = Size { id: "tdx.medium".to_owned(), vcpu: 2, memory_mb: 4096 };
    let none = Change::default;
    let cases = [
        (Change { docker_compose_file: Some(OTHER.to_owned()), ..none() }, Effect::Restart),
        (Change { pre_launch_script: Some("true".to_owned()), ..none() }, Effect::Restart),
        (Change { allowed_envs: Some(names(&["A"])), ..none() }, Effect::Restart),
        (Change { public_logs: Some(false), ..none() }, Effect::Restart),
        (Change { public_sysinfo: Some(false), ..none() }, Effect::Restart),
        (Change { public_tcbinfo: Some(false), ..none() }, Effect::Restart),
        (Change { gateway_enabled: Some(false), ..none() }, Effect::Restart),
        (Change { secure_time: Some(true), ..none() }, Effect::Restart),
        (Change { sealed_env: Set::To("11".to_owned()), ..none() }, Effect::Restart),
        (Change { env_keys: Some(names(&["A", "B"])), ..none() }, Effect::Record),
        (Change { user_config: Set::To("{}".to_owned()), ..none() }, Effect::Restart),
        (Change { instance_type: Some(size), ..none() }, Effect::Restart),
        (Change { vcpu: Some(2), ..none() }, Effect::Restart),
        (Change { memory_mb: Some(4096), ..none() }, Effect::Restart),
        (Change { disk_gb: Some(40), ..none() }, Effect::Restart),
        (Change { gpus: Set::To(gpus), ..none() }, Effect::Restart),
        (Change { image: Some("dstack-0.5.5".to_owned()), ..none() }, Effect::Restart),
        (Change { shutdown_timeout_s: Some(10), ..none() }, Effect::Record),
        (Change { allow_force_stop: Some(false), ..none() }, Effect::Record),
        (Change { listed: Some(false), ..none() }, Effect::Record),
        (Change { name: Some("other-name".to_owned()), ..none() }, Effect::Record),
        (Change { ports: Some(vec![port]), ..none() }, Effect::Restart),
        (Change { kms_urls: Some(names(&["https://k"])), ..none() }, Effect::Restart),
        (Change { gateway_urls: Some(names(&["https://g"])), ..none() }, Effect::Restart),
    ];
    for (change, effect) in &cases {
        let (next, seen) = changed(change);
        assert_eq!(seen, *effect, "{change:?}");
        let revision = if *effect == Effect::Restart { 4 } else { 3 };
        assert_eq!(next.spec.revision, revision, "{change:?}");
        assert_eq!(next.spec.compose_hash, hash(&next.document.document()));
        let (_, again) = apply(&next, change, None).unwrap();
        assert_eq!(again, Effect::Nothing, "{change:?} twice");
        let deferred = Change { at_next_start: true, ..change.clone() };
        let softer = if *effect == Effect::Restart { Effect::NextStart } else { *effect };
        assert_eq!(changed(&deferred).1, softer, "{change:?}");
        let json = serde_json::to_string(change).unwrap();
        assert_eq!(serde_json::from_str::<Change>(&json).unwrap(), *change, "{json}");
    }
    assert_eq!(changed(&none()).1, Effect::Nothing);
}

#[test]
fn a_refusal_names_its_field_and_nothing_is_applied() {
    let none = Change::default;
    let cases = [
        (Change { docker_compose_file: Some(String::new()), ..none() }, "docker_compose_file"),
        (Change { docker_compose_file: Some("a: [".to_owned()), ..none() }, "docker_compose_file"),
        (Change { allowed_envs: Some(names(&["1"])), ..none() }, "allowed_envs"),
        (Change { env_keys: Some(names(&["C"])), ..none() }, "env_keys"),
        (Change { vcpu: Some(0), ..none() }, "vcpu"),
        (Change { memory_mb: Some(0), ..none() }, "memory"),
        (Change { disk_gb: Some(19), ..none() }, "disk_size"),
    ];
    for (change, field) in cases {
        let both = Change { listed: Some(false), ..change };
        assert_eq!(apply(&configuration(), &both, None).unwrap_err().field, field);
    }
    let keyless = Configuration {
        spec: Spec { env_public_key: None, ..configuration().spec },
        ..configuration()
    };
    let sealed = Change { sealed_env: Set::To("11".to_owned()), ..none() };
    assert_eq!(apply(&keyless, &sealed, None).unwrap_err().field, "encrypted_env");
}

#[test]
fn what_the_disk_was_made_with_stays() {
    let now = configuration();
    let same = AppCompose { salt: Some("s".to_owned()), ..now.document.clone() };
    let prepared = Change { document: Some(hash(&same.document())), ..Change::default() };
    let (next, effect) = apply(&now, &prepared, Some(&same)).unwrap();
    assert_eq!((next.document, effect), (same, Effect::Restart));
    let cases = [
        AppCompose { kms_enabled: false, ..now.document.clone() },
        AppCompose { local_key_provider_enabled: true, ..now.document.clone() },
        AppCompose { no_instance_id: true, ..now.document.clone() },
        AppCompose { storage_fs: Some("ext4".to_owned()), ..now.document.clone() },
    ];
    for other in cases {
        let refused = apply(&now, &prepared, Some(&other)).unwrap_err();
        assert!(refused.message.contains("disk"), "{refused}");
    }
}

#[test]
fn names_that_the_new_file_still_uses_are_missed() {
    let before = configuration();
    let report = |change: Change, named: &[&str]| {
        let (after, _) = apply(&before, &change, None).unwrap();
        env_report(&before, &after, Some(&names(named))).unwrap()
    };
    let same = report(Change::default(), &["A"]);
    assert_eq!(same, EnvReport::default());
    let dropped = report(Change::default(), &["B"]);
    assert_eq!(dropped.added, ["B"]);
    assert_eq!(dropped.removed, ["A"]);
    assert_eq!(dropped.missing, ["A"]);
    let unused =
        report(Change { docker_compose_file: Some(OTHER.to_owned()), ..Change::default() }, &[]);
    assert_eq!(unused.removed, ["A"]);
    assert!(unused.missing.is_empty(), "{unused:?}");
    assert_eq!(env_report(&before, &before, None), None);
}

#[test]
fn going_back_gives_the_old_configuration_under_a_new_generation() {
    let old = configuration().spec;
    let before = Before { spec: old.clone(), sealed_env: None, generation: 3 };
    let (next, _) = changed(&Change { vcpu: Some(2), ..Change::default() });
    let desired =
        DesiredState { power: Power::Running, run: 1, generation: 4, stop: StopMode::Hard, vm: 1 };
    let status = Status {
        engine: EngineState::Present { vm: EngineVmId("a".to_owned()) },
        pushed: 4,
        offered: 4,
        run: 1,
        attempts: 3,
        ..Status::new()
    };
    let node = Capabilities::of_container_engine(Vec::new());
    let back = withdraw((&next.spec, None), &desired, &status, &before, &node);
    assert_eq!(back.spec, Spec { revision: 5, ..old });
    assert_eq!(
        (back.desired.generation, back.desired.power, back.desired.run),
        (5, Power::Running, 1)
    );
    assert_eq!((back.status.pushed, back.status.attempts), (4, 0), "pushed anew");
    let (grown, _) = changed(&Change { disk_gb: Some(40), ..Change::default() });
    let back = withdraw((&grown.spec, None), &desired, &status, &before, &node);
    assert_eq!(back.spec.resources.disk_gb, 40, "a disk does not shrink");
    let never_offered = Status { pushed: 3, offered: 3, ..status.clone() };
    let back = withdraw((&next.spec, None), &desired, &never_offered, &before, &node);
    assert_eq!(
        (back.spec.revision, back.desired.generation, back.status.pushed),
        (3, 3, 3),
        "the node has it still"
    );
    let unsure = Status { pushed: 3, ..status };
    let back = withdraw((&next.spec, None), &desired, &unsure, &before, &node);
    assert!(
        back.status.pushed < back.desired.generation,
        "an offer without an answer may have been taken"
    );
}

#[test]
fn a_rollback_keeps_the_files_that_its_node_cannot_remove() {
    let old = configuration().spec;
    let before = Before { spec: old.clone(), sealed_env: None, generation: 3 };
    let next = Spec {
        revision: 4,
        user_config: Some("{}".to_owned()),
        env_keys: vec!["A".to_owned()],
        ..old.clone()
    };
    let desired =
        DesiredState { power: Power::Running, run: 1, generation: 4, stop: StopMode::Hard, vm: 1 };
    let offered = Status { pushed: 3, offered: 4, run: 1, ..Status::new() };
    let never_offered = Status { offered: 3, ..offered.clone() };
    let keeps = Capabilities::of_vm_host(NodeKind::Dstack);
    let clears = Capabilities::of_container_engine(Vec::new());
    let files = |status: &Status, before: &Before, node: &Capabilities| {
        let back = withdraw((&next, Some("ab")), &desired, status, before, node);
        (back.spec.user_config, back.sealed_env, back.spec.env_keys)
    };
    let new = (next.user_config.clone(), Some("ab".to_owned()), next.env_keys.clone());
    let none = (None, None, old.env_keys.clone());
    assert_eq!(files(&offered, &before, &keeps), new);
    assert_eq!(files(&offered, &before, &clears), none);
    assert_eq!(files(&never_offered, &before, &keeps), none);
    let had = Spec { user_config: Some("old".to_owned()), ..old };
    let before = Before { spec: had.clone(), sealed_env: Some("cd".to_owned()), generation: 3 };
    let replaced = (had.user_config, Some("cd".to_owned()), had.env_keys);
    assert_eq!(files(&offered, &before, &keeps), replaced, "a file can be replaced everywhere");
}

fn changes() -> impl Strategy<Value = Change> {
    let text =
        prop_oneof![Just(None), Just(Some(COMPOSE.to_owned())), Just(Some(OTHER.to_owned()))];
    let flag = || proptest::option::of(any::<bool>());
    (
        (text, proptest::option::of("[a-z]{0,5}"), flag(), flag(), flag()),
        (flag(), flag(), flag(), flag()),
        (
            proptest::option::of(1_u32..4),
            proptest::option::of(1_u32..4096),
            proptest::option::of(20_u32..60),
            prop_oneof![Just(Set::Keep), Just(Set::Clear), "[a-z]{1,4}".prop_map(Set::To)],
        ),
    )
        .prop_map(|(document, flags, size)| Change {
            docker_compose_file: document.0,
            pre_launch_script: document.1,
            public_logs: document.2,
            public_sysinfo: document.3,
            public_tcbinfo: document.4,
            gateway_enabled: flags.0,
            secure_time: flags.1,
            listed: flags.2,
            allow_force_stop: flags.3,
            vcpu: size.0,
            memory_mb: size.1,
            disk_gb: size.2,
            user_config: size.3,
            ..Change::default()
        })
}

proptest! {
    #[test]
    fn a_change_does_what_it_says_once_and_nothing_else(change in changes()) {
        let now = configuration();
        let (next, effect) = changed(&change);
        prop_assert_eq!(apply(&next, &change, None).unwrap(), (next.clone(), Effect::Nothing));
        let expected = |asked: Option<bool>, old: bool| asked.unwrap_or(old);
        prop_assert_eq!(next.document.public_logs, expected(change.public_logs, true));
        prop_assert_eq!(next.document.gateway_enabled, expected(change.gateway_enabled, true));
        prop_assert_eq!(next.spec.listed, expected(change.listed, true));
        prop_assert_eq!(next.spec.resources.vcpu, change.vcpu.unwrap_or(1));
        prop_assert_eq!(&next.spec.image, &now.spec.image);
        prop_assert_eq!(&next.spec.env_keys, &now.spec.env_keys);
        prop_assert_eq!(next.spec.revision > now.spec.revision, effect >= Effect::NextStart);
    }

    #[test]
    fn saying_a_document_again_gives_the_document(change in changes()) {
        let (next, _) = changed(&change);
        let again = AppCompose::new(ComposeInput::from(&next.document), "other", &[]).unwrap();
        prop_assert_eq!(again, next.document);
    }
}

#[test]
fn a_bound_change_puts_exactly_its_document_in_force() {
    let now = configuration();
    let change = Change {
        docker_compose_file: Some("services: {b: {image: b}}".to_owned()),
        public_logs: Some(!now.document.public_logs),
        vcpu: Some(7),
        ..Change::default()
    };
    let (next, _) = apply(&now, &change, None).unwrap();
    let approved = next.spec.compose_hash;
    let bound = change.bound_to(approved);
    assert_eq!((bound.vcpu, bound.document), (Some(7), Some(approved)));
    assert_eq!(bound.bound_to(approved), bound);
    // Whatever comes in force before it starts.
    let other = Change {
        pre_launch_script: Some("echo".to_owned()),
        public_sysinfo: Some(!now.document.public_sysinfo),
        secure_time: Some(!now.document.secure_time),
        ..Change::default()
    };
    let (moved, _) = apply(&now, &other, None).unwrap();
    for base in [&now, &moved, &next] {
        let (after, _) = apply(base, &bound, Some(&next.document)).unwrap();
        assert_eq!(after.spec.compose_hash, approved);
        assert_eq!(after.document.document(), next.document.document());
        assert!(bound.matches_approval(&base.spec.compose_hash, &after.spec.compose_hash));
    }
    let (loose, _) = apply(&moved, &change, None).unwrap();
    assert_ne!(loose.spec.compose_hash, approved, "as a patch it leads elsewhere");
    assert!(!change.matches_approval(&moved.spec.compose_hash, &loose.spec.compose_hash));
}
