//! Evidence of real hardware (`fixtures/README.md`).

use casemate_verify::{
    Bundle, ClaimId, Expected, Missing, Outcome, Policy, QuoteCollateralV3, Reason, Roots, State,
    bundle::{Cvm, FORMAT, Snp, Tdx},
    claim::Root,
    hexes::{Hex, HexBytes},
    policy::{AcceptedImage, ExpectedMeasurements, SnpMinimum},
    verify,
};
use jiff::Timestamp;

use crate::world::{self, alter, pem};

const MILAN_VCEK: &[u8] = include_bytes!("../fixtures/vcek_milan.der");

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

fn bundle(collected_at: Timestamp) -> Bundle {
    Bundle {
        format: FORMAT.to_owned(),
        collected_at,
        cvm: Cvm::default(),
        tdx: None,
        snp: None,
        report_data: None,
        app_compose: None,
        vm_config: None,
        image: None,
        kms: None,
        contracts: None,
        login: None,
        gpu: None,
    }
}

pub fn intel(quote: &[u8], collateral: &str, now: Timestamp) -> Bundle {
    let collateral: QuoteCollateralV3 = serde_json::from_str(collateral).unwrap();
    let quote = HexBytes(quote.to_vec());
    let tdx = Tdx { quote, collateral: Some(collateral), event_log: Vec::new() };
    Bundle { tdx: Some(tdx), ..bundle(now) }
}

/// The sample of `dcap-qvl`, at a time when its collateral was valid.
pub fn sample() -> (Bundle, Timestamp) {
    let now = at("2025-07-01T00:00:00Z");
    let quote = include_bytes!("../fixtures/tdx_quote");
    (intel(quote, include_str!("../fixtures/tdx_quote_collateral.json"), now), now)
}

fn judge(bundle: &Bundle, policy: &Policy, now: Timestamp) -> casemate_verify::Verdict {
    verify(bundle, policy, &Roots::vendors(), &Expected::default(), now)
}

#[test]
fn the_public_quote_is_proven_under_intels_root() {
    let (bundle, now) = sample();
    let verdict = judge(&bundle, &Policy::default(), now);
    for id in [ClaimId::Hardware, ClaimId::Tcb, ClaimId::DebugOff] {
        let Some(State::Proven { by }) = verdict.state(id) else { panic!("{id}: {verdict:?}") };
        assert_eq!(by.root, Root::Intel);
    }
    assert_eq!(verdict.outcome, Outcome::Missing, "its guest recorded no compose hash");
}

#[test]
fn expired_collateral_is_not_called_revoked() {
    let (bundle, _) = sample();
    let verdict = judge(&bundle, &Policy::default(), at("2026-11-30T00:00:00Z"));
    let (claim, reason) = verdict.reasons().next().unwrap();
    assert_eq!(claim, ClaimId::Hardware);
    assert!(matches!(reason, Reason::CollateralExpired { .. }), "{reason}");
    assert!(!reason.to_string().to_lowercase().contains("revoked"), "{reason}");
    let mut without = bundle.clone();
    without.tdx.as_mut().unwrap().collateral = None;
    let verdict = judge(&without, &Policy::default(), at("2026-11-30T00:00:00Z"));
    assert_eq!(verdict.outcome, Outcome::Missing);
    let expected = State::NotShown { why: Missing::NoCollateral };
    assert_eq!(verdict.state(ClaimId::Hardware), Some(&expected));
}

#[test]
fn a_platform_below_every_level_needs_an_update() {
    let quote = include_bytes!("../fixtures/tdx_quote_outdated");
    let collateral = include_str!("../fixtures/tdx_quote_outdated_collateral.json");
    let parsed: QuoteCollateralV3 = serde_json::from_str(collateral).unwrap();
    let info: serde_json::Value = serde_json::from_str(&parsed.tcb_info).unwrap();
    let now = at(info["issueDate"].as_str().unwrap()) + jiff::SignedDuration::from_hours(24);
    let bundle = intel(quote, collateral, now);
    let verdict = judge(&bundle, &Policy::default(), now);
    let expected = State::Failed { reason: Reason::NoTcbLevel };
    assert_eq!(verdict.state(ClaimId::Hardware), Some(&expected));
    assert!(expected.to_string().ends_with("the platform needs a firmware update"));
}

