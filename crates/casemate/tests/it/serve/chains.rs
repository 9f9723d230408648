//! Governed KMS: configured, checked, served. The chains here do not answer; `conformance/phala-cli/governed`
//! has chains that do.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::{Value, json};

use crate::process::{COMPOSE, Process, command};

/// Represents a key in the URL of an endpoint.
const SECRET: &str = "rpc-s3cret";
/// An address without a listener.
const NOWHERE: &str = "http://127.0.0.1:1/rpc-s3cret";
const ADDRESS: &str = "0x4B4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b";

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn kms(dir: &Path, args: &[&str]) -> Said {
    let all = [&["admin", "kms"], args].concat();
    let said = command(dir, &all, &[]).output().unwrap();
    Said {
        code: said.status.code(),
        out: String::from_utf8_lossy(&said.stdout).into_owned(),
        err: String::from_utf8_lossy(&said.stderr).into_owned(),
    }
}

const FIRST: [&str; 9] =
    ["add", "--slug", "kms-base-1", "--address", ADDRESS, "--chain", "base", "--rpc-url", NOWHERE];

#[test]
fn a_kms_is_added_to_a_file_or_printed() {
    let dir = tempfile::tempdir().unwrap();
    let printed = kms(dir.path(), &[&FIRST[..], &["--unchecked"]].concat());
    assert_eq!(printed.code, Some(0), "{}", printed.err);
    for line in ["[[chains]]", "chain_id = 8453", "[[kms.contracts]]", "slug = \"kms-base-1\""] {
        assert!(printed.out.contains(line), "{line}: {}", printed.out);
    }
    let file = dir.path().join("casemate.toml");
    fs::write(&file, "region = \"moon\"").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let config = ["--config", "casemate.toml", "--unchecked"];
    let added = kms(dir.path(), &[&FIRST[..], &config].concat());
    assert_eq!(added.code, Some(0), "{}", added.err);
    let second = ["add", "--slug", "kms-base-2", "--chain", "base", "--address"];
    let other = ADDRESS.replace('4', "5");
    let added = kms(dir.path(), &[&second[..], &[&other], &config].concat());
    assert_eq!(added.code, Some(0), "{}", added.err);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("region = \"moon\"\n[[chains]]\n"), "{text}");
    assert_eq!(text.matches("[[kms.contracts]]").count(), 2, "{text}");
    assert_eq!(text.matches("[[chains]]").count(), 1, "{text}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
    let made = [&FIRST[..], &["--config", "new.toml", "--unchecked"]].concat();
    assert_eq!(kms(dir.path(), &made).code, Some(0));
    let mode = fs::metadata(dir.path().join("new.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it may hold keys");
}

#[test]
fn what_cannot_be_is_refused_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("casemate.toml");
    fs::write(&file, "region = \"moon\"\n").unwrap();
    let config = ["--config", "casemate.toml"];
    let refused = |args: &[&str], code: i32, words: &str| {
        let said = kms(dir.path(), &[args, &config].concat());
        assert_eq!(said.code, Some(code), "{args:?}: {}", said.err);
        assert!(said.err.contains(words), "{words}: {}", said.err);
        assert!(!said.err.contains(SECRET) && !said.out.contains(SECRET), "{}", said.err);
        assert_eq!(fs::read_to_string(&file).unwrap(), "region = \"moon\"\n");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
    };
    refused(&FIRST, 1, "the chain does not answer");
    refused(&FIRST[..7], 2, "--rpc-url");
    let slug = FIRST.map(|arg| if arg == "kms-base-1" { "builtin" } else { arg });
    refused(&slug, 2, "kms.contracts[0].slug");
    let chain = FIRST.map(|arg| if arg == "base" { "polygon" } else { arg });
    refused(&chain, 2, "--chain-id");
    refused(&[&chain[..], &["--chain-id", "137"]].concat(), 2, "chains[0].kind");
    let url = FIRST.map(|arg| if arg == NOWHERE { "ftp://x/rpc-s3cret" } else { arg });
    refused(&url, 2, "chains[0].rpc_urls[0]");
    let address = FIRST.map(|arg| if arg == ADDRESS { "0x12" } else { arg });
    refused(&address, 2, "not a valid address");
}

