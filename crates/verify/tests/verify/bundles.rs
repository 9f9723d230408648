//! Reading bundles and policies, and what a missing piece comes to.

use casemate_verify::{
    Bundle, BundleError, ClaimId, Missing, Outcome, Policy, State,
    bundle::{FORMAT, MAX_BUNDLE},
    hexes::HexBytes,
};
use serde_json::{Value, json};

use crate::{vectors, world::good};

fn bytes(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value = serde_json::to_value(&good().bundle).unwrap();
    change(&mut value);
    serde_json::to_vec(&value).unwrap()
}

#[test]
fn a_bundle_survives_the_round_trip() {
    let bundle = good().bundle;
    assert_eq!(Bundle::parse(&serde_json::to_vec(&bundle).unwrap()).unwrap(), bundle);
    let (snp, _) = vectors::dstack_snp();
    assert_eq!(Bundle::parse(&serde_json::to_vec(&snp).unwrap()).unwrap(), snp);
}

#[test]
fn what_is_not_a_bundle_is_refused_by_name() {
    let format = |found: &str| BundleError::Format { found: found.to_owned() };
    assert_eq!(Bundle::parse(b"{}"), Err(format("")));
    let newer = bytes(|value| value["format"] = "casemate-bundle/2".into());
    assert_eq!(Bundle::parse(&newer), Err(format("casemate-bundle/2")));
    assert!(matches!(Bundle::parse(b"\xff"), Err(BundleError::Json { line: 1, .. })));

    let unknown = bytes(|value| value["cvm"]["colour"] = json!(1));
    let error = Bundle::parse(&unknown).unwrap_err().to_string();
    assert!(error.contains("unknown field `colour`"), "{error}");

    let huge = vec![b' '; MAX_BUNDLE + 1];
    assert_eq!(Bundle::parse(&huge), Err(BundleError::TooLarge { found: MAX_BUNDLE + 1 }));
    let two = bytes(|value| {
        value["snp"] = serde_json::to_value(vectors::dstack_snp().0.snp).unwrap();
    });
    assert_eq!(Bundle::parse(&two), Err(BundleError::TwoReports));
    let short = bytes(|value| value["cvm"]["app_id"] = "00".into());
    assert!(Bundle::parse(&short).unwrap_err().to_string().contains("expected 20 bytes in hex"));
}

#[test]
fn every_length_has_a_limit() {
    let text = |length: usize| Value::from("0".repeat(length));
    let cases: [(&str, Vec<u8>); 5] = [
        ("tdx.quote", bytes(|value| value["tdx"]["quote"] = text(2 * (64 << 10) + 2))),
        ("app_compose", bytes(|value| value["app_compose"] = text((1 << 20) + 1))),
        ("vm_config", bytes(|value| value["vm_config"] = text((256 << 10) + 1))),
        ("gpu.token", bytes(|value| value["gpu"]["token"] = text((256 << 10) + 1))),
        (
            "tdx.event_log",
            bytes(|value| {
                let event = value["tdx"]["event_log"][0].clone();
                value["tdx"]["event_log"] = vec![event; 2049].into();
            }),
        ),
    ];
    for (field, bytes) in cases {
        match Bundle::parse(&bytes) {
            Err(BundleError::Limit { field: found, .. }) => assert_eq!(found, field),
            other => panic!("{field}: {other:?}"),
        }
    }
}

#[test]
fn what_is_missing_is_neither_proven_nor_failed() {
    let mut case = good();
    case.bundle.tdx = None;
    let verdict = case.verify();
    assert_eq!(verdict.outcome, Outcome::Missing);
    let expected = State::NotShown { why: Missing::NoEvidence };
    assert_eq!(verdict.state(ClaimId::Hardware), Some(&expected));
    let rests = State::NotShown { why: Missing::RestsOn { claim: ClaimId::Hardware } };
    assert_eq!(verdict.state(ClaimId::Tcb), Some(&rests));

    let mut case = good();
    case.bundle.app_compose = None;
    case.expected.nonce = None;
    let verdict = case.verify();
    let missing = State::NotShown { why: Missing::NotInBundle { field: "app_compose" } };
    assert_eq!(verdict.state(ClaimId::ComposeHash), Some(&missing));
    let not_yours = State::NotShown { why: Missing::NonceNotYours };
    assert_eq!(verdict.state(ClaimId::ReportData), Some(&not_yours));
    assert_eq!(verdict.outcome, Outcome::Missing);
}

