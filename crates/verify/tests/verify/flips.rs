//! Random changes: no flipped evidence proves what rests on it, and no input makes the verifier panic.

use casemate_verify::{Bundle, ClaimId};
use proptest::prelude::*;

use crate::world::{Case, certificates, good};

/// Evidence, and the claim that rests on it first.
#[derive(Debug, Clone, Copy)]
enum Region {
    SignedQuote,
    PlatformChain,
    RootRevocationList,
    PlatformRevocationList,
    TcbInfo,
    TcbInfoSignature,
    QeIdentity,
    QeIdentitySignature,
    EventDigest,
    EventPayload,
    Compose,
    AppId,
    InstanceId,
    DeviceId,
    ImageHash,
    Nonce,
    KmsRoot,
    AppKey,
    AppKeySignature,
    EnvKey,
    EnvKeySignature,
    GpuToken,
}

use Region::*;

const REGIONS: [Region; 22] = [
    SignedQuote,
    PlatformChain,
    RootRevocationList,
    PlatformRevocationList,
    TcbInfo,
    TcbInfoSignature,
    QeIdentity,
    QeIdentitySignature,
    EventDigest,
    EventPayload,
    Compose,
    AppId,
    InstanceId,
    DeviceId,
    ImageHash,
    Nonce,
    KmsRoot,
    AppKey,
    AppKeySignature,
    EnvKey,
    EnvKeySignature,
    GpuToken,
];

/// The quote up to the certificate chain: header, body, signatures, keys, the quoting enclave's report.
const BEFORE_CHAIN: usize = 1258;

fn flip(bytes: &mut [u8], at: usize, bit: u8) {
    let length = bytes.len();
    bytes[at % length] ^= 1 << bit;
}

/// A flip in a text. ASCII stays ASCII if the highest bit is left alone.
fn flip_text(text: &mut String, at: usize, bit: u8) {
    let mut bytes = std::mem::take(text).into_bytes();
    flip(&mut bytes, at, bit % 7);
    *text = String::from_utf8(bytes).unwrap();
}

/// Flips one bit. `None` if that changed nothing that anything rests on.
fn change(case: &mut Case, region: Region, at: usize, bit: u8) -> Option<ClaimId> {
    let tdx = case.bundle.tdx.as_mut().unwrap();
    let collateral = tdx.collateral.as_mut().unwrap();
    let kms = case.bundle.kms.as_mut().unwrap();
    match region {
        SignedQuote => flip(&mut tdx.quote.0[..BEFORE_CHAIN], at, bit),
        PlatformChain => {
            // The chain in the quote is text around certificates, and it repeats the root, which is not used from
            // there. What counts is that the platform's and the CA's certificates are the same bytes.
            let before = String::from_utf8(tdx.quote.0[BEFORE_CHAIN..].to_vec()).unwrap();
            flip(&mut tdx.quote.0[BEFORE_CHAIN..], at, bit % 7);
            let after = String::from_utf8(tdx.quote.0[BEFORE_CHAIN..].to_vec()).unwrap();
            let used = |chain: &str| certificates(chain, 2);
            if used(&before) == used(&after) {
                return None;
            }
        }
        RootRevocationList => flip(&mut collateral.root_ca_crl, at, bit),
        PlatformRevocationList => flip(&mut collateral.pck_crl, at, bit),
        TcbInfo => flip_text(&mut collateral.tcb_info, at, bit),
        TcbInfoSignature => flip(&mut collateral.tcb_info_signature, at, bit),
        QeIdentity => flip_text(&mut collateral.qe_identity, at, bit),
        QeIdentitySignature => flip(&mut collateral.qe_identity_signature, at, bit),
        EventDigest | EventPayload => {
            let mut events: Vec<_> = tdx
                .event_log
                .iter_mut()
                .map(|event| match region {
                    EventDigest => &mut event.digest.0,
                    _ => &mut event.event_payload.0,
                })
                .filter(|bytes| !bytes.is_empty())
                .collect();
            let count = events.len();
            flip(events[at % count], at / count, bit);
            return Some(ClaimId::EventLog);
        }
        Compose => {
            flip_text(case.bundle.app_compose.as_mut().unwrap(), at, bit);
            return Some(ClaimId::ComposeHash);
        }
        AppId => {
            flip(&mut case.bundle.cvm.app_id.as_mut().unwrap().0, at, bit);
            return Some(ClaimId::AppId);
        }
        InstanceId => {
            flip(&mut case.bundle.cvm.instance_id.as_mut().unwrap().0, at, bit);
            return Some(ClaimId::InstanceId);
        }
        DeviceId => {
            flip(&mut case.bundle.cvm.device_id.as_mut().unwrap().0, at, bit);
            return Some(ClaimId::DeviceId);
        }
        ImageHash => {
            flip(&mut case.bundle.image.as_mut().unwrap().os_image_hash.0, at, bit);
            return Some(ClaimId::OsImage);
        }
        Nonce => {
            flip(&mut case.bundle.report_data.as_mut().unwrap().nonce.0, at, bit);
            return Some(ClaimId::ReportData);
        }
        KmsRoot => {
            flip(&mut kms.root_public_key.0, at, bit);
            return Some(ClaimId::KmsRoot);
        }
        AppKey => {
            flip(&mut kms.app_key.as_mut().unwrap().public_key.0, at, bit);
            return Some(ClaimId::AppKey);
        }
        AppKeySignature => {
            flip(&mut kms.app_key.as_mut().unwrap().signature.0, at, bit);
            return Some(ClaimId::AppKey);
        }
        EnvKey => {
            flip(&mut kms.env_key.as_mut().unwrap().public_key.0, at, bit);
            return Some(ClaimId::EnvKey);
        }
        EnvKeySignature => {
            flip(&mut kms.env_key.as_mut().unwrap().signature.0, at, bit);
            return Some(ClaimId::EnvKey);
        }
        GpuToken => {
            flip_text(&mut case.bundle.gpu.as_mut().unwrap().token, at, bit);
            return Some(ClaimId::Gpu);
        }
    }
    Some(ClaimId::Hardware)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn flipped_evidence_proves_nothing(
        region in prop::sample::select(REGIONS.to_vec()),
        at in any::<u16>(),
        bit in 0_u8..8,
    ) {
        let mut case = good();
        if let Some(claim) = change(&mut case, region, at.into(), bit) {
            let verdict = case.verify();
            prop_assert!(!verdict.proves(claim), "{region:?}: {claim} is still proven");
            if claim == ClaimId::Hardware {
                let on_hardware = [ClaimId::Tcb, ClaimId::EventLog, ClaimId::ComposeHash, ClaimId::OsImage];
                prop_assert!(!on_hardware.iter().any(|id| verdict.proves(*id)), "{region:?}");
            }
        }
    }

    #[test]
    fn no_text_makes_the_verifier_panic(at in any::<u32>(), with in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = serde_json::to_vec(&good().bundle).unwrap();
        let at = at as usize % bytes.len();
        bytes[at] = with;
        if cut {
            bytes.truncate(at);
        }
        if let Ok(bundle) = Bundle::parse(&bytes) {
            let _ = Case { bundle, ..good() }.verify();
        }
    }

    #[test]
    fn no_bytes_are_a_quote(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let mut case = good();
        case.tdx().quote.0 = bytes;
        prop_assert!(!case.verify().proves(ClaimId::Hardware));
    }
}
