//! The binary, killed between the commit of an event and its delivery to a webhook: nothing is lost, and what is
//! sent twice has the same id.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap};
use casemate_testing::wait::poll;
use serde_json::{Value, json};

use super::instance::{Instance, PATIENCE};

const COMPOSE: &str = "services: {web: {image: 'busybox:1.36'}}\n";
const OPEN: [(&str, &str); 3] = [
    ("CASEMATE_WEBHOOKS__ALLOW_PRIVATE", "true"),
    ("CASEMATE_WEBHOOKS__ALLOW_HTTP", "true"),
    ("CASEMATE_WEBHOOKS__PORTS", "any"),
];

/// The id and body of each request.
type Requests = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

async fn keep(State(requests): State<Requests>, headers: HeaderMap, body: Bytes) {
    let id = headers["x-webhook-id"].to_str().expect("text").to_owned();
    requests.lock().expect("no panic").push((id, body.to_vec()));
}

/// A receiver that outlives the process under test.
async fn receiver() -> (String, Requests) {
    let requests: Requests = Arc::default();
    let router = Router::new().fallback(keep).with_state(requests.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
    (url, requests)
}

async fn start(dir: &Path, crash: Option<&str>) -> Instance {
    let mut variables = OPEN.to_vec();
    variables.extend(crash.map(|point| ("CASEMATE_CRASH_AT", point)));
    Instance::on("sim", dir, &variables).await
}

async fn deploy(instance: &mut Instance) {
    let body = json!({ "name": "my-app", "compose_file": { "docker_compose_file": COMPOSE } });
    let made = instance.send("POST", "/cvms/provision", &body, "provision").await;
    let made = made.expect("it is provisioned");
    let body = json!({ "app_id": made["app_id"], "compose_hash": made["compose_hash"] });
    instance.send("POST", "/cvms", &body, "commit").await.expect("it is accepted");
}

/// Waits until the delivery has ended; returns it.
async fn delivered(instance: &mut Instance, id: &str) -> Value {
    let path = format!("/workspace/webhooks/{id}/deliveries");
    let found = poll(PATIENCE, async || {
        let all = instance.get(&path).await.ok()?;
        (all[0]["status"] == "success").then(|| all.clone())
    });
    found.await.unwrap_or_else(|| panic!("nothing was delivered\n{}", instance.log()))
}

/// Kills the process at this point and starts it again; returns what the receiver got before and in all.
async fn killed_at(point: &str) -> (usize, Vec<(String, Vec<u8>)>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (url, requests) = receiver().await;
    let mut instance = start(dir.path(), Some(point)).await;
    let body = json!({ "url": url, "events": ["cvm.created"] });
    let made = instance.send("POST", "/workspace/webhooks", &body, "webhook").await;
    let id = made.expect("it is created")["id"].as_str().expect("an id").to_owned();
    deploy(&mut instance).await;
    instance.died(point).await;
    let before = requests.lock().expect("no panic").len();
    let mut instance = start(dir.path(), None).await;
    let all = delivered(&mut instance, &id).await;
    let got = requests.lock().expect("no panic").clone();
    assert_eq!(all.as_array().expect("a list").len(), 1, "one event, one delivery: {all}");
    assert!(got.iter().all(|(event, _)| all[0]["event_id"] == event.as_str()), "{all}");
    instance.stop().await;
    (before, got)
}

#[tokio::test]
async fn an_event_that_was_committed_and_not_sent_is_sent_after_the_start() {
    let (before, got) = killed_at("webhook.before_send").await;
    assert_eq!((before, got.len()), (0, 1));
    let body: Value = serde_json::from_slice(&got[0].1).expect("JSON");
    assert_eq!(
        (&body["event"], &body["data"]["cvm_name"]),
        (&"cvm.created".into(), &"my-app".into())
    );
    assert_eq!(body["id"], got[0].0.as_str());
}

#[tokio::test]
async fn an_event_that_was_sent_and_not_recorded_is_sent_again_with_its_id() {
    let (before, got) = killed_at("webhook.after_send").await;
    assert_eq!((before, got.len()), (1, 2));
    assert_eq!(got[0], got[1], "the same id and the same bytes");
}

#[tokio::test]
async fn an_event_is_sent_by_whichever_process_comes_after_its_commit() {
    let (_, got) = killed_at("create.close.recorded").await;
    assert!(!got.is_empty());
}
