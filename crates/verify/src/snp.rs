//! SEV-SNP reports, with the `sev` crate and certificates that the bundle brings.

use jiff::Timestamp;
use serde::Deserialize;
use sev::{
    certs::snp::{Certificate, Chain, Verifiable, builtin, ca},
    firmware::{guest::AttestationReport, host::TcbVersion},
    parser::ByteParser,
};
use sha2::{Digest, Sha256};
use x509_cert::der::oid::ObjectIdentifier;

use crate::{
    bundle::Snp,
    claim::{Root, Unproven},
    hexes::HexBytes,
    policy::SnpMinimum,
    reason::{Link, Missing, Reason},
    roots::Roots,
};

/// What a verified report says.
pub(crate) struct SnpFacts {
    pub root: Root,
    pub report: AttestationReport,
}

/// dstack's configuration document.
#[derive(Debug, Deserialize)]
pub(crate) struct MrConfig {
    pub compose_hash: HexBytes,
    #[serde(default)]
    pub app_id: Option<HexBytes>,
    #[serde(default)]
    pub instance_id: Option<HexBytes>,
    #[serde(default)]
    pub key_provider: String,
    #[serde(default)]
    pub key_provider_id: Option<HexBytes>,
}

const REPORT_LENGTH: usize = 1184;

/// Verifies root, intermediate and chip certificate, and the report's signature.
pub(crate) fn judge(snp: &Snp, roots: &Roots, now: Timestamp) -> Result<SnpFacts, Unproven> {
    let raw = snp.report.as_slice();
    if raw.len() != REPORT_LENGTH {
        return Err(Reason::SnpMalformed.into());
    }
    let report = AttestationReport::from_bytes(raw).map_err(|_| Reason::SnpMalformed)?;
    // The signature is checked over the re-encoded report, so bytes that the parser ignores must not differ.
    if report.to_bytes().ok().is_none_or(|bytes| bytes.as_ref() as &[u8] != raw) {
        return Err(Reason::SnpMalformed.into());
    }
    let read = |pem: &str, certificate: Link| {
        Certificate::from_pem(pem.as_bytes())
            .map_err(|_| Reason::CertificateMalformed { certificate })
    };
    for (pem, field) in [(&snp.ask, "snp.ask"), (&snp.vcek, "snp.vcek")] {
        if pem.is_empty() {
            return Err(Missing::NotInBundle { field }.into());
        }
    }
    let ask = read(&snp.ask, Link::Ask)?;
    let vcek = read(&snp.vcek, Link::Vcek)?;
    let ark = match &*snp.ark {
        "" => known_root_of(&ask, roots).ok_or(Reason::UnknownRoot)?,
        pem => read(pem, Link::Ark)?,
    };
    let root = root_of(&ark, roots).ok_or(Reason::UnknownRoot)?;
    let signature = |certificate: Link| move |_| Reason::CertificateSignature { certificate };
    (&ark, &ark).verify().map_err(signature(Link::Ark))?;
    (&ark, &ask).verify().map_err(signature(Link::Ask))?;
    (&ask, &vcek).verify().map_err(signature(Link::Vcek))?;
    for (certificate, link) in [(&ark, Link::Ark), (&ask, Link::Ask), (&vcek, Link::Vcek)] {
        valid_at(certificate, link, now)?;
    }
    let chain = Chain { ca: ca::Chain { ark, ask }, vek: vcek.clone() };
    (&chain, &report).verify().map_err(|_| Reason::SnpSignature)?;
    same_chip(&vcek, &report)?;
    Ok(SnpFacts { root, report })
}

/// The known root that signed an intermediate certificate.
fn known_root_of(ask: &Certificate, roots: &Roots) -> Option<Certificate> {
    let vendor = [builtin::milan::ark(), builtin::genoa::ark(), builtin::turin::ark()];
    let development = roots.development.iter().map(|root| Certificate::from_der(&root.der));
    let mut known = vendor.into_iter().chain(development).filter_map(Result::ok);
    known.find(|ark| (ark, ask).verify().is_ok())
}

