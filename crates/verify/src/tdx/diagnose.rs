//! Why `dcap-qvl` refused a quote.
//!
//! `dcap-qvl` reports errors as text, and nothing here is decided by reading a message. So the steps are taken
//! again one by one, in its order, and the first that fails gives the reason. A mistake here can misname a refusal;
//! it cannot accept a quote.

use dcap_qvl::{
    INTEL_QE_VENDOR_ID, QeIdentity, QuoteCollateralV3, TcbInfo, TcbStatus,
    intel::{PckExtension, parse_pck_extension},
    quote::{AuthDataV3, Quote, Report, TDAttributes},
};
use jiff::Timestamp;
use p256::ecdsa::{DerSignature, Signature, VerifyingKey, signature::Verifier};
use sha2::{Digest, Sha256};
use x509_cert::{
    Certificate,
    crl::CertificateList,
    der::{Decode, Encode},
};

use super::timestamp;
use crate::{
    hexes::Hex,
    reason::{Attribute, HeaderField, Link, Part, Reason},
};

/// The first step that fails, if one of these does.
pub(super) fn reason<'a>(
    quote: &Quote,
    raw: &[u8],
    collateral: &QuoteCollateralV3,
    roots: impl Iterator<Item = &'a [u8]>,
    now: Timestamp,
) -> Option<Reason> {
    Diagnosis { quote, raw, collateral, now }.run(roots).err()
}

struct Diagnosis<'a> {
    quote: &'a Quote,
    raw: &'a [u8],
    collateral: &'a QuoteCollateralV3,
    now: Timestamp,
}

