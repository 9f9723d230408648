//! What a change would come to, asked before it is made.

use crate::common::{COMPOSE, Reply, World};
use serde_json::{Value, json};

async fn preview(world: &World, body: Value) -> Reply {
    world.call("POST", "/cvms/my-app/preview", "2026-01-21", Some(body)).await
}

async fn running() -> World {
    let world = World::new().await;
    world.deploy("my-app").await;
    world.settle().await;
    world
}

#[tokio::test]
async fn a_preview_says_what_a_patch_then_does() {
    let world = running().await;
    let before = world.get("/cvms/my-app").await.ok();
    let patch = json!({ "vcpu": 2, "docker_compose_file": format!("{COMPOSE}# changed\n") });
    let told = preview(&world, json!({ "patch": patch })).await.ok();
    assert_eq!((&told["effect"], &told["restart"]), (&json!("restart"), &json!(true)), "{told}");
    assert_eq!((&told["before"]["vcpu"], &told["after"]["vcpu"]), (&json!(1), &json!(2)));
    assert_eq!(told["before"]["docker_compose_file"], COMPOSE);
    assert_eq!(told["env_report"], Value::Null);
    assert_eq!(world.get("/cvms/my-app").await.ok(), before, "nothing is changed");
    let operations = world.get("/cvms/my-app/operations").await.ok();
    assert_eq!(operations["total"], 1, "{operations}");

    world.call("PATCH", "/cvms/my-app", "2026-01-21", Some(patch)).await;
    world.settle().await;
    let after = world.get("/cvms/my-app").await.ok();
    assert_eq!(after["compose_hash"], told["after"]["compose_hash"]);
    assert_eq!(after["resource"]["vcpu"], 2);
}

#[tokio::test]
async fn only_a_running_guest_would_be_restarted() {
    let world = running().await;
    let listed = preview(&world, json!({ "patch": {} })).await.ok()["before"]["listed"] == true;
    for (patch, effect, restart) in [
        (json!({}), "nothing", false),
        (json!({ "vcpu": 1, "memory": 2048, "listed": listed }), "nothing", false),
        (json!({ "listed": !listed }), "record", false),
        (json!({ "shutdown_timeout": 90 }), "record", false),
        (json!({ "disk_size": 40 }), "restart", true),
        (json!({ "public_logs": false }), "restart", true),
    ] {
        let told = preview(&world, json!({ "patch": patch })).await.ok();
        assert_eq!(told["effect"], effect, "{patch}");
        assert_eq!(told["restart"], restart, "{patch}");
    }
    world.call("POST", "/cvms/my-app/stop", "2026-01-21", Some(json!({}))).await;
    world.settle().await;
    let told = preview(&world, json!({ "patch": { "disk_size": 40 } })).await.ok();
    assert_eq!((&told["effect"], &told["restart"]), (&json!("restart"), &json!(false)), "{told}");
}

#[tokio::test]
async fn what_does_not_fit_is_refused_as_by_the_change() {
    let world = running().await;
    let refused = preview(&world, json!({ "patch": { "disk_size": 1 } })).await;
    refused.refused(400, "ERR-20-017");
    for body in [json!({}), json!({ "patch": {}, "ports": [] })] {
        assert_eq!(preview(&world, body).await.status.as_u16(), 400);
    }
    let missing = world.call("POST", "/cvms/none/preview", "2026-01-21", Some(json!({}))).await;
    assert_eq!(missing.status.as_u16(), 404, "{}", missing.text);
}

#[tokio::test]
async fn ports_and_revisions_are_told_too() {
    let world = running().await;
    let revisions = world.get("/cvms/my-app").await.ok();
    let app = revisions["app_id"].as_str().unwrap();
    let list = world.get(&format!("/apps/{app}/revisions")).await.ok();
    let revision = &list["revisions"][0]["revision_id"];
    let told = preview(&world, json!({ "revision": revision })).await.ok();
    assert_eq!(told["effect"], "nothing", "{told}");
    let told =
        preview(&world, json!({ "ports": [{ "vm_port": 80, "host_port": 8080 }] })).await.ok();
    assert_eq!(told["effect"], "restart", "{told}");
    assert_eq!(told["after"]["ports"][0]["host_port"], 8080);
    assert_eq!(told["before"]["ports"], json!([]));
}
