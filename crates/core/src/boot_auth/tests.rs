use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::id::{AppId, ComposeHash};

fn hash(byte: u8) -> Measurement {
    Measurement::from_bytes([byte; 32])
}

/// As dstack-kms 0.5 and 0.6.0 send it.
fn body() -> Value {
    json!({
        "teeVariant": "dstack-tdx",
        "mrAggregated": "11".repeat(32),
        "osImageHash": "22".repeat(32),
        "mrSystem": "33".repeat(32),
        "appId": "44".repeat(20),
        "composeHash": "55".repeat(32),
        "instanceId": "66".repeat(20),
        "deviceId": "77".repeat(32),
        "keyProviderInfo": "7b7d",
        "tcbStatus": "UpToDate",
        "advisoryIds": [],
    })
}

fn parse(body: &Value) -> BootRequest {
    BootRequest::parse(body.to_string().as_bytes()).unwrap()
}

fn request() -> BootRequest {
    parse(&body())
}

fn identity(byte: u8) -> BootIdentity {
    BootIdentity {
        compose_hash: ComposeHash::from_bytes([byte; 32]),
        image: "dstack-0.6.0".to_owned(),
    }
}

fn candidate() -> Candidate {
    Candidate {
        cvm: CvmId(1),
        instance_id: Some(InstanceId::from_bytes([0x66; 20])),
        other_kms: false,
        wanted: true,
        boots: vec![identity(0x55)],
        node: Some(CandidateNode {
            name: "rack-1".to_owned(),
            device_id: Some(DeviceId::from_bytes([0x77; 32])),
            without_tee: false,
            os_images: [("dstack-0.6.0".to_owned(), [hash(0x22)].into())].into(),
        }),
    }
}

fn policy() -> Policy {
    Policy {
        check_device: true,
        check_os_image: true,
        platform: PlatformPolicy {
            tcb_statuses: ["UpToDate".to_owned()].into(),
            ..PlatformPolicy::default()
        },
        kms: KmsPolicy::default(),
    }
}

fn code(request: &BootRequest, candidates: &[Candidate], policy: &Policy) -> Option<DenialCode> {
    decide_app(request, candidates, policy).denial.map(|denial| denial.code)
}

/// A condition, how to break it, and the denial that this alone brings.
type Breakage = (DenialCode, fn(&mut BootRequest, &mut Candidate, &mut Policy));

/// The conditions in the order in which they are checked.
const CONDITIONS: [Breakage; 12] = [
    (DenialCode::NodeRemoved, |_, cvm, _| cvm.node = None),
    (DenialCode::OtherKms, |_, cvm, _| cvm.other_kms = true),
    (DenialCode::NotWanted, |_, cvm, _| cvm.wanted = false),
    (DenialCode::ComposeHashNotAllowed, |_, cvm, _| cvm.boots = vec![identity(0x56)]),
    (DenialCode::DeviceNotAllowed, |request, _, _| {
        request.device_id = DeviceId::from_bytes([1; 32]);
    }),
    (DenialCode::OsImageNotAllowed, |request, _, _| request.os_image_hash = Some(hash(1))),
    (DenialCode::TcbNotAllowed, |request, _, _| request.tcb_status = "OutOfDate".to_owned()),
    (DenialCode::AdvisoryNotAllowed, |request, _, _| {
        request.advisory_ids = vec!["INTEL-SA-00837".to_owned()];
    }),
    (DenialCode::EpochNotAllowed, |request, _, _| {
        request.epochs = vec![("rootEpoch".to_owned(), Some(0)), ("appEpoch".to_owned(), Some(1))];
    }),
    (DenialCode::EpochNotAllowed, |request, _, _| {
        request.epochs = vec![("rootEpoch".to_owned(), None)];
    }),
    (DenialCode::TicketMissing, |_, _, policy| {
        policy.platform.launch_tickets = ["aa".parse().unwrap()].into();
    }),
    (DenialCode::TicketNotAllowed, |request, _, policy| {
        request.launch_ticket_hash = Some("bb".parse().unwrap());
        policy.platform.launch_tickets = ["aa".parse().unwrap()].into();
    }),
];