#[test]
fn a_chain_that_does_not_answer_is_told_by_the_name_of_its_host() {
    let dir = tempfile::tempdir().unwrap();
    let nothing = kms(dir.path(), &["check"]);
    assert_eq!(nothing.code, Some(0), "{}", nothing.err);
    let added = kms(dir.path(), &[&FIRST[..], &["--config", "c.toml", "--unchecked"]].concat());
    assert_eq!(added.code, Some(0), "{}", added.err);
    let table = kms(dir.path(), &["check", "--config", "c.toml"]);
    assert_eq!(table.code, Some(1));
    assert!(table.out.contains("127.0.0.1:1") && table.out.contains("kms-base-1"), "{}", table.out);
    let said = kms(dir.path(), &["check", "--config", "c.toml", "--json"]);
    assert_eq!(said.code, Some(1));
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(report["chains"][0]["endpoints"][0]["block"], Value::Null, "{report}");
    assert_eq!(report["contracts"][0]["exists"], Value::Null);
    assert_eq!(report["problems"].as_array().unwrap().len(), 2, "{report}");
    for text in [&table.out, &table.err, &said.out, &said.err] {
        assert!(!text.contains(SECRET), "{text}");
    }
}

#[tokio::test]
async fn the_service_runs_without_its_chain_and_says_what_that_means() {
    let dir = tempfile::tempdir().unwrap();
    let chains = format!("[{{name=\"base\",chain_id=8453,rpc_urls=[\"{NOWHERE}\"]}}]");
    let contracts = format!("[{{slug=\"kms-base-1\",chain=\"base\",address=\"{ADDRESS}\"}}]");
    let variables = [("CASEMATE_CHAINS", &*chains), ("CASEMATE_KMS__CONTRACTS", &*contracts)];
    let process = Process::start(dir.path(), &["--node", "sim"], &variables).await;
    let (status, list) = process.send("GET", "/kms?is_onchain=true", Value::Null).await;
    assert_eq!((status, &list["items"][0]["slug"]), (200, &json!("kms-base-1")), "{list}");
    assert_eq!(list["items"][0]["kms_contract_address"], ADDRESS.to_lowercase());
    let body = json!({
        "name": "my-app", "kms": "BASE", "compose_file": { "docker_compose_file": COMPOSE },
    });
    let (status, prepared) = process.send("POST", "/cvms/provision", body).await;
    assert_eq!((status, &prepared["app_id"]), (200, &Value::Null), "{prepared}");
    let commit = json!({
        "app_id": "11".repeat(20), "compose_hash": prepared["compose_hash"], "kms_id": "base",
    });
    let (status, refused) = process.send("POST", "/cvms", commit).await;
    assert_eq!((status, &refused["error_code"]), (503, &json!("ERR-20-023")), "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("127.0.0.1:1"), "{refused}");
    let (_, info) = process.send("GET", "/kms/kms-base-1/info", Value::Null).await;
    assert!(info["on_chain"]["error"].is_string(), "{info}");
    for text in [refused.to_string(), list.to_string(), info.to_string(), process.log()] {
        assert!(!text.contains(SECRET), "{text}");
    }
    process.stop().await;
    // Invalid chains are reported at the start.
    let bad = chains.replace("http:", "ftp:");
    let said = command(dir.path(), &["serve", "--node", "none"], &[("CASEMATE_CHAINS", &bad)]);
    let said = { said }.output().unwrap();
    let words = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(said.status.code(), Some(2), "{words}");
    assert!(words.contains("chains[0].rpc_urls[0]") && !words.contains(SECRET), "{words}");
}
