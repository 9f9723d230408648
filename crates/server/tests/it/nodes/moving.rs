//! CVMs that move to other nodes.

use std::sync::Arc;

use casemate_core::cvm::VmPower;
use casemate_engine::node::Node as _;
use casemate_server::{app::fleet::FleetNode, nodes::left};
use casemate_store::{left_vms, nodes};
use serde_json::{Value, json};

use super::kms_stage::{Stage as KmsStage, body};
use crate::common::{TestNode, World};

/// Three hosts; the CVM `web` runs on the first.
async fn start() -> World {
    let names = ["rack-1", "rack-2", "rack-3"];
    let nodes = names.map(|name| TestNode { name, ..TestNode::sim() });
    let world = World::fleet(nodes.into(), |_| {}).await;
    world.deploy("web-1").await;
    world.settle().await;
    assert_eq!(hosts(&world), ["rack-1"]);
    world
}

/// The hosts that have a VM.
fn hosts(world: &World) -> Vec<String> {
    let all = world.ctx.fleet.all();
    let with = all.iter().zip(&world.sims).filter(|(_, sim)| !sim.host().vms().unwrap().is_empty());
    with.map(|(node, _)| node.name.clone()).collect()
}

fn node(world: &World, at: usize) -> Arc<FleetNode> {
    world.ctx.fleet.all().remove(at)
}

fn silence(world: &World, at: usize) {
    node(world, at).record_answer(Err("no answer".to_owned()), world.ctx.now());
}

async fn wake(world: &World, at: usize) {
    let inventory = world.sims[at].inventory().await.unwrap();
    node(world, at).record_answer(Ok(inventory), world.ctx.now());
}

async fn uuid(world: &World) -> String {
    world.get("/cvms/web-1").await.ok()["vm_uuid"].as_str().unwrap().to_owned()
}

async fn moves(world: &World, more: Value) -> crate::common::Reply {
    let mut request = json!({ "allow_data_loss": true });
    super::kms_stage::merge(&mut request, more);
    world.post(&format!("/admin/cvms/{}/move", uuid(world).await), request).await
}

async fn slots(world: &World) -> Vec<(i64, i64)> {
    let taken = nodes::usage(&world.ctx.db).await.unwrap();
    taken.iter().map(|one| (one.node_id, one.slots)).collect()
}

#[tokio::test]
async fn a_cvm_is_removed_on_its_node_and_then_made_on_the_other() {
    let world = start().await;
    let before = world.get("/cvms/web-1").await.ok();
    let planned = moves(&world, json!({ "dry_run": true, "allow_data_loss": false })).await.ok();
    assert_eq!(
        (&planned["from"], &planned["to"], &planned["way"], &planned["loses"]),
        (
            &json!("rack-1"),
            &json!("rack-2"),
            &json!("remove_first"),
            &json!(["disk", "instance_id"])
        )
    );
    assert_eq!(planned["correlation_id"], Value::Null);
    assert_eq!(slots(&world).await, [(1, 1)], "a dry run takes nothing");
    let refused = moves(&world, json!({ "allow_data_loss": false })).await;
    assert_eq!(refused.status, 409, "{}", refused.text);
    assert!(
        refused.text.contains("empty disk") && refused.text.contains("--yes"),
        "{}",
        refused.text
    );

    let moved = moves(&world, json!({ "to": "rack-3" })).await.ok();
    assert_eq!(slots(&world).await, [(1, 1), (3, 1)], "room is taken on both");
    let path = format!("/admin/cvms/{}", moved["vm_uuid"].as_str().unwrap());
    let shown = world.get(&path).await.ok();
    assert_eq!((&shown["node"], &shown["moves_to"]), (&json!("rack-1"), &json!("rack-3")));
    world.settle().await;
    assert_eq!(hosts(&world), ["rack-3"]);
    assert_eq!(slots(&world).await, [(3, 1)]);
    let after = world.get("/cvms/web-1").await.ok();
    for same in ["app_id", "compose_hash", "vm_uuid", "id"] {
        assert_eq!(before[same], after[same], "{same}");
    }
    assert_ne!(before["instance_id"], after["instance_id"]);
    assert_eq!(
        (&after["status"], &after["node_info"]["id"]),
        (&json!("running"), &json!(3)),
        "{after}"
    );
    let operations = world.get("/cvms/web-1/operations").await.ok();
    let last = &operations["items"][0];
    assert_eq!(
        (&last["operation_type"], &last["state"]),
        (&json!("move"), &json!("succeeded")),
        "{last}"
    );
    let page = world.get("/cvms/paginated?node_id=3").await.ok();
    assert_eq!(page["total"], json!(1), "lists follow: {page}");
}