fn root_of(ark: &Certificate, roots: &Roots) -> Option<Root> {
    let vendor = [
        ("Milan", builtin::milan::ark()),
        ("Genoa", builtin::genoa::ark()),
        ("Turin", builtin::turin::ark()),
    ];
    for (product, known) in vendor {
        if known.is_ok_and(|known| known == *ark) {
            return Some(Root::Amd { product: product.to_owned() });
        }
    }
    let der = ark.to_der().ok()?;
    let named = roots.development.iter().find(|root| root.der == der)?;
    Some(Root::Development { name: named.name.clone() })
}

fn valid_at(certificate: &Certificate, link: Link, now: Timestamp) -> Result<(), Reason> {
    let certificate = x509_cert::Certificate::from(certificate.clone());
    let validity = certificate.tbs_certificate.validity;
    let from = crate::tdx::timestamp(validity.not_before);
    let until = crate::tdx::timestamp(validity.not_after);
    if now < from {
        return Err(Reason::CertificateNotYetValid { certificate: link, from });
    }
    if now > until {
        return Err(Reason::CertificateExpired { certificate: link, until });
    }
    Ok(())
}

/// AMD's extensions of a chip certificate: the chip's id and the firmware levels that the key was derived for.
const CHIP_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.4");
const LEVELS: [(&str, ObjectIdentifier); 4] = [
    ("bootloader", ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.1")),
    ("tee", ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.2")),
    ("snp", ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.3")),
    ("microcode", ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.8")),
];

fn level(tcb: TcbVersion, component: &str) -> u8 {
    match component {
        "bootloader" => tcb.bootloader,
        "tee" => tcb.tee,
        "snp" => tcb.snp,
        _ => tcb.microcode,
    }
}

/// The report must come from the chip and the firmware levels that the certificate was issued for.
fn same_chip(vcek: &Certificate, report: &AttestationReport) -> Result<(), Reason> {
    let malformed = Reason::CertificateMalformed { certificate: Link::Vcek };
    let certificate = x509_cert::Certificate::from(vcek.clone());
    let extensions = certificate.tbs_certificate.extensions.unwrap_or_default();
    let value = |id: ObjectIdentifier| {
        extensions
            .iter()
            .find(|extension| extension.extn_id == id)
            .map(|extension| extension.extn_value.as_bytes())
    };
    // A VLEK has no chip id: the cloud provider's key signs for a group of chips.
    if let Some(chip) = value(CHIP_ID) {
        let chip = chip.strip_prefix(&[0x04, 0x40]).unwrap_or(chip);
        if !report.chip_id.starts_with(chip) || chip.is_empty() {
            return Err(Reason::SnpChip {
                certificate: chip.to_vec().into(),
                report: report.chip_id.to_vec().into(),
            });
        }
    }
    for (component, id) in LEVELS {
        // An INTEGER of one byte, with a leading zero above 127.
        let certified = value(id).and_then(|der| der.last().copied()).ok_or(malformed.clone())?;
        let reported = level(report.reported_tcb, component);
        if certified != reported {
            let component = component.to_owned();
            return Err(Reason::SnpTcb { component, certificate: certified, report: reported });
        }
    }
    Ok(())
}

/// Checks the reported firmware levels against the policy's minimum.
pub(crate) fn meets(minimum: SnpMinimum, report: &AttestationReport) -> Result<(), Reason> {
    let wanted = [
        ("bootloader", minimum.bootloader),
        ("tee", minimum.tee),
        ("snp", minimum.snp),
        ("microcode", minimum.microcode),
    ];
    for (component, minimum) in wanted {
        let found = level(report.reported_tcb, component);
        if found < minimum {
            return Err(Reason::SnpTcbBelow {
                component: component.to_owned(),
                minimum,
                report: found,
            });
        }
    }
    Ok(())
}

/// Reads the configuration document after its hash was found in the report's host data.
pub(crate) fn config(document: &str, report: &AttestationReport) -> Result<MrConfig, Reason> {
    let hash = Sha256::new()
        .chain_update(b"dstack-mr-config-v3:\0")
        .chain_update(document.as_bytes())
        .finalize();
    if hash[..] != report.host_data {
        return Err(Reason::SnpHostData {
            expected: hash.to_vec().into(),
            report: report.host_data.to_vec().into(),
        });
    }
    serde_json::from_str(document).map_err(|_| Reason::SnpConfigMalformed)
}
