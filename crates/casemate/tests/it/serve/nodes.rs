//! CVMs whose node is not there after a restart.

use serde_json::Value;

use crate::process::Process;

/// Nobody serves the node it runs on: what is asked of the CVM waits and says for what, and is done when
/// the node is served again.
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

/// Without `--node` a laptop gets the docker node, and keeps the simulated one for what is on it.
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