#[tokio::test]
async fn a_host_that_was_given_up_loses_its_vm_when_it_comes_back() {
    let world = start().await;
    silence(&world, 0);
    let refused = moves(&world, json!({})).await;
    assert_eq!(refused.status, 409);
    assert!(
        refused.text.contains("may still run there") && refused.text.contains("--given-up"),
        "{}",
        refused.text
    );
    let moved = moves(&world, json!({ "given_up": true })).await.ok();
    assert_eq!(moved["way"], "leave_behind");
    world.settle().await;
    assert_eq!(hosts(&world), ["rack-1", "rack-2"], "the host is gone, so what runs there stays");
    assert_eq!(slots(&world).await, [(2, 1)]);
    left::sweep(&world.ctx).await;
    assert_eq!(hosts(&world), ["rack-1", "rack-2"]);
    // It is not moved back beside itself.
    wake(&world, 0).await;
    let refused = moves(&world, json!({ "to": "rack-1" })).await;
    assert_eq!(refused.status, 409);
    assert!(refused.text.contains("not removed yet"), "{}", refused.text);
    for _ in 0..3 {
        left::sweep(&world.ctx).await;
        world.clock.advance_ms(60_000);
    }
    assert_eq!(hosts(&world), ["rack-2"]);
    assert_eq!(left_vms::all(&world.ctx.db, 10).await.unwrap(), []);
    moves(&world, json!({ "to": "rack-1" })).await.ok();
    world.settle().await;
    assert_eq!(hosts(&world), ["rack-1"]);
}

#[tokio::test]
async fn what_answers_is_not_given_up_and_what_was_removed_is() {
    let world = start().await;
    let refused = moves(&world, json!({ "given_up": true })).await;
    assert!(refused.text.contains("its node answers"), "{}", refused.text);
    world.call("DELETE", "/admin/nodes/rack-1?give_up=true", "", None).await.ok();
    let moved = moves(&world, json!({ "to": "rack-2" })).await.ok();
    assert_eq!((&moved["from"], &moved["way"]), (&json!("rack-1"), &json!("leave_behind")));
    world.settle().await;
    assert_eq!(world.get("/cvms/web-1").await.ok()["status"], "running");
    assert_eq!(slots(&world).await, [(2, 1)]);
}

#[tokio::test]
async fn a_node_that_cannot_take_it_says_why() {
    let world = start().await;
    for (to, status, words) in
        [("rack-1", 409, "on that node already"), ("rack-9", 404, "There is no node rack-9")]
    {
        let refused = moves(&world, json!({ "to": to })).await;
        assert_eq!(refused.status, status, "{}", refused.text);
        assert!(refused.text.contains(words), "{}", refused.text);
    }
    for name in ["rack-2", "rack-3"] {
        world.post(&format!("/admin/nodes/{name}/cordon"), Value::Null).await.ok();
        let at = if name == "rack-2" { 1 } else { 2 };
        let state = casemate_core::node::NodeState::Cordoned;
        node(&world, at).set_policy(casemate_server::app::fleet::NodePolicy {
            state,
            ..node(&world, at).policy()
        });
    }
    let refused = moves(&world, json!({})).await;
    assert!(refused.status.is_client_error(), "{}", refused.text);
    assert!(refused.text.contains("rack-2") && refused.text.contains("rack-3"), "{}", refused.text);
    assert_eq!(hosts(&world), ["rack-1"]);
    assert_eq!(slots(&world).await, [(1, 1)]);
}

#[tokio::test]
async fn what_is_wanted_meanwhile_counts() {
    let world = start().await;
    moves(&world, json!({ "to": "rack-2" })).await.ok();
    world.post("/cvms/web-1/stop", json!({})).await.ok();
    world.settle().await;
    let stopped = world.get("/cvms/web-1").await.ok();
    assert_eq!((&stopped["status"], &stopped["node_info"]["id"]), (&json!("stopped"), &json!(2)));
    assert_eq!(hosts(&world), Vec::<String>::new(), "it is made when it is to run");
    world.post("/cvms/web-1/start", json!({})).await.ok();
    world.settle().await;
    assert_eq!(hosts(&world), ["rack-2"]);
    // A second target takes the place of the first.
    moves(&world, json!({ "to": "rack-1" })).await.ok();
    moves(&world, json!({ "to": "rack-3" })).await.ok();
    assert_eq!(slots(&world).await, [(2, 1), (3, 1)]);
    world.call("DELETE", "/cvms/web-1", "", None).await.ok();
    world.settle().await;
    assert_eq!((hosts(&world), slots(&world).await), (vec![], vec![]), "and nothing is left");
}

