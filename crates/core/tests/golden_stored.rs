//! The formats of stored values, one file each under `golden/`. Older rows must stay readable, and what is
//! written must not change by accident. If a file is missing, the failure contains the expected text.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{fs, path::PathBuf};

use casemate_core::{
    attestation::{ClaimState, GuestEvidence, JudgedClaim, SnpReport, StoredVerdict},
    boot_auth::DenialCode,
    change::{Before, Change, EnvReport, Renew, Set, Size},
    compose::{AppCompose, ComposeInput},
    cvm::{
        EngineState, Failure, FailureCode, FaultKind, GpuAttach, Gpus, Phase, PortMap, Resources,
        Rotation, Spec, Status, StopMode,
    },
    drift::DriftKind,
    event::{BootEvent, BootState, End, Event, Evidence, KeyDecision, StepCode, StepEvent},
    id::{
        Address, AppId, BlockHash, ComposeHash, DeviceId, EngineVmId, InstanceId, NodeId,
        RevisionRef, TxHash,
    },
    instance::InstanceSeed,
    operation::OperationKind,
    ready::Check,
    stored::{self, Stored, Unreadable},
    time::Timestamp,
};
use serde_json::{Value, json};

fn check(name: &str, written: &Value) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let text = fs::read_to_string(&path);
    let text = text.unwrap_or_else(|error| panic!("{name}: {error}; it would be\n{written:#}"));
    let golden: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(*written, golden, "{name} is written in another form");
    golden
}

fn evidence() -> Box<Evidence> {
    Box::new(Evidence {
        chain_id: 8453,
        block_number: 7,
        block_hash: BlockHash::from_bytes([1; 32]),
        kms_contract: Address::from_bytes([2; 20]),
        app_contract: Address::from_bytes([3; 20]),
        compose_hash: ComposeHash::from_bytes([4; 32]),
        device_id: DeviceId::from_bytes([5; 32]),
        transaction_hash: Some(TxHash::from_bytes([6; 32])),
        owner: Some(Address::from_bytes([7; 20])),
        deployer: None,
    })
}

fn events() -> Vec<Event> {
    let at: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
    let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
    vec![
        Event::Accepted { kind: OperationKind::Update },
        Event::EnvNames(EnvReport {
            added: names(&["NEW"]),
            removed: names(&["OLD", "USED"]),
            missing: names(&["USED"]),
        }),
        Event::Begun { with: 2 },
        Event::Split {},
        Event::Step(StepEvent {
            step: "start".to_owned(),
            code: StepCode::NodeUnreachable,
            outcome: "node unreachable: refused".to_owned(),
        }),
        Event::Ended {
            kind: OperationKind::Create,
            how: End::Failed,
            code: Some(FailureCode::BootTimeout),
            cause: Some("no word for 600 s".to_owned()),
        },
        Event::Phase { from: Phase::Starting, to: Phase::Running },
        Event::Boot(BootEvent { state: BootState::Done, progress: "done".to_owned() }),
        Event::DeletionSet { at: Some(at) },
        Event::Drift { what: "the VM was stopped".to_owned(), drift: Some(DriftKind::Changed) },
        Event::ServiceFailed {
            service: "web".to_owned(),
            fault: FaultKind::Exited { code: 9 },
            what: "service web exited with 9".to_owned(),
        },
        Event::Prepared {
            what: "update".to_owned(),
            compose_hash: ComposeHash::from_bytes([4; 32]),
            chain_id: 8453,
            expires_at: at,
        },
        Event::Verified(evidence()),
        Event::VerifiedAgain(evidence()),
        Event::Undone {
            compose_hash: ComposeHash::from_bytes([4; 32]),
            block_number: 7,
            block_hash: BlockHash::from_bytes([1; 32]),
        },
        Event::Keys(key_decision()),
        Event::Evidence {
            accepted: false,
            why: names(&["tcb: the platform needs a firmware update"]),
        },
        Event::NodeChanged { from: NodeId(3), to: NodeId(4), left_behind: true },
        Event::WebhookDisabled {
            webhook: "wh_1".to_owned(),
            event: Some("evt_1".to_owned()),
            cause: "4 attempts failed: HTTP 500".to_owned(),
        },
    ]
}

