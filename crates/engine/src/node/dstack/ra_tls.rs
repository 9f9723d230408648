//! The quote in the certificate of a guest. The guest agent tells it to the host with `Info`: its demo
//! certificate, whose extensions hold the attestation. Extension ids and forms are those of dstack's `ra-tls`
//! crate: `…62397.1.8` is an attestation, of version 0 in SCALE or of version 1 in MessagePack; in older
//! certificates `…62397.1.1` is the quote itself.

use casemate_core::attestation::{GuestEvidence, SnpReport};
use parity_scale_codec::Decode;
use serde::Deserialize;
use x509_cert::{
    Certificate,
    der::{Decode as _, asn1::OctetString, oid::ObjectIdentifier},
};

use super::snp_certificates::{self, SnpCertificates};
use super::wire::GuestInfo;
use crate::node::{CallError, Tee};

const ATTESTATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.62397.1.8");
const TDX_QUOTE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.62397.1.1");
/// Numbers of TEEs in SCALE.
const SCALE_TDX: u8 = 0;
const SCALE_SNP: u8 = 3;
/// A certificate with a quote, its chain and an event log has about 10 KiB.
const MAX_CERTIFICATES: usize = 256 * 1024;
/// A document has at most 200 KiB, and an event log some dozen entries.
const MAX_TCB_INFO: usize = 1024 * 1024;

/// What a guest showed with `Info`.
pub(super) fn evidence(told: GuestInfo, tee: Tee) -> Result<GuestEvidence, CallError> {
    if told.app_cert.len() > MAX_CERTIFICATES || told.tcb_info.len() > MAX_TCB_INFO {
        return Err(CallError::Rejected("the guest shows more than evidence can be".to_owned()));
    }
    let shown = match told.app_cert.trim() {
        "" => Shown::default(),
        pem => shown(pem).map_err(CallError::Rejected)?,
    };
    let snp = shown.report.map(|report| {
        let SnpCertificates { ask, vcek } = snp_certificates::read(&shown.cert_chain)?;
        let mr_config = Some(shown.mr_config).filter(|text| !text.is_empty());
        Ok(SnpReport { report: hex::encode(report), ask, vcek, mr_config })
    });
    Ok(GuestEvidence {
        quote: shown.quote.map(hex::encode),
        snp: snp.transpose().map_err(CallError::Rejected)?,
        tcb_info: Some(told.tcb_info).filter(|text| !text.is_empty()),
        vm_config: None,
        event_log: None,
        certificates: told.app_cert,
        simulated: matches!(tee, Tee::None | Tee::Simulated),
    })
}

/// What the first certificate holds.
fn shown(pem: &str) -> Result<Shown, String> {
    let chain = Certificate::load_pem_chain(pem.as_bytes())
        .map_err(|error| format!("the certificate of the guest cannot be read: {error}"))?;
    let extensions = chain.first().and_then(|leaf| leaf.tbs_certificate.extensions.as_deref());
    let of = |oid: ObjectIdentifier| {
        let found = extensions.unwrap_or_default().iter().find(|found| found.extn_id == oid)?;
        Some(unwrapped(found.extn_value.as_bytes()))
    };
    match of(ATTESTATION) {
        Some(bytes) => attested(&bytes)
            .map_err(|why| format!("the attestation of the guest cannot be read: {why}")),
        None => Ok(Shown { quote: of(TDX_QUOTE), ..Shown::default() }),
    }
}

/// Values are octet strings of their own in the extension.
fn unwrapped(value: &[u8]) -> Vec<u8> {
    let inner = OctetString::from_der(value);
    inner.map_or_else(|_| value.to_vec(), |inner| inner.as_bytes().to_vec())
}

/// What an attestation holds.
fn attested(bytes: &[u8]) -> Result<Shown, String> {
    // Version 0: a zero, then which TEE it is, then what that TEE signed.
    if let Some(mut rest) = bytes.strip_prefix(&[0]) {
        return match <u8 as Decode>::decode(&mut rest) {
            Ok(SCALE_TDX) => <Vec<u8> as Decode>::decode(&mut rest)
                .map(|quote| Shown { quote: Some(quote), ..Shown::default() }),
            Ok(SCALE_SNP) => <(Vec<u8>, Vec<Vec<u8>>, String) as Decode>::decode(&mut rest).map(
                |(report, cert_chain, mr_config)| Shown {
                    report: Some(report),
                    cert_chain,
                    mr_config,
                    quote: None,
                },
            ),
            Ok(_) => Ok(Shown::default()),
            Err(error) => Err(error),
        }
        .map_err(|error| error.to_string());
    }
    let read: AttestationV1 = rmp_serde::from_slice(bytes).map_err(|error| error.to_string())?;
    Ok(read.platform.data)
}

