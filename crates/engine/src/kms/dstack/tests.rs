//! Answers of a running dstack-kms 0.6.0.

use serde_json::json;

use super::*;

const KEY: &str = "02157eb504b033963ac4835f59ef822a68a259f556e67600f0face202712803024";
const SIGNED_AT: u64 = 1_795_229_871;
const CA_CERT: &str = "-----BEGIN CERTIFICATE-----\nMIIBmzCCAUCgAwIBAgIURmcif6PkxXHDfXhvsFQnqUaYfuQwCgYIKoZIzj0EAwIw\nKTEPMA0GA1UECgwGRHN0YWNrMRYwFAYDVQQDDA1Ec3RhY2sgS01TIENBMB4XDTc1\nMDEwMTAwMDAwMFoXDTM2MTExODAyNTc0N1owKTEPMA0GA1UECgwGRHN0YWNrMRYw\nFAYDVQQDDA1Ec3RhY2sgS01TIENBMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\nTEoSkzQJrcxFST0X+x38OVRhQfIdEhtu5YEJaWlbLU1Kv00YZjMtffqATjt36lzL\nb3yyNpZ/ny6MU1cAOFhO+qNGMEQwDwYDVR0PAQH/BAUDAweGADAdBgNVHQ4EFgQU\n5qYYqlh6KRGVeuLvKefCy34j/54wEgYDVR0TAQH/BAgwBgEB/wIBATAKBggqhkjO\nPQQDAgNJADBGAiEAkJSQmdKdvjP475+yddZ+UzS+YyEat8PkTrv7BgZJOk4CIQC+\nvx0W+n5QoZPLad/krH6WfK5aZ9VmjlAfphrjrgiPMw==\n-----END CERTIFICATE-----\n";

fn app() -> AppId {
    "1122334455667788990011223344556677889900".parse().unwrap()
}

fn keys() -> PinnedKeys {
    PinnedKeys::from_hex(&[KEY]).unwrap()
}

fn answer() -> serde_json::Value {
    json!({
        "public_key": "d92581fce83e2d484a248315426841c26fe9158768ad0f33b3f798b58dd71231",
        "signature": "f241149dcd748c88fa9d8e312f1b161651d5cdcae14174f7235210f0ea5b96bf12cb0f3d28847e89c1ccaa8cc4f4faa9e64e663d0f4e622c4367ea2ae6e08aa801",
        "timestamp": SIGNED_AT,
        "signature_v1": "a61d45cc2c6a7498c40a53f20103d30a774e539236bdfd1c6a94a18bb335f2fa051cf9401ef4ddedaaea572545817aebc6dc1697fe5126dd476b14c3b2c9f75100",
    })
}

fn read(answer: serde_json::Value) -> Result<SignedEnvKey, KmsError> {
    serde_json::from_value::<PublicKeyResponse>(answer).unwrap().read()
}

fn verified(answer: serde_json::Value, now: u64) -> Result<RootEpoch, KmsError> {
    verify::verify(&keys(), &app(), &read(answer)?, now)
}

#[test]
fn an_answer_of_a_real_kms_is_believed_for_five_minutes() {
    for now in [SIGNED_AT, SIGNED_AT + MAX_AGE_S, SIGNED_AT - MAX_AGE_S] {
        assert_eq!(verified(answer(), now), Ok(RootEpoch(0)));
    }
    assert_eq!(verified(answer(), SIGNED_AT + 301), Err(KmsError::Stale(-301)));
    assert_eq!(verified(answer(), SIGNED_AT - 301), Err(KmsError::Stale(301)));
    assert!(matches!(verified(answer(), 0), Err(KmsError::Stale(_))));
    assert!(matches!(verified(answer(), u64::MAX), Err(KmsError::Stale(i64::MIN..=-1))));
}

#[test]
fn every_changed_bit_is_noticed() {
    for field in ["public_key", "signature", "signature_v1"] {
        let text = answer()[field].as_str().unwrap().to_owned();
        for at in (0..text.len()).step_by(7) {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            let mut changed = answer();
            changed[field] = json!(String::from_utf8(bytes).unwrap());
            assert!(verified(changed, SIGNED_AT).is_err(), "{field}[{at}]");
        }
    }
    let mut later = answer();
    later["timestamp"] = json!(SIGNED_AT + 1);
    assert!(matches!(
        verified(later, SIGNED_AT),
        Err(KmsError::UnknownKey { field: "signature_v1", .. })
    ));
    let other = AppId::from_bytes([1; 20]);
    let read = read(answer()).unwrap();
    assert!(verify::verify(&keys(), &other, &read, SIGNED_AT).is_err(), "of another app");
}

