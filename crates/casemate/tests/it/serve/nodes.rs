//! CVMs whose node is missing after a restart.

use serde_json::Value;

use crate::process::{Process, command};

/// Without a process that serves its node, an operation of a CVM waits with a cause, and runs once the node
/// is served again.
#[tokio::test]
async fn an_operation_on_a_node_that_nobody_serves_waits_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let with_sim = Process::start(dir.path(), &["--node", "sim"], &[]).await;
    for name in ["stop-me", "delete-me"] {
        with_sim.deploy(name).await;
        with_sim.until_status(name, "running").await;
    }
    with_sim.stop().await;

    let without = Process::start(dir.path(), &["--node", "none"], &[]).await;
    assert_eq!(without.send("POST", "/cvms/stop-me/stop", Value::Null).await.0, 200);
    assert_eq!(without.send("DELETE", "/cvms/delete-me", Value::Null).await.0, 204);
    for name in ["stop-me", "delete-me"] {
        let seen = without
            .until(name, "waiting", |seen| seen["waiting_for"]["code"] == "node_unreachable")
            .await;
        assert_eq!(seen["in_progress"], true, "{seen}");
        let cause = seen["waiting_for"]["cause"].as_str().unwrap();
        assert!(cause.contains("sim-1") && cause.contains("no running process"), "{cause}");
    }
    let (_, operations) = without.send("GET", "/cvms/stop-me/operations", Value::Null).await;
    assert_eq!(operations["items"][0]["waiting_for"]["code"], "node_unreachable", "{operations}");
    without.stop().await;

    let again = Process::start(dir.path(), &["--node", "sim"], &[]).await;
    again.until_status("stop-me", "stopped").await;
    again.until("delete-me", "gone", |seen| seen["error_code"] == "ERR-03-001").await;
    again.stop().await;
}

/// Without `--node` the default is the docker node; the simulated one is kept for its CVMs.
#[tokio::test]
async fn the_default_reopens_a_node_for_the_cvms_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Process::start(dir.path(), &["--node", "sim"], &[]).await;
    sim.deploy("old-app").await;
    sim.until_status("old-app", "running").await;
    sim.stop().await;

    let default = Process::start(dir.path(), &[], &[]).await;
    assert_eq!(default.send("POST", "/cvms/old-app/stop", Value::Null).await.0, 200);
    default.until_status("old-app", "stopped").await;
    let compose = serde_json::json!({ "docker_compose_file": crate::process::COMPOSE });
    let body = serde_json::json!({ "name": "new-app", "compose_file": compose });
    let (status, made) = default.send("POST", "/cvms/provision", body).await;
    assert_eq!(status, 200, "{made}");
    let nodes = default.get("/teepods/available").await;
    let named = |name: &str| {
        let all = nodes["nodes"].as_array().unwrap();
        all.iter().find(|node| node["name"] == name).map(|node| node["teepod_id"].clone())
    };
    let docker = named("docker-1").expect("an engine answers: run `scripts/test-env.sh docker`");
    assert_eq!(made["node_id"], docker, "{made}");
    assert!(named("sim-1").is_some(), "{nodes}");
    default.stop().await;
}