#[test]
fn each_condition_alone_denies() {
    assert_eq!(code(&request(), &[candidate()], &policy()), None);
    assert_eq!(code(&request(), &[], &policy()), Some(DenialCode::AppUnknown));
    for (expected, breaks) in CONDITIONS {
        let (mut request, mut candidate, mut policy) = (request(), candidate(), policy());
        breaks(&mut request, &mut candidate, &mut policy);
        assert_eq!(code(&request, &[candidate], &policy), Some(expected));
    }
}

proptest! {
    /// Whatever is broken together: allowed exactly when nothing is, else the first broken condition is told.
    #[test]
    fn allowed_exactly_when_every_condition_holds(broken in proptest::collection::vec(any::<bool>(), CONDITIONS.len())) {
        let (mut request, mut candidate, mut policy) = (request(), candidate(), policy());
        let mut first = None;
        for ((expected, breaks), _) in CONDITIONS.iter().zip(&broken).filter(|(_, broken)| **broken) {
            breaks(&mut request, &mut candidate, &mut policy);
            first = first.or(Some(*expected));
        }
        let told = code(&request, &[candidate], &policy);
        // The last condition replaces the missing ticket by a wrong one.
        let wrong_ticket = first == Some(DenialCode::TicketMissing) && broken[CONDITIONS.len() - 1];
        prop_assert_eq!(told, if wrong_ticket { Some(DenialCode::TicketNotAllowed) } else { first });
    }

    /// Of several CVMs one must satisfy everything; what each has alone does not add up.
    #[test]
    fn conditions_do_not_add_up_over_cvms(
        broken in proptest::collection::vec(0..8_usize, 1..6),
        good in any::<bool>(),
        known_instance in any::<bool>(),
    ) {
        let mut request = request();
        let mut candidates = Vec::new();
        for (number, which) in (2..).zip(&broken) {
            let mut one = Candidate { cvm: CvmId(number), instance_id: None, ..candidate() };
            let node = one.node.as_mut().unwrap();
            match which {
                0 => one.other_kms = true,
                1 => one.wanted = false,
                2 => one.boots = vec![identity(9)],
                3 => node.device_id = Some(DeviceId::from_bytes([9; 32])),
                4 => node.device_id = None,
                5 => node.os_images = [("dstack-0.6.0".to_owned(), [hash(9)].into())].into(),
                6 => node.os_images.clear(),
                _ => one.node = None,
            }
            candidates.push(one);
        }
        if good {
            candidates.push(candidate());
        }
        if !known_instance {
            request.instance_id = None;
        }
        let decision = decide_app(&request, &candidates, &policy());
        prop_assert_eq!(decision.denial.is_none(), good);
        prop_assert_eq!(good, decision.cvm == Some(CvmId(1)));
        prop_assert!(decision.cvm.is_some());
    }

    #[test]
    fn no_body_makes_the_parser_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = BootRequest::parse(&body);
    }
}

#[test]
fn a_known_instance_does_not_boot_in_the_place_of_another() {
    let elsewhere = Candidate {
        instance_id: Some(InstanceId::from_bytes([0x66; 20])),
        node: candidate()
            .node
            .map(|node| CandidateNode { device_id: Some(DeviceId::from_bytes([1; 32])), ..node }),
        ..candidate()
    };
    let fits = Candidate { cvm: CvmId(2), instance_id: None, ..candidate() };
    let told = decide_app(&request(), &[fits.clone(), elsewhere], &policy());
    assert_eq!(told.cvm, Some(CvmId(1)));
    assert_eq!(told.denial.unwrap().code, DenialCode::DeviceNotAllowed);
    assert_eq!(code(&request(), &[fits], &policy()), None, "an instance that is not known yet");
}

