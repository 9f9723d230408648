//! A guest goes down when its requests are answered, or when that takes too long.

use axum::body::Body;
use serde_json::{Value, json};

use crate::readiness::stage::{Stage, read};

/// Steps until the guest is down or `ms` of the clock have passed; whether it is down.
async fn down_within(stage: &Stage, ms: i64) -> bool {
    let guest = stage.guest("web-1").await;
    for _ in 0..ms / 20 {
        stage.step().await;
        if guest.address().is_none() {
            return true;
        }
        stage.world.clock.advance_ms(20);
    }
    guest.address().is_none()
}

async fn drains(verb: &str, body: Value, patience_ms: i64) {
    let stage = Stage::with(1, "{}").await;
    let guest = stage.guest("web-1").await;
    let asked = stage.spawn("POST", "/slow");
    guest.works_on(1).await;
    let path = format!("/cvms/web-1{verb}");
    let method = match verb {
        "" if body == Value::Null => "DELETE",
        "" => "PATCH",
        _ => "POST",
    };
    stage.send(method, &path, body.clone()).await;
    assert!(!down_within(&stage, patience_ms - 100).await, "{verb}: with a request under way");
    stage.ask("GET", "/who").await.refused(503, "web-1 is");
    guest.tickets.add_permits(1);
    assert_eq!(asked.await.unwrap().ok(), guest.name, "{verb}");
    assert!(down_within(&stage, 200).await, "{verb}: nothing is under way");
    stage.world.settle().await;
    if method != "DELETE" {
        let all = stage.world.get("/cvms/web-1/operations").await.ok();
        let first = &all["items"][0]["steps"][0];
        assert_eq!((&first["name"], &first["outcome"]), (&"drain".into(), &"done".into()), "{all}");
    }

    // The same with a request that has no end.
    let stage = Stage::with(1, "{}").await;
    let guest = stage.guest("web-1").await;
    let asked = stage.spawn("POST", "/slow");
    guest.works_on(1).await;
    stage.send(method, &path, body).await;
    assert!(down_within(&stage, patience_ms + 200).await, "{verb}: it is late");
    asked.await.unwrap().refused(502, "does not answer");
    stage.world.settle().await;
    if method != "DELETE" {
        assert_eq!(stage.cvm("web-1").await.status.drains_until, None);
    }
}

#[tokio::test]
async fn a_shutdown_waits_for_requests_under_way() {
    drains("/shutdown", Value::Null, 10_000).await;
}

#[tokio::test]
async fn a_restart_waits_for_requests_under_way() {
    drains("/restart", Value::Null, 10_000).await;
}

#[tokio::test]
async fn an_update_waits_for_requests_under_way() {
    let compose = format!("{}# changed\n", crate::readiness::stage::compose("{}"));
    drains("", json!({ "docker_compose_file": compose }), 10_000).await;
}

#[tokio::test]
async fn a_stop_at_once_waits_a_moment() {
    drains("/stop", Value::Null, 2000).await;
}

#[tokio::test]
async fn a_deletion_waits_a_moment() {
    drains("", Value::Null, 2000).await;
}

/// Nobody waits where there is nothing to wait for, and what was waited for is told.
#[tokio::test]
async fn without_requests_nothing_is_put_off() {
    let stage = Stage::with(1, "{}").await;
    stage.ask("GET", "/who").await.ok();
    stage.send("POST", "/cvms/web-1/stop", Value::Null).await;
    assert!(down_within(&stage, 20).await);
    assert_eq!(stage.cvm("web-1").await.status.drains_until, None);
}

/// An answer counts until its last byte; a stream does not hold for ever.
#[tokio::test]
async fn a_stream_counts_until_it_is_dropped() {
    let stage = Stage::with(1, "{}").await;
    let (cvm, inflight) = (stage.cvm("web-1").await.id, &stage.world.ctx.inflight);
    let request = stage.request("GET", "/stream", Body::empty());
    let response = stage.gateway.answer(request).await.unwrap();
    assert_eq!(inflight.count(cvm), 1);
    stage.send("POST", "/cvms/web-1/shutdown", Value::Null).await;
    assert!(!down_within(&stage, 1000).await);
    drop(response);
    assert_eq!(inflight.count(cvm), 0);
    assert!(down_within(&stage, 200).await);
}

/// A desired state that is taken back while requests are waited for leaves everything as it is.
#[tokio::test]
async fn a_start_takes_back_a_stop_that_waits() {
    let stage = Stage::with(1, "{}").await;
    let guest = stage.guest("web-1").await;
    let asked = stage.spawn("GET", "/slow");
    guest.works_on(1).await;
    stage.send("POST", "/cvms/web-1/shutdown", Value::Null).await;
    assert!(!down_within(&stage, 1000).await);
    stage.send("POST", "/cvms/web-1/start", Value::Null).await;
    let other =
        read(stage.gateway.answer(stage.request("GET", "/who", Body::empty())).await.unwrap());
    assert_eq!(other.await.ok(), guest.name, "it serves again at once");
    stage.world.settle().await;
    assert_eq!(stage.status("web-1").await, "running");
    guest.tickets.add_permits(1);
    asked.await.unwrap().ok();
}