/// A quote of TDX or a report of SEV-SNP, in the names of version 1.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Shown {
    quote: Option<Vec<u8>>,
    report: Option<Vec<u8>>,
    cert_chain: Vec<Vec<u8>>,
    mr_config: String,
}

/// As far as it is read.
#[derive(Deserialize)]
struct AttestationV1 {
    platform: Platform,
}

#[derive(Deserialize)]
struct Platform {
    data: Shown,
}

#[cfg(test)]
mod tests {
    use parity_scale_codec::Encode;
    use serde::Serialize;

    use super::*;

    #[derive(Serialize)]
    struct Named<T> {
        version: u64,
        platform: KindAndData<T>,
    }

    #[derive(Serialize)]
    struct KindAndData<T> {
        kind: &'static str,
        data: T,
    }

    #[derive(Serialize)]
    struct Tdx {
        quote: Vec<u8>,
        event_log: Vec<u8>,
    }

    #[derive(Serialize)]
    struct Snp {
        report: Vec<u8>,
        cert_chain: Vec<Vec<u8>>,
        mr_config: String,
    }

    #[test]
    fn both_versions_of_an_attestation_hold_the_quote() {
        let quote = vec![7; 5000];
        let mut scale = vec![0, SCALE_TDX];
        quote.encode_to(&mut scale);
        scale.extend([1, 2, 3]);
        assert_eq!(attested(&scale).unwrap().quote, Some(quote.clone()));
        let data = Tdx { quote: quote.clone(), event_log: Vec::new() };
        let named = Named { version: 1, platform: KindAndData { kind: "tdx", data } };
        let packed = rmp_serde::to_vec_named(&named).unwrap();
        assert_eq!(attested(&packed).unwrap().quote, Some(quote));
    }

    #[test]
    fn an_snp_report_comes_with_its_chain() {
        let (report, cert_chain) = (vec![9; 1184], vec![vec![1, 2], vec![3]]);
        let mut scale = vec![0, SCALE_SNP];
        (report.clone(), cert_chain.clone(), "{}".to_owned()).encode_to(&mut scale);
        let old = attested(&scale).unwrap();
        let data = Snp {
            report: report.clone(),
            cert_chain: cert_chain.clone(),
            mr_config: "{}".to_owned(),
        };
        let named = Named { version: 1, platform: KindAndData { kind: "sev-snp", data } };
        let new = attested(&rmp_serde::to_vec_named(&named).unwrap()).unwrap();
        for shown in [old, new] {
            assert_eq!(shown.quote, None);
            assert_eq!((shown.report.as_ref(), &shown.cert_chain), (Some(&report), &cert_chain));
            assert_eq!(shown.mr_config, "{}");
        }
    }

    #[test]
    fn an_attestation_that_ends_early_is_refused() {
        let mut scale = vec![0, SCALE_TDX];
        vec![7_u8; 100].encode_to(&mut scale);
        for length in 1..scale.len() {
            assert!(attested(&scale[..length]).is_err(), "{length}");
        }
        assert!(attested(&[]).is_err());
        assert!(attested(&[0x80]).is_err(), "an empty map");
        // Another TEE: nothing that is known here.
        assert_eq!(attested(&[0, 2, 9, 9]).unwrap().quote, None);
    }

    #[test]
    fn a_guest_without_a_certificate_shows_no_quote() {
        let told = GuestInfo { tcb_info: "{}".to_owned(), ..GuestInfo::default() };
        let shown = evidence(told, Tee::Tdx).unwrap();
        assert_eq!((shown.quote, shown.tcb_info.as_deref()), (None, Some("{}")));
        let told = GuestInfo { app_cert: "no PEM".to_owned(), ..GuestInfo::default() };
        assert!(matches!(evidence(told, Tee::Tdx), Err(CallError::Rejected(_))));
        let told = GuestInfo { app_cert: "x".repeat(MAX_CERTIFICATES + 1), ..GuestInfo::default() };
        assert!(matches!(evidence(told, Tee::Tdx), Err(CallError::Rejected(_))));
    }
}