#[test]
fn both_configurations_boot_during_an_update_with_their_own_images() {
    let newer = BootIdentity { image: "dstack-0.6.1".to_owned(), ..identity(0x56) };
    let mut updating = Candidate { boots: vec![newer, identity(0x55)], ..candidate() };
    let node = updating.node.as_mut().unwrap();
    node.os_images.insert("dstack-0.6.1".to_owned(), [hash(0x23)].into());
    let boot = |document, image| BootRequest {
        compose_hash: ComposeHash::from_bytes([document; 32]),
        os_image_hash: Some(hash(image)),
        ..request()
    };
    for (document, image, denied) in [
        (0x55, 0x22, None),
        (0x56, 0x23, None),
        (0x55, 0x23, Some(DenialCode::OsImageNotAllowed)),
        (0x56, 0x22, Some(DenialCode::OsImageNotAllowed)),
        (0x57, 0x22, Some(DenialCode::ComposeHashNotAllowed)),
    ] {
        assert_eq!(code(&boot(document, image), &[updating.clone()], &policy()), denied);
    }
}

#[test]
fn what_is_not_known_denies_with_the_remedy_unless_the_policy_says_any() {
    let mut unknown = candidate();
    let node = unknown.node.as_mut().unwrap();
    node.device_id = None;
    node.os_images.clear();
    let strict = decide_app(&request(), &[unknown.clone()], &policy()).denial.unwrap();
    assert_eq!(strict.code, DenialCode::DeviceUnknown);
    assert!(strict.message.contains(&"77".repeat(32)), "{strict}");
    let any_device = Policy { check_device: false, ..policy() };
    let strict = decide_app(&request(), &[unknown.clone()], &any_device).denial.unwrap();
    assert_eq!(strict.code, DenialCode::OsImageUnknown);
    assert!(strict.message.contains(&"22".repeat(32)), "{strict}");
    let any = Policy { check_os_image: false, ..any_device };
    assert_eq!(code(&request(), &[unknown], &any), None);
}

#[test]
fn a_status_may_be_missing_only_without_a_tee() {
    let nothing = BootRequest { tcb_status: String::new(), ..request() };
    assert_eq!(code(&nothing, &[candidate()], &policy()), Some(DenialCode::TcbNotAllowed));
    let mut simulated = candidate();
    simulated.node.as_mut().unwrap().without_tee = true;
    assert_eq!(code(&nothing, &[simulated.clone()], &policy()), None);
    let bad = BootRequest { tcb_status: "Revoked".to_owned(), ..request() };
    assert_eq!(code(&bad, &[simulated], &policy()), Some(DenialCode::TcbNotAllowed));
}

#[test]
fn registered_epochs_and_tickets_are_allowed() {
    let mut policy = policy();
    policy.platform.epochs = [("rootEpoch".to_owned(), [1, 2].into())].into();
    policy.platform.launch_tickets = ["AA".parse().unwrap()].into();
    let mut newer = body();
    newer["rootEpoch"] = json!(2);
    newer["appEpoch"] = json!("0");
    newer["launchTicketHash"] = json!("0xaa");
    assert_eq!(code(&parse(&newer), &[candidate()], &policy), None);
    newer["rootEpoch"] = json!(0);
    let told = code(&parse(&newer), &[candidate()], &policy);
    assert_eq!(told, Some(DenialCode::EpochNotAllowed), "0 is no longer registered");
}

