//! Which node takes a replica.

use casemate_engine::node::{Capacity, sim::SimConfig};
use serde_json::{Value, json};

use crate::replicas::{
    common::{TestNode, World},
    deployed, detail, replicate, uuid,
};

fn host(capacity: Capacity, images: fn(&str) -> bool) -> SimConfig {
    let mut host = SimConfig { capacity, ..SimConfig::fast() };
    host.images.retain(|image| images(&image.name));
    host
}

fn all(_: &str) -> bool {
    true
}

const fn slots(slots: u32) -> Capacity {
    Capacity { slots, vcpu: 256, memory_mb: 524_288, disk_gb: 8192 }
}

fn node(name: &'static str, capacity: Capacity, images: fn(&str) -> bool) -> TestNode {
    TestNode { name, host: host(capacity, images), ..TestNode::sim() }
}

async fn node_of(world: &World, reply: &Value) -> Value {
    detail(world, uuid(reply)).await["node_info"]["name"].clone()
}

#[tokio::test]
async fn it_goes_beside_its_source_and_elsewhere_when_that_is_full() {
    let nodes = vec![node("sim-1", slots(2), all), node("sim-2", slots(100), all)];
    let world = World::fleet(nodes, |_| {}).await;
    deployed(&world, json!({ "node_id": 1 })).await;
    let first = replicate(&world, "my-app", json!({})).await;
    assert_eq!(node_of(&world, &first).await, "sim-1", "though the other has more left");
    let second = replicate(&world, "my-app", json!({})).await;
    assert_eq!(node_of(&world, &second).await, "sim-2");
    let full = world.post("/cvms/my-app/replicas", json!({ "node_id": 1 })).await;
    let refused = full.refused(400, "ERR-02-005");
    assert_eq!(refused["message"], "sim-1 has no free slot of 2");
}

#[tokio::test]
async fn a_named_node_is_honoured_under_both_names() {
    let nodes = vec![node("sim-1", slots(64), all), node("sim-2", slots(64), all)];
    let world = World::fleet(nodes, |_| {}).await;
    let source = deployed(&world, json!({ "node_id": 1 })).await;
    let app = source["app_id"].as_str().unwrap();
    for body in [
        json!({ "node_id": 2 }),
        json!({ "teepod_id": 2.0 }),
        json!({ "node_id": 2, "teepod_id": 2 }),
    ] {
        for path in ["/cvms/my-app/replicas", &format!("/apps/{app}/instances")] {
            let made = world.post(path, body.clone()).await.ok();
            world.settle().await;
            assert_eq!(node_of(&world, &made).await, "sim-2", "{body}");
        }
    }
    let both = json!({ "node_id": 1, "teepod_id": 2 });
    assert_eq!(world.post("/cvms/my-app/replicas", both).await.status, 422);
    let none = world.post("/cvms/my-app/replicas", json!({ "node_id": 9 })).await;
    none.refused(400, "ERR-01-001");
}

#[tokio::test]
async fn an_image_that_the_node_lacks_is_named_with_those_it_has() {
    let old = |name: &str| name.ends_with("0.5.4");
    let nodes = vec![node("sim-1", slots(64), all), node("sim-2", slots(64), old)];
    let world = World::fleet(nodes, |_| {}).await;
    deployed(&world, json!({ "node_id": 1, "image": "dstack-0.5.5" })).await;
    let path = "/cvms/my-app/replicas";
    let refused = world.post(path, json!({ "node_id": 2 })).await.refused(400, "ERR-03-006");
    assert!(refused["suggestions"].to_string().contains("dstack-0.5.4"), "{refused}");
    let made =
        replicate(&world, "my-app", json!({ "node_id": 2, "os_image": "dstack-0.5.4" })).await;
    let got = detail(&world, uuid(&made)).await;
    assert_eq!(
        (&got["os"]["name"], &got["node_info"]["name"]),
        (&json!("dstack-0.5.4"), &json!("sim-2"))
    );
    let refused =
        world.post(path, json!({ "os_image": "windows" })).await.refused(400, "ERR-02-010");
    assert_eq!(refused["details"][0]["field"], "os_image");
    assert!(refused["message"].to_string().contains("sim-2 does not have"), "{refused}");
}

