//! A dstack-kms of the configuration that is away: the service runs, and says so.

use std::{fs, time::Duration};

use casemate_testing::wait::poll;
use serde_json::{Value, json};

use crate::process::{COMPOSE, Process, command};

const KEY: &str = "02157eb504b033963ac4835f59ef822a68a259f556e67600f0face202712803024";
const OTHER: &str = "033cb4f1e1a6f42f929658e838e766de28cc90907b7b39f4143b34c0b07135d58b";

/// An address without a listener, and a key that is trusted there.
fn configuration(key: &str) -> String {
    format!(
        "[[kms.dstack]]\nslug = \"rack-kms\"\nurl = \"https://127.0.0.1:1\"\n\
         k256_public_keys = [\"{key}\"]\n"
    )
}

#[tokio::test]
async fn the_service_runs_without_its_dstack_kms_and_shows_why() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("casemate.toml");
    fs::write(&file, configuration(KEY)).unwrap();
    let config = ["--config", file.to_str().unwrap()];
    let process =
        Process::start(dir.path(), &[&["--node", "sim"], &config[..]].concat(), &[]).await;
    let mut seen = Value::Null;
    let looked = poll(Duration::from_mins(1), async || {
        let (_, list) = process.send("GET", "/admin/kms", Value::Null).await;
        seen = list["kms"][1].clone();
        (seen["looks"].as_u64() > Some(0)).then_some(())
    });
    assert!(looked.await.is_some(), "{seen}");
    assert_eq!((&seen["slug"], &seen["reachable"]), (&json!("rack-kms"), &json!(false)), "{seen}");
    assert!(seen["cause"].as_str().unwrap().contains("refused"), "{seen}");
    let said = command(dir.path(), &["admin", "kms", "list"], &[]).output().unwrap();
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(text.contains("rack-kms") && text.contains("cannot be reached"), "{text}");
    // What needs no key of it works; what does says why it has none.
    let body = |kms: &str| {
        json!({
            "name": "my-app", "kms_id": kms, "compose_file": { "docker_compose_file": COMPOSE },
        })
    };
    let (status, made) = process.send("POST", "/cvms/provision", body("builtin")).await;
    assert_eq!(status, 200, "{made}");
    let (status, refused) = process.send("POST", "/cvms/provision", body("rack-kms")).await;
    assert_eq!((status, &refused["error_code"]), (400, &json!("ERR-02-011")), "{refused}");
    let path = format!("/kms/rack-kms/pubkey/{}", "11".repeat(20));
    let (status, refused) = process.send("GET", &path, Value::Null).await;
    assert_eq!((status, &refused["error_code"]), (503, &json!("ERR-20-022")), "{refused}");
    process.stop().await;

    // The slug is bound to its first key, and a setting that cannot be is named.
    for (text, words) in [
        (configuration(OTHER), "kms.dstack[0].k256_public_keys: this database knows rack-kms"),
        (configuration("02aa"), "kms.dstack[0].k256_public_keys: [0] must be"),
        (configuration(KEY) + "ca_file = \"/nowhere/ca.pem\"\n", "kms.dstack[0].ca_file: /nowhere"),
    ] {
        fs::write(&file, text).unwrap();
        let said = command(dir.path(), &[&["serve", "--node", "none"], &config[..]].concat(), &[]);
        let said = { said }.output().unwrap();
        let stderr = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(!said.status.success() && stderr.contains(words), "{words}: {stderr}");
    }
}
