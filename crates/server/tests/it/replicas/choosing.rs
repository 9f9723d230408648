//! Which CVM is the template.

use serde_json::{Value, json};

use crate::replicas::{
    common::{COMPOSE, World},
    deployed, detail, replicate, uuid,
};

/// `my-app` and a replica of it that runs another document; returns the app, the replica's uuid, and
/// both hashes.
async fn two_documents(world: &World) -> (String, String, String, String) {
    let source = deployed(world, json!({})).await;
    let app = source["app_id"].as_str().unwrap().to_owned();
    let old = detail(world, "my-app").await["compose_hash"].as_str().unwrap().to_owned();
    let body = json!({ "docker_compose_file": format!("{COMPOSE}# new\n") });
    let made = world.post(&format!("/apps/{app}/instances"), body).await.ok();
    world.settle().await;
    let new = detail(world, uuid(&made)).await["compose_hash"].as_str().unwrap().to_owned();
    assert_ne!(old, new);
    (app, uuid(&made).to_owned(), old, new)
}

async fn hash_of(world: &World, reply: &Value) -> String {
    detail(world, uuid(reply)).await["compose_hash"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn of_several_documents_one_has_to_be_named() {
    let world = World::new().await;
    let (app, other, old, new) = two_documents(&world).await;
    for path in [
        "/cvms/my-app/replicas".to_owned(),
        format!("/cvms/{other}/replicas"),
        format!("/apps/{app}/cvms/{other}/replicas"),
        format!("/apps/{app}/instances"),
    ] {
        let refused = world.post(&path, json!({})).await.refused(400, "ERR-03-009");
        let details = refused["details"].to_string();
        assert!(details.contains(&old) && details.contains(&new), "{refused}");
        assert!(refused["suggestions"].to_string().contains("compose_hash"), "{refused}");
        for hash in [&old, &new] {
            let named = json!({ "compose_hash": format!("0x{hash}") });
            let made = world.post(&path, named).await.ok();
            world.settle().await;
            assert_eq!(hash_of(&world, &made).await, *hash, "{path}");
        }
        let none = json!({ "compose_hash": "00".repeat(32) });
        let refused = world.post(&path, none).await.refused(400, "ERR-02-008");
        assert_eq!(refused["details"][0]["field"], "compose_hash");
        assert!(refused["details"].to_string().contains(&old), "the way out: {refused}");
    }
}

#[tokio::test]
async fn what_is_deleted_has_no_say() {
    let world = World::new().await;
    let (app, other, old, new) = two_documents(&world).await;
    assert_eq!(world.call("DELETE", &format!("/cvms/{other}"), "", None).await.status, 204);
    // Not even while it goes.
    for _ in 0..2 {
        let made = world.post("/cvms/my-app/replicas", json!({})).await.ok();
        assert_eq!(hash_of(&world, &made).await, old);
        let gone = json!({ "compose_hash": new });
        world.post("/cvms/my-app/replicas", gone).await.refused(400, "ERR-02-008");
        let source = world.post(&format!("/cvms/{other}/replicas"), json!({})).await;
        source.refused(404, "ERR-03-008");
        world.settle().await;
    }
    world.post(&format!("/apps/{app}/instances"), json!({})).await.ok();
}

#[tokio::test]
async fn the_newest_document_is_what_another_compose_file_is_put_into() {
    let world = World::new().await;
    let (app, other, _, _) = two_documents(&world).await;
    let script = json!({ "pre_launch_script": "echo new" });
    let path = format!("/apps/{app}/instances");
    let made = world.post(&path, script).await.ok();
    world.settle().await;
    let file = |got: &Value| got["compose_file"]["docker_compose_file"].clone();
    let (got, newest) = (detail(&world, uuid(&made)).await, detail(&world, &other).await);
    assert_eq!(file(&got), file(&newest));
    assert_ne!(got["compose_hash"], newest["compose_hash"]);
}

#[tokio::test]
async fn an_updated_cvm_is_replicated_as_it_is_desired() {
    let world = World::new().await;
    deployed(&world, json!({})).await;
    let change = json!({ "vcpu": 2, "docker_compose_file": format!("{COMPOSE}# v2\n") });
    world.call("PATCH", "/cvms/my-app", "", Some(change)).await.ok();
    // While the update is under way.
    let made = replicate(&world, "my-app", json!({})).await;
    let (of, replica) = (detail(&world, "my-app").await, detail(&world, uuid(&made)).await);
    assert_eq!(replica["compose_hash"], of["compose_hash"]);
    assert_eq!(replica["resource"]["vcpu"], 2);
    assert_eq!((&of["status"], &replica["status"]), (&json!("running"), &json!("running")));
}

#[tokio::test]
async fn a_stopped_cvm_has_running_replicas() {
    let world = World::new().await;
    deployed(&world, json!({})).await;
    world.post("/cvms/my-app/stop", json!({})).await.ok();
    world.settle().await;
    let made = replicate(&world, "my-app", json!({})).await;
    assert_eq!(detail(&world, uuid(&made)).await["status"], "running");
    assert_eq!(detail(&world, "my-app").await["status"], "stopped");
}
