//! The deploy loop through the real router, on a simulated node and a clock of our own.

use crate::common;

use casemate_core::compose::hash;
use common::{TestNode, World, provision_body};
use serde_json::{Value, json};

#[tokio::test]
async fn a_compose_file_becomes_a_running_cvm() {
    let world = World::new().await;
    let provisioned = world.provision("my-app").await;
    for key in [
        "compose_hash",
        "app_id",
        "app_env_encrypt_pubkey",
        "kms_id",
        "device_id",
        "os_image_hash",
        "instance_type",
    ] {
        assert!(provisioned[key].is_string(), "{key}: {provisioned}");
    }
    assert_eq!(provisioned["instance_type"], "tdx.small");
    assert_eq!(provisioned["kms_info"].as_object().unwrap().len(), 7);

    let body =
        json!({ "app_id": provisioned["app_id"], "compose_hash": provisioned["compose_hash"] });
    let committed = world.post("/cvms", body.clone()).await.ok();
    assert_eq!(committed["status"], "starting");
    let again = world.post("/cvms", body).await.ok();
    assert_eq!(again["id"], committed["id"], "committing twice gives the same CVM");

    world.settle().await;
    let detail = world.get("/cvms/my-app").await.ok();
    assert_eq!(detail["status"], "running");
    assert_eq!(detail["compose_hash"], provisioned["compose_hash"]);
    assert!(detail["instance_id"].is_string());
    let document = world.get("/cvms/my-app/compose_file").await;
    assert_eq!(hash(&document.text).to_string(), provisioned["compose_hash"]);

    for id in [
        detail["id"].as_str().unwrap().to_owned(),
        detail["vm_uuid"].as_str().unwrap().to_owned(),
        detail["vm_uuid"].as_str().unwrap().replace('-', ""),
        format!("app_{}", detail["app_id"].as_str().unwrap()),
        detail["app_id"].as_str().unwrap().to_owned(),
        format!("app_{}", detail["instance_id"].as_str().unwrap()),
        committed["id"].to_string(),
    ] {
        assert_eq!(world.get(&format!("/cvms/{id}")).await.ok()["name"], "my-app", "{id}");
    }
}

#[tokio::test]
async fn every_version_renders_every_look() {
    let world = World::new().await;
    world.deploy("my-app").await;
    world.settle().await;
    for version in ["", "2025-10-28", "2026-01-21", "2026-05-22", "2026-06-23", "2030-01-01"] {
        for path in [
            "/auth/me",
            "/cvms",
            "/cvms/paginated",
            "/cvms/my-app",
            "/cvms/my-app/state",
            "/apps",
            "/teepods/available",
            "/instance-types",
            "/instance-types/cpu",
            "/os-images",
            "/kms",
            "/kms/phala",
            "/kms/phala/next_app_id?counts=3",
        ] {
            world.call("GET", path, version, None).await.ok();
        }
    }
    let bad = world.call("GET", "/auth/me", "yesterday", None).await;
    bad.refused(400, "ERR-20-002");
}

#[tokio::test]
async fn power_verbs_do_what_they_say() {
    let world = World::new().await;
    world.deploy("my-app").await;
    world.settle().await;
    let phase = async || world.get("/cvms/my-app/state").await.ok()["status"].clone();
    for (verb, now, then) in [
        ("stop", "stopping", "stopped"),
        ("start", "starting", "running"),
        ("shutdown", "shutting_down", "stopped"),
        ("start", "starting", "running"),
        ("restart", "restarting", "running"),
    ] {
        let reply = world.post(&format!("/cvms/my-app/{verb}"), json!(null)).await.ok();
        assert_eq!(reply["status"], now, "{verb}");
        assert_eq!(phase().await, now, "{verb}");
        world.settle().await;
        assert_eq!(phase().await, then, "{verb}");
    }
    assert_eq!(world.call("DELETE", "/cvms/my-app", "", None).await.status, 204);
    world.settle().await;
    world.get("/cvms/my-app").await.refused(404, "ERR-03-001");
    assert!(world.sim.host().vms().unwrap().is_empty());
}

#[tokio::test]
async fn an_idempotency_key_makes_a_repeated_request_the_same_request() {
    let world = World::new().await;
    let send = async |body: Value| {
        let request = http::Request::builder()
            .method("POST")
            .uri("/api/v1/cvms/provision")
            .header("x-api-key", &world.key)
            .header("idempotency-key", "k-1")
            .body(axum::body::Body::from(body.to_string()))
            .unwrap();
        world.send(request).await
    };
    let first = send(provision_body("my-app")).await;
    let second = send(provision_body("my-app")).await;
    assert_eq!(first.text, second.text);
    assert_eq!(second.headers["idempotent-replayed"], "true");
    send(provision_body("other-app")).await.refused(422, "ERR-20-013");
}

#[tokio::test]
async fn what_is_wrong_is_said_in_upstreams_envelope() {
    let world = World::new().await;
    let no_key = http::Request::get("/api/v1/auth/me").body(axum::body::Body::empty()).unwrap();
    let reply = world.send(no_key).await;
    assert_eq!(reply.status, 401);
    assert!(reply.json()["detail"].is_string());
    assert_eq!(reply.json()["request_id"], reply.headers["x-request-id"].to_str().unwrap());

    assert_eq!(world.get("/nowhere").await.status, 404);
    assert_eq!(world.call("PUT", "/auth/me", "", None).await.status, 405);
    let name = |name: &str| {
        let mut body = provision_body("my-app");
        body["name"] = json!(name);
        body
    };
    let reply = world.post("/cvms/provision", name("a")).await;
    assert_eq!(reply.status, 422);
    assert_eq!(reply.json()["detail"][0]["loc"], json!(["body", "name"]));
    let mut broken = provision_body("my-app");
    broken["compose_file"]["docker_compose_file"] = json!("services: [");
    world.post("/cvms/provision", broken).await.refused(400, "ERR-01-003");
    let body = json!({ "app_id": "00".repeat(20), "compose_hash": "00".repeat(32) });
    world.post("/cvms", body).await.refused(422, "ERR-20-009");
}

/// Guests of such a node get their keys from a KMS that Casemate does not use: variables would never be opened.
#[tokio::test]
async fn variables_are_refused_where_guests_cannot_open_them() {
    let mut node = TestNode::sim();
    node.host.capabilities.sealed_env = false;
    let world = World::fleet(vec![node], |_| {}).await;
    let sealed = "07".repeat(80);
    let mut body = provision_body("my-app");
    body["encrypted_env"] = json!(sealed);
    let refused = world.post("/cvms/provision", body).await.refused(400, "ERR-20-006");
    assert!(refused.to_string().contains("encrypted_env"), "{refused}");
    let made = world.provision("my-app").await;
    let mut body = json!({ "app_id": made["app_id"], "compose_hash": made["compose_hash"] });
    body["encrypted_env"] = json!(sealed);
    world.post("/cvms", body).await.refused(400, "ERR-20-006");
    world.deploy("my-app").await;
    world.settle().await;
    let body = Some(json!({ "encrypted_env": sealed }));
    world.call("PATCH", "/cvms/my-app", "2026-01-21", body).await.refused(400, "ERR-20-006");
}