impl Diagnosis<'_> {
    fn run<'a>(&self, roots: impl Iterator<Item = &'a [u8]>) -> Result<(), Reason> {
        self.header()?;
        let auth = self.quote.auth_data.clone().into_v3();
        let chain = self.platform_chain(&auth)?;
        let (platform, above) = chain.split_first().ok_or(malformed(Link::Platform))?;
        let platform_ca = above.first().ok_or(malformed(Link::PlatformCa))?;
        let root = root_of(&chain, platform_ca, roots).ok_or(Reason::UnknownRoot)?;
        let root_key = key_of(&root).ok_or(Reason::UnknownRoot)?;

        let root_list =
            self.list(&self.collateral.root_ca_crl, &root_key, Part::RootRevocationList)?;
        self.certificate(platform_ca, &root_key, Link::PlatformCa)?;
        if revokes(&root_list, platform_ca) {
            return Err(Reason::CertificateRevoked { certificate: Link::PlatformCa });
        }
        let ca_key = key_of(platform_ca).ok_or(malformed(Link::PlatformCa))?;
        let platform_list =
            self.list(&self.collateral.pck_crl, &ca_key, Part::PlatformRevocationList)?;
        let tcb_info = self.tcb_info(&root_key, &root_list)?;
        let identity = self.qe_identity(&root_key, &root_list)?;
        self.certificate(platform, &ca_key, Link::Platform)?;
        if revokes(&platform_list, platform) {
            return Err(Reason::CertificateRevoked { certificate: Link::Platform });
        }
        let platform_key = key_of(platform).ok_or(malformed(Link::Platform))?;
        quoting_enclave(&auth, &platform_key, &identity)?;
        self.quote_signature(&auth)?;
        let extension = platform.to_der().ok().and_then(|der| parse_pck_extension(&der).ok());
        let extension = extension.ok_or(malformed(Link::Platform))?;
        self.level(&extension, &tcb_info, &auth, &identity)?;
        self.attributes()
    }

    fn header(&self) -> Result<(), Reason> {
        let header = &self.quote.header;
        let field = if !matches!(header.version, 4 | 5) {
            HeaderField::Version
        } else if header.qe_vendor_id != INTEL_QE_VENDOR_ID {
            HeaderField::Vendor
        } else if header.tee_type != 0x81 || self.quote.report.is_sgx() {
            HeaderField::TeeType
        } else if header.attestation_key_type != 2 {
            HeaderField::KeyType
        } else {
            return Ok(());
        };
        Err(Reason::QuoteHeader { field })
    }

    /// The platform's certificates, leaf first: from the collateral if it has them, from the quote otherwise.
    fn platform_chain(&self, auth: &AuthDataV3) -> Result<Vec<Certificate>, Reason> {
        let given = self.collateral.pck_certificate_chain.as_deref().map(str::as_bytes);
        let pem = given.unwrap_or(&auth.certification_data.body.data);
        // Intel ends the chain in a quote with a zero byte.
        let end = pem.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        Certificate::load_pem_chain(&pem[..end]).map_err(|_| malformed(Link::Platform))
    }

    fn certificate(
        &self,
        certificate: &Certificate,
        issuer: &VerifyingKey,
        link: Link,
    ) -> Result<(), Reason> {
        let message = certificate.tbs_certificate.to_der().map_err(|_| malformed(link))?;
        if !signed(issuer, &message, certificate.signature.raw_bytes()) {
            return Err(Reason::CertificateSignature { certificate: link });
        }
        let validity = &certificate.tbs_certificate.validity;
        let (from, until) = (timestamp(validity.not_before), timestamp(validity.not_after));
        if self.now < from {
            return Err(Reason::CertificateNotYetValid { certificate: link, from });
        }
        if self.now > until {
            return Err(Reason::CertificateExpired { certificate: link, until });
        }
        Ok(())
    }

    fn list(
        &self,
        der: &[u8],
        issuer: &VerifyingKey,
        part: Part,
    ) -> Result<CertificateList, Reason> {
        let list =
            CertificateList::from_der(der).map_err(|_| Reason::CollateralMalformed { part })?;
        let message =
            list.tbs_cert_list.to_der().map_err(|_| Reason::CollateralMalformed { part })?;
        if !signed(issuer, &message, list.signature.raw_bytes()) {
            return Err(Reason::CollateralSignature { part });
        }
        let next = list.tbs_cert_list.next_update.ok_or(Reason::CollateralMalformed { part })?;
        self.in_force(part, timestamp(list.tbs_cert_list.this_update), timestamp(next))?;
        Ok(list)
    }

    fn in_force(&self, part: Part, from: Timestamp, until: Timestamp) -> Result<(), Reason> {
        if self.now > until {
            return Err(Reason::CollateralExpired { part, until });
        }
        if self.now < from {
            return Err(Reason::CollateralNotYetValid { part, from });
        }
        Ok(())
    }

    fn tcb_info(&self, root: &VerifyingKey, list: &CertificateList) -> Result<TcbInfo, Reason> {
        let part = Part::TcbInfo;
        let chain = &self.collateral.tcb_info_issuer_chain;
        let text = &self.collateral.tcb_info;
        let signer = self.signer(chain, root, list, Link::TcbSigner)?;
        if !signed_raw(&signer, text.as_bytes(), &self.collateral.tcb_info_signature) {
            return Err(Reason::CollateralSignature { part });
        }
        let info: TcbInfo =
            serde_json::from_str(text).map_err(|_| Reason::CollateralMalformed { part })?;
        self.document_in_force(part, &info.issue_date, &info.next_update)?;
        Ok(info)
    }

    fn qe_identity(
        &self,
        root: &VerifyingKey,
        list: &CertificateList,
    ) -> Result<QeIdentity, Reason> {
        let part = Part::QeIdentity;
        let chain = &self.collateral.qe_identity_issuer_chain;
        let text = &self.collateral.qe_identity;
        let signer = self.signer(chain, root, list, Link::QeSigner)?;
        if !signed_raw(&signer, text.as_bytes(), &self.collateral.qe_identity_signature) {
            return Err(Reason::CollateralSignature { part });
        }
        let identity: QeIdentity =
            serde_json::from_str(text).map_err(|_| Reason::CollateralMalformed { part })?;
        self.document_in_force(part, &identity.issue_date, &identity.next_update)?;
        Ok(identity)
    }

    fn document_in_force(&self, part: Part, from: &str, until: &str) -> Result<(), Reason> {
        let parse = |text: &str| text.parse().map_err(|_| Reason::CollateralMalformed { part });
        self.in_force(part, parse(from)?, parse(until)?)
    }

    fn signer(
        &self,
        chain: &str,
        root: &VerifyingKey,
        list: &CertificateList,
        link: Link,
    ) -> Result<VerifyingKey, Reason> {
        let chain = Certificate::load_pem_chain(chain.as_bytes()).map_err(|_| malformed(link))?;
        let signer = chain.first().ok_or(malformed(link))?;
        self.certificate(signer, root, link)?;
        if revokes(list, signer) {
            return Err(Reason::CertificateRevoked { certificate: link });
        }
        key_of(signer).ok_or(malformed(link))
    }

    fn quote_signature(&self, auth: &AuthDataV3) -> Result<(), Reason> {
        let point = [&[4], auth.ecdsa_attestation_key.as_slice()].concat();
        let message = self.raw.get(..self.quote.signed_length()).ok_or(Reason::QuoteMalformed)?;
        let key = VerifyingKey::from_sec1_bytes(&point).map_err(|_| Reason::QuoteSignature)?;
        if signed_raw(&key, message, &auth.ecdsa_signature) {
            Ok(())
        } else {
            Err(Reason::QuoteSignature)
        }
    }

    fn level(
        &self,
        platform: &PckExtension,
        info: &TcbInfo,
        auth: &AuthDataV3,
        identity: &QeIdentity,
    ) -> Result<(), Reason> {
        if hex::decode(&info.fmspc).ok().as_deref() != Some(&platform.fmspc) {
            let collateral = info.fmspc.chars().take(64).collect();
            return Err(Reason::CollateralOtherPlatform {
                quoted: Hex(platform.fmspc),
                collateral,
            });
        }
        let report = self.quote.report.as_td10().ok_or(Reason::QuoteMalformed)?;
        let met = |level: &&dcap_qvl::TcbLevel| {
            let short =
                level.shortfalls(&platform.cpu_svn, platform.pce_svn, Some(&report.tee_tcb_svn));
            short.is_ok_and(|short| short.is_empty())
        };
        // The first level met, in the order of the document, which Intel keeps sorted from the newest.
        let level = info.tcb_levels.iter().find(met).ok_or(Reason::NoTcbLevel)?;
        let qe_svn = u16::from_le_bytes([auth.qe_report[258], auth.qe_report[259]]);
        let qe_level = identity.tcb_levels.iter().find(|level| qe_svn >= level.tcb.isvsvn);
        let qe_level = qe_level.ok_or(Reason::NoTcbLevel)?;
        if level.tcb_status == TcbStatus::Revoked {
            return Err(Reason::TcbRevoked { advisories: level.advisory_ids.clone() });
        }
        if qe_level.tcb_status == TcbStatus::Revoked {
            return Err(Reason::TcbRevoked { advisories: qe_level.advisory_ids.clone() });
        }
        let module =
            info.tdx_module_identity(&report.tee_tcb_svn).map_err(|_| Reason::ModuleDiffers)?;
        let signer = match (module, &info.tdx_module) {
            (Some(module), _) => &module.mrsigner,
            (None, Some(module)) => &module.mrsigner,
            (None, None) => return Err(Reason::ModuleDiffers),
        };
        if hex::decode(signer).ok().as_deref() != Some(&report.mr_signer_seam) {
            return Err(Reason::ModuleDiffers);
        }
        Ok(())
    }

    fn attributes(&self) -> Result<(), Reason> {
        let report = self.quote.report.as_td10().ok_or(Reason::QuoteMalformed)?;
        let attributes =
            TDAttributes::parse(report.td_attributes).map_err(|_| Reason::QuoteMalformed)?;
        let service_td = match &self.quote.report {
            Report::TD15(report) => report.mr_service_td != [0; 48],
            Report::TD15Ex(report) => report.base.mr_service_td != [0; 48],
            _ => false,
        };
        let attribute = if attributes.reserved != 0 {
            Attribute::Reserved
        } else if attributes.sec.migratable {
            Attribute::Migratable
        } else if attributes.sec.servtd_ext || service_td {
            Attribute::ServiceTd
        } else if !attributes.sec.sept_ve_disable {
            Attribute::SeptVe
        } else {
            return Ok(());
        };
        Err(Reason::VmAttribute { attribute })
    }
}

