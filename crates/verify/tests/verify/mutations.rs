//! One change at a time to evidence that was good, and the reason that each gives.

use std::collections::BTreeSet;

use casemate_verify::{
    ClaimId, QuoteCollateralV3, Roots, State, TcbStatus,
    event_log::Event,
    hexes::{Hex, HexBytes},
    simulate::{Collateral, DevelopmentRoot},
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    gpu_tokens::{self, Says},
    world::{self, Case, alter, events, good, now, root},
};

/// A name, the change, the claim that must fail, and the code of the reason.
pub type Mutation = (&'static str, fn(&mut Case), ClaimId, &'static str);

/// Where the parts of a development quote begin.
mod at {
    pub const KEY_TYPE: usize = 2;
    pub const VENDOR: usize = 12;
    pub const MRTD: usize = 48 + 136;
    pub const SIGNATURE: usize = 636;
    pub const ATTESTATION_KEY: usize = 700;
    pub const QE_REPORT: usize = 770;
    pub const QE_SIGNATURE: usize = 1154;
    pub const QE_AUTH_DATA: usize = 1220;
    pub const CHAIN: usize = 1258;
}

fn flip(case: &mut Case, offset: usize) {
    case.tdx().quote.0[offset] ^= 1;
}

fn collateral(case: &mut Case) -> &mut QuoteCollateralV3 {
    case.tdx().collateral.as_mut().unwrap()
}

fn says(case: &mut Case, change: impl FnOnce(&mut Collateral)) {
    let mut says = Collateral::up_to_date(now());
    change(&mut says);
    *collateral(case) = root().collateral_saying(&says).unwrap();
}

fn old() -> QuoteCollateralV3 {
    let long_ago = now() - SignedDuration::from_hours(24 * 365);
    root().collateral(long_ago).unwrap()
}

/// Puts a changed chain into the collateral, where it takes precedence over the quote's.
fn alter_platform_chain(case: &mut Case, which: usize) {
    let chain = String::from_utf8(case.tdx().quote.0[at::CHAIN..].to_vec()).unwrap();
    collateral(case).pck_certificate_chain = Some(alter(&chain, which));
}

fn gpu(case: &mut Case, change: impl FnOnce(&mut Says)) {
    let mut says = Says::good();
    change(&mut says);
    case.bundle.gpu.as_mut().unwrap().token = gpu_tokens::detached(&says);
}

fn quote(case: &mut Case) -> &mut Vec<u8> {
    &mut case.tdx().quote.0
}

pub const QUOTE: [Mutation; 14] = [
    ("quote cut off", |case| quote(case).truncate(900), ClaimId::Hardware, "quote-malformed"),
    (
        "bytes behind the quote",
        |case| quote(case).push(7),
        ClaimId::Hardware,
        "quote-trailing-bytes",
    ),
    ("quote header: vendor", |case| flip(case, at::VENDOR), ClaimId::Hardware, "quote-header"),
    ("quote header: key type", |case| flip(case, at::KEY_TYPE), ClaimId::Hardware, "quote-header"),
    ("quote body", |case| flip(case, at::MRTD), ClaimId::Hardware, "quote-signature"),
    ("quote signature", |case| flip(case, at::SIGNATURE), ClaimId::Hardware, "quote-signature"),
    (
        "attestation key",
        |case| flip(case, at::ATTESTATION_KEY),
        ClaimId::Hardware,
        "qe-report-hash",
    ),
    ("QE report", |case| flip(case, at::QE_REPORT), ClaimId::Hardware, "qe-report-signature"),
    ("QE signature", |case| flip(case, at::QE_SIGNATURE), ClaimId::Hardware, "qe-report-signature"),
    ("QE auth data", |case| flip(case, at::QE_AUTH_DATA), ClaimId::Hardware, "qe-report-hash"),
    (
        "platform certificate",
        |case| alter_platform_chain(case, 0),
        ClaimId::Hardware,
        "certificate-signature",
    ),
    (
        "platform CA",
        |case| alter_platform_chain(case, 1),
        ClaimId::Hardware,
        "certificate-signature",
    ),
    (
        "certificate text",
        |case| collateral(case).pck_certificate_chain = Some("no PEM".to_owned()),
        ClaimId::Hardware,
        "certificate-malformed",
    ),
    (
        "debug bit",
        |case| case.quote_again(|report| report.debug = true),
        ClaimId::DebugOff,
        "debug",
    ),
];