#[test]
fn a_development_root_never_stands_for_intel() {
    let case = world::good();
    let verdict = case.verify();
    assert_eq!(verdict.outcome, Outcome::Simulated);
    let state = verdict.state(ClaimId::Hardware).unwrap();
    assert_eq!(state.word(), "simulated");
    assert!(state.to_string().contains("the development root laptop (simulated)"), "{state}");
    let json = serde_json::to_string(&verdict).unwrap();
    assert!(!json.contains("intel"), "{json}");

    let mut vendors = case.clone();
    vendors.roots = Roots::vendors();
    let verdict = vendors.verify();
    let expected = State::Failed { reason: Reason::UnknownRoot };
    assert_eq!(verdict.state(ClaimId::Hardware), Some(&expected));
}

fn milan() -> (Bundle, Timestamp) {
    let now = at("2024-06-01T00:00:00Z");
    let report = HexBytes::parse(include_str!("../fixtures/report_milan.hex").trim()).unwrap();
    let snp = Snp {
        report,
        ark: include_str!("../fixtures/milan_ark.pem").to_owned(),
        ask: include_str!("../fixtures/milan_ask.pem").to_owned(),
        vcek: pem(MILAN_VCEK),
        mr_config: None,
    };
    (Bundle { snp: Some(snp), ..bundle(now) }, now)
}

/// A report of a dstack guest with its configuration document.
pub fn dstack_snp() -> (Bundle, Timestamp) {
    let now = at("2026-07-01T00:00:00Z");
    let document = include_str!("../fixtures/dstack_snp_mr_config.json").to_owned();
    let ids: serde_json::Value = serde_json::from_str(&document).unwrap();
    let id = |name: &str| HexBytes::parse(ids[name].as_str().unwrap()).unwrap();
    let snp = Snp {
        report: HexBytes::parse(include_str!("../fixtures/dstack_snp_report.hex")).unwrap(),
        ark: include_str!("../fixtures/milan_ark.pem").to_owned(),
        ask: include_str!("../fixtures/milan_ask.pem").to_owned(),
        vcek: include_str!("../fixtures/dstack_snp_vcek.pem").to_owned(),
        mr_config: Some(document),
    };
    let cvm = Cvm {
        app_id: Some(Hex(id("app_id").0.try_into().unwrap())),
        instance_id: Some(id("instance_id")),
        ..Cvm::default()
    };
    (Bundle { snp: Some(snp), cvm, ..bundle(now) }, now)
}

/// What the report of [`dstack_snp`] measures (its README in the dstack repository names the beginning).
fn dstack_policy(report: &[u8]) -> Policy {
    let image = AcceptedImage {
        name: "dstack-nvidia-0.6.0.a2".to_owned(),
        os_image_hash: Hex([5; 32]),
        dev: false,
    };
    let measured = ExpectedMeasurements {
        os_image_hash: Hex([5; 32]),
        image: image.name.clone(),
        node_revision: None,
        vm_config: serde_json::Map::new(),
        mrtd: None,
        rtmr0: None,
        rtmr1: None,
        rtmr2: None,
        snp_measurement: Some(Hex(report[0x90..0xc0].try_into().unwrap())),
    };
    Policy { images: vec![image], measurements: vec![measured], ..Policy::default() }
}

#[test]
fn a_dstack_guest_on_sev_snp_is_proven_with_its_identity() {
    let (bundle, now) = dstack_snp();
    let report = bundle.snp.as_ref().unwrap().report.0.clone();
    assert_eq!(hex::encode(&report[0x90..0xa0]), "7f51e17f72a04d5422cb2c0099816653");
    let planned: [u8; 32] =
        hex::decode("86e59625be93207bc2351c4d1bba20037cec8e168da6b18f559af5af657b7a23")
            .unwrap()
            .try_into()
            .unwrap();
    let expected = Expected {
        nonce: Some(b"attest-test-fixture-2026".to_vec()),
        compose_hash: Some(planned),
        ..Expected::default()
    };
    let verdict = verify(&bundle, &dstack_policy(&report), &Roots::vendors(), &expected, now);
    for id in [
        ClaimId::Hardware,
        ClaimId::Tcb,
        ClaimId::DebugOff,
        ClaimId::ReportData,
        ClaimId::EventLog,
        ClaimId::Measurements,
        ClaimId::OsImage,
        ClaimId::ComposeHash,
        ClaimId::AppId,
        ClaimId::InstanceId,
    ] {
        assert!(verdict.proves(id), "{id}: {verdict:?}");
    }
    assert_eq!(verdict.outcome, Outcome::Proven);
    let minimum = SnpMinimum { microcode: 255, ..SnpMinimum::default() };
    let policy = Policy { snp_minimum: minimum, ..dstack_policy(&report) };
    let verdict = verify(&bundle, &policy, &Roots::vendors(), &expected, now);
    let text = verdict.reasons().map(|(_, reason)| reason.to_string()).collect::<String>();
    assert!(text.starts_with("TCB OutOfDate: microcode level "), "{text}");
}

