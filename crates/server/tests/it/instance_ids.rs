//! Instance ids, in both meanings that clients know.

use crate::common;

use casemate_core::id::EngineVmId;
use casemate_engine::node::sim::Faults;
use common::{TestNode, World};
use serde_json::{Value, json};

const VERSION: &str = "2026-01-21";

async fn running(node: TestNode, names: &[&str]) -> World {
    let world = World::fleet(vec![node], |_| {}).await;
    for name in names {
        world.deploy(name).await;
    }
    world.settle().await;
    world
}

async fn instance_id(world: &World, name: &str) -> Value {
    world.get(&format!("/cvms/{name}")).await.ok()["instance_id"].clone()
}

fn vms(world: &World) -> Vec<EngineVmId> {
    world.sim.host().vms().unwrap().into_iter().map(|vm| vm.observed.id).collect()
}

#[tokio::test]
async fn another_id_keeps_the_vm_where_the_node_takes_its_seed() {
    let world = running(TestNode::docker(), &["my-app"]).await;
    let (old, vm) = (instance_id(&world, "my-app").await, vms(&world));
    let done = world.post("/cvms/my-app/refresh-instance-id", Value::Null).await.ok();
    assert_eq!((&done["status"], &done["old_instance_id"]), (&json!("updated"), &old), "{done}");
    assert_eq!(done["identifier"], "my-app");
    assert!(done["cvm_id"].is_i64() && done["correlation_id"].is_string(), "{done}");
    assert_eq!(world.get("/cvms/my-app").await.ok()["status"], "updating");
    world.settle().await;
    assert_eq!(world.get("/cvms/my-app").await.ok()["status"], "running");
    let new = instance_id(&world, "my-app").await;
    assert_eq!(new, done["new_instance_id"], "what was promised");
    assert_ne!(new, old);
    assert_eq!(vms(&world), vm, "the same VM, with its disk");
    // The old one is invalid.
    world
        .get(&format!("/cvms/instance_{}", old.as_str().unwrap()))
        .await
        .refused(404, "ERR-03-001");
    world.get(&format!("/cvms/instance_{}", new.as_str().unwrap())).await.ok();
}

#[tokio::test]
async fn a_cvm_that_is_off_stays_off_and_has_the_new_id_from_its_next_start() {
    let world = running(TestNode::docker(), &["my-app"]).await;
    world.post("/cvms/my-app/shutdown", Value::Null).await.ok();
    world.settle().await;
    let done = world.post("/cvms/my-app/refresh-instance-id", Value::Null).await.ok();
    world.settle().await;
    let detail = world.get("/cvms/my-app").await.ok();
    assert_eq!((&detail["status"], &detail["instance_id"]), (&json!("stopped"), &Value::Null));
    world.post("/cvms/my-app/start", Value::Null).await.ok();
    world.settle().await;
    assert_eq!(instance_id(&world, "my-app").await, done["new_instance_id"]);
}

