//! The routes: what is shown, refused, and belongs to others.

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};

use super::{receiver::Receiver, subscribe, world};
use crate::common::World;

const PATH: &str = "/workspace/webhooks";

fn body(url: &str) -> Value {
    json!({ "url": url, "events": ["cvm.created"] })
}

#[tokio::test]
async fn a_webhook_is_created_shown_changed_and_deleted() {
    let world = world().await;
    let receiver = Receiver::start().await;
    let new = json!({ "url": receiver.url, "events": ["cvm.created", "cvm.created"], "name": "n" });
    let reply = world.post(PATH, new).await;
    assert_eq!(reply.status, 201);
    let made = reply.ok();
    let secret = made["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_") && secret.len() == 70, "{made}");
    assert_eq!(made["events"], json!(["cvm.created"]));
    assert_eq!((&made["enabled"], &made["name"]), (&json!(true), &json!("n")));
    let path = format!("{PATH}/{}", made["id"].as_str().unwrap());
    let masked = format!("whsec_****{}", &secret[secret.len() - 4..]);
    let shown = world.get(&path).await.ok();
    assert_eq!(shown["secret"], masked);
    assert_eq!(world.get(PATH).await.ok(), json!([shown]));
    let revealed = world.post(&format!("{path}/reveal-secret"), Value::Null).await.ok();
    assert_eq!(revealed, made);
    world.clock.advance_ms(1000);
    let change =
        json!({ "events": ["cvm.deleted", "cvm.updated"], "name": null, "enabled": false });
    let changed = world.call("PUT", &path, "", Some(change)).await.ok();
    assert_eq!((&changed["name"], &changed["enabled"]), (&json!("n"), &json!(false)));
    assert_eq!(changed["events"], json!(["cvm.deleted", "cvm.updated"]));
    assert_ne!(changed["updated_at"], changed["created_at"]);
    let disabled = world.post(&format!("{path}/test"), Value::Null).await;
    disabled.refused(409, "ERR-20-015");
    let deleted = world.call("DELETE", &path, "", None).await;
    assert_eq!((deleted.status.as_u16(), deleted.text.as_str()), (204, ""));
    assert_eq!(world.get(PATH).await.ok(), json!([]));
    for (method, path) in [
        ("GET", path.clone()),
        ("DELETE", path.clone()),
        ("PUT", path.clone()),
        ("POST", format!("{path}/test")),
        ("POST", format!("{path}/reveal-secret")),
        ("POST", format!("{path}/rotate-secret")),
        ("GET", format!("{path}/deliveries")),
        ("GET", format!("{path}/stats")),
        ("POST", format!("{path}/deliveries/evt_1/resend")),
        ("GET", format!("{PATH}/a%00b")),
    ] {
        let gone = world.call(method, &path, "", Some(json!({}))).await;
        gone.refused(404, "ERR-20-008");
    }
}

#[tokio::test]
async fn what_may_not_be_called_or_makes_no_sense_is_refused() {
    let world = World::new().await;
    for url in [
        "http://example.com/",
        "https://127.0.0.1/",
        "https://10.0.0.1/",
        "https://[::1]/",
        "https://169.254.169.254/",
        "https://localhost/",
        "https://example.com:22/",
        "https://user:pw@example.com/",
        "nothing",
    ] {
        let refused = world.post(PATH, body(url)).await.refused(400, "ERR-20-027");
        assert_eq!(refused["details"][0]["field"], "url", "{refused}");
    }
    for (field, value) in [
        ("events", json!([])),
        ("events", json!(["cvm.exploded"])),
        ("events", json!(["*"])),
        ("secret", json!("short")),
        ("name", json!("x".repeat(101))),
        ("url", json!(7)),
    ] {
        let mut new = body("https://93.184.215.14/");
        new[field] = value;
        let refused = world.post(PATH, new).await;
        assert_eq!(refused.status, 422, "{}", refused.text);
        assert!(refused.text.contains(field), "{}", refused.text);
    }
    let made = world.post(PATH, body("https://93.184.215.14/")).await.ok();
    let path = format!("{PATH}/{}", made["id"].as_str().unwrap());
    let change = json!({ "url": "https://127.0.0.1/" });
    world.call("PUT", &path, "", Some(change)).await.refused(400, "ERR-20-027");
    assert_eq!(world.get(&path).await.ok()["url"], "https://93.184.215.14/");
    for query in ["limit=0", "limit=101", "offset=10001", "limit=x"] {
        let refused = world.get(&format!("{path}/deliveries?{query}")).await;
        assert_eq!(refused.status, 422, "{query}");
    }
}

#[tokio::test]
async fn a_workspace_has_its_limit() {
    let world = World::with(|config| config.webhooks.per_workspace = 2).await;
    for _ in 0..2 {
        world.post(PATH, body("https://93.184.215.14/")).await.ok();
    }
    world.post(PATH, body("https://93.184.215.14/")).await.refused(400, "ERR-04-003");
}

#[tokio::test]
async fn another_workspace_sees_nothing_of_it() {
    let mut world = world().await;
    let receiver = Receiver::start().await;
    let (id, _) = subscribe(&world, &receiver, &["cvm.created"]).await;
    let token = "phak_eve";
    crate::common::stranger(&world.ctx, "eve", token).await;
    token.clone_into(&mut world.key);
    let path = format!("{PATH}/{id}");
    assert_eq!(world.get(PATH).await.ok(), json!([]));
    let missing = world.get(&format!("{PATH}/wh_0")).await.refused(404, "ERR-20-008");
    let foreign = world.get(&path).await.refused(404, "ERR-20-008");
    assert_eq!(foreign["message"], missing["message"]);
    for (method, path) in [
        ("DELETE", path.clone()),
        ("PUT", path.clone()),
        ("POST", format!("{path}/test")),
        ("POST", format!("{path}/reveal-secret")),
        ("POST", format!("{path}/rotate-secret")),
        ("GET", format!("{path}/deliveries")),
    ] {
        world.call(method, &path, "", Some(json!({}))).await.refused(404, "ERR-20-008");
    }
}

#[tokio::test]
async fn no_secret_is_on_disk_and_a_repeated_request_does_not_get_it() {
    let world = World::new().await;
    let send = async |path: &str| {
        let request = Request::post(format!("/api/v1{path}"))
            .header("x-api-key", &world.key)
            .header("idempotency-key", "once");
        let body = Body::from(body("https://93.184.215.14/").to_string());
        world.send(request.body(body).unwrap()).await
    };
    let first = send(PATH).await.ok();
    let again = send(PATH).await;
    assert_eq!(again.headers["idempotent-replayed"], "true");
    let again = again.ok();
    assert_eq!(again["id"], first["id"]);
    let secret = first["secret"].as_str().unwrap();
    assert!(again["secret"].as_str().unwrap().starts_with("whsec_****"), "{again}");
    assert_eq!(world.get(PATH).await.ok().as_array().unwrap().len(), 1);
    for file in std::fs::read_dir(world.directory().unwrap()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let found = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
        assert!(!found, "the secret is in the database");
    }
}
