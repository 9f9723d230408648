//! The binary on a real container engine, killed with SIGKILL during a deployment: after a restart it
//! continues, and the CVM has one VM.

use std::{collections::BTreeSet, process::Command, time::Duration};

use casemate_testing::wait::poll;
use serde_json::{Value, json};

use super::instance::Instance;

const COMPOSE: &str =
    "services:\n  web:\n    image: busybox:1.36\n    command: [sh, -c, 'exec sleep 1000']\n";

/// The compose projects of a CVM on the container engine.
fn projects(uuid: &str) -> BTreeSet<String> {
    let output = Command::new("docker")
        .args(["ps", "-a", "--filter", &format!("label=casemate.cvm={uuid}")])
        .args(["--format", "{{.Label \"com.docker.compose.project\"}}"])
        .output()
        .expect("docker answers: run `scripts/test-env.sh docker compose images`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

async fn until(
    instance: &mut Instance,
    path: &str,
    what: &str,
    holds: impl Fn(&Value) -> bool,
) -> Value {
    let mut seen = Value::Null;
    let held = poll(Duration::from_mins(1), async || {
        seen = instance.get(path).await.unwrap_or_else(|why| json!({ "refused": why }));
        holds(&seen).then_some(())
    });
    assert!(held.await.is_some(), "never {what}: {seen}\n{}", instance.log());
    seen
}

#[tokio::test]
async fn a_kill_in_mid_deploy_leaves_one_vm() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut instance = Instance::on("docker", dir.path(), &[]).await;
    let body = json!({ "name": "kill-me", "compose_file": { "docker_compose_file": COMPOSE } });
    let made = instance.send("POST", "/cvms/provision", &body, "p").await.expect("provisioned");
    let body = json!({ "app_id": made["app_id"], "compose_hash": made["compose_hash"] });
    let cvm = instance.send("POST", "/cvms", &body, "c").await.expect("committed");
    let uuid = cvm["vm_uuid"].as_str().expect("a uuid").to_owned();
    let path = format!("/cvms/{uuid}");
    // Mid-deployment: the node has its VM and the guest is booting.
    until(&mut instance, &format!("{path}/state"), "booting", |seen| {
        seen["boot_progress"].as_str().is_some_and(|progress| !progress.is_empty())
    })
    .await;
    instance.kill();

    let mut instance = Instance::on("docker", dir.path(), &[]).await;
    until(&mut instance, &path, "running", |seen| seen["status"] == "running").await;
    assert_eq!(projects(&uuid).len(), 1, "one VM");
    instance.send("DELETE", &path, &Value::Null, "d").await.expect("deleted");
    until(&mut instance, &path, "gone", |seen| {
        seen["refused"].as_str().is_some_and(|why| why.starts_with("404"))
    })
    .await;
    assert_eq!(projects(&uuid).len(), 0, "nothing is left");
    instance.stop().await;
}
