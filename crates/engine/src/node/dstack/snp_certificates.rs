//! The certificates that an SEV-SNP guest shows with its report: two certificates, or the table that the kernel hands
//! to the guest. Format of the table: GHCB specification, 4.1.8.1; entries of a GUID, an offset and a length
//! (little-endian), the last one all zero.

use x509_cert::{
    Certificate,
    der::{Decode, DecodePem, EncodePem, pem::LineEnding},
};

const ASK: [u8; 16] = *b"\x4a\xb7\xb3\x79\xbb\xac\x4f\xe4\xa0\x2f\x05\xae\xf3\x27\xc7\x82";
const VCEK: [u8; 16] = *b"\x63\xda\x75\x8d\xe6\x64\x45\x64\xad\xc5\xf4\xb9\x3b\xe8\xac\xcd";
/// GUID, offset and length.
const ENTRY: usize = 24;

/// The certificates that belong to a report, PEM.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SnpCertificates {
    /// AMD's intermediate certificate.
    pub ask: Option<String>,
    /// The certificate of the chip.
    pub vcek: Option<String>,
}

/// Reads what a guest shows. Empty: it expects the verifier to ask AMD.
pub(super) fn read(chain: &[Vec<u8>]) -> Result<SnpCertificates, String> {
    match chain {
        [] => Ok(SnpCertificates::default()),
        [ask, vcek] => {
            Ok(SnpCertificates { ask: Some(pem("ASK", ask)?), vcek: Some(pem("VCEK", vcek)?) })
        }
        [table] => Ok(SnpCertificates {
            ask: entry(table, ASK)?.map(|der| pem("ASK", der)).transpose()?,
            vcek: entry(table, VCEK)?.map(|der| pem("VCEK", der)).transpose()?,
        }),
        _ => Err(format!("{} certificates, where one table or two are expected", chain.len())),
    }
}

fn pem(name: &str, bytes: &[u8]) -> Result<String, String> {
    let read = Certificate::from_pem(bytes).or_else(|_| Certificate::from_der(bytes));
    let written = read.and_then(|certificate| certificate.to_pem(LineEnding::LF));
    written.map_err(|error| format!("the {name} certificate cannot be read: {error}"))
}

/// The certificate with this GUID in the kernel's table.
fn entry(table: &[u8], guid: [u8; 16]) -> Result<Option<&[u8]>, String> {
    for entry in table.chunks_exact(ENTRY) {
        if entry.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let number = |at: usize| {
            let bytes = entry.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.and_then(|bytes| usize::try_from(u32::from_le_bytes(bytes)).ok())
        };
        if entry.starts_with(&guid) {
            let found = number(16).zip(number(20)).and_then(|(offset, length)| {
                table.get(offset..offset.checked_add(length)?).filter(|_| length > 0)
            });
            return found.map(Some).ok_or_else(|| {
                "an entry of the certificate table is outside of the table".to_owned()
            });
        }
    }
    Err("the certificate table has no end".to_owned())
}

#[cfg(test)]
mod tests {
    use casemate_verify::simulate::DevelopmentRoot;
    use x509_cert::der::Encode;

    use super::*;

    fn certificate(seed: u8) -> Vec<u8> {
        DevelopmentRoot::from_seed(&[seed; 32]).unwrap().certificate_der().unwrap()
    }

    fn table(certificates: &[([u8; 16], &[u8])]) -> Vec<u8> {
        let mut offset = ENTRY * (certificates.len() + 1);
        let (mut entries, mut data) = (Vec::new(), Vec::new());
        for (guid, der) in certificates {
            entries.extend_from_slice(guid);
            entries.extend_from_slice(&u32::try_from(offset).unwrap().to_le_bytes());
            entries.extend_from_slice(&u32::try_from(der.len()).unwrap().to_le_bytes());
            data.extend_from_slice(der);
            offset += der.len();
        }
        entries.extend_from_slice(&[0; ENTRY]);
        entries.extend(data);
        entries
    }

    fn der(pem: Option<&str>) -> Option<Vec<u8>> {
        pem.map(|pem| Certificate::from_pem(pem).unwrap().to_der().unwrap())
    }

    #[test]
    fn both_forms_hold_the_same_certificates() {
        let (ask, vcek) = (certificate(1), certificate(2));
        let other = ([7; 16], &*vcek);
        let tables = [
            table(&[(ASK, &ask), (VCEK, &vcek)]),
            table(&[other, (VCEK, &vcek), other, (ASK, &ask)]),
        ];
        let pair = vec![ask.clone(), pem("VCEK", &vcek).unwrap().into_bytes()];
        for chain in tables.into_iter().map(|table| vec![table]).chain([pair]) {
            let read = read(&chain).unwrap();
            assert_eq!(der(read.ask.as_deref()).as_ref(), Some(&ask));
            assert_eq!(der(read.vcek.as_deref()).as_ref(), Some(&vcek));
        }
        let only_chip = read(&[table(&[(VCEK, &vcek)])]).unwrap();
        assert_eq!((only_chip.ask, only_chip.vcek.is_some()), (None, true));
        assert_eq!(read(&[]), Ok(SnpCertificates::default()));
        assert!(read(&[ask.clone(), ask.clone(), ask]).is_err());
    }

    /// Every table that ends early, or whose entry leads outside, is refused.
    #[test]
    fn a_table_that_is_cut_or_leads_outside_is_refused() {
        let chip = certificate(2);
        let whole = table(&[(VCEK, &chip)]);
        for length in 0..whole.len() {
            assert!(read(&[whole[..length].to_vec()]).is_err(), "{length}");
        }
        for (at, value) in [(16, u32::MAX), (20, u32::MAX), (20, 0), (20, 7)] {
            let mut wrong = whole.clone();
            wrong[at..at + 4].copy_from_slice(&value.to_le_bytes());
            assert!(read(&[wrong]).is_err(), "{at} {value}");
        }
    }
}
