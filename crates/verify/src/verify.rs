//! From evidence to claims.
//!
//! A claim rests on others: nothing that a quote carries counts before its signature, and nothing that the guest
//! recorded counts before the log was replayed. What rests on something unproven is not shown; only the claim whose
//! own evidence is wrong fails, so the reason appears once.

mod guest;
mod kms;
mod platform;

use dcap_qvl::TcbStatus;
use jiff::Timestamp;
use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::{
    Bundle, Claim, ClaimId, Missing, Outcome, Policy, Roots, State, Verdict,
    bundle::ReportDataForm,
    claim::{Evidence, Proof, Recorded, Root, Unproven},
    event_log::Register,
    hexes::{Hex, HexBytes},
    policy::ExpectedMeasurements,
    reason::Measured,
};

/// What the caller planned. What is left empty is compared with the bundle's own statements only.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// The nonce that the evidence was asked with.
    pub nonce: Option<Vec<u8>>,
    /// The nonce that the GPUs were asked with.
    pub gpu_nonce: Option<Vec<u8>>,
    /// The hash of the app-compose document.
    pub compose_hash: Option<[u8; 32]>,
    /// The app's id.
    pub app_id: Option<[u8; 20]>,
    /// The instance's id.
    pub instance_id: Option<Vec<u8>>,
    /// The machines that it may run on; empty for any.
    pub device_ids: Vec<[u8; 32]>,
    /// Measurements, beside those of the policy.
    pub measurements: Vec<ExpectedMeasurements>,
}

/// Verifies every claim at a point in time.
pub fn verify(
    bundle: &Bundle,
    policy: &Policy,
    roots: &Roots,
    expected: &Expected,
    now: Timestamp,
) -> Verdict {
    let judge = Judge { bundle, policy, expected };
    let mut states: Vec<(ClaimId, State)> = Vec::with_capacity(ClaimId::ALL.len());
    let mut record = |id, result: Result<Proof, Unproven>| states.push((id, State::from(result)));

    let platform = platform::judge(&judge, roots, now);
    record(ClaimId::Hardware, platform.as_ref().map(Platform::hardware).map_err(Clone::clone));
    let platform = platform.ok();
    let on_hardware =
        || platform.as_ref().ok_or(Unproven::from(Missing::RestsOn { claim: ClaimId::Hardware }));
    record(ClaimId::Tcb, on_hardware().and_then(|platform| judge.tcb(platform)));
    record(ClaimId::DebugOff, on_hardware().and_then(|platform| judge.debug_off(platform)));
    record(ClaimId::ReportData, on_hardware().and_then(|platform| judge.report_data(platform)));

    let guest = on_hardware().and_then(|platform| guest::judge(&judge, platform));
    record(
        ClaimId::EventLog,
        guest.as_ref().map(|guest| guest.proof.clone()).map_err(Clone::clone),
    );
    let guest = guest.ok();
    let image = on_hardware().and_then(|platform| judge.measurements(platform, guest.as_ref()));
    let measured = image.as_ref().ok();
    record(ClaimId::Measurements, image.clone().map(|(proof, _)| proof));
    let os_image =
        on_hardware().and_then(|platform| judge.os_image(platform, guest.as_ref(), measured));
    record(ClaimId::OsImage, os_image.clone().map(|(proof, _)| proof));

    let on_log =
        || guest.as_ref().ok_or(Unproven::from(Missing::RestsOn { claim: ClaimId::EventLog }));
    record(ClaimId::ComposeHash, on_log().and_then(|guest| judge.compose_hash(guest)));
    record(ClaimId::AppId, on_log().and_then(|guest| judge.app_id(guest)));
    record(ClaimId::InstanceId, on_log().and_then(|guest| judge.instance_id(guest)));
    record(ClaimId::DeviceId, on_hardware().and_then(|platform| judge.device_id(platform)));
    record(ClaimId::KeyProvider, on_log().and_then(|guest| judge.key_provider(guest)));

    let kms_root = judge.kms_root();
    record(ClaimId::KmsRoot, kms_root.clone());
    record(ClaimId::AppKey, judge.app_key(&kms_root, guest.as_ref()));
    record(ClaimId::EnvKey, judge.env_key(&kms_root, guest.as_ref()));
    record(ClaimId::Gpu, judge.gpu(roots, now));
    record(ClaimId::Contracts, judge.contracts(guest.as_ref()));
    record(ClaimId::NoLogin, judge.no_login(&os_image));

    verdict(states, policy, guest.map(|guest| guest.recorded).unwrap_or_default())
}