#[test]
fn a_body_of_a_newer_version_is_read_and_kept() {
    let mut newer = body();
    newer["rootEpoch"] = json!(1);
    newer["policy"] = json!({ "appEpoch": "2", "region": "eu", "epochs": { "x": true } });
    newer["previousEpoch"] = Value::Null;
    newer["launchTicketHash"] = json!("AB".repeat(32));
    let read = parse(&newer);
    let epochs = [("policy.appEpoch", Some(2)), ("policy.epochs.x", None), ("rootEpoch", Some(1))];
    let found: Vec<_> = read.epochs.iter().map(|(name, epoch)| (name.as_str(), *epoch)).collect();
    assert_eq!(found, epochs);
    assert_eq!(read.launch_ticket_hash, Some("ab".repeat(32).parse().unwrap()));
    let kept: Vec<&str> = read.other.keys().map(String::as_str).collect();
    assert_eq!(kept, ["policy", "previousEpoch", "rootEpoch"]);
}

#[test]
fn older_bodies_are_read_too() {
    let mut older = body();
    for optional in ["teeVariant", "tcbStatus", "advisoryIds", "mrSystem", "keyProviderInfo"] {
        older.as_object_mut().unwrap().remove(optional);
    }
    older["appId"] = json!(format!("0x{}", "44".repeat(20)));
    older["instanceId"] = json!("");
    older["osImageHash"] = json!("0x");
    older["deviceId"] = json!("AB".repeat(64));
    let read = parse(&older);
    assert_eq!(read.app_id, AppId::from_bytes([0x44; 20]));
    assert_eq!((read.instance_id, read.os_image_hash), (None, None));
    let chip = <sha2::Sha256 as sha2::Digest>::digest([0xab; 64]);
    assert_eq!(read.device_id, DeviceId::from_bytes(chip.into()), "a raw chip id");
}

#[test]
fn what_cannot_be_read_names_the_field() {
    let long = json!("x".repeat(200));
    let many = json!(vec!["a"; 200]);
    for (name, value) in [
        ("appId", json!("44")),
        ("composeHash", json!("55")),
        ("instanceId", json!("66")),
        ("deviceId", json!("zz".repeat(32))),
        ("mrAggregated", json!("")),
        ("osImageHash", json!("22")),
        ("launchTicketHash", json!("secret")),
        ("tcbStatus", long.clone()),
        ("teeVariant", long.clone()),
        ("advisoryIds", many),
    ] {
        let mut wrong = body();
        wrong[name] = value;
        let told = BootRequest::parse(wrong.to_string().as_bytes()).unwrap_err().to_string();
        assert!(told.starts_with(name), "{name}: {told}");
    }
    let mut missing = body();
    missing.as_object_mut().unwrap().remove("appId");
    let told = BootRequest::parse(missing.to_string().as_bytes()).unwrap_err().to_string();
    assert!(told.contains("appId"), "{told}");
    assert!(BootRequest::parse(b"no JSON").is_err());
}

#[test]
fn a_kms_is_allowed_by_measurement_device_and_image() {
    let listed = KmsPolicy {
        mr_aggregated: [hash(0x11)].into(),
        devices: Allowlist::Only([DeviceId::from_bytes([0x77; 32])].into()),
        os_images: Allowlist::Only([hash(0x22)].into()),
    };
    let with = |kms| Policy { kms, ..policy() };
    let told = |policy: &Policy| decide_kms(&request(), policy).map(|denial| denial.code);
    assert_eq!(told(&policy()), Some(DenialCode::KmsNotAllowed), "the default");
    assert_eq!(told(&with(listed.clone())), None);
    let cases = [
        (
            KmsPolicy { mr_aggregated: [hash(1)].into(), ..listed.clone() },
            DenialCode::KmsNotAllowed,
        ),
        (
            KmsPolicy { devices: Allowlist::default(), ..listed.clone() },
            DenialCode::KmsDeviceNotAllowed,
        ),
        (
            KmsPolicy { os_images: Allowlist::default(), ..listed.clone() },
            DenialCode::KmsOsImageNotAllowed,
        ),
    ];
    for (kms, expected) in cases {
        assert_eq!(told(&with(kms)), Some(expected));
    }
    let any = KmsPolicy { devices: Allowlist::Any, os_images: Allowlist::Any, ..listed };
    let anywhere =
        BootRequest { device_id: DeviceId::from_bytes([1; 32]), os_image_hash: None, ..request() };
    assert_eq!(decide_kms(&anywhere, &with(any.clone())), None);
    let stale = BootRequest { tcb_status: "OutOfDate".to_owned(), ..anywhere };
    let told = decide_kms(&stale, &with(any)).unwrap().code;
    assert_eq!(told, DenialCode::TcbNotAllowed);
}