#[test]
fn the_sev_crates_report_is_proven_under_amds_root() {
    let (bundle, now) = milan();
    let verdict = judge(&bundle, &Policy::default(), now);
    let Some(State::Proven { by }) = verdict.state(ClaimId::Hardware) else {
        panic!("{verdict:?}")
    };
    assert_eq!(by.root, Root::Amd { product: "Milan".to_owned() });
}

#[test]
fn certificates_that_are_not_shown_are_missing_and_amds_root_is_known() {
    let (mut bundle, now) = dstack_snp();
    let whole = judge(&bundle, &Policy::default(), now);
    assert!(whole.state(ClaimId::Hardware).unwrap().is_proven());
    bundle.snp.as_mut().unwrap().ark.clear();
    assert_eq!(judge(&bundle, &Policy::default(), now).claims, whole.claims);

    for (field, is_ask) in [("snp.ask", true), ("snp.vcek", false)] {
        let (mut bundle, now) = dstack_snp();
        let snp = bundle.snp.as_mut().unwrap();
        if is_ask {
            snp.ask.clear();
        } else {
            snp.vcek.clear();
        }
        let verdict = judge(&bundle, &Policy::default(), now);
        let expected = State::NotShown { why: Missing::NotInBundle { field } };
        assert_eq!(verdict.state(ClaimId::Hardware), Some(&expected));
        assert!(!verdict.claims.iter().any(|claim| claim.state.is_proven()), "{field}");
    }
    // Another certificate in its place is no certificate of AMD's.
    let (mut bundle, now) = dstack_snp();
    let snp = bundle.snp.as_mut().unwrap();
    snp.ark.clear();
    snp.ask = snp.vcek.clone();
    let verdict = judge(&bundle, &Policy::default(), now);
    let expected = State::Failed { reason: Reason::UnknownRoot };
    assert_eq!(verdict.state(ClaimId::Hardware), Some(&expected));
}

/// Changes to a real report and its certificates, and the code of the reason for each.
#[test]
fn changed_reports_are_refused() {
    type Change = fn(&mut Snp);
    let cases: [(&str, Change, &str); 9] = [
        ("measurement", |snp| snp.report.0[0x90] ^= 1, "snp-signature"),
        ("report data", |snp| snp.report.0[0x50] ^= 1, "snp-signature"),
        ("policy", |snp| snp.report.0[0x08] ^= 1, "snp-signature"),
        ("signature", |snp| snp.report.0[0x2a0] ^= 1, "snp-signature"),
        ("length", |snp| snp.report.0.truncate(1183), "snp-malformed"),
        ("root", |snp| snp.ark = snp.ask.clone(), "unknown-root"),
        ("intermediate", |snp| snp.ask = snp.ark.clone(), "certificate-signature"),
        ("chip certificate", |snp| snp.vcek = alter(&snp.vcek, 0), "certificate-signature"),
        ("another chip", |snp| snp.vcek = pem(MILAN_VCEK), "snp-signature"),
    ];
    for (name, change, code) in cases {
        let (mut bundle, now) = dstack_snp();
        change(bundle.snp.as_mut().unwrap());
        let verdict = judge(&bundle, &Policy::default(), now);
        let Some(State::Failed { reason }) = verdict.state(ClaimId::Hardware) else {
            panic!("{name}: {verdict:?}")
        };
        assert_eq!(serde_json::to_value(reason).unwrap()["code"], code, "{name}: {reason}");
        assert!(!verdict.claims.iter().any(|claim| claim.state.is_proven()), "{name}");
    }
}
