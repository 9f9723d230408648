//! The certificates, revocation lists and signed documents below a development root.

use std::{str::FromStr, time::Duration};

use dcap_qvl::QuoteCollateralV3;
use jiff::{SignedDuration, Timestamp};
use p256::{
    ecdsa::{DerSignature, Signature, SigningKey, signature::Signer},
    pkcs8::LineEnding,
};
use serde_json::json;
use sha2::{Digest, Sha256};
use x509_cert::{
    Certificate, Version,
    builder::{Builder, CertificateBuilder, Profile},
    crl::{CertificateList, RevokedCert, TbsCertList},
    der::{
        self, Encode, EncodePem, Length, Tag, Writer,
        asn1::{Any, BitString, GeneralizedTime, ObjectIdentifier, OctetString, Uint, UtcTime},
        oid::AssociatedOid,
        referenced::OwnedToRef,
    },
    ext::{
        AsExtension, Extension,
        pkix::{AuthorityKeyIdentifier, CrlNumber},
    },
    name::Name,
    serial_number::SerialNumber,
    spki::{DynSignatureAlgorithmIdentifier, SubjectPublicKeyInfoOwned},
    time::{Time, Validity},
};

use super::{Collateral, DevelopmentRoot, SimulateError};

/// The processor family of every development platform: a value that Intel does not use.
pub(super) const FMSPC: [u8; 6] = [0xde, 0x7e, 0x10, 0x9e, 0x00, 0x00];
/// The security version numbers of every development platform.
pub(super) const CPU_SVN: [u8; 16] = [1; 16];
/// The PCE's security version number.
const PCE_SVN: u8 = 1;
/// The TDX module's signer, which real modules leave at zero.
const MODULE_SIGNER: [u8; 48] = [0; 48];
/// The signer of the quoting enclave.
pub(super) const QE_SIGNER: [u8; 32] = [0xde; 32];
/// The quoting enclave's product id and version.
pub(super) const QE_PRODUCT: u16 = 2;
pub(super) const QE_SVN: u16 = 4;

/// Certificates are valid from 2020-01-01 to 2049-12-31: a development root does not age.
const NOT_BEFORE: Duration = Duration::from_hours(438_288);
const NOT_AFTER: Duration = Duration::from_hours(701_256);

const ROOT_NAME: &str = "CN=Casemate Development Root CA,O=Casemate (simulated)";
/// `dcap-qvl` tells platform CAs from processor CAs by the word "Platform".
const PLATFORM_CA_NAME: &str = "CN=Casemate Development PCK Platform CA,O=Casemate (simulated)";
const PCK_NAME: &str = "CN=Casemate Development PCK Certificate,O=Casemate (simulated)";
const SIGNER_NAME: &str = "CN=Casemate Development TCB Signing,O=Casemate (simulated)";

const PLATFORM_CA: &str = "platform-ca";
const PCK: &str = "pck";
const TCB_SIGNER: &str = "tcb-signer";

const SGX_EXTENSION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1");

pub(super) fn public_key(key: &SigningKey) -> Result<SubjectPublicKeyInfoOwned, SimulateError> {
    SubjectPublicKeyInfoOwned::from_key(*key.verifying_key())
        .map_err(|error| SimulateError::Encode(error.to_string()))
}

pub(super) fn root_certificate(key: &SigningKey) -> Result<Certificate, SimulateError> {
    certificate(Profile::Root, SerialNumber::from(1u8), ROOT_NAME, key, key, None)
}

/// The key that signs reports of the quoting enclave of one platform.
pub(super) fn pck_key(root: &DevelopmentRoot, ppid: &[u8; 16]) -> SigningKey {
    root.key_of(&format!("{PCK}:{}", hex::encode(ppid)))
}

/// The PEM chain of a platform: its certificate, the platform CA, the root.
pub(super) fn pck_chain(root: &DevelopmentRoot, ppid: &[u8; 16]) -> Result<String, SimulateError> {
    let ca_key = root.key_of(PLATFORM_CA);
    let profile = leaf_below(PLATFORM_CA_NAME)?;
    let key = pck_key(root, ppid);
    let pck = certificate(
        profile,
        pck_serial(ppid)?,
        PCK_NAME,
        &key,
        &ca_key,
        Some(SgxExtension::new(ppid)?),
    )?;
    pem_chain(&[&pck, &platform_ca(root)?, &root.certificate])
}

