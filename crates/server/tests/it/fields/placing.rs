//! Nodes of several kinds, with other images, in other regions.

use casemate_engine::node::sim::SimConfig;
use serde_json::{Value, json};

use crate::fields::{
    common::{TestNode, World},
    row::body,
};

fn images(keep: fn(&str) -> bool) -> SimConfig {
    let mut host = SimConfig::fast();
    host.images.retain(|image| keep(&image.name));
    host
}

async fn node_of(world: &World, said: Value) -> Value {
    world.post("/cvms/provision", body("my-app", &[&said])).await.ok()["node_id"].clone()
}

#[tokio::test]
async fn a_field_that_one_kind_cannot_honour_goes_to_the_other() {
    let world = World::fleet(vec![TestNode::docker(), TestNode::sim()], |_| {}).await;
    assert_eq!(node_of(&world, json!({})).await, 1);
    for said in [
        json!({ "hugepages": true }),
        json!({ "gpus": { "gpus": [{ "slot": "1" }] } }),
        json!({ "ports": [{ "host_port": 1, "vm_port": 1 }] }),
        json!({ "encrypted": true }),
    ] {
        assert_eq!(node_of(&world, said).await, 2);
    }
    assert_eq!(node_of(&world, json!({ "encrypted": false })).await, 1);
    let named = body("my-app", &[&json!({ "hugepages": true, "node_id": 1 })]);
    let refused = world.post("/cvms/provision", named).await.refused(400, "ERR-20-006");
    assert_eq!(refused["details"][0]["field"], "hugepages");
    assert!(refused["suggestions"].to_string().contains("docker-1"));
    // Each node's reason is told where none is left.
    let large = body("my-app", &[&json!({ "hugepages": true, "vcpu": 9999 })]);
    let refused = world.post("/cvms/provision", large).await.refused(400, "ERR-02-003");
    let details = refused["details"].to_string();
    assert!(details.contains("docker-1") && details.contains("sim-1"), "{details}");
}

#[tokio::test]
async fn a_default_image_is_one_that_a_fitting_node_has() {
    let old = TestNode {
        name: "old",
        region: "eu",
        host: images(|name| name.contains("0.5.4")),
        ..TestNode::sim()
    };
    let world = World::fleet(vec![TestNode::sim(), old], |_| {}).await;
    assert_eq!(node_of(&world, json!({})).await, 1, "the newest image");
    assert_eq!(
        node_of(&world, json!({ "region": "eu" })).await,
        2,
        "an older one, where it has to be"
    );
    assert_eq!(node_of(&world, json!({ "node_id": 2 })).await, 2);
    let image = json!({ "region": "eu", "image": "dstack-0.5.5" });
    let refused = world.post("/cvms/provision", body("my-app", &[&image])).await;
    assert_eq!(refused.refused(400, "ERR-02-010")["details"][0]["field"], "image");
}

#[tokio::test]
async fn a_node_without_login_images_is_good_enough_unless_one_is_asked_for() {
    let host = images(|name| !name.contains("dev"));
    let world = World::fleet(vec![TestNode { host, ..TestNode::sim() }], |_| {}).await;
    assert_eq!(node_of(&world, json!({})).await, 1);
    assert_eq!(node_of(&world, json!({ "prefer_dev": false })).await, 1);
    let asked = body("my-app", &[&json!({ "prefer_dev": true })]);
    let refused = world.post("/cvms/provision", asked).await.refused(400, "ERR-02-010");
    assert_eq!(refused["details"][0]["field"], "prefer_dev");
}

#[tokio::test]
async fn a_region_without_nodes_is_named() {
    let world = World::new().await;
    for said in [json!({ "region": "mars" }), json!({ "region": "mars", "node_id": 1 })] {
        let reply = world.post("/cvms/provision", body("my-app", &[&said])).await;
        let refused = reply.refused(400, "ERR-02-002");
        assert_eq!(refused["details"][0]["field"], "region", "{refused}");
    }
}

#[tokio::test]
async fn what_every_node_says_is_the_code_and_the_field() {
    let other = TestNode { name: "sim-2", region: "eu", ..TestNode::sim() };
    let world = World::fleet(vec![TestNode::sim(), other], |_| {}).await;
    for (said, code, field) in [
        (json!({ "vcpu": 9999 }), "ERR-02-003", "vcpu"),
        (json!({ "memory": 99_999_999 }), "ERR-02-004", "memory"),
        (json!({ "disk_size": 99_999 }), "ERR-02-002", "disk_size"),
        (json!({ "region": "mars" }), "ERR-02-002", "region"),
    ] {
        let reply = world.post("/cvms/provision", body("my-app", &[&said])).await;
        let refused = reply.refused(400, code);
        let details = refused["details"].as_array().unwrap();
        assert_eq!(details[0]["field"], field, "{refused}");
        assert_eq!(details.len(), 3, "and each node: {refused}");
    }
}
