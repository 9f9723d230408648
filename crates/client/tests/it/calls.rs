//! Calls to a faulty server: what is sent, what is repeated, what errors say.

use std::time::{Duration, Instant};

use crate::server::{KEY, Server, answer, ok};
use casemate_api::{
    error::ErrorCode, provision::ProvisionRequest, readiness::ReadinessRequest, version::ApiVersion,
};
use casemate_client::{Client, Error, TransportKind};

const VM: &str = r#"{"id":"cvm_1","name":"my-app","status":"starting"}"#;

fn request() -> ProvisionRequest {
    ProvisionRequest { name: "my-app".to_owned(), ..ProvisionRequest::default() }
}

#[tokio::test]
async fn every_call_says_who_asks_and_in_which_version() {
    let server = Server::with([ok("[]"), ok(VM)]).await;
    server.client().newest_cvms().await.unwrap();
    server.client().stop("my-app").await.unwrap();
    let asked = server.asked();
    for asked in &asked {
        assert_eq!(asked.header("x-api-key"), Some(KEY));
        assert_eq!(asked.header("x-phala-version"), Some("2026-06-23"));
        let agent = asked.header("user-agent").unwrap();
        assert!(agent.starts_with("casemate/"), "{agent}");
    }
    assert_eq!((asked[0].method.as_str(), asked[1].method.as_str()), ("GET", "POST"));
    assert_eq!(asked[0].header("idempotency-key"), None);
    assert!(asked[1].header("idempotency-key").is_some());
    assert_eq!(asked[1].uri.path(), "/api/v1/cvms/my-app/stop");
    assert!(asked[1].body.is_empty());
}

#[tokio::test]
async fn the_version_and_a_trailing_slash_are_the_callers_choice() {
    let server = Server::with([ok("[]")]).await;
    let base = format!("{}/", server.url);
    let client = Client::builder(&base, KEY.into()).version(ApiVersion::V20260121).build().unwrap();
    client.newest_cvms().await.unwrap();
    let asked = &server.asked()[0];
    assert_eq!(asked.header("x-phala-version"), Some("2026-01-21"));
    assert_eq!(asked.uri.path(), "/api/v1/cvms");
}