#[tokio::test]
async fn a_host_port_goes_elsewhere_or_is_named() {
    let nodes = vec![node("sim-1", slots(64), all), node("sim-2", slots(64), all)];
    let world = World::fleet(nodes, |_| {}).await;
    let ports = json!([{ "host_port": 20001, "vm_port": 80 }]);
    deployed(&world, json!({ "node_id": 1, "ports": ports })).await;
    let path = "/cvms/my-app/replicas";
    let refused = world.post(path, json!({ "node_id": 1 })).await.refused(409, "ERR-20-015");
    assert!(refused["message"].to_string().contains("20001/tcp"), "{refused}");
    assert!(!refused["suggestions"].as_array().unwrap().is_empty());
    let made = replicate(&world, "my-app", json!({})).await;
    assert_eq!(node_of(&world, &made).await, "sim-2");
    // No node is left.
    let refused = world.post(path, json!({})).await.refused(409, "ERR-20-015");
    let details = refused["details"].to_string();
    assert!(details.contains("sim-1") && details.contains("sim-2"), "{refused}");
    // Where the port is free again, there it goes.
    let none = json!({ "ports": [] });
    world.call("PUT", "/cvms/my-app/ports", "", Some(none)).await.ok();
    world.settle().await;
    let made = replicate(&world, "my-app-2", json!({})).await;
    assert_eq!(node_of(&world, &made).await, "sim-1");
}

#[tokio::test]
async fn a_kind_that_cannot_is_passed_over_or_named() {
    let mut docker = TestNode::docker();
    docker.host.capacity = slots(1000);
    let world = World::fleet(vec![docker, node("sim-1", slots(1), all)], |_| {}).await;
    deployed(&world, json!({ "node_id": 2, "hugepages": true })).await;
    let path = "/cvms/my-app/replicas";
    let named = world.post(path, json!({ "node_id": 1 })).await.refused(400, "ERR-20-006");
    assert_eq!(named["details"][0]["field"], "hugepages");
    // Each says why, and the code is that of none of them.
    let refused = world.post(path, json!({})).await.refused(400, "ERR-02-002");
    let details = refused["details"].to_string();
    assert!(details.contains("docker-1") && details.contains("no free slot"), "{refused}");
}

#[tokio::test]
async fn a_compose_file_that_gives_the_host_away_is_refused_on_docker() {
    let world = World::fleet(vec![TestNode::docker()], |_| {}).await;
    let source = deployed(&world, json!({})).await;
    let path = format!("/apps/{}/instances", source["app_id"].as_str().unwrap());
    let file = "services:\n  web:\n    image: busybox:1.36\n    privileged: true\n";
    let refused = world.post(&path, json!({ "docker_compose_file": file })).await;
    let refused = refused.refused(400, "ERR-20-006");
    assert!(refused["details"].to_string().contains("docker_compose_file"), "{refused}");
}

#[tokio::test]
async fn a_node_that_is_away_is_passed_over() {
    let nodes = vec![node("sim-1", slots(64), all), node("sim-2", slots(64), all)];
    let world = World::fleet(nodes, |_| {}).await;
    deployed(&world, json!({ "node_id": 1 })).await;
    let first = world.ctx.fleet.all().remove(0);
    first.record_answer(Err("gone".to_owned()), world.ctx.now());
    let made = world.post("/cvms/my-app/replicas", json!({})).await.ok();
    assert_eq!(made["teepod"]["name"], "sim-2");
    let away = world.post("/cvms/my-app/replicas", json!({ "node_id": 1 })).await;
    away.refused(400, "ERR-02-012");
}

#[tokio::test]
async fn a_node_that_takes_nothing_new_has_to_be_named() {
    let kept = TestNode { takes_new: false, ..node("sim-1", slots(64), all) };
    let world = World::fleet(vec![kept, node("sim-2", slots(1), all)], |_| {}).await;
    deployed(&world, json!({ "node_id": 1 })).await;
    let elsewhere = replicate(&world, "my-app", json!({})).await;
    assert_eq!(node_of(&world, &elsewhere).await, "sim-2");
    let refused = world.post("/cvms/my-app/replicas", json!({})).await.refused(400, "ERR-02-002");
    assert!(refused["suggestions"].to_string().contains("node_id 1"), "{refused}");
    let named = replicate(&world, "my-app", json!({ "node_id": 1 })).await;
    assert_eq!(node_of(&world, &named).await, "sim-1");
}