fn verdict(states: Vec<(ClaimId, State)>, policy: &Policy, recorded: Vec<Recorded>) -> Verdict {
    let required = |id: ClaimId| {
        let allowed = id == ClaimId::DebugOff && policy.debug;
        policy.required.contains(&id) && !allowed
    };
    let claims: Vec<Claim> = states
        .into_iter()
        .map(|(claim, state)| Claim {
            claim,
            simulated: matches!(&state, State::Proven { by } if by.root.simulated()),
            required: required(claim),
            text: state.to_string(),
            state,
        })
        .collect();
    let outcome = if claims.iter().any(|claim| claim.state.is_failed()) {
        Outcome::Failed
    } else if claims.iter().any(|claim| claim.required && !claim.state.is_proven()) {
        Outcome::Missing
    } else if claims.iter().any(|claim| claim.simulated) {
        Outcome::Simulated
    } else {
        Outcome::Proven
    };
    Verdict { outcome, claims, recorded }
}

/// The compose hash of an app-compose document: SHA-256 of its bytes.
pub fn compose_hash(document: &str) -> [u8; 32] {
    Sha256::digest(document.as_bytes()).into()
}

/// The report data that a nonce becomes, or `None` if it does not fit.
pub fn report_data(nonce: &[u8], form: ReportDataForm) -> Option<[u8; 64]> {
    let tagged = [b"app-data:", nonce].concat();
    let bytes = match form {
        ReportDataForm::Raw => nonce.to_vec(),
        ReportDataForm::AppDataSha256 => Sha256::digest(tagged).to_vec(),
        ReportDataForm::AppDataSha384 => Sha384::digest(tagged).to_vec(),
        ReportDataForm::AppDataSha512 => Sha512::digest(tagged).to_vec(),
    };
    let mut data = [0; 64];
    data.get_mut(..bytes.len())?.copy_from_slice(&bytes);
    Some(data)
}

/// The arguments of every step.
struct Judge<'a> {
    bundle: &'a Bundle,
    policy: &'a Policy,
    expected: &'a Expected,
}

/// What the signed quote or report says, whatever the TEE.
struct Platform {
    root: Root,
    level: Level,
    debug: bool,
    report_data: [u8; 64],
    device_id: [u8; 32],
    device_evidence: Evidence,
    measured: Vec<(Measured, Register)>,
    /// RTMR0 to RTMR3.
    registers: Option<[Register; 4]>,
    /// The SEV-SNP report, for the configuration document.
    snp: Option<Box<sev::firmware::guest::AttestationReport>>,
}

/// The firmware level of the platform.
enum Level {
    Tdx { status: TcbStatus, advisories: Vec<String> },
    Snp,
}

impl Platform {
    fn prove(&self, evidence: Evidence) -> Proof {
        Proof { evidence, root: self.root.clone() }
    }

    fn hardware(&self) -> Proof {
        self.prove(Evidence::SignatureChain)
    }
}

/// What the guest recorded, after it was found to be what the hardware measured.
struct Guest {
    proof: Proof,
    recorded: Vec<Recorded>,
    compose_hash: Option<Vec<u8>>,
    app_id: Option<Vec<u8>>,
    instance_id: Option<Vec<u8>>,
    os_image_hash: Option<Vec<u8>>,
    key_provider: Option<KeyProvider>,
}

/// Who gave the guest its keys.
struct KeyProvider {
    name: String,
    id: String,
}

impl Guest {
    /// A proof by one recorded fact.
    fn prove(&self, event: &str) -> Proof {
        let evidence = match self.proof.evidence {
            Evidence::HostData => Evidence::HostData,
            _ => Evidence::Event { event: event.to_owned() },
        };
        Proof { evidence, root: self.proof.root.clone() }
    }
}

/// An image that the measurements or the guest named.
#[derive(Clone)]
struct FoundImage {
    os_image_hash: Hex<32>,
    name: String,
}

fn hex_of(bytes: &[u8]) -> HexBytes {
    HexBytes(bytes.to_vec())
}