pub const ROOTS: [Mutation; 3] = [
    (
        "another root",
        |case| {
            let other = DevelopmentRoot::from_seed(&[2; 32]).unwrap();
            let report = world::report(&events());
            case.tdx().quote = HexBytes(other.quote(&report).unwrap());
            *collateral(case) = other.collateral(now()).unwrap();
        },
        ClaimId::Hardware,
        "unknown-root",
    ),
    (
        "hardware wanted",
        |case| case.policy.simulated = false,
        ClaimId::Hardware,
        "simulated-not-allowed",
    ),
    ("root not given", |case| case.roots = Roots::vendors(), ClaimId::Hardware, "unknown-root"),
];

pub const COLLATERAL: [Mutation; 24] = [
    (
        "root revocation list",
        |case| *collateral(case).root_ca_crl.last_mut().unwrap() ^= 1,
        ClaimId::Hardware,
        "collateral-signature",
    ),
    (
        "platform revocation list",
        |case| *collateral(case).pck_crl.last_mut().unwrap() ^= 1,
        ClaimId::Hardware,
        "collateral-signature",
    ),
    (
        "root revocation list cut off",
        |case| collateral(case).root_ca_crl.truncate(40),
        ClaimId::Hardware,
        "collateral-malformed",
    ),
    (
        "platform revocation list cut off",
        |case| collateral(case).pck_crl.truncate(40),
        ClaimId::Hardware,
        "collateral-malformed",
    ),
    (
        "TCB level",
        |case| {
            says(case, |says| says.tcb_status = "OutOfDate".to_owned());
            let better = collateral(case).tcb_info.replace("OutOfDate", "UpToDate");
            collateral(case).tcb_info = better;
        },
        ClaimId::Hardware,
        "collateral-signature",
    ),
    (
        "QE identity",
        |case| {
            let other = collateral(case).qe_identity.replace("\"isvprodid\":2", "\"isvprodid\":1");
            collateral(case).qe_identity = other;
        },
        ClaimId::Hardware,
        "collateral-signature",
    ),
    (
        "TCB info signer",
        |case| {
            let chain = alter(&collateral(case).tcb_info_issuer_chain, 0);
            collateral(case).tcb_info_issuer_chain = chain;
        },
        ClaimId::Hardware,
        "certificate-signature",
    ),
    (
        "QE identity signer",
        |case| {
            let chain = alter(&collateral(case).qe_identity_issuer_chain, 0);
            collateral(case).qe_identity_issuer_chain = chain;
        },
        ClaimId::Hardware,
        "certificate-signature",
    ),
    (
        "later",
        |case| case.now = now() + SignedDuration::from_hours(24 * 40),
        ClaimId::Hardware,
        "collateral-expired",
    ),
    (
        "earlier",
        |case| case.now = now() - SignedDuration::from_hours(24 * 40),
        ClaimId::Hardware,
        "collateral-not-yet-valid",
    ),
    (
        "old TCB info",
        |case| {
            collateral(case).tcb_info = old().tcb_info;
            collateral(case).tcb_info_signature = old().tcb_info_signature;
        },
        ClaimId::Hardware,
        "collateral-expired",
    ),
    (
        "old QE identity",
        |case| {
            collateral(case).qe_identity = old().qe_identity;
            collateral(case).qe_identity_signature = old().qe_identity_signature;
        },
        ClaimId::Hardware,
        "collateral-expired",
    ),
    (
        "old platform revocation list",
        |case| collateral(case).pck_crl = old().pck_crl,
        ClaimId::Hardware,
        "collateral-expired",
    ),
    (
        "revoked platform",
        |case| says(case, |says| says.revoked = vec![world::PPID]),
        ClaimId::Hardware,
        "certificate-revoked",
    ),
    (
        "revoked CA",
        |case| says(case, |says| says.platform_ca_revoked = true),
        ClaimId::Hardware,
        "certificate-revoked",
    ),
    (
        "out of date",
        |case| {
            says(case, |says| {
                says.tcb_status = "OutOfDate".to_owned();
                says.advisories = vec!["INTEL-SA-00837".to_owned()];
            });
        },
        ClaimId::Tcb,
        "tcb-status",
    ),
    (
        "configuration needed",
        |case| says(case, |says| says.tcb_status = "ConfigurationNeeded".to_owned()),
        ClaimId::Tcb,
        "tcb-status",
    ),
    (
        "old quoting enclave",
        |case| says(case, |says| says.qe_status = "OutOfDate".to_owned()),
        ClaimId::Tcb,
        "tcb-status",
    ),
    (
        "advisory",
        |case| says(case, |says| says.advisories = vec!["INTEL-SA-00001".to_owned()]),
        ClaimId::Tcb,
        "advisories",
    ),
    (
        "revoked level",
        |case| says(case, |says| says.tcb_status = "Revoked".to_owned()),
        ClaimId::Hardware,
        "tcb-revoked",
    ),
    (
        "revoked quoting enclave",
        |case| {
            says(case, |says| {
                says.qe_status = "Revoked".to_owned();
                says.advisories = vec!["INTEL-SA-00002".to_owned()];
            });
        },
        ClaimId::Hardware,
        "tcb-revoked",
    ),
    (
        "accepted status, other advisory",
        |case| {
            case.policy.tcb_status.push(TcbStatus::SWHardeningNeeded);
            case.policy.advisories = vec!["INTEL-SA-00003".to_owned()];
            says(case, |says| {
                says.tcb_status = "SWHardeningNeeded".to_owned();
                says.advisories = vec!["INTEL-SA-00003".to_owned(), "INTEL-SA-00004".to_owned()];
            });
        },
        ClaimId::Tcb,
        "advisories",
    ),
    (
        "no TCB info",
        |case| collateral(case).tcb_info = String::new(),
        ClaimId::Hardware,
        "collateral-signature",
    ),
    (
        "no signer",
        |case| collateral(case).tcb_info_issuer_chain = "none".to_owned(),
        ClaimId::Hardware,
        "certificate-malformed",
    ),
];