#[tokio::test]
async fn a_change_is_repeated_under_the_same_key_only() {
    let busy = || answer(409, &[("retry-after", "0")], r#"{"detail":"busy"}"#);
    let down = answer(503, &[], "");
    let server = Server::with([busy(), down, busy(), ok(VM), ok(VM)]).await;
    let client = server.client();
    client.restart("my-app", true).await.unwrap();
    client.restart("my-app", true).await.unwrap();
    let asked = server.asked();
    let keys: Vec<_> = asked.iter().map(|asked| asked.header("idempotency-key").unwrap()).collect();
    assert_eq!(keys.len(), 5);
    assert!(keys[..4].iter().all(|key| *key == keys[0]), "one request, one key");
    assert_ne!(keys[4], keys[0], "another request, another key");
    assert!(asked.iter().all(|asked| asked.body == r#"{"force":true}"#));
}

#[tokio::test]
async fn retry_after_is_waited_for() {
    let server = Server::with([answer(429, &[("retry-after", "1")], ""), ok("[]")]).await;
    let began = Instant::now();
    server.client().newest_cvms().await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn what_is_final_is_not_repeated() {
    let taken = r#"{"error_code":"ERR-01-004","message":"taken"}"#;
    let server = Server::with([answer(409, &[], taken)]).await;
    let error = server.client().provision(&request()).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::DuplicateCvmName));
    assert_eq!(server.asked().len(), 1);

    let server = Server::with([answer(500, &[], "")]).await;
    server.client().provision(&request()).await.unwrap_err();
    assert_eq!(server.asked().len(), 1, "a change may have happened");

    let server = Server::with((0..9).map(|_| answer(502, &[], ""))).await;
    server.client().auth_me().await.unwrap_err();
    assert_eq!(server.asked().len(), 4, "tries are bounded");

    let server = Server::with([answer(503, &[("retry-after", "3600")], "")]).await;
    server.client().auth_me().await.unwrap_err();
    assert_eq!(server.asked().len(), 1, "asked for more than we wait");
}

#[tokio::test]
async fn all_shapes_of_errors_are_read() {
    let coded = r#"{"error_code":"ERR-02-008","message":"no","details":[{"field":"vcpu","message":"too many"}],"suggestions":["fewer"],"request_id":"in-body"}"#;
    let nested = format!(r#"{{"detail":{coded}}}"#);
    let plain = r#"{"detail":"nope"}"#;
    let list = r#"{"detail":[{"loc":["body","name"],"msg":"Field required","type":"missing"}]}"#;
    let server = Server::with([
        answer(400, &[("x-request-id", "in-header")], coded),
        answer(400, &[], nested),
        answer(404, &[], plain),
        answer(422, &[], list),
        answer(400, &[], "<html>what?</html>"),
        answer(400, &[], ""),
    ])
    .await;
    let client = server.client();
    let mut seen = Vec::new();
    for _ in 0..6 {
        let error = client.stop("x").await.unwrap_err();
        let api = error.api().unwrap().clone();
        seen.push((error.to_string(), api.request_id));
    }
    let expected = [
        ("no (ERR-02-008)", Some("in-header")),
        ("no (ERR-02-008)", Some("in-body")),
        ("nope (HTTP 404)", None),
        ("Field required (HTTP 422)", None),
        ("<html>what?</html> (HTTP 400)", None),
        ("Bad Request (HTTP 400)", None),
    ];
    let expected = expected.map(|(text, id)| (text.to_owned(), id.map(str::to_owned)));
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let other = Server::with([ok("[]")]).await;
    let location: &'static str = Box::leak(other.url.clone().into_boxed_str());
    let headers: &'static [_] = Box::leak(Box::new([("location", location)]));
    let server = Server::with([answer(307, headers, "")]).await;
    let error = server.client().newest_cvms().await.unwrap_err();
    assert!(error.to_string().contains("redirect"), "{error}");
    assert!(other.asked().is_empty(), "the key went away");
}

#[tokio::test]
async fn the_key_is_in_no_error_and_no_debug_text() {
    let echo = format!(r#"{{"detail":"bad key {KEY}"}}"#);
    let server =
        Server::with([answer(401, &[], echo), answer(400, &[], format!("{KEY}?")), ok("[")]);
    let server = server.await;
    let client = server.client();
    let mut texts = vec![format!("{client:?}"), format!("{:?}", Client::builder("x", KEY.into()))];
    let gone = Client::builder("http://127.0.0.1:9/api/v1", KEY.into())
        .policy(casemate_client::Policy { attempts: 1, ..casemate_client::Policy::default() });
    let errors = [
        client.auth_me().await.unwrap_err(),
        client.auth_me().await.unwrap_err(),
        client.auth_me().await.unwrap_err(),
        gone.build().unwrap().auth_me().await.unwrap_err(),
    ];
    let kind = |error: &Error| match error {
        Error::Transport { kind, .. } => Some(*kind),
        _ => None,
    };
    assert_eq!(kind(&errors[3]), Some(TransportKind::Connect));
    assert!(matches!(errors[2], Error::Decode { .. }));
    texts.extend(errors.iter().flat_map(|error| [format!("{error}"), format!("{error:?}")]));
    for text in texts {
        assert!(!text.contains(KEY), "{text}");
    }
}

#[tokio::test]
async fn health_is_asked_on_the_root() {
    let server = Server::with([ok(r#"{"status":"ready"}"#), ok("<html>")]).await;
    server.client().ready().await.unwrap();
    assert_eq!(server.asked()[0].uri.path(), "/readyz");
    server.client().alive().await.unwrap_err();
}

#[tokio::test]
async fn a_base_url_over_https_finds_the_systems_roots() {
    Client::new("https://cloud-api.phala.com/api/v1", KEY.into()).unwrap();
}

#[tokio::test]
async fn readiness_is_read_said_and_taken_back() {
    const REPLY: &str = r#"{"app_id":"aa","source":"api","check":{"kind":"http","port":8080,
        "path":"/up","interval_s":5,"timeout_s":2,"threshold":3}}"#;
    const NOBODY: &str = r#"{"app_id":"aa","source":"none","check":null}"#;
    let server = Server::with([ok(NOBODY), ok(REPLY), ok(NOBODY)]).await;
    let client = server.client();
    assert_eq!(client.readiness("aa").await.unwrap().check, None);
    let request =
        ReadinessRequest { port: 8080, path: Some("/up".to_owned()), ..Default::default() };
    let set = client.set_readiness("aa", &request).await.unwrap();
    assert_eq!(set.check.unwrap().path.as_deref(), Some("/up"));
    assert_eq!(client.clear_readiness("aa").await.unwrap().source, "none");
    let asked = server.asked();
    let methods: Vec<&str> = asked.iter().map(|asked| asked.method.as_str()).collect();
    assert_eq!(methods, ["GET", "PUT", "DELETE"]);
    assert!(asked.iter().all(|asked| asked.uri.path() == "/api/v1/apps/aa/readiness"));
    assert_eq!(asked[1].body, r#"{"port":8080,"path":"/up"}"#);
    assert!(asked[1..].iter().all(|asked| asked.header("idempotency-key").is_some()));
}