/// `casemate admin node` against a running server: output and exit codes.
fn admin(dir: &std::path::Path, args: &[&str]) -> (bool, String) {
    let all = [&["admin", "node"], args].concat();
    let output = command(dir, &all, &[]).output().expect("casemate runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.success(), text(output.stdout) + &text(output.stderr))
}

/// The configuration and the command write the same rows. A node is used, cordoned and removed at run time,
/// and a restart after a kill restores it.
#[tokio::test]
async fn an_operator_adds_looks_cordons_and_removes_nodes() {
    let dir = tempfile::tempdir().unwrap();
    let config = "[[nodes]]\nname = \"rack-1\"\nkind = \"sim\"\nlimits = { slots = 3 }\n";
    std::fs::write(dir.path().join("casemate.toml"), config).unwrap();
    let args = ["--config", "casemate.toml"];
    let service = Process::start(dir.path(), &args, &[]).await;
    let run = |args: &[&str]| admin(dir.path(), args);
    let (good, text) = run(&["add", "rack-2", "--kind", "sim", "--vcpu", "4", "--region", "eu"]);
    assert!(good && text.contains("0 of 4"), "{text}");
    let (good, text) = run(&["list"]);
    assert!(good && text.contains("rack-1") && text.contains("0/3") && text.contains("rack-2"));

    let (good, text) = run(&["add", "far", "--kind", "docker", "--host", "tcp://127.0.0.1:1"]);
    assert!(!good && text.contains("node_unreachable") && text.contains("127.0.0.1:1"), "{text}");
    let (good, text) = run(&["check", "far"]);
    assert!(!good && text.contains("admin node remove far"), "{text}");
    assert!(run(&["remove", "far"]).0);
    let (good, text) = run(&["check", "rack-2"]);
    assert!(good && text.contains("reachable"), "{text}");
    // A host that has just gone is not reported as reachable because of an earlier answer.
    let faults = dir.path().join("nodes/by-name/rack-2/faults.json");
    std::fs::write(&faults, r#"{"faults": [{"fault": "unreachable", "count": null}]}"#).unwrap();
    let (good, text) = run(&["check", "rack-2"]);
    assert!(!good && text.contains("simulated fault"), "{text}");
    std::fs::remove_file(&faults).unwrap();
    assert!(run(&["check", "rack-2"]).0);

    assert!(run(&["cordon", "rack-1"]).0);
    let cvm = service.deploy("my-app").await;
    service.until_status("my-app", "running").await;
    let shown: Value = serde_json::from_str(&run(&["show", "rack-2", "--json"]).1).unwrap();
    assert_eq!(cvm["teepod_id"], shown["id"], "rack-1 takes no new CVMs");
    let (good, text) = run(&["remove", "rack-2"]);
    assert!(!good && text.contains("rack-2 has 1 CVMs") && text.contains("--give-up"), "{text}");
    drop(service);

    let again = Process::start(dir.path(), &args, &[]).await;
    let shown: Value = serde_json::from_str(&run(&["show", "rack-1", "--json"]).1).unwrap();
    assert_eq!(shown["state"], "cordoned", "{shown}");
    let (good, text) = run(&["remove", "rack-2", "--give-up"]);
    assert!(!good && text.contains("--yes"), "{text}");
    assert!(run(&["remove", "rack-2", "--give-up", "--yes"]).0);
    again.until("my-app", "lost", |seen| seen["failure"]["code"] == "node_given_up").await;
    assert_eq!(again.send("DELETE", "/cvms/my-app", Value::Null).await.0, 204);
    again.until("my-app", "gone", |seen| seen["error_code"] == "ERR-03-001").await;
    again.stop().await;
}

/// `casemate admin cvm move` and `casemate admin node move`: what is lost is said before, and it is waited for the end.
#[tokio::test]
async fn an_operator_moves_cvms_to_other_nodes() {
    let dir = tempfile::tempdir().unwrap();
    let section = |name: &str| format!("[[nodes]]\nname = \"{name}\"\nkind = \"sim\"\n");
    let config = ["rack-1", "rack-2", "rack-3"].map(section).concat();
    std::fs::write(dir.path().join("casemate.toml"), config).unwrap();
    let service = Process::start(dir.path(), &["--config", "casemate.toml"], &[]).await;
    let run = |args: &[&str]| admin(dir.path(), args);
    for name in ["one-app", "two-app"] {
        service.deploy(name).await;
        service.until_status(name, "running").await;
    }
    let at = |name: &str| {
        let nodes = ["rack-1", "rack-2", "rack-3"];
        let has = |node: &&&str| run(&["cvms", node]).1.contains(name);
        (*nodes.iter().find(has).unwrap()).to_owned()
    };
    let uuid = service.get("/cvms/one-app").await["vm_uuid"].as_str().unwrap().to_owned();
    let (from, to) = (at("one-app"), "rack-3");
    let cvm = |more: &[&str]| {
        let all = [&["admin", "cvm", "move", &uuid], more].concat();
        let output = command(dir.path(), &all, &[]).output().expect("casemate runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    let sentence =
        format!("Move one-app from {from} to {to}, which loses its disk and its instance id");
    let (code, text) = cvm(&["--to", to, "--dry-run"]);
    assert!(code == Some(0) && text.contains(&sentence), "{text}");
    let (code, text) = cvm(&["--to", to]);
    assert!(code == Some(2) && text.contains(&sentence) && text.contains("--yes"), "{text}");
    assert_eq!(cvm(&[]).0, Some(2), "where to has to be said");
    assert_eq!(at("one-app"), from);
    let (code, text) = cvm(&["--to", to, "--given-up", "--yes"]);
    assert!(code == Some(1) && text.contains("its node answers"), "{text}");
    let (code, text) = cvm(&["--to", to, "--yes"]);
    assert!(code == Some(0) && text.contains("one-app is on rack-3: running"), "{text}");

    // A whole node, to wherever there is room.
    let (good, text) = run(&["move", "rack-3", "--dry-run", "--json"]);
    let planned: Value = serde_json::from_str(&text).unwrap();
    assert!(good && planned["stays"] == serde_json::json!([]), "{planned}");
    let (good, text) = run(&["move", "rack-3", "--yes"]);
    assert!(good && text.contains("left rack-3"), "{text}");
    let shown: Value = serde_json::from_str(&run(&["show", "rack-3", "--json"]).1).unwrap();
    assert_eq!((&shown["state"], &shown["taken"]["slots"]), (&"cordoned".into(), &0.into()));
    assert!(run(&["remove", "rack-3"]).0, "nothing is left on it");
    for name in ["one-app", "two-app"] {
        service.until_status(name, "running").await;
    }
    // With nowhere to go they stay, each with its reason.
    for node in ["rack-1", "rack-2"] {
        assert!(run(&["cordon", node]).0);
    }
    let (good, text) = run(&["move", &at("one-app"), "--yes"]);
    assert!(!good && text.contains("one-app stays:") && text.contains("cordoned"), "{text}");
    service.stop().await;
}
