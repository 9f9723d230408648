//! The same again: provisions, commits, names, capacity.

use casemate_engine::node::{Capacity, sim::SimConfig};
use serde_json::{Value, json};

use crate::fields::{
    common::{TestNode, World, provision_body},
    provision_rows::SEALED,
    row::{body, look, merge},
};

/// Fields whose effect is tested here.
pub const FIELDS: &[&str] = &["commit compose_hash", "commit app_id"];
/// Codes that are tested here.
pub const CODES: &[(&str, &str)] =
    &[("commit compose_hash", "ERR-20-010"), ("commit app_id", "ERR-03-007")];

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

fn commit(reply: &Value) -> Value {
    json!({ "app_id": reply["app_id"], "compose_hash": reply["compose_hash"] })
}

async fn provision(world: &World, name: &str, said: Value) -> Value {
    world.clock.advance_ms(1);
    world.post("/cvms/provision", body(name, &[&said])).await.ok()
}

#[tokio::test]
async fn a_provision_repeated_is_the_same_one() {
    let world = World::new().await;
    let mut first = world.provision("my-app").await;
    for _ in 0..3 {
        world.clock.advance_ms(DAY_MS);
        let mut again = world.provision("my-app").await;
        assert!(again["expires_at"].as_str() > first["expires_at"].as_str());
        merge(&mut again, &json!({ "expires_at": null }));
        merge(&mut first, &json!({ "expires_at": null }));
        assert_eq!(again, first);
        merge(&mut first, &json!({ "expires_at": "" }));
    }
    assert!(world.sim.host().vms().unwrap().is_empty(), "nothing was made");
    let nodes = world.get("/teepods/available").await.ok();
    assert_eq!(nodes["nodes"][0]["remaining_vcpu"], 256, "nothing was reserved: {nodes}");
}

#[tokio::test]
async fn commit_takes_the_newest_open_provision_of_the_hash() {
    let world = World::new().await;
    provision(&world, "my-app", json!({ "vcpu": 1 })).await;
    let newest = provision(&world, "my-app", json!({ "vcpu": 2, "user_config": "new" })).await;
    let reply = world.post("/cvms", json!({ "compose_hash": newest["compose_hash"] })).await.ok();
    world.settle().await;
    let made = look(&world, newest, reply["vm_uuid"].as_str().unwrap()).await;
    assert_eq!((made.vm.vcpu, made.vm.user_config.as_deref()), (2, Some("new")));
}

#[tokio::test]
async fn commit_takes_the_newest_open_provision_of_the_app() {
    let world = World::new().await;
    let named = json!({ "compose_file": { "name": "same" } });
    let old = provision(&world, "first-app", named.clone()).await;
    let new = provision(&world, "other-app", named).await;
    assert_eq!(old["compose_hash"], new["compose_hash"]);
    let first = world.post("/cvms", commit(&old)).await.ok();
    assert_eq!(first["name"], "first-app");
    let newest = world.post("/cvms", json!({ "compose_hash": new["compose_hash"] })).await.ok();
    assert_eq!(newest["name"], "other-app");
}

#[tokio::test]
async fn committing_twice_gives_the_same_cvm() {
    let world = World::new().await;
    let reply = world.provision("my-app").await;
    let first = world.post("/cvms", commit(&reply)).await.ok();
    for again in [commit(&reply), json!({ "compose_hash": reply["compose_hash"] })] {
        assert_eq!(world.post("/cvms", again.clone()).await.ok()["id"], first["id"]);
        world.settle().await;
        assert_eq!(world.post("/cvms", again).await.ok()["id"], first["id"]);
    }
    assert_eq!(world.sim.host().vms().unwrap().len(), 1);
}

#[tokio::test]
async fn a_deleted_cvm_is_not_given_again() {
    let world = World::new().await;
    let reply = world.provision("my-app").await;
    world.post("/cvms", commit(&reply)).await.ok();
    world.settle().await;
    assert_eq!(world.call("DELETE", "/cvms/my-app", "", None).await.status, 204);
    // Not even while it goes.
    for _ in 0..2 {
        for again in [commit(&reply), json!({ "compose_hash": reply["compose_hash"] })] {
            let refused = world.post("/cvms", again).await.refused(422, "ERR-20-009");
            assert!(refused["message"].as_str().unwrap().contains("deleted"), "{refused}");
            assert!(!refused["suggestions"].as_array().unwrap().is_empty());
        }
        world.settle().await;
    }
    let next = provision(&world, "my-app", json!({})).await;
    world.post("/cvms", commit(&next)).await.ok();
    world.settle().await;
    assert_eq!(world.get("/cvms/my-app").await.ok()["status"], "running");
}