fn key_decision() -> Box<KeyDecision> {
    Box::new(KeyDecision {
        allowed: false,
        code: Some(DenialCode::DeviceNotAllowed),
        message: Some("device not allowed: …".to_owned()),
        repeats: 3,
        kms: Some("dstack-kms/0.6.0".to_owned()),
        tee_variant: "dstack-tdx".to_owned(),
        compose_hash: ComposeHash::from_bytes([4; 32]),
        device_id: DeviceId::from_bytes([5; 32]),
        os_image_hash: Some("06".repeat(32)),
        instance_id: Some(InstanceId::from_bytes([7; 20])),
        tcb_status: "UpToDate".to_owned(),
        advisory_ids: vec!["INTEL-SA-00837".to_owned()],
        other: [("rootEpoch".to_owned(), json!(1))].into_iter().collect(),
        body_sha256: "08".repeat(32),
    })
}

#[test]
fn events_are_written_and_read_as_ever() {
    for event in events() {
        let kind = event.kind();
        let written = json!({ "kind": kind, "body": event.body() });
        assert_eq!(serde_json::to_value(&event).unwrap(), written, "{kind}");
        let golden = check(&format!("events/{kind}.json"), &written);
        assert_eq!(Event::read(kind, &golden["body"].to_string()), Some(event));
    }
    let files = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/events")).unwrap();
    assert_eq!(files.count(), events().len(), "a file for each kind, and no other");
}

/// Fields that are not always present.
#[test]
fn an_end_without_a_failure_has_no_code() {
    let ended =
        Event::Ended { kind: OperationKind::Stop, how: End::Succeeded, code: None, cause: None };
    assert_eq!(ended.body(), json!({ "kind": "stop", "how": "succeeded" }));
    let allowed =
        KeyDecision { allowed: true, code: None, message: None, repeats: 0, ..*key_decision() };
    let body = Event::Keys(Box::new(allowed)).body();
    assert!(body.get("code").is_none() && body.get("repeats").is_none(), "{body}");
    let never = Event::DeletionSet { at: None };
    assert_eq!(never.body(), json!({ "at": null }));
}

