//! Changes that wait: what contracts have allowed comes in force as it was allowed, or not at all.

use casemate_engine::node::sim::{Fault, FaultKind, Method};
use serde_json::json;

use crate::governance::update::stage::{Stage, Told, other};

#[tokio::test]
async fn an_approved_change_waits_and_comes_in_force_as_approved() {
    let stage = Stage::new().await;
    // Under way: a restart that needs a while.
    stage.patch(json!({ "vcpu": 2 }), &[]).await.ok();
    let first = stage.prepare("wait:1").await;
    stage.allow(first.hash());
    stage.commit(&first.token()).await.ok();
    // On top of what waits, not of what runs.
    let body = json!({ "pre_launch_script": "echo second" });
    let second = Told::of(stage.patch(body, &[("x-prepare-only", "true")]).await);
    stage.allow(second.hash());
    stage.commit(&second.token()).await.ok();
    stage.boots(second.hash()).await;
    let file = stage.world.get("/cvms/my-app/compose_file").await.ok();
    assert_eq!(file["docker_compose_file"], other("wait:1"));
}

#[tokio::test]
async fn what_was_nothing_new_to_a_change_that_failed_leads_to_nothing_unapproved() {
    let stage = Stage::new().await;
    let before = stage.hash().await;
    // Under way, so that what follows waits.
    stage.patch(json!({ "vcpu": 2 }), &[]).await.ok();
    let body = json!({ "docker_compose_file": other("q:1"), "secure_time": true });
    let told = Told::of(stage.patch(body, &[("x-prepare-only", "true")]).await);
    stage.allow(told.hash());
    let committed = stage.commit(&told.token()).await.ok();
    // Asks for a part of what waits: nothing new, so nothing to approve.
    let loose = stage.patch(json!({ "docker_compose_file": other("q:1") }), &[]).await.ok();
    // And what it was accepted on is called off.
    let id = committed["correlation_id"].as_str().unwrap();
    let body = json!({ "correlation_id": id });
    let cancel = stage.send("POST", "/cvms/my-app/operations/cancel", &body, &[]).await;
    cancel.ok();
    stage.world.settle().await;
    assert_eq!(stage.hash().await, before, "no document that nobody was asked about");
    let list = stage.world.get("/cvms/my-app/operations?limit=10").await.ok();
    let items = list["items"].as_array().unwrap();
    let of =
        |id: &serde_json::Value| items.iter().find(|one| one["correlation_id"] == *id).unwrap();
    let loose = of(&loose["correlation_id"]);
    assert_eq!(loose["state"], "failed", "{loose}");
    let cause = loose["error_message"].as_str().unwrap();
    assert!(cause.contains("did not come in force"), "{cause}");
    assert_eq!(stage.detail().await["status"], "running");
}

#[tokio::test]
async fn an_approved_change_that_does_not_boot_is_taken_back_to_what_was_allowed_before() {
    let stage = Stage::new().await;
    let before = stage.hash().await;
    let told = stage.prepare("bad:1").await;
    stage.allow(told.hash());
    let fault = Fault::new(FaultKind::Refuse).on(Method::Start);
    stage.world.sim.host().set_faults(vec![fault]).unwrap();
    stage.commit(&told.token()).await.ok();
    stage.world.settle().await;
    stage.world.sim.host().clear_faults().unwrap();
    assert_eq!(stage.hash().await, before);
    // What was registered stays so, and the same change can be prepared again.
    let again = stage.prepare("bad:1").await;
    assert_eq!(again.hash(), told.hash());
    stage.commit(&again.token()).await.ok();
    stage.boots(told.hash()).await;
}
