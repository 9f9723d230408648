//! Replicas and instances of an app that a contract governs.

use casemate_core::id::{CvmName, DeviceId, NodeId, WorkspaceId};
use casemate_engine::{
    chain::Fault,
    node::{Inventory, sim::SimConfig},
};
use serde_json::{Value, json};

use crate::governance::update::{
    common::{TestNode, World},
    stage::{Stage, Told, other},
};

fn two_nodes() -> Vec<TestNode> {
    vec![TestNode::sim(), TestNode { name: "sim-2", host: SimConfig::fast(), ..TestNode::sim() }]
}

/// The device of the second node. Simulated hosts all say the same one.
const SECOND: DeviceId = DeviceId::from_bytes([2; 32]);

async fn stage() -> Stage {
    let stage = Stage::with(World::fleet(two_nodes(), |_| {}).await).await;
    let node = stage.world.ctx.fleet.node(NodeId(2)).unwrap();
    let told = Inventory { device_id: SECOND, ..(*node.observed().0).clone() };
    node.record_answer(Ok(told), stage.world.ctx.now());
    stage
}

async fn node_of(stage: &Stage, reply: &Value) -> String {
    let uuid = reply["vm_uuid"].as_str().unwrap();
    stage.world.settle().await;
    let detail = stage.world.get(&format!("/cvms/{uuid}")).await.ok();
    assert_eq!(detail["status"], "running", "{detail}");
    detail["node_info"]["name"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn where_hash_and_device_are_allowed_a_replica_is_made_at_once() {
    let stage = stage().await;
    let made =
        stage.send("POST", "/cvms/my-app/replicas", &json!({ "node_id": 1 }), &[]).await.ok();
    assert_eq!(node_of(&stage, &made).await, "sim-1");
    let uuid = made["vm_uuid"].as_str().unwrap();
    let name = CvmName::parse(uuid);
    let ctx = &stage.world.ctx;
    let cvm =
        casemate_store::cvms::resolve(&ctx.db, WorkspaceId(1), &name).await.unwrap().remove(0);
    assert_eq!(cvm.kms.as_ref(), "kms_governed");
    let zero = casemate_core::id::EventSeq(0);
    let events = casemate_store::events::of_cvm(&ctx.db, cvm.id, zero, 100).await.unwrap();
    assert!(events.iter().any(|event| event.kind == "governance.verified"));
}

#[tokio::test]
async fn a_device_that_is_new_to_the_contract_is_registered_first() {
    let stage = stage().await;
    let device = SECOND;
    for path in [
        "/cvms/my-app/replicas".to_owned(),
        format!("/apps/{}/cvms/{}/replicas", stage.app, stage.cvm.uuid),
    ] {
        let body = json!({ "node_id": 2 });
        let told = Told::of(stage.send("POST", &path, &body, &[]).await);
        assert_eq!(told.text("device_id"), device.to_string());
        assert_eq!(told.hash(), stage.hash().await);
        assert_eq!(told.get("onchain_status").unwrap()["compose_hash_allowed"], true);
        assert!(told.get("kms_info").unwrap().get("chain").is_none());
        let commit = format!("/cvms/{}/commit-replica", stage.cvm.uuid);
        assert!(told.text("api_commit_url").contains("/commit-replica?token="));
        let body = json!({ "token": told.token(), "compose_hash": told.hash().to_string(),
            "transaction_hash": "already-registered" });
        stage.nobody("POST", &commit, &body).await.refused(468, "ERR-01-008");
        stage.chain.add_device(stage.app, device);
        let made = stage.nobody("POST", &commit, &body).await.ok();
        assert_eq!(node_of(&stage, &made).await, "sim-2");
        let again = stage.nobody("POST", &commit, &body).await.ok();
        assert_eq!(again["vm_uuid"], made["vm_uuid"], "the same machine");
        stage.world.clock.advance_ms(3_600_000);
        stage.nobody("POST", &commit, &body).await.refused(466, "ERR-01-006");
        stage.chain.remove_device(stage.app, device);
    }
}

#[tokio::test]
async fn an_instance_with_another_document_needs_its_approval() {
    let stage = stage().await;
    let path = format!("/apps/{}/instances", stage.app);
    let sealed = "ab".repeat(80);
    let body =
        json!({ "docker_compose_file": other("i:1"), "encrypted_env": sealed, "env_keys": [] });
    let told = Told::of(stage.send("POST", &path, &body, &[]).await);
    let chain = &told.get("kms_info").unwrap()["chain"];
    assert_eq!((&chain["id"], &chain["nativeCurrency"]["decimals"]), (&json!(8453), &json!(18)));
    assert!(chain["rpcUrls"]["default"]["http"][0].as_str().unwrap().starts_with("https://"));
    assert!(chain["contracts"]["multicall3"]["address"].is_string());
    let body = json!({ "token": told.token(), "compose_hash": told.hash().to_string(),
        "transaction_hash": "already-registered" });
    stage.nobody("POST", &path, &body).await.refused(468, "ERR-01-008");
    let transaction = stage.allow(told.hash());
    let body = json!({ "token": told.token(), "compose_hash": format!("0x{}", told.hash()),
        "transaction_hash": transaction });
    let made = stage.nobody("POST", &path, &body).await.ok();
    let uuid = made["vm_uuid"].as_str().unwrap();
    stage.world.settle().await;
    let detail = stage.world.get(&format!("/cvms/{uuid}")).await.ok();
    assert_eq!(detail["compose_hash"], told.hash().to_string());
    let name = CvmName::parse(uuid);
    let db = &stage.world.ctx.db;
    let cvm = casemate_store::cvms::resolve(db, WorkspaceId(1), &name).await;
    assert_eq!(cvm.unwrap()[0].sealed_env, Some(sealed));
    // Two documents run now, and nothing says which.
    stage.send("POST", &path, &json!({}), &[]).await.refused(400, "ERR-03-009");
    // Without a token a key is needed.
    assert_eq!(stage.nobody("POST", &path, &json!({})).await.status.as_u16(), 401);
}

#[tokio::test]
async fn machines_are_prepared_beside_each_other_and_tokens_are_of_one_kind() {
    let stage = stage().await;
    let prepare = [("x-prepare-only", "true")];
    let replicas = "/cvms/my-app/replicas";
    let first =
        Told::of(stage.send("POST", replicas, &json!({ "name": "first-one" }), &prepare).await);
    let second =
        Told::of(stage.send("POST", replicas, &json!({ "name": "second-one" }), &prepare).await);
    let update = stage.prepare("beside:1").await;
    let instances = format!("/apps/{}/instances", stage.app);
    let third =
        Told::of(stage.send("POST", &instances, &json!({ "name": "third-one" }), &prepare).await);
    let commit = format!("/cvms/{}/commit-replica", stage.cvm.uuid);
    let of = |told: &Told| json!({ "token": told.token() });
    for (path, told) in [
        (commit.as_str(), &third),
        (commit.as_str(), &update),
        (instances.as_str(), &first),
        ("/cvms/my-app/commit-update", &first),
    ] {
        let refused = stage.nobody("POST", path, &of(told)).await.refused(466, "ERR-01-006");
        assert!(refused["message"].as_str().unwrap().contains("is of a"), "{path}: {refused}");
    }
    let wrong = json!({ "token": first.token(), "compose_hash": "11".repeat(32) });
    stage.nobody("POST", &commit, &wrong).await.refused(466, "ERR-01-006");
    stage.nobody("POST", &format!("{commit}?token={}", second.token()), &json!({})).await.ok();
    stage.nobody("POST", &commit, &of(&first)).await.ok();
    stage.nobody("POST", &instances, &of(&third)).await.ok();
    let info = format!("/cvms/my-app/commit-update?token={}", first.token());
    let info = stage.nobody("GET", &info, &json!({})).await.ok();
    assert_eq!((&info["kind"], &info["status"]), (&json!("replica"), &json!("used")));
    stage.world.settle().await;
    for name in ["first-one", "second-one", "third-one"] {
        let detail = stage.world.get(&format!("/cvms/{name}")).await.ok();
        assert_eq!(detail["status"], "running");
    }
    let wrong_app = format!("/apps/{}/instances", "ab".repeat(20));
    stage.nobody("POST", &wrong_app, &of(&third)).await.refused(466, "ERR-01-006");
}

#[tokio::test]
async fn a_replica_follows_its_template_or_is_void() {
    let stage = stage().await;
    let prepare = [("x-prepare-only", "true")];
    let told = Told::of(stage.send("POST", "/cvms/my-app/replicas", &json!({}), &prepare).await);
    stage.patch(json!({ "encrypted_env": "ab".repeat(80) }), &[]).await.ok();
    stage.world.settle().await;
    let commit = format!("/cvms/{}/commit-replica", stage.cvm.uuid);
    let refused = stage.nobody("POST", &commit, &json!({ "token": told.token() })).await;
    let refused = refused.refused(466, "ERR-01-006");
    assert!(refused["message"].as_str().unwrap().contains("has changed since"), "{refused}");
}

#[tokio::test]
async fn a_silent_chain_is_503_for_a_replica_and_no_obstacle_to_prepare_one() {
    let stage = stage().await;
    stage.chain.fail_next(1, &Fault::Busy);
    let path = "/cvms/my-app/replicas";
    stage.send("POST", path, &json!({}), &[]).await.refused(503, "ERR-20-023");
    stage.chain.fail_next(1, &Fault::Busy);
    let told = Told::of(stage.send("POST", path, &json!({}), &[("x-prepare-only", "true")]).await);
    assert!(told.get("onchain_status").is_none());
    let commit = format!("/cvms/{}/commit-replica", stage.cvm.uuid);
    stage.chain.fail_next(1, &Fault::Busy);
    let body = json!({ "token": told.token() });
    stage.nobody("POST", &commit, &body).await.refused(503, "ERR-20-023");
    stage.nobody("POST", &commit, &body).await.ok();
}

#[tokio::test]
async fn a_taken_name_uses_nothing_up() {
    let stage = stage().await;
    let prepare = [("x-prepare-only", "true")];
    let body = json!({ "name": "wanted-name" });
    let told = Told::of(stage.send("POST", "/cvms/my-app/replicas", &body, &prepare).await);
    stage.world.deploy("wanted-name").await;
    let commit = format!("/cvms/{}/commit-replica", stage.cvm.uuid);
    let body = json!({ "token": told.token() });
    stage.nobody("POST", &commit, &body).await.refused(409, "ERR-01-004");
    stage
        .send("PATCH", "/cvms/wanted-name/name", &json!({ "name": "another-name" }), &[])
        .await
        .ok();
    stage.world.settle().await;
    stage.nobody("POST", &commit, &body).await.ok();
}