#[test]
fn a_key_that_vouches_for_itself_proves_nothing() {
    let mut case = good();
    case.policy.kms_roots.clear();
    let verdict = case.verify();
    for id in [ClaimId::KmsRoot, ClaimId::AppKey, ClaimId::EnvKey] {
        assert_eq!(verdict.state(id), Some(&State::NotShown { why: Missing::NoKmsPinned }));
    }
}

#[test]
fn a_guests_own_word_about_its_image_counts_only_if_the_policy_says_so() {
    let mut case = good();
    case.policy.measurements.clear();
    let state = case.verify().state(ClaimId::OsImage).cloned();
    assert_eq!(state, Some(State::NotShown { why: Missing::ImageReportedOnly }));
    case.policy.reported_images = true;
    assert!(case.verify().proves(ClaimId::OsImage));
    case.bundle.tdx.as_mut().unwrap().event_log.retain(|event| event.event != "os-image-hash");
    case.quote_again(|_| ());
    let state = case.verify().state(ClaimId::OsImage).cloned();
    assert_eq!(state, Some(State::NotShown { why: Missing::NoEvent { event: "os-image-hash" } }));
}

#[test]
fn an_incomplete_set_of_measurements_proves_no_image() {
    let mut case = good();
    case.policy.measurements[0].rtmr2 = None;
    assert!(!case.verify().proves(ClaimId::Measurements));
    assert!(!case.verify().proves(ClaimId::OsImage));
}

#[test]
fn what_the_policy_allows_is_said_and_not_proven() {
    let mut case = good();
    case.policy.debug = true;
    case.policy.dev_images = true;
    case.policy.images[0].dev = true;
    case.policy.required.retain(|id| *id != ClaimId::NoLogin);
    case.quote_again(|report| report.debug = true);
    let verdict = case.verify();
    let debug = State::NotShown { why: Missing::DebugAllowed };
    assert_eq!(verdict.state(ClaimId::DebugOff), Some(&debug));
    let login = State::NotShown { why: Missing::LoginAllowed };
    assert_eq!(verdict.state(ClaimId::NoLogin), Some(&login));
    assert_eq!(verdict.outcome, Outcome::Simulated);
}

#[test]
fn dstacks_forms_of_report_data_are_known() {
    let data = casemate_verify::report_data(
        b"test content",
        casemate_verify::bundle::ReportDataForm::AppDataSha512,
    );
    // The value that dstack's own test has for its default hash.
    let expected = "7ea0b744ed5e9c0c83ff9f575668e1697652cd349f2027cdf26f918d4c53e8cd50b5ea9b449b4c3d50e20ae00ec29688d5a214e8daff8a10041f5d624dae8a01";
    assert_eq!(data.map(hex::encode).as_deref(), Some(expected));
    let raw = casemate_verify::bundle::ReportDataForm::Raw;
    assert_eq!(casemate_verify::report_data(&[0; 65], raw), None);
}

#[test]
fn policies_are_toml_or_json_and_strict_by_default() {
    let policy = Policy::parse("").unwrap();
    assert_eq!(policy, Policy::default());
    assert!(!policy.simulated && !policy.debug && policy.required.contains(&ClaimId::OsImage));
    let text = format!(
        "tcb_status = ['UpToDate', 'SWHardeningNeeded']\nadvisories = ['INTEL-SA-1']\nsimulated = true\n\
         required = ['hardware', 'compose-hash']\n[[kms_roots]]\nname = 'k'\nroot_public_key = '{}'\n\
         [[measurements]]\nimage = 'i'\nos_image_hash = '{}'\nvm_config = {{ cpu_count = 2 }}\n",
        "02".repeat(33),
        "03".repeat(32),
    );
    let toml = Policy::parse(&text).unwrap();
    assert_eq!(toml.measurements[0].vm_config["cpu_count"], json!(2));
    let json = Policy::parse(&serde_json::to_string(&toml).unwrap()).unwrap();
    assert_eq!(toml, json);
    assert!(Policy::parse("simulatd = true").unwrap_err().to_string().contains("simulatd"));
    assert_eq!(good().bundle.format, FORMAT);
    assert_eq!(HexBytes::parse("0xff"), Some(HexBytes(vec![255])));
}