#[tokio::test]
async fn a_new_cvm_can_take_the_app_id_while_the_old_one_goes() {
    let world = World::new().await;
    let pairs = world.get("/kms/phala/next_app_id").await.ok();
    let pair = &pairs["app_ids"][0];
    let said = json!({ "app_id": pair["app_id"], "nonce": pair["nonce"] });
    let reply = provision(&world, "my-app", said.clone()).await;
    let old = world.post("/cvms", commit(&reply)).await.ok();
    world.settle().await;
    assert_eq!(world.call("DELETE", "/cvms/my-app", "", None).await.status, 204);
    let again = provision(&world, "my-app", said).await;
    assert_eq!(again["app_id"], reply["app_id"]);
    let new = world.post("/cvms", commit(&again)).await.ok();
    assert_ne!(new["id"], old["id"]);
    world.settle().await;
    assert_eq!(world.get("/cvms/my-app").await.ok()["status"], "running");
}

#[tokio::test]
async fn what_cannot_be_committed_says_why() {
    let world = World::new().await;
    let one = world.provision("first-app").await;
    let other = world.provision("other-app").await;
    let mixed = json!({ "app_id": one["app_id"], "compose_hash": other["compose_hash"] });
    let refused = world.post("/cvms", mixed).await.refused(422, "ERR-20-009");
    let text = refused.to_string();
    assert!(
        refused["details"].as_array().unwrap().iter().any(|detail| detail["field"] == "app_id")
    );
    for named in [&one["app_id"], &other["app_id"], &other["compose_hash"]] {
        assert!(text.contains(named.as_str().unwrap()), "{text}");
    }
    let unknown = json!({ "app_id": one["app_id"], "compose_hash": "11".repeat(32) });
    world.post("/cvms", unknown).await.refused(422, "ERR-20-009");
    world
        .post("/cvms", json!({ "compose_hash": "11".repeat(32) }))
        .await
        .refused(422, "ERR-20-009");
    let hashless = world.post("/cvms", json!({ "app_id": one["app_id"] })).await;
    assert_eq!(hashless.status, 422);

    world.clock.advance_ms(15 * DAY_MS);
    let expired = world.post("/cvms", commit(&one)).await.refused(400, "ERR-20-010");
    assert_eq!(expired["details"][0]["field"], "compose_hash");
    let expired = json!({ "compose_hash": one["compose_hash"] });
    world.post("/cvms", expired).await.refused(400, "ERR-20-010");
    let renewed = world.provision("first-app").await;
    assert_eq!(renewed["compose_hash"], one["compose_hash"]);
    world.post("/cvms", commit(&renewed)).await.ok();
}

#[tokio::test]
async fn a_provision_lives_for_its_days_and_no_longer() {
    for (days, alive) in [(13, true), (14, false)] {
        let world = World::new().await;
        let reply = world.provision("my-app").await;
        world.clock.advance_ms(days * DAY_MS);
        assert_eq!(world.post("/cvms", commit(&reply)).await.status.is_success(), alive, "{days}");
    }
}

#[tokio::test]
async fn an_app_id_in_use_with_another_document_is_a_conflict() {
    let world = World::new().await;
    let pairs = world.get("/kms/phala/next_app_id").await.ok();
    let pair = &pairs["app_ids"][0];
    let mut said = json!({ "app_id": pair["app_id"], "nonce": pair["nonce"] });
    let one = provision(&world, "my-app", said.clone()).await;
    merge(&mut said, &json!({ "compose_file": { "salt": "x" } }));
    let other = provision(&world, "my-app", said).await;
    assert_eq!(one["app_id"], other["app_id"]);
    assert_ne!(one["compose_hash"], other["compose_hash"]);
    world.post("/cvms", commit(&one)).await.ok();
    let refused = world.post("/cvms", commit(&other)).await.refused(409, "ERR-03-007");
    assert_eq!(refused["details"][0]["field"], "app_id");
    assert!(refused["suggestions"][0].as_str().unwrap().contains("my-app"));
}

#[tokio::test]
async fn env_keys_of_commit_must_be_allowed() {
    let world = World::new().await;
    let said = json!({ "env_keys": ["A"], "compose_file": { "allowed_envs": ["B"] } });
    let reply = provision(&world, "my-app", said).await;
    for (keys, fits) in
        [(json!(["C"]), false), (json!(["A", "B", "c"]), false), (json!(["B", "A"]), true)]
    {
        let mut request = commit(&reply);
        merge(&mut request, &json!({ "env_keys": keys, "encrypted_env": SEALED }));
        let answer = world.post("/cvms", request).await;
        if fits {
            answer.ok();
        } else {
            let refused = answer.refused(400, "ERR-20-011");
            assert_eq!(refused["details"][0]["field"], "env_keys");
        }
    }
}

