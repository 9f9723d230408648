//! Changes to the event log, to what the app is said to be, and to keys and tokens.

use casemate_verify::{
    ClaimId,
    event_log::Event,
    hexes::{Hex, HexBytes},
};

use super::Mutation;
use crate::{
    gpu_tokens::{self, Says},
    world::Case,
};

fn gpu(case: &mut Case, change: impl FnOnce(&mut Says)) {
    let mut says = Says::good();
    change(&mut says);
    case.bundle.gpu.as_mut().unwrap().token = gpu_tokens::detached(&says);
}

pub const LOG: [Mutation; 15] = [
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

pub const IDENTITY: [Mutation; 20] = [
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

pub const KEYS: [Mutation; 13] = [
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
