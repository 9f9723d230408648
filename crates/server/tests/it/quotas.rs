//! What a workspace may take: one rule for creation, replicas and growth, in the transaction that accepts.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::common::{World, provision_body};

const QUOTA: &str = "ERR-02-015";

async fn with(cvms: u32, vcpu: u32) -> World {
    World::with(|config| {
        config.quotas.cvms = cvms;
        config.quotas.vcpu = vcpu;
    })
    .await
}

fn id(made: &Value) -> String {
    made["vm_uuid"].as_str().unwrap().replace('-', "")
}

fn commit(provisioned: &Value) -> Value {
    json!({"app_id": provisioned["app_id"], "compose_hash": provisioned["compose_hash"]})
}

#[tokio::test]
async fn a_full_workspace_prepares_nothing_and_has_room_again_after_a_deletion() {
    let world = with(2, 0).await;
    let first = world.deploy("alpha").await;
    world.deploy("bravo").await;
    let refused =
        world.post("/cvms/provision", provision_body("charlie")).await.refused(400, QUOTA);
    let text = refused.to_string();
    assert!(text.contains("may have 2 CVMs and has 2") && text.contains("quota set"), "{text}");
    world.settle().await;
    world.call("DELETE", &format!("/cvms/{}", id(&first)), "", None).await.ok();
    world.settle().await;
    world.deploy("charlie").await;
}

#[tokio::test]
async fn of_many_commits_at_once_as_many_succeed_as_there_is_room() {
    let world = with(5, 0).await;
    let mut prepared = Vec::new();
    for number in 0..20 {
        prepared.push(commit(&world.provision(&format!("cvm-{number}")).await));
    }
    let committed = join_all(prepared.into_iter().map(|body| world.post("/cvms", body))).await;
    let (made, refused): (Vec<_>, Vec<_>) =
        committed.into_iter().partition(|reply| reply.status.is_success());
    assert_eq!(made.len(), 5);
    for reply in refused {
        reply.refused(400, QUOTA);
    }
    let page = world.get("/cvms/paginated").await.ok();
    assert_eq!(page["total"], 5);
}

#[tokio::test]
async fn replicas_and_growth_count_and_less_is_always_allowed() {
    let world = with(0, 4).await;
    let cvm = id(&world.deploy("alpha").await);
    world.settle().await;
    let vcpu = world.get(&format!("/cvms/{cvm}")).await.ok()["resource"]["vcpu"].as_i64().unwrap();
    assert_eq!(vcpu, 1, "the default size");
    let resize = async |vcpu: u32| {
        let body = json!({"vcpu": vcpu, "memory": 2048});
        let reply = world.call("PATCH", &format!("/cvms/{cvm}"), "", Some(body)).await;
        world.settle().await;
        reply
    };
    resize(5).await.refused(400, QUOTA);
    resize(3).await.ok();
    world.post(&format!("/cvms/{cvm}/replicas"), json!({})).await.refused(400, QUOTA);
    // An operator takes away what it has: it may still give some up.
    let path = "/admin/workspaces/default/quota";
    world.call("PUT", path, "", Some(json!({"vcpu": 2}))).await.ok();
    resize(4).await.refused(400, QUOTA);
    resize(1).await.ok();
    world.post(&format!("/cvms/{cvm}/replicas"), json!({})).await.ok();
}

#[tokio::test]
async fn a_quota_of_its_own_goes_before_the_configured_one() {
    let world = with(1, 0).await;
    let path = "/admin/workspaces/default/quota";
    world.deploy("alpha").await;
    let set = world.call("PUT", path, "", Some(json!({"cvms": 2, "disk_gb": 0}))).await.ok();
    assert_eq!((&set["limit"]["cvms"], &set["taken"]["cvms"]), (&json!(2), &json!(1)));
    let refused = world.post("/cvms/provision", provision_body("bravo")).await.refused(400, QUOTA);
    assert!(refused.to_string().contains("GB of disk"), "{refused}");

    world.call("PUT", path, "", Some(json!({"cvms": 2}))).await.ok();
    let quotas = world.get("/workspaces/default/quotas").await.ok();
    assert_eq!(quotas["quotas"]["vm_slots"], json!({"limit": 2, "remaining": 1}));
    assert_eq!(quotas["quotas"]["vcpu"]["limit"], json!(9_007_199_254_740_991_i64));
    world.deploy("bravo").await;

    world.call("PUT", path, "", Some(json!({}))).await.ok();
    let quotas = world.get("/workspaces/default/quotas").await.ok();
    assert_eq!(quotas["quotas"]["vm_slots"], json!({"limit": 1, "remaining": 0}));

    world.get("/workspaces/others/quotas").await.refused(404, "ERR-20-008");
    world.get("/admin/workspaces/others/quota").await.refused(404, "ERR-20-008");
    for (body, field) in [(json!({"cvms": -1}), "cvms"), (json!({"cpu": 1}), "cpu")] {
        let reply = world.call("PUT", path, "", Some(body)).await;
        assert_eq!(reply.status.as_u16(), 422, "{}", reply.text);
        assert_eq!(reply.json()["detail"][0]["loc"], json!(["body", field]), "{}", reply.text);
    }
}

#[tokio::test]
async fn what_waits_for_its_commit_is_bounded() {
    let world = World::with(|config| config.quotas.provisions = 3).await;
    let first = world.provision("alpha").await;
    world.provision("bravo").await;
    world.provision("charlie").await;
    let refused = world.post("/cvms/provision", provision_body("delta")).await.refused(400, QUOTA);
    assert!(refused.to_string().contains("quotas.provisions"), "{refused}");
    world.post("/cvms", commit(&first)).await.ok();
    world.provision("delta").await;
}
