//! What is refused, and in which words. Nothing is made by it.

use axum::http::Request;
use serde_json::{Value, json};

use crate::replicas::{
    common::{Reply, World},
    deployed, detail, uuid,
};

async fn with_header(world: &World, path: &str, name: &str, value: &str) -> Reply {
    let request = Request::builder()
        .method("POST")
        .uri(format!("/api/v1{path}"))
        .header("x-api-key", &world.key)
        .header(name, value);
    world.send(request.body("{}".into()).unwrap()).await
}

async fn count(world: &World) -> Value {
    world.get("/cvms/paginated").await.ok()["total"].clone()
}

#[tokio::test]
async fn a_source_that_is_not_there_is_told_in_one_way() {
    let world = World::new().await;
    let source = deployed(&world, json!({})).await;
    let app = source["app_id"].as_str().unwrap().to_owned();
    let nobody = "6a2e3d4c-5b6f-4a1b-8c2d-0e1f2a3b4c5d";
    for path in [
        "/cvms/no-such/replicas".to_owned(),
        format!("/cvms/{nobody}/replicas"),
        format!("/cvms/app_{}/replicas", "00".repeat(20)),
        "/cvms/%00/replicas".to_owned(),
        format!("/apps/{app}/cvms/{nobody}/replicas"),
    ] {
        let refused = world.post(&path, json!(null)).await.refused(404, "ERR-03-008");
        assert!(!refused["suggestions"].as_array().unwrap().is_empty());
    }
    for app in ["00".repeat(20), "not-an-id".to_owned(), "é".repeat(3)] {
        let path = format!("/apps/{}/instances", app.replace('é', "%C3%A9"));
        world.post(&path, json!({})).await.refused(404, "ERR-20-008");
    }
    // A stranger hears the same.
    let mut stranger = world.replica();
    "phak_stranger".clone_into(&mut stranger.key);
    crate::common::stranger(&world.ctx, "bobs", &stranger.key).await;
    for path in [
        "/cvms/my-app/replicas".to_owned(),
        format!("/cvms/{}/replicas", uuid(&source)),
        format!("/cvms/{app}/replicas"),
        format!("/apps/{app}/cvms/{}/replicas", uuid(&source)),
    ] {
        stranger.post(&path, json!({})).await.refused(404, "ERR-03-008");
    }
    stranger.post(&format!("/apps/{app}/instances"), json!({})).await.refused(404, "ERR-20-008");
    assert_eq!(count(&world).await, 1);
}

#[tokio::test]
async fn an_id_that_means_several_is_no_source() {
    let world = World::new().await;
    let source = deployed(&world, json!({})).await;
    let app = source["app_id"].as_str().unwrap();
    let by_app = format!("/cvms/app_{app}/replicas");
    world.post(&by_app, json!({})).await.ok();
    let refused = world.post(&by_app, json!({})).await.refused(409, "ERR-03-010");
    assert_eq!(refused["details"].as_array().unwrap().len(), 2, "{refused}");
    // One of two that is being deleted does not count.
    world.call("DELETE", "/cvms/my-app-2", "", None).await;
    world.post(&by_app, json!({})).await.ok();
}

#[tokio::test]
async fn the_app_in_the_path_has_to_be_the_cvms() {
    let world = World::new().await;
    let source = deployed(&world, json!({})).await;
    let app = source["app_id"].as_str().unwrap();
    for spelt in [
        app.to_owned(),
        format!("app_{app}"),
        format!("App_{}", app.to_uppercase()),
        format!("0x{app}"),
    ] {
        let path = format!("/apps/{spelt}/cvms/{}/replicas", uuid(&source).replace('-', ""));
        world.post(&path, json!(null)).await.ok();
    }
    for other in ["11".repeat(20), "nonsense".to_owned()] {
        let path = format!("/apps/{other}/cvms/{}/replicas", uuid(&source));
        let refused = world.post(&path, json!({})).await.refused(400, "ERR-02-008");
        assert_eq!(refused["details"][0]["field"], "app_id");
        assert!(refused["message"].to_string().contains(app), "{refused}");
    }
}

#[tokio::test]
async fn an_app_without_a_live_cvm_has_no_template() {
    let world = World::new().await;
    let source = deployed(&world, json!({})).await;
    let path = format!("/apps/{}/instances", source["app_id"].as_str().unwrap());
    world.call("DELETE", "/cvms/my-app", "", None).await;
    for _ in 0..2 {
        let refused = world.post(&path, json!({})).await.refused(400, "ERR-02-008");
        assert!(refused["suggestions"].to_string().contains("provision"), "{refused}");
        world.settle().await;
    }
    let prepared = world.provision("other-app").await;
    let path = format!("/apps/{}/instances", prepared["app_id"].as_str().unwrap());
    world.post(&path, json!({})).await.refused(400, "ERR-02-008");
}