#[tokio::test]
async fn the_guest_may_bring_away_what_it_has() {
    let world = start().await;
    moves(&world, json!({ "to": "rack-2" })).await.ok();
    Box::pin(casemate_server::work::driver::settle_now(&world.ctx, "test")).await;
    let vms = world.sims[0].host().vms().unwrap();
    assert_eq!(vms[0].observed.power, VmPower::Stopping, "asked to shut down first");
    world.settle().await;
    let calls = world.sims[0].host().calls().unwrap();
    let last: Vec<String> = calls.iter().map(|call| format!("{:?}", call.method)).collect();
    assert!(last.iter().any(|method| method.contains("Shutdown")), "{last:?}");
}

#[tokio::test]
async fn an_app_keeps_its_kms_and_its_sealed_variables() {
    let stage = KmsStage::new().await;
    let kms = stage.id("kms-one");
    let made = stage.provision("web-1", json!({ "kms_id": kms })).await.ok();
    let env = super::kms_stage::sealed(&made["app_env_encrypt_pubkey"], "v");
    stage.commit(&made, json!({ "encrypted_env": env })).await.ok();
    stage.world.settle().await;
    assert_eq!(stage.vms(1).len(), 1);
    for to in ["plain", "rack-2"] {
        let refused = moves(&stage.world, json!({ "to": to })).await;
        assert!(refused.status.is_client_error(), "{}", refused.text);
        assert!(refused.text.contains("KMS"), "{}", refused.text);
    }
    let refused = moves(&stage.world, json!({})).await;
    assert!(refused.text.contains("plain") && refused.text.contains("rack-2"), "{}", refused.text);
    assert_eq!(stage.vms(1).len(), 1, "it stays");
    // A second host with that KMS takes it, and its KMS opens the same envelope there.
    let two = stage.world.ctx.fleet.all().remove(2);
    let kms = Some("kms-one".to_owned());
    two.set_policy(casemate_server::app::fleet::NodePolicy { kms, ..two.policy() });
    moves(&stage.world, json!({ "to": "rack-2" })).await.ok();
    stage.world.settle().await;
    assert_eq!((stage.vms(1).len(), stage.vms(2).len()), (0, 1));
    assert_eq!(stage.one.open(&stage.vms(2)[0]).as_deref(), Some("G=v"));
}

#[tokio::test]
async fn keys_of_a_host_hold_a_cvm_there() {
    let world = World::fleet(
        ["rack-1", "rack-2"].map(|name| TestNode { name, ..TestNode::sim() }).into(),
        |_| {},
    )
    .await;
    let mut request = body("web-1", json!({}));
    request["compose_file"]["local_key_provider_enabled"] = json!(true);
    let made = world.post("/cvms/provision", request).await.ok();
    let commit = json!({ "app_id": made["app_id"], "compose_hash": made["compose_hash"] });
    world.post("/cvms", commit).await.ok();
    world.settle().await;
    let refused = moves(&world, json!({ "dry_run": true })).await;
    assert_eq!(refused.status, 409, "{}", refused.text);
    assert!(refused.text.contains("local key provider"), "{}", refused.text);
}

/// `admin node simulate` places as a real deployment: by KMS, by what a node can do, by whether it takes new CVMs.
#[tokio::test]
async fn a_simulation_reckons_with_kms_and_capabilities() {
    let stage = KmsStage::new().await;
    let simulate = async |more: Value| {
        let mut request = json!({ "count": 2 });
        super::kms_stage::merge(&mut request, more);
        stage.world.post("/admin/placement/simulate", request).await.ok()
    };
    let nodes = |found: &Value| {
        let all = found["placed"].as_array().unwrap().clone();
        all.iter().map(|one| one["node"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let found = simulate(json!({ "kms": "kms-two" })).await;
    assert_eq!(nodes(&found), ["rack-2"], "{found}");
    let reasons = found["refused"].to_string();
    assert!(reasons.contains("takes keys from the KMS kms-one"), "{reasons}");
    // Variables are for one KMS, as in a provision: the built-in one, if none is named.
    let found = simulate(json!({ "needs": ["env"] })).await;
    assert_eq!(nodes(&found), ["plain"], "{found}");

    let docker = TestNode { name: "docker-1", ..TestNode::docker() };
    let world = World::fleet(vec![TestNode::sim(), docker], |_| {}).await;
    let request = json!({ "count": 1, "without": ["sim-1"], "needs": ["local_key_provider"] });
    let found = world.post("/admin/placement/simulate", request).await.ok();
    assert_eq!(found["fits"], 0, "{found}");
    let reason = found["refused"][0]["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("cannot take it: compose_file.local_key_provider_enabled"),
        "{reason}"
    );
    let sim = node(&world, 0);
    sim.set_policy(casemate_server::app::fleet::NodePolicy { takes_new: false, ..sim.policy() });
    let found = world.post("/admin/placement/simulate", json!({ "count": 1 })).await.ok();
    assert!(found["refused"].to_string().contains("only where it is named"), "{found}");
}
