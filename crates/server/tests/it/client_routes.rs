//! Routes that clients call beyond the published reference.

use serde_json::json;

use crate::common::World;

const NEXT: &str = "services:\n  app:\n    image: nginx:1.29\n";

#[tokio::test]
async fn routes_beyond_the_reference_answer_in_the_shape_that_clients_read() {
    let world = World::new().await;
    world.deploy("my-app").await;
    world.settle().await;

    let nodes = world.get("/workspaces/default/nodes").await.ok();
    assert_eq!((&nodes["total"], &nodes["page_size"]), (&json!(1), &json!(30)), "{nodes}");
    assert_eq!(nodes["items"][0]["object_type"], "node");
    assert_eq!(nodes["items"][0]["status"], "ONLINE");
    assert!(nodes["items"][0]["id"].is_i64(), "{nodes}");
    assert_eq!(world.get("/workspaces/another/nodes").await.status, 404);

    let all = world.get("/teepods/cvm-create-resources").await.ok();
    let relation = &all["node_kms_relations"][0];
    assert_eq!(relation["teepod_id"], all["nodes"][0]["teepod_id"], "{all}");
    assert_eq!(relation["kms_id"], all["kms_nodes"][0]["id"], "{all}");
    assert!(!all["kms_nodes"][0]["kms_contract_id"].is_null(), "{all}");
    assert!(all["instance_types"].as_array().is_some_and(|sizes| !sizes.is_empty()), "{all}");

    let status = world.get("/cvms/my-app/pre-launch-script/upgrade-status").await.ok();
    assert_eq!(status["current_hash"], json!(null));
    assert_eq!(status["can_upgrade"], false);

    let app = world.get("/cvms/my-app").await.ok()["app_id"].as_str().unwrap().to_owned();
    let path = format!("/cvms/app_{app}/compose");
    // As the CLI sends it.
    let body = json!({
        "compose_manifest": {
            "docker_compose_file": NEXT, "manifest_version": 1, "runner": "docker-compose",
            "version": "1.0.0", "features": ["kms", "tproxy-net"], "name": format!("app_{app}"),
            "allowed_envs": [],
        },
        "allow_restart": true, "env_keys": [],
    });
    let put = world.call("PUT", &path, "", Some(body)).await.ok();
    assert!(put["detail"].as_str().is_some_and(|text| text.contains("accepted")), "{put}");
    world.settle().await;
    let text = world.get("/cvms/my-app/docker-compose.yml").await.text;
    assert!(text.contains("nginx:1.29"), "{text}");

    for (field, body) in [
        ("compose_manifest.init_script", json!({"compose_manifest": {"init_script": "x"}})),
        ("update_ports", json!({"compose_manifest": {}, "update_ports": true})),
    ] {
        let refused = world.call("PUT", &path, "", Some(body)).await.refused(400, "ERR-20-006");
        assert!(refused.to_string().contains(field), "{refused}");
    }
}