mod refused {
    use std::time::Duration;

    use super::super::*;
    use crate::{
        cvm::{
            Boot, DesiredState, FailureCode, Observed, ObservedVm, Power, Status, StopMode, VmPower,
        },
        id::EngineVmId,
        plan::{Limits, Step},
        time::Timestamp,
    };

    const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);
    const DESIRED: DesiredState =
        DesiredState { power: Power::Running, run: 1, generation: 1, stop: StopMode::Hard, vm: 1 };

    fn booting(boot: Boot, boot_error: Option<&str>) -> Observed {
        Observed::Vms(vec![ObservedVm {
            id: EngineVmId("a".to_owned()),
            power: VmPower::Running,
            boot,
            boot_error: boot_error.map(str::to_owned),
            shutdown_progress: None,
            instance_id: None,
            started_at: None,
            exited_at: None,
            faults: Vec::new(),
            published: None,
        }])
    }

    fn progress(error: Option<&str>) -> Observed {
        booting(Boot::Progress("requesting app keys".to_owned()), error)
    }

    fn status() -> Status {
        Status { boot_until: Some(NOW.plus(Limits::default().boot)), ..Status::new() }
    }

    fn refusal(at: Timestamp) -> KeyRefusal {
        KeyRefusal { at, message: "device not allowed: …".to_owned() }
    }

    #[test]
    fn a_guest_that_complains_and_was_refused_has_failed() {
        let wait = Step::Wait(NOW);
        assert!(wait.may_be_refusal(&DESIRED, &status(), &progress(Some("Boot denied"))));
        let told = explain(wait, Some(&refusal(NOW)), &status(), &Limits::default());
        let cause = "key refused: device not allowed: …".to_owned();
        assert_eq!(told, Step::Fail(FailureCode::KeyRefused, cause));
    }

    #[test]
    fn a_guest_that_boots_well_is_left_alone() {
        let wait = Step::Wait(NOW);
        assert!(!wait.may_be_refusal(&DESIRED, &status(), &progress(None)), "no complaint");
        assert!(!wait.may_be_refusal(&DESIRED, &status(), &booting(Boot::Done, Some("x"))));
        let stopped = DesiredState { power: Power::Stopped, ..DESIRED };
        assert!(!wait.may_be_refusal(&stopped, &status(), &progress(Some("x"))));
        assert!(!Step::Done.may_be_refusal(&DESIRED, &status(), &progress(Some("x"))));
        assert!(!wait.may_be_refusal(&DESIRED, &status(), &Observed::Unreachable));
        let timed_out = Step::Fail(FailureCode::BootTimeout, String::new());
        assert!(timed_out.may_be_refusal(&DESIRED, &status(), &progress(None)));
    }

    #[test]
    fn a_refusal_of_an_earlier_boot_explains_nothing() {
        let (wait, limits) = (Step::Wait(NOW), Limits::default());
        let before = Timestamp::from_micros(NOW.micros() - 1);
        assert_eq!(explain(wait.clone(), Some(&refusal(before)), &status(), &limits), wait);
        assert_eq!(explain(wait.clone(), None, &status(), &limits), wait);
        let at_rest = Status { boot_until: None, ..status() };
        assert_eq!(explain(wait.clone(), Some(&refusal(NOW)), &at_rest, &limits), wait);
        let later = refusal(NOW.plus(Duration::from_secs(9)));
        let done = Step::Done;
        assert_eq!(explain(done.clone(), Some(&later), &status(), &limits), done);
    }
}