/// Offsets in the quoting enclave's report.
const QE_MR_SIGNER: usize = 128;
const QE_PRODUCT: usize = 256;
const QE_REPORT_DATA: usize = 320;

fn quoting_enclave(
    auth: &AuthDataV3,
    platform: &VerifyingKey,
    identity: &QeIdentity,
) -> Result<(), Reason> {
    let report = &auth.qe_report;
    if !signed_raw(platform, report, &auth.qe_report_signature) {
        return Err(Reason::QeReportSignature);
    }
    let hash = Sha256::new()
        .chain_update(auth.ecdsa_attestation_key)
        .chain_update(&auth.qe_auth_data.data)
        .finalize();
    if report[QE_REPORT_DATA..QE_REPORT_DATA + 32] != hash[..] {
        return Err(Reason::QeReportHash);
    }
    let product = u16::from_le_bytes([report[QE_PRODUCT], report[QE_PRODUCT + 1]]);
    if report[QE_MR_SIGNER..QE_MR_SIGNER + 32] != identity.mrsigner || product != identity.isvprodid
    {
        return Err(Reason::QeIdentityDiffers);
    }
    Ok(())
}

/// The known root that the chain names or that signed its CA.
fn root_of<'a>(
    chain: &[Certificate],
    platform_ca: &Certificate,
    roots: impl Iterator<Item = &'a [u8]>,
) -> Option<Certificate> {
    let parsed: Vec<Certificate> =
        roots.filter_map(|der| Certificate::from_der(der).ok()).collect();
    let named = parsed.iter().find(|root| chain.contains(root));
    let signer = || {
        let message = platform_ca.tbs_certificate.to_der().ok()?;
        let signature = platform_ca.signature.raw_bytes();
        parsed.iter().find(|root| key_of(root).is_some_and(|key| signed(&key, &message, signature)))
    };
    named.or_else(signer).cloned()
}

fn malformed(certificate: Link) -> Reason {
    Reason::CertificateMalformed { certificate }
}

fn revokes(list: &CertificateList, certificate: &Certificate) -> bool {
    let serial = &certificate.tbs_certificate.serial_number;
    list.tbs_cert_list
        .revoked_certificates
        .iter()
        .flatten()
        .any(|entry| entry.serial_number == *serial)
}

fn key_of(certificate: &Certificate) -> Option<VerifyingKey> {
    let key = &certificate.tbs_certificate.subject_public_key_info.subject_public_key;
    VerifyingKey::from_sec1_bytes(key.raw_bytes()).ok()
}

fn signed(key: &VerifyingKey, message: &[u8], signature: &[u8]) -> bool {
    DerSignature::try_from(signature).is_ok_and(|signature| key.verify(message, &signature).is_ok())
}

fn signed_raw(key: &VerifyingKey, message: &[u8], signature: &[u8]) -> bool {
    Signature::from_slice(signature).is_ok_and(|signature| key.verify(message, &signature).is_ok())
}
