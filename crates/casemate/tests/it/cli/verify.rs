//! `casemate verify` on files: what it prints, and its exit codes.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use casemate_verify::{
    bundle::{Bundle, Cvm, FORMAT, Tdx},
    compose_hash,
    event_log::{Event, register_of},
    hexes::{Hex, HexBytes},
    simulate::{DevelopmentRoot, TdReport},
};
use serde_json::Value;

const COMPOSE: &str = "{\"name\":\"hello\"}";
const AT: &str = "2026-11-30T12:00:00Z";
const POLICY: &str = "simulated = true\nrequired = ['hardware', 'tcb', 'compose-hash', 'app-id']\n";

/// A directory with a good bundle, its root and a policy.
fn world() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let root = DevelopmentRoot::from_seed(&[5; 32]).unwrap();
    fs::write(dir.path().join("root.pem"), root.certificate_pem().unwrap()).unwrap();
    fs::write(dir.path().join("policy.toml"), POLICY).unwrap();
    let event_log = vec![
        Event::dstack("app-id", &[1; 20], 1),
        Event::dstack("compose-hash", &compose_hash(COMPOSE), 1),
    ];
    let mut report = TdReport { report_data: [7; 64], ..TdReport::default() };
    report.rtmr[3] = register_of(&event_log);
    let now = AT.parse().unwrap();
    let tdx = Tdx {
        quote: HexBytes(root.quote(&report).unwrap()),
        collateral: Some(root.collateral(now).unwrap()),
        event_log,
    };
    let name = Some("hello".to_owned());
    let bundle = Bundle {
        format: FORMAT.to_owned(),
        collected_at: now,
        cvm: Cvm { name, app_id: Some(Hex([1; 20])), ..Cvm::default() },
        tdx: Some(tdx),
        snp: None,
        report_data: None,
        app_compose: Some(COMPOSE.to_owned()),
        vm_config: None,
        image: None,
        kms: None,
        contracts: None,
        login: None,
        gpu: None,
    };
    write(dir.path(), &bundle);
    dir
}

fn write(dir: &Path, bundle: &Bundle) {
    fs::write(dir.join("bundle.json"), serde_json::to_vec(bundle).unwrap()).unwrap();
}

fn verify(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_casemate"))
        .args(["verify", "bundle.json", "--now", AT])
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap()
}

const GIVEN: [&str; 4] = ["--policy", "policy.toml", "--root", "laptop=root.pem"];

#[test]
fn a_good_bundle_is_reported_as_simulated() {
    let dir = world();
    let said = verify(dir.path(), &GIVEN);
    let out = String::from_utf8(said.stdout).unwrap();
    assert_eq!(said.status.code(), Some(0), "{out}");
    assert!(out.contains("the development root laptop (simulated)"), "{out}");
    assert!(
        out.contains("nothing is proven about hardware") && !out.contains("  proven "),
        "{out}"
    );

    let nonce = "07".repeat(64);
    let said = verify(dir.path(), &[&GIVEN[..], &["--json", "--nonce", &nonce]].concat());
    let json: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!((&json["outcome"], &json["verified_at"]), (&"simulated".into(), &AT.into()));
    let claims = json["claims"].as_array().unwrap();
    let claim = |name: &str| claims.iter().find(|claim| claim["claim"] == name).unwrap();
    assert_eq!(claim("report-data")["state"], "proven");
    assert_eq!(claim("report-data")["simulated"], true);
    assert_eq!(claim("report-data")["by"]["root"]["kind"], "development");
    assert_eq!(claim("gpu")["state"], "not-shown");
    assert_eq!(json["recorded"][1]["event"], "compose-hash");
}

#[test]
fn a_failed_claim_and_a_missing_one_have_different_exit_codes() {
    let dir = world();
    let bytes = fs::read(dir.path().join("bundle.json")).unwrap();
    let good = Bundle::parse(&bytes).unwrap();

    let mut changed = good.clone();
    changed.app_compose = Some("{\"name\":\"other\"}".to_owned());
    write(dir.path(), &changed);
    let said = verify(dir.path(), &GIVEN);
    let err = String::from_utf8(said.stderr).unwrap();
    assert_eq!(said.status.code(), Some(1), "{err}");
    assert!(err.contains("RTMR3 differs at event compose-hash: planned "), "{err}");

    let mut without = good.clone();
    without.app_compose = None;
    write(dir.path(), &without);
    let said = verify(dir.path(), &[&GIVEN[..], &["--json"]].concat());
    assert_eq!(said.status.code(), Some(3));
    let error: Value = serde_json::from_slice(&said.stderr).unwrap();
    assert_eq!(error["error"]["code"], "claim-missing");

    write(dir.path(), &good);
    let strict = verify(dir.path(), &["--root", "laptop=root.pem"]);
    let err = String::from_utf8(strict.stderr).unwrap();
    assert_eq!(strict.status.code(), Some(1), "{err}");
    assert!(err.contains("the policy asks for hardware"), "{err}");
    let unknown = verify(dir.path(), &["--policy", "policy.toml"]);
    assert!(String::from_utf8(unknown.stderr).unwrap().contains("does not end at a known root"));
}

#[test]
fn what_is_not_a_bundle_or_not_a_policy_is_refused_by_name() {
    let dir = world();
    fs::write(dir.path().join("policy.toml"), "simulatd = true\n").unwrap();
    let said = verify(dir.path(), &GIVEN);
    let err = String::from_utf8(said.stderr).unwrap();
    assert_eq!(said.status.code(), Some(2), "{err}");
    assert!(err.contains("simulatd"), "{err}");
    let said = verify(dir.path(), &["--root", "root.pem"]);
    assert_eq!(said.status.code(), Some(2));
    fs::write(dir.path().join("bundle.json"), "{\"format\":\"casemate-bundle/9\"}").unwrap();
    let said = verify(dir.path(), &[]);
    let err = String::from_utf8(said.stderr).unwrap();
    assert_eq!(said.status.code(), Some(1), "{err}");
    assert!(err.contains("casemate-bundle/9") && err.contains("casemate-bundle/1"), "{err}");
}