#[test]
fn a_missing_field_is_named_whether_absent_null_or_empty() {
    for field in ["public_key", "signature", "timestamp", "signature_v1"] {
        let mut absent = answer();
        absent.as_object_mut().unwrap().remove(field);
        let mut null = answer();
        null[field] = json!(null);
        let mut empty = answer();
        empty[field] = if field == "timestamp" { json!(0) } else { json!("") };
        for answer in [absent, null, empty] {
            assert_eq!(read(answer), Err(KmsError::MissingField(field)));
        }
    }
    let mut short = answer();
    short["signature"] = json!("0xff");
    let why = "is not 65 bytes in hex".to_owned();
    assert_eq!(read(short), Err(KmsError::InvalidField { field: "signature", why }));
}

/// The key of the certificate as `openssl x509 -pubkey` prints it.
#[test]
fn a_real_kms_says_what_it_is() {
    let meta = json!({
        "ca_cert": CA_CERT, "allow_any_upgrade": false, "k256_pubkey": KEY, "bootstrap_info": null,
        "is_dev": false, "gateway_app_id": "", "kms_contract_address": "", "chain_id": 0,
        "app_auth_implementation": "", "a_later_field": {"epoch": 3},
    });
    let read =
        |meta: serde_json::Value| serde_json::from_value::<Meta>(meta).unwrap().read(&keys());
    let told = read(meta.clone()).unwrap();
    let spki = "3059301306072a8648ce3d020106082a8648ce3d030107034200044c4a12933409adcc45493d17fb1dfc39546141f21d121b6ee5810969695b2d4d4abf4d1866332d7dfa804e3b77ea5ccb6f7cb236967f9f2e8c53570038584efa";
    assert_eq!(hex::encode(told.ca_public_spki.unwrap()), spki);
    assert_eq!((told.gateway_app_id, told.contract, told.chain_id), (None, None, None));
    let mut garbage = meta.clone();
    garbage["ca_cert"] = json!("no certificate");
    assert_eq!(read(garbage).unwrap().ca_public_spki, None);
    let mut foreign = meta;
    foreign["k256_pubkey"] = json!(KEY.replace("02157e", "03157e"));
    assert!(matches!(read(foreign), Err(KmsError::UnknownKey { field: "k256_pubkey", .. })));
}

#[test]
fn keys_are_pinned_once_each_and_in_order() {
    let other = "033cb4f1e1a6f42f929658e838e766de28cc90907b7b39f4143b34c0b07135d58b";
    let two = PinnedKeys::from_hex(&[KEY.to_owned(), format!("0x{other}")]).unwrap();
    assert_eq!(hex::encode(two.first()), KEY);
    assert_eq!(two.epoch_of(&hex::decode(other).unwrap()), Some(RootEpoch(1)));
    assert_eq!(PinnedKeys::from_hex::<&str>(&[]), Err(InvalidPinnedKey::None));
    assert_eq!(PinnedKeys::from_hex(&[KEY, KEY]), Err(InvalidPinnedKey::Twice(1)));
    for text in ["", "zz", &KEY[2..], &format!("04{}", &KEY[2..]), &format!("02{}", "f".repeat(64))]
    {
        assert_eq!(PinnedKeys::from_hex(&[text]), Err(InvalidPinnedKey::NotAKey(0)), "{text}");
    }
}

#[test]
fn settings_that_cannot_be_used_are_named() {
    let config = |url: &str, ca_file: Option<&str>| DstackKmsConfig {
        url: url.to_owned(),
        keys: keys(),
        ca_file: ca_file.map(PathBuf::from),
        timeout: Duration::from_secs(1),
    };
    let field = |url, ca| DstackKms::open(&config(url, ca)).unwrap_err().field;
    assert_eq!(field("unix:/s", None), "url");
    assert_eq!(field("https://u:p@kms", None), "url");
    assert_eq!(field("https://kms", Some("/nowhere/at/all.pem")), "ca_file");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    std::fs::write(&path, "no certificate").unwrap();
    assert_eq!(field("https://kms", path.to_str()), "ca_file");
    std::fs::write(&path, CA_CERT).unwrap();
    DstackKms::open(&config("https://kms", path.to_str())).unwrap();
}