#[tokio::test]
async fn a_name_is_taken_once() {
    let world = World::new().await;
    world.deploy("my-app").await;
    let reply = provision(&world, "my-app", json!({ "compose_file": { "salt": "x" } })).await;
    let refused = world.post("/cvms", commit(&reply)).await.refused(409, "ERR-01-004");
    assert_eq!(refused["details"][0]["field"], "name");
    assert!(!refused["suggestions"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn commit_admits_against_what_the_node_has_left_then() {
    for (capacity, size, code, field) in [
        (
            Capacity { slots: 1, vcpu: 9, memory_mb: 9999, disk_gb: 999 },
            json!({}),
            "ERR-02-005",
            "node_id",
        ),
        (
            Capacity { slots: 9, vcpu: 3, memory_mb: 9999, disk_gb: 999 },
            json!({ "vcpu": 2 }),
            "ERR-02-003",
            "vcpu",
        ),
        (
            Capacity { slots: 9, vcpu: 9, memory_mb: 5000, disk_gb: 999 },
            json!({ "memory": 3000 }),
            "ERR-02-004",
            "memory",
        ),
        (
            Capacity { slots: 9, vcpu: 9, memory_mb: 9999, disk_gb: 70 },
            json!({ "disk_size": 40 }),
            "ERR-02-002",
            "disk_size",
        ),
    ] {
        let host = SimConfig { capacity, ..SimConfig::fast() };
        let world = World::fleet(vec![TestNode { host, ..TestNode::sim() }], |_| {}).await;
        let first = provision(&world, "first-app", size.clone()).await;
        let second = provision(&world, "second-app", size.clone()).await;
        world.post("/cvms", commit(&first)).await.ok();
        let refused = world.post("/cvms", commit(&second)).await.refused(400, code);
        assert_eq!(refused["details"][0]["field"], field, "{refused}");
        assert!(!refused["suggestions"].as_array().unwrap().is_empty());
        let third = world.post("/cvms/provision", body("third-app", &[&size])).await;
        let third = third.refused(400, code);
        assert_eq!(third["details"][0]["field"], field, "{third}");

        // Room made is room had, and the refused provision is still there.
        world.settle().await;
        assert_eq!(world.call("DELETE", "/cvms/first-app", "", None).await.status, 204);
        world.settle().await;
        world.post("/cvms", commit(&second)).await.ok();
    }
}

#[tokio::test]
async fn both_phases_may_be_posted_to_one_path() {
    let world = World::new().await;
    let reply = world.post("/cvms", provision_body("my-app")).await.ok();
    assert_eq!(reply["compose_hash"], world.provision("my-app").await["compose_hash"]);
    assert_eq!(world.post("/cvms", commit(&reply)).await.ok()["name"], "my-app");
}

#[tokio::test]
async fn requests_at_the_same_time_are_one_after_the_other() {
    let world = World::new().await;
    let again = || world.provision("my-app");
    let (a, b, c, d) = tokio::join!(again(), again(), again(), again());
    for other in [&b, &c, &d] {
        assert_eq!((&other["app_id"], &other["compose_hash"]), (&a["app_id"], &a["compose_hash"]));
    }
    let again = || world.post("/cvms", commit(&a));
    let (a, b, c, d) = tokio::join!(again(), again(), again(), again());
    let ids: Vec<Value> = [a, b, c, d].into_iter().map(|reply| reply.ok()["id"].clone()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[tokio::test]
async fn another_workspace_finds_nothing_of_this_one() {
    let world = World::new().await;
    let ours = world.provision("my-app").await;
    let mut theirs = world;
    "phak_theirs".clone_into(&mut theirs.key);
    crate::common::stranger(&theirs.ctx, "eve", &theirs.key).await;

    let foreign = theirs.post("/cvms", commit(&ours)).await.refused(422, "ERR-20-009");
    let missing = json!({ "app_id": ours["app_id"], "compose_hash": "11".repeat(32) });
    let missing = theirs.post("/cvms", missing).await.refused(422, "ERR-20-009");
    assert_eq!(foreign["message"], missing["message"], "in the same words");
    let same = theirs.provision("my-app").await;
    assert_eq!(same["compose_hash"], ours["compose_hash"]);
    assert_ne!(same["app_id"], ours["app_id"]);
    theirs.post("/cvms", commit(&same)).await.ok();
}