const LOG: [Mutation; 15] = [
    ("event order", |case| case.tdx().event_log.swap(4, 5), ClaimId::EventLog, "event-order"),
    (
        "event digest",
        |case| case.event("app-id").digest.0[0] ^= 1,
        ClaimId::EventLog,
        "event-digest",
    ),
    (
        "event payload under its old digest",
        |case| case.event("instance-id").event_payload.0[0] ^= 1,
        ClaimId::EventLog,
        "event-digest",
    ),
    (
        "event compose-hash rewritten",
        |case| *case.event("compose-hash") = Event::dstack("compose-hash", &[0; 32], 2),
        ClaimId::EventLog,
        "event-altered",
    ),
    (
        "event app-id rewritten",
        |case| *case.event("app-id") = Event::dstack("app-id", &[0; 20], 1),
        ClaimId::EventLog,
        "event-altered",
    ),
    (
        "event os-image-hash rewritten",
        |case| *case.event("os-image-hash") = Event::dstack("os-image-hash", &[0; 32], 1),
        ClaimId::EventLog,
        "event-altered",
    ),
    (
        "event preimage",
        |case| case.event("compose-hash").preimage.as_mut().unwrap().0[9] ^= 1,
        ClaimId::EventLog,
        "event-preimage",
    ),
    ("event version", |case| case.event("app-id").version = 3, ClaimId::EventLog, "event-version"),
    ("event left out", |case| drop(case.tdx().event_log.remove(9)), ClaimId::EventLog, "register"),
    (
        "event added",
        |case| case.tdx().event_log.push(Event::dstack("app-id", &[0; 20], 1)),
        ClaimId::EventLog,
        "register",
    ),
    ("event register", |case| case.event("app-id").imr = 4, ClaimId::EventLog, "event-register"),
    (
        "firmware event",
        |case| case.tdx().event_log[0].digest.0[0] ^= 1,
        ClaimId::EventLog,
        "register",
    ),
    (
        "kernel command line event",
        |case| case.tdx().event_log[2].digest.0[0] ^= 1,
        ClaimId::EventLog,
        "register",
    ),
    (
        "second app id, measured",
        |case| {
            case.tdx().event_log.insert(5, Event::dstack("app-id", &[0; 20], 1));
            case.quote_again(|_| ());
        },
        ClaimId::EventLog,
        "event-twice",
    ),
    (
        "key provider without form, measured",
        |case| {
            *case.event("key-provider") = Event::dstack("key-provider", b"kms", 1);
            case.quote_again(|_| ());
        },
        ClaimId::EventLog,
        "event-payload",
    ),
];