/// Writes like the golden file, and reads it. `older`: fields that rows of earlier versions lack.
fn stored<T: Stored + PartialEq + std::fmt::Debug>(name: &str, value: &T, older: &[&str]) {
    let text = stored::write(value).unwrap();
    let name = format!("stored/{name}.v{}.json", T::VERSION);
    let golden = check(&name, &serde_json::from_str(&text).unwrap());
    assert_eq!(stored::read::<T>(&golden.to_string()).unwrap(), *value, "{name}");
    for field in older {
        let mut row = golden.clone();
        assert!(row.as_object_mut().unwrap().remove(*field).is_some(), "{name}: {field}");
        assert!(stored::read::<T>(&row.to_string()).is_ok(), "{name} without {field}");
    }
    let newer = format!(r#"{{"v":{},"value":{golden}}}"#, T::VERSION + 1);
    let refused = stored::read::<T>(&newer).unwrap_err();
    assert!(matches!(refused, Unreadable::Newer { .. }), "{name}: {refused}");
}

fn spec() -> Spec {
    Spec {
        revision: 3,
        name: "my-shop".to_owned(),
        app_id: AppId::from_bytes([3; 20]),
        compose_hash: ComposeHash::from_bytes([4; 32]),
        facts: AppCompose::new(
            ComposeInput {
                docker_compose_file: Some("services:\n  web:\n    image: nginx\n".to_owned()),
                ..ComposeInput::default()
            },
            "my-shop",
            &[],
        )
        .unwrap()
        .facts(),
        env_public_key: Some("05".repeat(32).parse().unwrap()),
        resources: Resources {
            instance_type: Some("tdx.small".to_owned()),
            vcpu: 1,
            memory_mb: 2048,
            disk_gb: 20,
            hugepages: false,
            pin_numa: true,
            gpus: Some(Gpus {
                gpus: vec![GpuAttach {
                    slot: Some("0000:01:00.0".to_owned()),
                    product_id: Some("10de:2335".to_owned()),
                }],
                attach_mode: "listed".to_owned(),
            }),
        },
        image: "dstack-0.5.4".to_owned(),
        ports: vec![PortMap {
            protocol: "tcp".to_owned(),
            host_port: 8443,
            vm_port: 443,
            host_address: Some("10.0.0.1".to_owned()),
        }],
        user_config: Some("{}".to_owned()),
        kms_urls: vec!["https://kms.example.org".to_owned()],
        gateway_urls: vec!["https://gateway.example.org".to_owned()],
        vpc_server_app_id: None,
        listed: true,
        env_keys: vec!["TOKEN".to_owned()],
        shutdown_timeout_s: 60,
        allow_force_stop: true,
        vm: 2,
        instance_seed: Some(InstanceSeed::from_bytes([6; 20])),
        deployer: Some(Address::from_bytes([7; 20])),
    }
}

fn change() -> Change {
    Change {
        document: Some(ComposeHash::from_bytes([4; 32])),
        revision: Some(RevisionRef::from_random(7)),
        docker_compose_file: Some("services: {}\n".to_owned()),
        pre_launch_script: Some("true\n".to_owned()),
        allowed_envs: Some(vec!["TOKEN".to_owned()]),
        public_logs: Some(false),
        public_sysinfo: Some(false),
        public_tcbinfo: Some(true),
        gateway_enabled: Some(true),
        secure_time: Some(false),
        sealed_env: Set::To("00ff".to_owned()),
        env_keys: Some(vec!["TOKEN".to_owned()]),
        user_config: Set::Clear,
        instance_type: Some(Size { id: "tdx.small".to_owned(), vcpu: 1, memory_mb: 2048 }),
        vcpu: Some(2),
        memory_mb: Some(4096),
        disk_gb: Some(40),
        gpus: Set::Clear,
        image: Some("dstack-0.5.4".to_owned()),
        shutdown_timeout_s: Some(30),
        allow_force_stop: Some(false),
        listed: Some(false),
        name: Some("my-shop-2".to_owned()),
        ports: Some(spec().ports),
        kms_urls: Some(Vec::new()),
        gateway_urls: Some(Vec::new()),
        renew: Some(Renew::Seed(InstanceSeed::from_bytes([6; 20]))),
        at_next_start: true,
    }
}

#[test]
fn configurations_are_written_and_read_as_ever() {
    let older = [
        "revision",
        "ports",
        "user_config",
        "kms_urls",
        "gateway_urls",
        "vpc_server_app_id",
        "env_keys",
        "vm",
        "instance_seed",
        "deployer",
    ];
    stored("spec", &spec(), &older);
    stored("stop_mode", &StopMode::Graceful { timeout_s: 60, force: true }, &[]);
    stored("change", &change(), &["renew", "sealed_env", "at_next_start"]);
    let before = Before { spec: spec(), sealed_env: Some("00ff".to_owned()), generation: 2 };
    stored("before", &before, &[]);
    let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
    let report =
        EnvReport { added: names(&["NEW"]), removed: names(&["OLD"]), missing: Vec::new() };
    stored("env_report", &report, &[]);
    stored::<Vec<String>>("env_keys", &names(&["TOKEN"]), &[]);
}

#[test]
fn what_is_observed_is_written_and_read_as_ever() {
    let at = Timestamp::from_micros(1_769_860_800_000_000);
    let status = Status {
        engine: EngineState::Present { vm: EngineVmId("vm-1".to_owned()) },
        vm: 2,
        pushed: 3,
        pushed_boot: Some(spec().boot_identity()),
        offered: 3,
        run: 4,
        stopping: None,
        drains_until: Some(at),
        rotation: Rotation::Leaving,
        boot_until: Some(at),
        attempts: 1,
        observed: None,
        failure: Some(Failure {
            code: FailureCode::BootTimeout,
            cause: "no word for 600 s".to_owned(),
            at,
            rolled_back: true,
        }),
    };
    let older = [
        "vm",
        "pushed_boot",
        "offered",
        "stopping",
        "boot_until",
        "attempts",
        "seen",
        "failure",
        "rotation",
    ];
    stored("status", &status, &older);
    let check = Check {
        port: 8080,
        path: Some("/healthz".to_owned()),
        interval_s: 5,
        timeout_s: 2,
        threshold: 3,
    };
    let evidence = GuestEvidence {
        quote: Some("04".to_owned()),
        event_log: Some("[]".to_owned()),
        tcb_info: Some("{}".to_owned()),
        snp: Some(SnpReport {
            report: "05".to_owned(),
            ask: Some("-----BEGIN CERTIFICATE-----".to_owned()),
            vcek: Some("-----BEGIN CERTIFICATE-----".to_owned()),
            mr_config: Some("{}".to_owned()),
        }),
        vm_config: Some("{}".to_owned()),
        certificates: "-----BEGIN CERTIFICATE-----".to_owned(),
        simulated: true,
    };
    let optional =
        ["quote", "event_log", "tcb_info", "snp", "vm_config", "certificates", "simulated"];
    stored("guest_evidence", &evidence, &optional);
    let judged = |state| JudgedClaim {
        claim: "tcb".to_owned(),
        state,
        required: true,
        reason: "signed TCB info".to_owned(),
    };
    let claims = [ClaimState::Proven, ClaimState::Failed, ClaimState::NotShown].map(judged);
    stored("verdict", &StoredVerdict { accepted: false, claims: claims.into() }, &[]);
    stored("readiness", &check, &["path", "interval_s", "timeout_s", "threshold"]);
}