#[tokio::test]
async fn a_disk_that_hangs_on_the_id_is_lost_only_on_request() {
    let world = running(TestNode::sim(), &["my-app"]).await;
    let (old, vm) = (instance_id(&world, "my-app").await, vms(&world));
    for (method, path, body) in [
        ("POST", "/cvms/my-app/refresh-instance-id", json!({})),
        ("PATCH", "/cvms/my-app/instance-id", json!({ "overwrite": true })),
        ("PATCH", "/cvms/my-app/instance-id", json!({ "overwrite": true, "dry_run": true })),
    ] {
        let reply = world.call(method, path, VERSION, Some(body)).await;
        let refused = reply.refused(409, "ERR-20-016");
        assert!(refused["suggestions"][0].as_str().unwrap().contains("allow_data_loss"));
    }
    assert_eq!((instance_id(&world, "my-app").await, vms(&world)), (old.clone(), vm.clone()));
    let done = world
        .post("/cvms/my-app/refresh-instance-id", json!({ "allow_data_loss": true }))
        .await
        .ok();
    assert_eq!((&done["status"], &done["new_instance_id"]), (&json!("updated"), &Value::Null));
    assert!(done["reason"].as_str().unwrap().contains("first boot"), "{done}");
    world.settle().await;
    let detail = world.get("/cvms/my-app").await.ok();
    assert_eq!(detail["status"], "running");
    assert!(detail["instance_id"].is_string() && detail["instance_id"] != old, "{detail}");
    assert!(vms(&world).len() == 1 && vms(&world) != vm, "another VM, and only one");
    let audit = world.sim.host().audit().unwrap();
    assert_eq!(audit.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn a_new_vm_is_made_while_off_and_at_the_next_start() {
    let world = running(TestNode::sim(), &["my-app"]).await;
    world.post("/cvms/my-app/stop", Value::Null).await.ok();
    world.settle().await;
    let allow = json!({ "allow_data_loss": true });
    world.post("/cvms/my-app/refresh-instance-id", allow).await.ok();
    world.settle().await;
    let detail = world.get("/cvms/my-app").await.ok();
    assert_eq!((&detail["status"], &detail["instance_id"]), (&json!("stopped"), &Value::Null));
    assert_eq!(vms(&world), Vec::new());
    world.post("/cvms/my-app/start", Value::Null).await.ok();
    world.settle().await;
    let detail = world.get("/cvms/my-app").await.ok();
    assert_eq!((&detail["status"], vms(&world).len()), (&json!("running"), 1), "{detail}");
}

#[tokio::test]
async fn a_change_that_fails_after_the_vm_is_gone_leads_back_to_a_running_cvm() {
    let world = running(TestNode::sim(), &["my-app"]).await;
    let old = vms(&world);
    let allow = json!({ "allow_data_loss": true });
    world.post("/cvms/my-app/refresh-instance-id", allow.clone()).await.ok();
    // Goes with it in one: the document does not boot.
    let compose = "services: {web: {image: 'busybox:1.36'}}\nx-sim-boot: fail\n";
    let bad = json!({ "docker_compose_file": compose });
    world.call("PATCH", "/cvms/my-app", VERSION, Some(bad)).await.ok();
    world.settle().await;
    let detail = world.get("/cvms/my-app").await.ok();
    assert_eq!(detail["status"], "running", "{detail}");
    assert!(vms(&world).len() == 1 && vms(&world) != old);
    let again = vms(&world);
    world.post("/cvms/my-app/refresh-instance-id", allow).await.ok();
    world.settle().await;
    assert!(vms(&world).len() == 1 && vms(&world) != again, "each request makes another");
}

#[tokio::test]
async fn looking_for_an_id_changes_none_that_is_there() {
    let world = running(TestNode::docker(), &["my-app"]).await;
    let id = instance_id(&world, "my-app").await;
    let look = world.call("PATCH", "/cvms/my-app/instance-id", VERSION, None).await.ok();
    assert_eq!((&look["status"], &look["new_instance_id"]), (&json!("unchanged"), &id), "{look}");
    assert_eq!(
        (&look["source"], &look["verified_with_gateway"]),
        (&json!("teepod_state"), &json!(true))
    );
    let dry = json!({ "overwrite": true, "dry_run": true });
    let dry = world.call("PATCH", "/cvms/my-app/instance-id", VERSION, Some(dry)).await.ok();
    assert_eq!(
        (&dry["status"], &dry["correlation_id"]),
        (&json!("updated"), &Value::Null),
        "{dry}"
    );
    world.settle().await;
    assert_eq!(instance_id(&world, "my-app").await, id);
    let text = world.call("PATCH", "/cvms/my-app/instance-id", "2026-06-23", None).await.ok();
    assert!(text["cvm_id"].as_str().unwrap().starts_with("cvm_"), "{text}");
    world.call("PATCH", "/cvms/nobody/instance-id", VERSION, None).await.refused(404, "ERR-03-001");
}

#[tokio::test]
async fn a_missing_id_is_filled_in_once_the_guest_has_told_it() {
    let world =
        World::fleet(vec![TestNode::docker()], |config| config.work.boot_timeout_s = 1).await;
    world.sim.host().set_faults(Faults::default()).unwrap();
    let compose = "services: {web: {image: 'busybox:1.36'}}\nx-sim-boot: never\n";
    let mut body = common::provision_body("my-app");
    body["compose_file"]["docker_compose_file"] = json!(compose);
    let prepared = world.post("/cvms/provision", body).await.ok();
    let commit = json!({ "app_id": prepared["app_id"], "compose_hash": prepared["compose_hash"] });
    world.post("/cvms", commit).await.ok();
    world.settle().await;
    let asked = json!({ "cvm_ids": ["my-app", "nobody"], "running_only": false });
    let many = world.call("PATCH", "/cvms/instance-ids", VERSION, Some(asked)).await.ok();
    let counts = ["total", "scanned", "updated", "unchanged", "skipped", "conflicts", "errors"];
    let found = counts.map(|name| many[name].as_u64().unwrap());
    // What it says depends on how far the guest came before it was given up.
    assert!(found == [2, 1, 0, 0, 1, 0, 1], "{many}");
    let item = |status: &str| {
        let items = many["items"].as_array().unwrap();
        items.iter().find(|item| item["status"] == status).cloned().unwrap()
    };
    assert_eq!(
        (&item("error")["cvm_id"], &item("error")["identifier"]),
        (&json!(0), &json!("nobody"))
    );
    assert!(item("skipped")["reason"].is_string());
}

#[tokio::test]
async fn many_are_replaced_at_once_and_what_is_refused_for_one_stops_no_other() {
    let world = running(TestNode::docker(), &["app-one", "app-two", "app-three"]).await;
    world.post("/cvms/app-three/stop", Value::Null).await.ok();
    world.settle().await;
    let before = [instance_id(&world, "app-one").await, instance_id(&world, "app-two").await];
    // By default only missing ids of running CVMs are looked for.
    let none = world.call("PATCH", "/cvms/instance-ids", VERSION, Some(json!({}))).await.ok();
    assert_eq!((&none["scanned"], &none["total"]), (&json!(3), &json!(0)), "{none}");
    let all = json!({ "missing_only": false, "overwrite": true, "limit": 2 });
    let done = world.call("PATCH", "/cvms/instance-ids", VERSION, Some(all)).await.ok();
    assert_eq!((&done["total"], &done["updated"]), (&json!(2), &json!(2)), "{done}");
    world.settle().await;
    for (name, old) in ["app-one", "app-two"].into_iter().zip(&before) {
        assert_ne!(instance_id(&world, name).await, *old, "{name}");
    }
    let ids = json!({ "ids": ["app-one", "app-one", "nobody", "app-three"] });
    let done = world.post("/cvms/refresh-instance-ids", ids).await.ok();
    let counts = ["updated", "skipped", "errors"].map(|name| done[name].as_u64().unwrap());
    assert_eq!(counts, [2, 1, 1], "{done}");
    for body in [json!({ "limit": 0 }), json!({ "limit": 501 })] {
        let reply = world.call("PATCH", "/cvms/instance-ids", VERSION, Some(body)).await;
        assert_eq!(reply.status, 422);
    }
    world.settle().await;
    assert_eq!(world.get("/cvms/app-three").await.ok()["status"], "stopped");
}

#[tokio::test]
async fn an_app_without_instance_ids_gets_none() {
    let world = World::fleet(vec![TestNode::docker()], |_| {}).await;
    let mut body = common::provision_body("my-app");
    body["compose_file"]["no_instance_id"] = json!(true);
    let prepared = world.post("/cvms/provision", body).await.ok();
    let commit = json!({ "app_id": prepared["app_id"], "compose_hash": prepared["compose_hash"] });
    world.post("/cvms", commit).await.ok();
    world.settle().await;
    let reply = world.post("/cvms/my-app/refresh-instance-id", Value::Null).await;
    assert_eq!(reply.status, 400, "{}", reply.text);
    assert!(reply.text.contains("no_instance_id"), "{}", reply.text);
}

#[tokio::test]
async fn a_replica_does_not_share_a_renewed_id() {
    let world = running(TestNode::docker(), &["my-app"]).await;
    world.post("/cvms/my-app/refresh-instance-id", Value::Null).await.ok();
    world.settle().await;
    world.post("/cvms/my-app/replicas", Value::Null).await.ok();
    world.settle().await;
    let ids = [instance_id(&world, "my-app").await, instance_id(&world, "my-app-2").await];
    assert!(ids[0].is_string() && ids[1].is_string() && ids[0] != ids[1], "{ids:?}");
}