const IDENTITY: [Mutation; 20] = [
    (
        "compose bytes",
        |case| case.bundle.app_compose.as_mut().unwrap().push(' '),
        ClaimId::ComposeHash,
        "compose-file",
    ),
    (
        "planned compose hash",
        |case| case.expected.compose_hash = Some([0; 32]),
        ClaimId::ComposeHash,
        "booted",
    ),
    ("app id", |case| case.bundle.cvm.app_id = Some(Hex([0; 20])), ClaimId::AppId, "booted"),
    ("planned app id", |case| case.expected.app_id = Some([1; 20]), ClaimId::AppId, "booted"),
    (
        "instance id",
        |case| case.bundle.cvm.instance_id = Some(HexBytes(vec![0; 20])),
        ClaimId::InstanceId,
        "booted",
    ),
    (
        "device id",
        |case| case.bundle.cvm.device_id = Some(Hex([0; 32])),
        ClaimId::DeviceId,
        "device",
    ),
    (
        "device that is not planned",
        |case| case.expected.device_ids = vec![[1; 32]],
        ClaimId::DeviceId,
        "device",
    ),
    (
        "image hash",
        |case| case.bundle.image.as_mut().unwrap().os_image_hash = Hex([0; 32]),
        ClaimId::OsImage,
        "image-differs",
    ),
    (
        "image that is not accepted",
        |case| case.policy.images[0].os_image_hash = Hex([0; 32]),
        ClaimId::OsImage,
        "image-not-accepted",
    ),
    ("development image", |case| case.policy.images[0].dev = true, ClaimId::NoLogin, "dev-image"),
    (
        "firmware",
        |case| case.quote_again(|report| report.mrtd[0] ^= 1),
        ClaimId::Measurements,
        "measurement",
    ),
    (
        "kernel expected",
        |case| case.policy.measurements[0].rtmr1 = Some(Hex([0; 48])),
        ClaimId::Measurements,
        "measurement",
    ),
    (
        "kernel command line expected",
        |case| case.policy.measurements[0].rtmr2 = Some(Hex([0; 48])),
        ClaimId::Measurements,
        "measurement",
    ),
    (
        "virtual hardware",
        |case| {
            case.policy.measurements[0].rtmr0 = Some(Hex([0; 48]));
            case.bundle.vm_config = Some(r#"{"cpu_count":4}"#.to_owned());
        },
        ClaimId::Measurements,
        "vm-config",
    ),
    (
        "VM configuration without form",
        |case| {
            case.policy.measurements[0].rtmr0 = Some(Hex([0; 48]));
            case.bundle.vm_config = Some("[]".to_owned());
        },
        ClaimId::Measurements,
        "vm-config-malformed",
    ),
    ("my nonce", |case| case.expected.nonce = Some(vec![0; 32]), ClaimId::ReportData, "nonce"),
    (
        "both nonces",
        |case| {
            case.expected.nonce = Some(vec![0; 32]);
            case.bundle.report_data.as_mut().unwrap().nonce = HexBytes(vec![0; 32]);
        },
        ClaimId::ReportData,
        "report-data",
    ),
    (
        "report data",
        |case| case.quote_again(|report| report.report_data[63] = 1),
        ClaimId::ReportData,
        "report-data",
    ),
    (
        "contracts denied",
        |case| case.bundle.contracts.as_mut().unwrap().compose_hash_allowed = false,
        ClaimId::Contracts,
        "contracts-deny",
    ),
    (
        "contracts about another hash",
        |case| case.bundle.contracts.as_mut().unwrap().compose_hash = Hex([0; 32]),
        ClaimId::Contracts,
        "contracts-asked-other",
    ),
];

const KEYS: [Mutation; 14] = [
    (
        "KMS root key",
        |case| case.kms().root_public_key.0[1] ^= 1,
        ClaimId::KmsRoot,
        "kms-root-not-accepted",
    ),
    (
        "KMS CA key",
        |case| case.kms().ca_public_key = Some(HexBytes(vec![1])),
        ClaimId::KeyProvider,
        "key-provider",
    ),
    (
        "app key signature",
        |case| case.kms().app_key.as_mut().unwrap().signature.0[10] ^= 1,
        ClaimId::AppKey,
        "app-key-signature",
    ),
    (
        "app key",
        |case| case.kms().app_key.as_mut().unwrap().public_key.0[10] ^= 1,
        ClaimId::AppKey,
        "app-key-signature",
    ),
    (
        "env key signature",
        |case| case.kms().env_key.as_mut().unwrap().signature.0[64] ^= 1,
        ClaimId::EnvKey,
        "env-key-signature",
    ),
    (
        "env key time",
        |case| case.kms().env_key.as_mut().unwrap().timestamp = Some(1),
        ClaimId::EnvKey,
        "env-key-signature",
    ),
    (
        "GPU token signature",
        |case| gpu(case, |says| says.signer = 8),
        ClaimId::Gpu,
        "gpu-signature",
    ),
    (
        "GPU token key",
        |case| gpu(case, |says| says.key_id = "nv-2"),
        ClaimId::Gpu,
        "gpu-key-unknown",
    ),
    (
        "GPU token expired",
        |case| gpu(case, |says| says.expires -= 7200),
        ClaimId::Gpu,
        "gpu-token-expired",
    ),
    (
        "GPU token from the future",
        |case| gpu(case, |says| says.from += 7200),
        ClaimId::Gpu,
        "gpu-token-not-yet-valid",
    ),
    ("GPU result", |case| gpu(case, |says| says.overall = false), ClaimId::Gpu, "gpu-result"),
    ("GPU nonce", |case| gpu(case, |says| says.nonce = vec![0]), ClaimId::Gpu, "gpu-nonce"),
    (
        "GPU device token",
        |case| {
            let gpu = case.bundle.gpu.as_mut().unwrap();
            gpu.token = gpu.token.replace("{\"GPU-0\":", "{\"GPU-1\":");
        },
        ClaimId::Gpu,
        "gpu-device",
    ),
    (
        "GPU token text",
        |case| case.bundle.gpu.as_mut().unwrap().token = "[]".to_owned(),
        ClaimId::Gpu,
        "gpu-token-malformed",
    ),
];

#[test]
fn the_good_case_proves_everything_that_can_be_proven() {
    let verdict = good().verify();
    for claim in &verdict.claims {
        let proven = claim.claim != ClaimId::Contracts;
        assert_eq!(claim.state.is_proven(), proven, "{}: {}", claim.claim, claim.text);
    }
}

#[test]
fn every_change_is_refused_with_its_reason() {
    let mut reasons = BTreeSet::new();
    let all = [&QUOTE[..], &ROOTS, &COLLATERAL, &LOG, &IDENTITY, &KEYS].concat();
    for (name, change, claim, code) in &all {
        let mut case = good();
        change(&mut case);
        let verdict = case.verify();
        let Some(State::Failed { reason }) = verdict.state(*claim) else {
            panic!("{name}: {claim} is {:?}", verdict.state(*claim))
        };
        let found = serde_json::to_value(reason).unwrap()["code"].clone();
        assert_eq!(found, *code, "{name}: {reason}");
        let text = reason.to_string();
        assert!(text.len() > 10 && !text.contains('{'), "{name}: {text}");
        reasons.insert(text);
    }
    assert!(all.len() >= 40 && reasons.len() >= 60, "{} of {}", reasons.len(), all.len());
}

#[test]
fn the_sentences_of_the_issue() {
    let text = |change: fn(&mut Case)| {
        let mut case = good();
        change(&mut case);
        case.verify().reasons().next().unwrap().1.to_string()
    };
    let outdated = text(|case| {
        says(case, |says| {
            says.tcb_status = "OutOfDate".to_owned();
            says.advisories = vec!["INTEL-SA-00837".to_owned()];
        });
    });
    assert_eq!(
        outdated,
        "TCB OutOfDate: advisory INTEL-SA-00837; the platform needs a firmware update"
    );
    let booted = text(|case| case.expected.compose_hash = Some([0; 32]));
    let zeros = "00".repeat(32);
    assert!(
        booted
            .starts_with(&format!("RTMR3 differs at event compose-hash: planned {zeros}, booted "))
    );
}

#[test]
fn only_revocation_is_called_revoked() {
    for (name, change, _, code) in [&QUOTE[..], &ROOTS, &COLLATERAL].concat() {
        let mut case = good();
        change(&mut case);
        let said = case
            .verify()
            .claims
            .iter()
            .any(|claim| claim.text.contains("revoked") || claim.text.contains("Revoked"));
        assert_eq!(said, code.ends_with("revoked"), "{name}");
    }
}

#[test]
fn a_time_beyond_every_certificate_is_refused() {
    let mut case = good();
    case.now = "2051-01-01T00:00:00Z".parse::<Timestamp>().unwrap();
    *collateral(&mut case) = root().collateral(case.now).unwrap();
    let verdict = case.verify();
    let (claim, reason) = verdict.reasons().next().unwrap();
    assert_eq!(claim, ClaimId::Hardware);
    assert!(reason.to_string().contains("was valid until 2049-12-31"), "{reason}");
}
