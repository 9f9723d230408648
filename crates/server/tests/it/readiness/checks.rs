//! Who gets requests.

use std::collections::BTreeSet;

use axum::body::Body;
use serde_json::Value;

use crate::readiness::stage::{HEALTHZ, Said, Stage, read};

#[tokio::test]
async fn instances_share_what_comes() {
    let stage = Stage::with(3, "{}").await;
    let mut seen = BTreeSet::new();
    for _ in 0..60 {
        seen.insert(stage.ask("GET", "/who").await.ok());
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}

/// Of several under way each goes to another one.
#[tokio::test]
async fn the_one_with_the_fewest_requests_is_chosen() {
    let stage = Stage::with(3, "{}").await;
    let mut under_way = Vec::new();
    for _ in 0..3 {
        under_way.push(stage.spawn("GET", "/slow"));
    }
    // None is answered before each has one: an instance that is done may be chosen again.
    let mut guests = Vec::new();
    for name in ["web-1", "web-2", "web-3"] {
        guests.push(stage.guest(name).await);
    }
    for guest in &guests {
        guest.works_on(1).await;
    }
    for guest in &guests {
        guest.tickets.add_permits(1);
    }
    let mut seen = BTreeSet::new();
    for one in under_way {
        seen.insert(one.await.unwrap().ok());
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}

#[tokio::test]
async fn one_that_is_not_ready_gets_nothing_until_it_is_and_no_more_once_it_is_not() {
    let stage = Stage::with(3, HEALTHZ).await;
    let second = stage.guest("web-2").await;
    second.be_well(false);
    for _ in 0..40 {
        stage.ask("GET", "/who").await.ok();
    }
    assert_eq!(second.served(), 0);
    for name in ["web-1", "web-3"] {
        assert!(stage.guest(name).await.served() > 0, "{name}");
    }

    second.be_well(true);
    stage.until("ready", |said| said.text == second.name).await;

    second.be_well(false);
    let mut others = 0;
    stage
        .until("taken out", |said| {
            others = if said.text == second.name { 0 } else { others + 1 };
            others >= 20
        })
        .await;
    let served = second.served();
    for _ in 0..40 {
        stage.ask("GET", "/who").await.ok();
    }
    assert_eq!(second.served(), served);
}

/// The first request to an app that nobody asked for waits for the first look.
#[tokio::test]
async fn the_first_request_to_an_idle_app_is_answered() {
    let stage = Stage::with(1, HEALTHZ).await;
    stage.ask("GET", "/who").await.ok();
}

#[tokio::test]
async fn nobody_ready_is_said_with_the_reason() {
    let stage = Stage::with(2, HEALTHZ).await;
    for name in ["web-1", "web-2"] {
        stage.guest(name).await.be_well(false);
    }
    let said = stage.ask("GET", "/who").await.refused(503, "web-1 is not ready: http 8080/healthz");
    assert!(said.text.contains("answered 500"), "{said:?}");
    assert_eq!(said.headers["retry-after"], "1");

    // Whoever asks for an instance gets it as long as it is up.
    let instance = stage.cvm("web-1").await.instance_id.unwrap();
    let mut request = stage.request("GET", "/who", Body::empty());
    request.headers_mut().insert("host", format!("{instance}-8080.localhost").parse().unwrap());
    let said = read(stage.gateway.answer(request).await.unwrap()).await;
    assert_eq!(said.ok(), stage.guest("web-1").await.name);

    for name in ["web-1", "web-2"] {
        stage.world.post(&format!("/cvms/{name}/stop"), Value::Null).await.ok();
    }
    stage.world.settle().await;
    stage.ask("GET", "/who").await.refused(503, "web-2 is stopped; web-1 is stopped");
}

/// What was ready before a restart has to show it again.
#[tokio::test]
async fn another_boot_is_looked_at_anew() {
    let stage = Stage::with(1, HEALTHZ).await;
    stage.ask("GET", "/who").await.ok();
    let guest = stage.guest("web-1").await;
    guest.be_well(false);
    stage.world.post("/cvms/web-1/restart", Value::Null).await.ok();
    stage.ask("GET", "/who").await.refused(503, "restarting");
    stage.world.settle().await;
    stage.ask("GET", "/who").await.refused(503, "answered 500");
    guest.be_well(true);
    stage.until("ready", |said: &Said| said.status == 200).await;
}

#[tokio::test]
async fn a_port_that_takes_connections_is_ready() {
    let label =
        "{casemate.ready.tcp: 8080, casemate.ready.interval: 1, casemate.ready.threshold: 1}";
    let stage = Stage::with(2, label).await;
    let first = stage.guest("web-1").await;
    first.kill();
    for _ in 0..20 {
        assert_eq!(stage.ask("POST", "/who").await.ok(), stage.guest("web-2").await.name);
    }
    first.boot().await;
    stage.until("ready", |said| said.text == first.name).await;
}
