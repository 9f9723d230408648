//! Limits of requests, waiting logins and disk.

use axum::{body::Body, extract::ConnectInfo, http::Request};
use serde_json::json;

use crate::common::{self, Reply, World, provision_body};

async fn from(world: &World, address: &str, key: &str, method: &str, path: &str) -> Reply {
    let mut request = Request::builder().method(method).uri(format!("/api/v1{path}"));
    if !key.is_empty() {
        request = request.header("x-api-key", key);
    }
    let peer = std::net::SocketAddr::new(address.parse().unwrap(), 1);
    world.send(request.extension(ConnectInfo(peer)).body(Body::from("{}")).unwrap()).await
}

#[tokio::test]
async fn each_key_and_each_address_has_its_own_limit_and_recovers() {
    let world = World::with(|config| {
        config.limits.requests_per_s_per_key = 1;
        config.limits.requests_burst_per_key = 3;
        config.limits.anonymous_requests_per_s_per_address = 1;
        config.limits.anonymous_requests_burst_per_address = 2;
    })
    .await;
    common::stranger(&world.ctx, "eve", "phak_eve").await;
    let me = async |address: &str, key: &str| from(&world, address, key, "GET", "/auth/me").await;
    for _ in 0..3 {
        me("192.0.2.1", &world.key).await.ok();
    }
    let refused = me("192.0.2.2", &world.key).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.headers["retry-after"]),
        (429, &"1".parse().unwrap())
    );
    assert!(refused.text.contains("this API key"), "{}", refused.text);
    me("192.0.2.1", "phak_eve").await.ok();
    world.clock.advance_ms(1000);
    me("192.0.2.1", &world.key).await.ok();

    // Requests without a valid key are counted by address, whatever they guess.
    for key in ["", "phak_guess"] {
        assert_eq!(me("192.0.2.9", key).await.status, 401);
    }
    assert_eq!(me("192.0.2.9", "phak_other").await.status, 429);
    assert_eq!(me("192.0.2.9", "").await.status, 429);
    assert_eq!(me("192.0.2.8", "").await.status, 401);
    me("192.0.2.9", "phak_eve").await.ok();
}

#[tokio::test]
async fn one_address_does_not_hold_all_waiting_logins() {
    let world = World::with(|config| config.limits.device_logins_per_address = 3).await;
    let begin = async |address: &str| from(&world, address, "", "POST", "/auth/device/code").await;
    for host in ["2001:db8::1", "2001:db8::2", "2001:db8::ffff:1"] {
        begin(host).await.ok();
    }
    let refused = begin("2001:db8::3").await;
    assert_eq!(refused.status, 429, "{}", refused.text);
    assert!(refused.text.contains("of this address"), "{}", refused.text);
    begin("2001:db8:0:1::3").await.ok();
    world.clock.advance_ms(15 * 60 * 1000);
    begin("2001:db8::3").await.ok();
}

#[tokio::test]
async fn without_free_disk_nothing_is_provisioned_and_the_process_is_not_ready() {
    let world = World::with(|config| config.limits.free_disk_mb = u64::MAX).await;
    let refused = world.post("/cvms/provision", provision_body("alpha")).await;
    let body = refused.refused(503, "ERR-20-052");
    assert_eq!(body["details"][0]["field"], json!("free_mb"), "{body}");
    let request = Request::builder().uri("/readyz").body(Body::empty()).unwrap();
    let ready = world.send(request).await;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json(), json!({"status": "unavailable", "reason": "disk"}));
    // What is there can still be looked at and removed.
    world.get("/cvms").await.ok();
}