pub(super) fn collateral(
    root: &DevelopmentRoot,
    says: &Collateral,
) -> Result<QuoteCollateralV3, SimulateError> {
    let issued = says.now.saturating_sub(SignedDuration::from_hours(24)).unwrap_or(Timestamp::MIN);
    let expires =
        says.now.saturating_add(SignedDuration::from_hours(24 * 30)).unwrap_or(Timestamp::MAX);
    let platform_ca = platform_ca(root)?;
    let signer_key = root.key_of(TCB_SIGNER);
    let signer = certificate(
        leaf_below(ROOT_NAME)?,
        SerialNumber::from(3u8),
        SIGNER_NAME,
        &signer_key,
        &root.key,
        None,
    )?;
    let signer_chain = pem_chain(&[&signer, &root.certificate])?;

    let tcb_info = tcb_info(says, issued, expires);
    let qe_identity = qe_identity(says, issued, expires);
    let revoked = says.revoked.iter().map(pck_serial).collect::<Result<Vec<_>, _>>()?;
    let revoked_ca = if says.platform_ca_revoked {
        vec![platform_ca.tbs_certificate.serial_number.clone()]
    } else {
        Vec::new()
    };
    Ok(QuoteCollateralV3 {
        pck_crl_issuer_chain: pem_chain(&[&platform_ca, &root.certificate])?,
        root_ca_crl: revocation_list(&root.key, &root.certificate, revoked_ca, issued, expires)?,
        pck_crl: revocation_list(
            &root.key_of(PLATFORM_CA),
            &platform_ca,
            revoked,
            issued,
            expires,
        )?,
        tcb_info_issuer_chain: signer_chain.clone(),
        tcb_info_signature: sign(&signer_key, tcb_info.as_bytes()),
        tcb_info,
        qe_identity_issuer_chain: signer_chain,
        qe_identity_signature: sign(&signer_key, qe_identity.as_bytes()),
        qe_identity,
        pck_certificate_chain: None,
    })
}

/// An ECDSA signature as `r` and `s`, 32 bytes each.
pub(super) fn sign(key: &SigningKey, message: &[u8]) -> Vec<u8> {
    let signature: Signature = key.sign(message);
    signature.to_bytes().to_vec()
}

fn tcb_info(says: &Collateral, issued: Timestamp, expires: Timestamp) -> String {
    let components = |svn: u8| vec![json!({ "svn": svn }); 16];
    json!({
        "id": "TDX",
        "version": 3,
        "issueDate": rfc3339(issued),
        "nextUpdate": rfc3339(expires),
        "fmspc": hex::encode(FMSPC),
        "pceId": "0000",
        "tcbType": 0,
        "tcbEvaluationDataNumber": 1,
        "tdxModule": {
            "mrsigner": hex::encode(MODULE_SIGNER),
            "attributes": hex::encode([0; 8]),
            "attributesMask": hex::encode([0xff; 8]),
        },
        "tcbLevels": [{
            "tcb": {
                "sgxtcbcomponents": components(CPU_SVN[0]),
                "pcesvn": PCE_SVN,
                "tdxtcbcomponents": components(0),
            },
            "tcbDate": rfc3339(issued),
            "tcbStatus": says.tcb_status,
            "advisoryIDs": says.advisories,
        }],
    })
    .to_string()
}

fn qe_identity(says: &Collateral, issued: Timestamp, expires: Timestamp) -> String {
    json!({
        "id": "TD_QE",
        "version": 2,
        "issueDate": rfc3339(issued),
        "nextUpdate": rfc3339(expires),
        "tcbEvaluationDataNumber": 1,
        "miscselect": "00000000",
        "miscselectMask": "ffffffff",
        "attributes": hex::encode([0; 16]),
        "attributesMask": hex::encode([0xff; 16]),
        "mrsigner": hex::encode(QE_SIGNER),
        "isvprodid": QE_PRODUCT,
        "tcbLevels": [{
            "tcb": { "isvsvn": QE_SVN },
            "tcbDate": rfc3339(issued),
            "tcbStatus": says.qe_status,
        }],
    })
    .to_string()
}

/// Whole seconds, as Intel writes them.
fn rfc3339(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}

fn platform_ca(root: &DevelopmentRoot) -> Result<Certificate, SimulateError> {
    let profile =
        Profile::SubCA { issuer: Name::from_str(ROOT_NAME)?, path_len_constraint: Some(0) };
    certificate(
        profile,
        SerialNumber::from(2u8),
        PLATFORM_CA_NAME,
        &root.key_of(PLATFORM_CA),
        &root.key,
        None,
    )
}

fn leaf_below(issuer: &str) -> Result<Profile, SimulateError> {
    Ok(Profile::Leaf {
        issuer: Name::from_str(issuer)?,
        enable_key_agreement: false,
        enable_key_encipherment: false,
    })
}

/// Sixteen bytes of a hash; the first bit is cleared because a serial number is positive, the second is set
/// because a leading zero byte would be dropped.
fn pck_serial(ppid: &[u8; 16]) -> Result<SerialNumber, SimulateError> {
    let mut serial: [u8; 16] = [0; 16];
    serial.copy_from_slice(&Sha256::digest(ppid)[..16]);
    serial[0] = (serial[0] & 0x7f) | 0x40;
    Ok(SerialNumber::new(&serial)?)
}

fn certificate(
    profile: Profile,
    serial: SerialNumber,
    subject: &str,
    key: &SigningKey,
    issuer: &SigningKey,
    extension: Option<SgxExtension>,
) -> Result<Certificate, SimulateError> {
    let validity = Validity {
        not_before: Time::UtcTime(UtcTime::from_unix_duration(NOT_BEFORE)?),
        not_after: Time::UtcTime(UtcTime::from_unix_duration(NOT_AFTER)?),
    };
    let subject = Name::from_str(subject)?;
    let mut builder =
        CertificateBuilder::new(profile, serial, validity, subject, public_key(key)?, issuer)?;
    if let Some(extension) = extension {
        builder.add_extension(&extension)?;
    }
    Ok(builder.build::<DerSignature>()?)
}