#[tokio::test]
async fn what_is_for_contracts_is_refused_by_name() {
    let world = World::new().await;
    let source = deployed(&world, json!({})).await;
    let app = source["app_id"].as_str().unwrap();
    let instances = format!("/apps/{app}/instances");
    let token = json!({ "token": "t", "compose_hash": "00".repeat(32), "transaction_hash": "0x1" });
    let refused = world.post(&instances, token).await.refused(466, "ERR-01-006");
    assert_eq!(refused["details"][0]["field"], "token");
    let registered = json!({ "transaction_hash": "0x1" });
    let refused = world.post(&instances, registered).await.refused(400, "ERR-20-006");
    assert_eq!(refused["details"][0]["field"], "transaction_hash");
    assert_eq!(count(&world).await, 1);
    for fine in [
        json!({ "transaction_hash": "already-registered" }),
        json!({ "token": "", "transaction_hash": null }),
    ] {
        world.post(&instances, fine).await.ok();
    }
    // Nothing has to be approved: that it was only to be prepared is no obstacle, as upstream.
    for path in ["/cvms/my-app/replicas", &format!("/apps/{app}/cvms/my-app/replicas"), &instances]
    {
        for said in ["true", "false"] {
            with_header(&world, path, "x-prepare-only", said).await.ok();
        }
    }
}

#[tokio::test]
async fn no_token_is_known_and_no_key_is_asked_for() {
    let world = World::new().await;
    let source = deployed(&world, json!({})).await;
    let ask = async |cvm: &str, query: &str, body: &str| {
        let request = Request::builder()
            .method("POST")
            .uri(format!("/api/v1/cvms/{cvm}/commit-replica{query}"))
            .body(body.to_owned().into())
            .unwrap();
        world.send(request).await
    };
    let body = r#"{"token":"t","compose_hash":"0x12","transaction_hash":"already-registered"}"#;
    let mut answers = Vec::new();
    for cvm in [uuid(&source), "no-such"] {
        for (query, body) in
            [("", body), ("?token=t", ""), ("?token=t", "null"), ("", r#"{"token":"x"}"#)]
        {
            let mut refused = ask(cvm, query, body).await.refused(466, "ERR-01-006");
            refused["request_id"] = Value::Null;
            answers.push(refused);
        }
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "it tells nobody what there is: {answers:?}");
    for (query, body) in [("", ""), ("?token=", r#"{"token":null}"#)] {
        let refused = ask("my-app", query, body).await.refused(466, "ERR-01-006");
        assert_eq!(refused["message"], "token is missing");
    }
    assert_eq!(ask("my-app", "", "[]").await.status, 422);
}

#[tokio::test]
async fn a_wrong_field_makes_nothing() {
    let world = World::new().await;
    let source = deployed(&world, json!({})).await;
    let instances = format!("/apps/{}/instances", source["app_id"].as_str().unwrap());
    let both = [
        (json!({ "name": "a" }), 422, "name"),
        (json!({ "name": "my-app" }), 409, "name"),
        (json!({ "node_id": "two" }), 422, "node_id"),
        (json!({ "compose_hash": "12" }), 422, "compose_hash"),
        (json!({ "encrypted_env": "zz" }), 400, "encrypted_env"),
        (json!({ "env_keys": ["1X"] }), 400, "env_keys"),
        (json!({ "env_keys": ["NOT_ALLOWED"] }), 400, "env_keys"),
        (json!({ "os_image": "windows" }), 400, "os_image"),
    ];
    let of_apps = [
        (json!({ "docker_compose_file": "" }), 400, "docker_compose_file"),
        (json!({ "docker_compose_file": "services: [" }), 400, "docker_compose_file"),
        (json!({ "docker_compose_file": "a".repeat(210 * 1024) }), 400, "docker_compose_file"),
        (json!({ "pre_launch_script": "a".repeat(210 * 1024) }), 400, "docker_compose_file"),
    ];
    for (body, status, field) in both.iter().chain(&of_apps) {
        let on_cvms = both.iter().any(|one| &one.0 == body);
        let paths = [Some("/cvms/my-app/replicas").filter(|_| on_cvms), Some(&instances[..])];
        for path in paths.into_iter().flatten() {
            let reply = world.post(path, body.clone()).await;
            assert_eq!(reply.status.as_u16(), *status, "{path} {field}: {}", reply.text);
            assert!(reply.text.contains(field), "{path} {field}: {}", reply.text);
        }
    }
    world
        .post("/cvms/my-app/replicas", json!({ "name": "my-app" }))
        .await
        .refused(409, "ERR-01-004");
    assert_eq!(count(&world).await, 1);
    assert_eq!(detail(&world, "my-app").await["status"], "running");
}

#[tokio::test]
async fn an_app_without_keys_takes_no_environment() {
    let world = World::new().await;
    let file = json!({ "compose_file": {
        "docker_compose_file": crate::replicas::common::COMPOSE, "name": "", "kms_enabled": false
    } });
    deployed(&world, file).await;
    let sealed = json!({ "encrypted_env": crate::replicas::SEALED });
    let refused = world.post("/cvms/my-app/replicas", sealed).await.refused(400, "ERR-02-009");
    assert_eq!(refused["details"][0]["field"], "encrypted_env");
    world.post("/cvms/my-app/replicas", json!({})).await.ok();
}
