//! Watching and waiting over connections that break.

use std::time::Duration;

use crate::server::{Server, answer, events};
use casemate_client::{Error, WaitOutcome, WatchEvent};

const LONG: Duration = Duration::from_secs(30);

fn state(status: &str, in_progress: bool) -> String {
    format!("event: state\ndata: {{\"status\":\"{status}\",\"in_progress\":{in_progress}}}\n\n")
}

fn complete(status: &str) -> String {
    format!(": comment\nevent: complete\r\ndata: {{\"status\":\"{status}\"}}\r\n\r\n")
}

#[tokio::test]
async fn a_lost_connection_is_made_again_and_nothing_is_told_twice() {
    let server = Server::with([
        events(state("starting", true)),
        answer(502, &[], ""),
        events(format!("{}event: timeout\ndata: {{}}\n\n", state("starting", true))),
        events(format!("{}{}", state("running", false), complete("running"))),
    ])
    .await;
    let mut watch = server.client().watch("my-app", "running", LONG);
    let mut seen = Vec::new();
    while let Some(event) = watch.next().await.unwrap() {
        seen.push(match event {
            WatchEvent::State(state) => state.status.to_string(),
            WatchEvent::Complete(state) => format!("complete {}", state.status),
            WatchEvent::Lost { .. } => "lost".to_owned(),
        });
    }
    assert_eq!(seen, ["starting", "lost", "lost", "running", "complete running"]);
    assert_eq!(watch.next().await.unwrap(), None);
    let asked = server.asked();
    assert_eq!(asked[0].header("accept"), Some("text/event-stream"));
    let query = asked[0].uri.query().unwrap();
    assert!(query.contains("target=running") && query.contains("timeout="), "{query}");
}

#[tokio::test]
async fn waiting_ends_with_the_operation_however_that_ends() {
    let failed = r#"event: state
data: {"status":"error","failure":{"code":"boot-failed","cause":"no image","at":"2026-01-01T00:00:00Z"}}

"#;
    let server = Server::with([
        events(format!("{}{}", state("stopped", false), complete("running"))),
        events(format!("{}{failed}", state("starting", true))),
        events(format!("{}{}", state("starting", true), state("stopped", false))),
        events(format!("{}{}", state("starting", true), complete("deleted"))),
    ])
    .await;
    let client = server.client();
    let wait = async || client.wait("my-app", "running", LONG, |_| {}).await.unwrap();
    assert!(matches!(wait().await, WaitOutcome::Reached(state) if state.status == "running"));
    assert!(matches!(wait().await, WaitOutcome::Failed(state) if state.failure.is_some()));
    assert!(matches!(wait().await, WaitOutcome::Elsewhere(state) if state.status == "stopped"));
    assert!(matches!(wait().await, WaitOutcome::Gone));
}

#[tokio::test]
async fn a_refusal_is_final_and_gone_is_deleted() {
    let missing = || answer(404, &[], r#"{"error_code":"ERR-03-001","message":"gone"}"#);
    let server = Server::with([missing(), missing()]).await;
    let client = server.client();
    let error = client.wait("my-app", "running", LONG, |_| {}).await.unwrap_err();
    assert!(error.is_not_found());
    let ended = client.wait("my-app", "deleted", LONG, |_| {}).await.unwrap();
    assert!(matches!(ended, WaitOutcome::Reached(_)));
}

#[tokio::test]
async fn time_is_bounded() {
    let server = Server::with((0..100).map(|_| events(state("starting", true)))).await;
    let short = Duration::from_millis(400);
    let error = server.client().wait("my-app", "running", short, |_| {}).await.unwrap_err();
    let Error::TimedOut { last, .. } = &error else { panic!("{error}") };
    assert_eq!(last.as_deref(), Some("starting"));
    assert!(server.asked().len() < 10, "at a walking pace");
}
