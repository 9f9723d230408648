//! Labels and the API.

use serde_json::{Value, json};

use crate::readiness::{
    common::World,
    stage::{HEALTHZ, Stage, compose},
};

#[tokio::test]
async fn what_the_api_says_goes_before_the_label_and_counts_at_once() {
    let stage = Stage::with(1, HEALTHZ).await;
    let path = format!("/apps/{}/readiness", stage.app);
    let seen = stage.world.get(&path).await.ok();
    assert_eq!(seen["source"], "label");
    assert_eq!(
        seen["check"],
        json!({ "kind": "http", "port": 8080, "path": "/healthz", "interval_s": 1, "timeout_s": 2,
            "threshold": 1 })
    );

    stage.guest("web-1").await.be_well(false);
    stage.ask("GET", "/who").await.refused(503, "http 8080/healthz");
    let set = stage.send("PUT", &path, json!({ "port": 8080, "path": "/who" })).await;
    assert_eq!((&set["source"], &set["check"]["path"]), (&"api".into(), &"/who".into()));
    stage.ask("GET", "/who").await.ok();
    let set = stage.send("PUT", &path, json!({ "port": 8080, "threshold": 7 })).await;
    assert_eq!((&set["check"]["kind"], &set["check"]["threshold"]), (&"tcp".into(), &7.into()));
    assert_eq!(stage.world.get(&format!("/apps/app_{}/readiness", stage.app)).await.ok(), set);
    stage.ask("GET", "/who").await.ok();

    let cleared = stage.send("DELETE", &path, Value::Null).await;
    assert_eq!(cleared, seen);
    stage.ask("GET", "/who").await.refused(503, "http 8080/healthz");
}

#[tokio::test]
async fn without_a_word_an_instance_is_ready_while_it_is_up() {
    let stage = Stage::with(1, "{}").await;
    let seen = stage.world.get(&format!("/apps/{}/readiness", stage.app)).await.ok();
    assert_eq!((&seen["source"], &seen["check"]), (&"none".into(), &Value::Null));
    stage.guest("web-1").await.be_well(false);
    stage.ask("GET", "/who").await.ok();
}

#[tokio::test]
async fn a_repeated_request_is_one_request() {
    let stage = Stage::with(1, "{}").await;
    let path = format!("/api/v1/apps/{}/readiness", stage.app);
    let put = |body: Value| {
        let request = http::Request::put(&path)
            .header("x-api-key", &stage.world.key)
            .header("idempotency-key", "one");
        stage.world.send(request.body(body.to_string().into()).unwrap())
    };
    let first = put(json!({ "port": 8080 })).await;
    let again = put(json!({ "port": 8080 })).await;
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert_eq!(first.ok(), again.ok());
    let other = put(json!({ "port": 8080, "threshold": 9 })).await;
    other.refused(422, "ERR-20-013");
}

#[tokio::test]
async fn what_is_no_check_is_refused_by_name() {
    let stage = Stage::with(1, "{}").await;
    let world = &stage.world;
    let path = format!("/apps/{}/readiness", stage.app);
    let put = |body: Value| world.call("PUT", &path, "2026-01-21", Some(body));
    for (body, word) in [
        (json!({}), "port"),
        (json!({ "port": 0 }), "port must be 1 to 65535"),
        (json!({ "port": 70000 }), "port"),
        (json!({ "port": 8080, "path": "healthz" }), "path must begin with /"),
        (json!({ "port": 8080, "path": "" }), "path must begin with /"),
        (json!({ "port": 8080, "interval_s": 0 }), "interval_s must be 1 to 300"),
        (json!({ "port": 8080, "timeout_s": 90 }), "timeout_s must be 1 to 60"),
        (json!({ "port": 8080, "threshold": 21 }), "threshold must be 1 to 20"),
        (json!({ "port": 8080, "intervall_s": 3 }), "intervall_s is unknown"),
    ] {
        let reply = put(body.clone()).await;
        assert_eq!(reply.status.as_u16(), 422, "{body}: {}", reply.text);
        assert!(reply.text.contains(word), "{body}: {}", reply.text);
    }
    let reply = put(json!({ "port": 81 })).await;
    assert_eq!(reply.status.as_u16(), 400, "{}", reply.text);
    assert!(reply.text.contains("publishes [8080]"), "{}", reply.text);

    let nobody = format!("/apps/{}/readiness", "00".repeat(20));
    for (method, body) in [("GET", None), ("PUT", Some(json!({ "port": 80 }))), ("DELETE", None)] {
        for path in [&nobody, &"/apps/no-app/readiness".to_owned()] {
            let reply = world.call(method, path, "2026-01-21", body.clone()).await;
            assert_eq!(reply.status.as_u16(), 404, "{method} {path}: {}", reply.text);
        }
    }
    assert_eq!(world.get(&path).await.ok()["source"], "none");
}

/// At provision, and where an update brings it in.
#[tokio::test]
async fn a_label_that_declares_nothing_is_refused() {
    let world = World::new().await;
    let bad = compose("{casemate.ready.http: 81/healthz}");
    let body = json!({ "name": "my-app", "compose_file": { "docker_compose_file": bad } });
    let reply = world.post("/cvms/provision", body).await;
    assert_eq!(reply.status.as_u16(), 400, "{}", reply.text);
    let words = ["casemate.ready.http", "publishes [8080]", "docker_compose_file"];
    assert!(words.iter().all(|word| reply.text.contains(word)), "{}", reply.text);

    world.deploy("my-app").await;
    world.settle().await;
    let reply = world
        .call("PATCH", "/cvms/my-app", "2026-01-21", Some(json!({ "docker_compose_file": bad })))
        .await;
    assert_eq!(reply.status.as_u16(), 400, "{}", reply.text);
    assert!(reply.text.contains("casemate.ready.http"), "{}", reply.text);

    // A good one comes in force with the update.
    let good = compose("['casemate.ready.tcp=8080']");
    world
        .call("PATCH", "/cvms/my-app", "2026-01-21", Some(json!({ "docker_compose_file": good })))
        .await
        .ok();
    world.settle().await;
    let app = world.get("/cvms/my-app").await.ok()["app_id"].as_str().unwrap().to_owned();
    let seen = world.get(&format!("/apps/{app}/readiness")).await.ok();
    assert_eq!((&seen["source"], &seen["check"]["kind"]), (&"label".into(), &"tcp".into()));
}