fn revocation_list(
    key: &SigningKey,
    issuer: &Certificate,
    revoked: Vec<SerialNumber>,
    issued: Timestamp,
    expires: Timestamp,
) -> Result<Vec<u8>, SimulateError> {
    let algorithm = key
        .signature_algorithm_identifier()
        .map_err(|error| SimulateError::Encode(error.to_string()))?;
    let subject = &issuer.tbs_certificate.subject;
    let issuer_key = issuer.tbs_certificate.subject_public_key_info.owned_to_ref();
    let key_identifier = AuthorityKeyIdentifier::try_from(issuer_key)
        .map_err(|error| SimulateError::Encode(error.to_string()))?;
    let number = CrlNumber::from(Uint::new(&[1])?);
    let extensions = vec![
        key_identifier.to_extension(subject, &[])?,
        Extension {
            extn_id: CrlNumber::OID,
            critical: false,
            extn_value: OctetString::new(number.to_der()?)?,
        },
    ];
    let revocation_date = time(issued)?;
    let revoked: Vec<RevokedCert> = revoked
        .into_iter()
        .map(|serial_number| RevokedCert {
            serial_number,
            revocation_date,
            crl_entry_extensions: None,
        })
        .collect();
    let list = TbsCertList {
        version: Version::V2,
        signature: algorithm.clone(),
        issuer: subject.clone(),
        this_update: revocation_date,
        next_update: Some(time(expires)?),
        revoked_certificates: if revoked.is_empty() { None } else { Some(revoked) },
        crl_extensions: Some(extensions),
    };
    let signature: DerSignature = key.sign(&list.to_der()?);
    let signature = BitString::from_bytes(signature.as_bytes())?;
    Ok(CertificateList { tbs_cert_list: list, signature_algorithm: algorithm, signature }
        .to_der()?)
}

/// RFC 5280: two-digit years up to 2049, four digits from 2050.
fn time(at: Timestamp) -> Result<Time, SimulateError> {
    let seconds = u64::try_from(at.as_second()).map_err(|_| SimulateError::Time(at))?;
    let since_epoch = Duration::from_secs(seconds);
    match UtcTime::from_unix_duration(since_epoch) {
        Ok(time) => Ok(Time::UtcTime(time)),
        Err(_) => Ok(Time::GeneralTime(
            GeneralizedTime::from_unix_duration(since_epoch)
                .map_err(|_| SimulateError::Time(at))?,
        )),
    }
}

fn pem_chain(certificates: &[&Certificate]) -> Result<String, SimulateError> {
    let mut chain = String::new();
    for certificate in certificates {
        chain.push_str(&certificate.to_pem(LineEnding::LF)?);
    }
    Ok(chain)
}

/// Intel's extension of a PCK certificate: which platform it is and at which security versions.
struct SgxExtension(Vec<u8>);

impl SgxExtension {
    fn new(ppid: &[u8; 16]) -> Result<Self, SimulateError> {
        let octets = |bytes: &[u8]| Any::new(Tag::OctetString, bytes);
        let integer = |value: u8| Any::new(Tag::Integer, [value].as_slice());
        let mut tcb = Vec::new();
        for (index, svn) in (1..).zip(CPU_SVN) {
            tcb.push(entry(&[2, index], integer(svn)?)?);
        }
        tcb.push(entry(&[2, 17], integer(PCE_SVN)?)?);
        tcb.push(entry(&[2, 18], octets(&CPU_SVN)?)?);
        let entries = vec![
            entry(&[1], octets(ppid)?)?,
            entry(&[2], sequence(&tcb)?)?,
            entry(&[3], octets(&[0; 2])?)?,
            entry(&[4], octets(&FMSPC)?)?,
            entry(&[5], Any::new(Tag::Enumerated, [0].as_slice())?)?,
        ];
        Ok(Self(entries.to_der()?))
    }
}

/// An identifier below Intel's and its value.
fn entry(arcs: &[u32], value: Any) -> Result<Any, SimulateError> {
    let mut id = SGX_EXTENSION;
    for arc in arcs {
        id = id.push_arc(*arc).map_err(|error| SimulateError::Encode(error.to_string()))?;
    }
    sequence(&[Any::from(id), value])
}

fn sequence(items: &[Any]) -> Result<Any, SimulateError> {
    Ok(Any::encode_from(&items.to_vec())?)
}

impl AssociatedOid for SgxExtension {
    const OID: ObjectIdentifier = SGX_EXTENSION;
}

impl Encode for SgxExtension {
    fn encoded_len(&self) -> der::Result<Length> {
        Length::try_from(self.0.len())
    }

    fn encode(&self, encoder: &mut impl Writer) -> der::Result<()> {
        encoder.write(&self.0)
    }
}

impl AsExtension for SgxExtension {
    fn critical(&self, _subject: &Name, _extensions: &[Extension]) -> bool {
        false
    }
}
