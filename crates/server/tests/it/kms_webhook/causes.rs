//! A guest without keys: its boot ends, and the cause is the denial.

use casemate_server::{nodes::watch::Watch, work::driver};
use serde_json::{Value, json};

use super::stage::{Stage, with};
use crate::common::{COMPOSE, provision_body};

/// A guest that asks its KMS for keys over and over.
fn denied() -> String {
    format!("{COMPOSE}# x-sim-boot: deny\n")
}

/// Deploys a CVM whose guest says that it gets no keys.
async fn deploy_denied(stage: &Stage, name: &str) {
    deploy(stage, name, &denied()).await;
    pass(stage).await;
}

async fn deploy(stage: &Stage, name: &str, compose: &str) {
    let mut body = provision_body(name);
    body["compose_file"]["docker_compose_file"] = json!(compose);
    let made = stage.world.post("/cvms/provision", body).await.ok();
    let commit = json!({ "app_id": made["app_id"], "compose_hash": made["compose_hash"] });
    stage.world.post("/cvms", commit).await.ok();
}

/// Two seconds: longer than a boot takes, shorter than its timeout.
async fn pass(stage: &Stage) {
    for _ in 0..100 {
        Box::pin(driver::settle_now(&stage.world.ctx, "test")).await;
        stage.world.clock.advance_ms(20);
    }
}

async fn cvm(stage: &Stage, name: &str) -> Value {
    stage.world.get(&format!("/cvms/{name}")).await.ok()
}

async fn operations(stage: &Stage, name: &str) -> Vec<Value> {
    let all = stage.world.get(&format!("/cvms/{name}/operations")).await.ok();
    let all = if all.is_array() { all } else { all["items"].clone() };
    all.as_array().unwrap().clone()
}

#[tokio::test]
async fn a_denial_ends_the_boot_and_is_its_cause() {
    let stage = Stage::new().await;
    deploy_denied(&stage, "my-shop").await;
    assert_eq!(cvm(&stage, "my-shop").await["status"], "starting", "without a denial it may go on");
    let boot = stage.boot("my-shop").await;
    let told = stage.app(&with(&boot, "deviceId", "55".repeat(32))).await.unwrap_err();
    pass(&stage).await;
    let failed = cvm(&stage, "my-shop").await;
    assert_eq!(failed["status"], "error");
    let cause = format!("key refused: {told}");
    assert!(cause.starts_with("key refused: device not allowed"), "{cause}");
    assert_eq!(failed["failure"]["code"], "key_refused", "{failed}");
    assert_eq!(failed["failure"]["cause"], json!(cause));
    let operations = operations(&stage, "my-shop").await;
    let shown = operations[0].to_string();
    assert!(shown.contains("key_refused") && shown.contains("key refused: device"), "{shown}");
}

#[tokio::test]
async fn a_guest_that_was_allowed_since_goes_on() {
    let stage = Stage::new().await;
    deploy_denied(&stage, "my-shop").await;
    let boot = stage.boot("my-shop").await;
    stage.app(&with(&boot, "tcbStatus", "Revoked")).await.unwrap_err();
    stage.app(&boot).await.unwrap();
    pass(&stage).await;
    assert_eq!(cvm(&stage, "my-shop").await["status"], "starting");
}

/// Another host can run a guest that names this app. Its denials do not end boots that go well.
#[tokio::test]
async fn a_guest_that_boots_well_is_not_ended_for_the_denial_of_another() {
    let stage = Stage::new().await;
    deploy(&stage, "my-shop", &format!("{COMPOSE}# x-sim-boot: never\n")).await;
    pass(&stage).await;
    let boot = stage.boot("my-shop").await;
    stage.app(&with(&boot, "deviceId", "55".repeat(32))).await.unwrap_err();
    pass(&stage).await;
    assert_eq!(cvm(&stage, "my-shop").await["status"], "starting");
}

#[tokio::test]
async fn an_update_without_keys_is_rolled_back() {
    let stage = Stage::new().await;
    stage.world.deploy("my-shop").await;
    stage.world.settle().await;
    let old = cvm(&stage, "my-shop").await["compose_hash"].clone();
    let patch = json!({ "docker_compose_file": denied() });
    stage.world.call("PATCH", "/cvms/my-shop", "2026-01-21", Some(patch)).await.ok();
    pass(&stage).await;
    let boot = stage.boot("my-shop").await;
    assert_ne!(boot["composeHash"], old);
    stage.app(&with(&boot, "tcbStatus", "OutOfDate")).await.unwrap_err();
    pass(&stage).await;
    stage.world.settle().await;
    let back = cvm(&stage, "my-shop").await;
    assert_eq!((&back["status"], &back["compose_hash"]), (&json!("running"), &old));
    assert_eq!(back["failure"]["code"], "key_refused", "{back}");
    assert!(back["failure"]["cause"].as_str().unwrap().contains("OutOfDate"), "{back}");
}

/// Nobody ends a guest that was denied its keys: it asks again, and gets them once its host is allowed.
#[tokio::test]
async fn a_guest_that_boots_after_its_denial_runs() {
    let stage = Stage::new().await;
    deploy(&stage, "my-shop", &format!("{COMPOSE}# x-sim-boot: late\n")).await;
    let ctx = &stage.world.ctx;
    Box::pin(driver::settle_now(ctx, "test")).await;
    let boot = stage.boot("my-shop").await;
    stage.app(&with(&boot, "tcbStatus", "OutOfDate")).await.unwrap_err();
    let (node, mut watch) = (ctx.fleet.all().remove(0), Watch::default());
    let mut seen = Vec::new();
    for _ in 0..100 {
        Box::pin(driver::settle_now(ctx, "test")).await;
        watch.look(ctx, &node).await.unwrap();
        let now = cvm(&stage, "my-shop").await;
        if seen.last() != Some(&now["status"]) {
            seen.push(now["status"].clone());
        }
        stage.world.clock.advance_ms(20);
    }
    assert_eq!(seen, ["starting", "error", "running"]);
    let now = cvm(&stage, "my-shop").await;
    assert!(now["failure"].is_null(), "{now}");
    let operations = operations(&stage, "my-shop").await;
    assert_eq!(
        operations.len(),
        1,
        "its deployment failed, and nothing else was asked: {operations:?}"
    );
}
