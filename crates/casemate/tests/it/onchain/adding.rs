//! `casemate admin kms` against contracts: which may be added, and what a check says of them.

use std::{fmt::Write, path::Path};

use casemate_server::{
    config::{Config, Overrides},
    serve::chains::{NodeFacts, check},
};
use serde_json::{Value, json};

use super::chain::Chain;
use crate::process::command;

/// Exit code, stdout and stderr of `casemate admin kms`.
fn kms(dir: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let all = [&["admin", "kms"], args].concat();
    let said = command(dir, &all, &[]).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (said.status.code(), text(&said.stdout), text(&said.stderr))
}

fn add(chain: &Chain, dir: &Path, address: &str, more: &[&str]) -> (Option<i32>, String) {
    let args = ["add", "--slug", "kms-1", "--address", address, "--chain", "base"];
    let url = ["--rpc-url", chain.rpc.as_str(), "--config", "c.toml"];
    let (code, _, err) = kms(dir, &[&args[..], &url, more].concat());
    (code, err)
}

/// `setGatewayAppId(string)` of a text of at most 64 bytes.
fn set_gateway(id: &str) -> String {
    let hex = id.bytes().fold(String::new(), |mut hex, byte| {
        // Infallible: writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    let text = format!("{hex:0<128}");
    format!("0x3971db27{:064x}{:064x}{text}", 32, id.len())
}

#[tokio::test]
async fn only_a_contract_through_which_apps_can_be_deployed_is_added() {
    let chain = Chain::start(8453);
    let dir = tempfile::tempdir().unwrap();
    let refused = |address: &str, words: &str| {
        let (code, err) = add(&chain, dir.path(), address, &[]);
        assert_eq!(code, Some(1), "{err}");
        assert!(err.contains(words), "{words}: {err}");
        assert!(!dir.path().join("c.toml").exists(), "nothing is written");
    };
    refused(&chain.kms_implementation, "the implementation behind a proxy");
    refused(&chain.app_implementation, "no contract of a KMS answers");
    refused(&chain.accounts[3].address, "no contract of a KMS answers");
    // A proxy that knows no implementation of apps.
    let slot = json!([chain.kms, "0x9", format!("0x{:064x}", 0)]);
    let before = chain.call("eth_getStorageAt", json!([chain.kms, "0x9", "latest"])).await;
    chain.call("anvil_setStorageAt", slot).await;
    refused(&chain.kms, "setAppImplementation");
    chain.call("anvil_setStorageAt", json!([chain.kms, "0x9", before])).await;
    // The gateway is that of the contract.
    let (owner, gateway) = (chain.accounts[0].address.clone(), "5f".repeat(20));
    chain.send(&owner, &chain.kms, &set_gateway(&gateway)).await;
    refused(&chain.kms, "gatewayAppId()");
    let (code, err) = add(&chain, dir.path(), &chain.kms, &["--gateway-app-id", &gateway]);
    assert_eq!(code, Some(0), "{err}");

    let (code, out, err) = kms(dir.path(), &["check", "--config", "c.toml", "--json"]);
    assert_eq!(code, Some(0), "{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    let seen = &report["contracts"][0];
    assert_eq!(seen["app_implementation"], chain.app_implementation.to_lowercase(), "{report}");
    assert_eq!(seen["owner"], owner.to_lowercase());
    assert_eq!((&seen["gateway_app_id"], &seen["key_matches"]), (&json!(gateway), &json!(null)));
    assert!(
        seen.get("devices").is_none(),
        "which hosts run apps is not for the KMS contract to say"
    );
    chain.send(&owner, &chain.kms, &set_gateway(&"6a".repeat(20))).await;
    let (code, out, _) = kms(dir.path(), &["check", "--config", "c.toml", "--json"]);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, report["problems"].as_array().unwrap().len()), (Some(1), 1), "{report}");
}

/// `setKmsInfo((bytes,bytes,bytes,bytes))` of this key, with nothing else.
fn set_key(k256: &str) -> String {
    let words = k256.len().div_ceil(64);
    let key = format!("{:064x}{k256:0<width$}", k256.len() / 2, width = words * 64);
    // After the four offsets stands the key; the other three are one empty text.
    let empty = 4 * 32 + key.len() / 2;
    format!("0x7d025352{:064x}{:064x}{}{key}{:064x}", 32, 128, format!("{empty:064x}").repeat(3), 0)
}

#[tokio::test]
async fn a_contract_with_the_key_of_another_kms_is_told() {
    let chain = Chain::start(8453);
    let dir = tempfile::tempdir().unwrap();
    let (code, err) = add(&chain, dir.path(), &chain.kms, &[]);
    assert_eq!(code, Some(0), "{err}");
    let config = Config::load(Some(dir.path().join("c.toml")), &Overrides::default()).unwrap();
    let ours = format!("02{}", "ab".repeat(32));
    let nodes =
        NodeFacts { kms_keys: vec![(chain.kms.parse().unwrap(), ours)], ..NodeFacts::default() };
    let told = async || {
        let report = check(&config, &nodes).await.unwrap();
        (report.contracts[0].key_matches, report.problems)
    };
    assert_eq!(told().await, (None, Vec::new()), "the contract names no key");
    let owner = &chain.accounts[0].address;
    // The same point, not compressed.
    chain
        .send(owner, &chain.kms, &set_key(&format!("04{}{}", "ab".repeat(32), "cd".repeat(32))))
        .await;
    assert_eq!(told().await, (Some(true), Vec::new()));
    chain.send(owner, &chain.kms, &set_key(&format!("03{}", "cd".repeat(32)))).await;
    let (matches, problems) = told().await;
    assert_eq!(matches, Some(false));
    let [problem] = problems.as_slice() else { panic!("{problems:?}") };
    assert!(problem.contains("kmsInfo of 0x") && problem.contains("setKmsInfo"), "{problem}");
}
