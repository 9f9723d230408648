//! Certificates as replies show them.

use casemate_api::attestation::{Certificate, CertificateIssuer, CertificateSubject};
use sha2::{Digest, Sha256};
use x509_cert::{
    der::{
        Decode, Encode, Tag, Tagged,
        asn1::{Ia5StringRef, OctetString, PrintableStringRef, Utf8StringRef},
        oid::ObjectIdentifier,
    },
    ext::pkix::{BasicConstraints, SubjectAltName, name::GeneralName},
    name::Name,
    time::Time,
};

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const COUNTRY: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.6");
const LOCALITY: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.7");
const STATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.8");
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
const ALT_NAMES: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
const CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
/// Extensions of dstack (`ra-tls/src/oids.rs`): app id, usage.
const APP_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.62397.1.3");
const USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.62397.1.4");

/// A PEM chain, the certificate of the app first; `quote` is the quote in it. `None`: it cannot be read.
pub fn chain(pem: &str, quote: Option<&str>) -> Option<Vec<Certificate>> {
    if pem.trim().is_empty() {
        return Some(Vec::new());
    }
    let chain = x509_cert::Certificate::load_pem_chain(pem.as_bytes()).ok()?;
    let shown = |(position, certificate): (usize, &x509_cert::Certificate)| {
        let mut shown = certificate_of(certificate)?;
        shown.position_in_chain = u32::try_from(position).ok();
        shown.quote = quote.filter(|_| position == 0).map(str::to_owned);
        Some(shown)
    };
    chain.iter().enumerate().map(shown).collect()
}

fn certificate_of(certificate: &x509_cert::Certificate) -> Option<Certificate> {
    let signed = &certificate.tbs_certificate;
    let extension = |oid: ObjectIdentifier| {
        let all = signed.extensions.as_deref().unwrap_or_default();
        all.iter().find(|one| one.extn_id == oid).map(|one| one.extn_value.as_bytes())
    };
    let own = |oid| {
        let value = extension(oid)?;
        let inner = OctetString::from_der(value);
        Some(inner.map_or_else(|_| value.to_vec(), |inner| inner.as_bytes().to_vec()))
    };
    let names = extension(ALT_NAMES).and_then(|der| SubjectAltName::from_der(der).ok());
    let dns = |name: &GeneralName| match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        _ => None,
    };
    let constraints = extension(CONSTRAINTS).and_then(|der| BasicConstraints::from_der(der).ok());
    let of = |name: &Name, oid| attribute(name, oid);
    Some(Certificate {
        subject: CertificateSubject {
            common_name: of(&signed.subject, COMMON_NAME),
            organization: of(&signed.subject, ORGANIZATION),
            country: of(&signed.subject, COUNTRY),
            state: of(&signed.subject, STATE),
            locality: of(&signed.subject, LOCALITY),
        },
        issuer: CertificateIssuer {
            common_name: of(&signed.issuer, COMMON_NAME),
            organization: of(&signed.issuer, ORGANIZATION),
            country: of(&signed.issuer, COUNTRY),
        },
        serial_number: hex::encode(signed.serial_number.as_bytes()),
        not_before: time(&signed.validity.not_before),
        not_after: time(&signed.validity.not_after),
        version: format!("v{}", signed.version as u8 + 1),
        fingerprint: hex::encode(Sha256::digest(certificate.to_der().ok()?)),
        signature_algorithm: algorithm(&certificate.signature_algorithm.oid),
        sans: names.map(|names| names.0.iter().filter_map(dns).collect()),
        is_ca: constraints.is_some_and(|constraints| constraints.ca),
        position_in_chain: None,
        quote: None,
        app_id: own(APP_ID).map(hex::encode),
        cert_usage: own(USAGE).and_then(|usage| String::from_utf8(usage).ok()),
    })
}

fn attribute(name: &Name, oid: ObjectIdentifier) -> Option<String> {
    let found = name.0.iter().flat_map(|part| part.0.iter()).find(|one| one.oid == oid)?;
    match found.value.tag() {
        Tag::Utf8String => {
            found.value.decode_as::<Utf8StringRef<'_>>().ok().map(|it| it.to_string())
        }
        Tag::PrintableString => {
            found.value.decode_as::<PrintableStringRef<'_>>().ok().map(|it| it.to_string())
        }
        Tag::Ia5String => found.value.decode_as::<Ia5StringRef<'_>>().ok().map(|it| it.to_string()),
        _ => None,
    }
}

fn time(time: &Time) -> String {
    let seconds = i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| String::new(), |at| at.to_string())
}

/// As OpenSSL writes it.
fn algorithm(oid: &ObjectIdentifier) -> String {
    match oid.to_string().as_str() {
        "1.2.840.10045.4.3.2" => "ecdsa-with-SHA256".to_owned(),
        "1.2.840.10045.4.3.3" => "ecdsa-with-SHA384".to_owned(),
        "1.2.840.113549.1.1.11" => "sha256WithRSAEncryption".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use casemate_verify::simulate::DevelopmentRoot;

    use super::*;

    #[test]
    fn a_chain_is_shown_in_its_order() {
        let root = DevelopmentRoot::from_seed(&[1; 32]).unwrap();
        let pem = root.certificate_pem().unwrap();
        let shown = chain(&format!("{pem}{pem}"), Some("aa")).unwrap();
        let places: Vec<_> = shown.iter().map(|one| one.position_in_chain).collect();
        assert_eq!(places, [Some(0), Some(1)]);
        assert_eq!((shown[0].quote.as_deref(), shown[1].quote.as_deref()), (Some("aa"), None));
        let first = &shown[0];
        assert!(first.is_ca && first.version == "v3", "{first:?}");
        assert_eq!(first.subject.common_name, first.issuer.common_name);
        assert!(first.subject.common_name.is_some());
        assert_eq!(first.signature_algorithm, "ecdsa-with-SHA256");
        assert!(first.not_before < first.not_after && first.not_after.ends_with('Z'));
        assert_eq!(chain("", None), Some(Vec::new()));
        assert_eq!(chain("no PEM", None), None);
    }
}
