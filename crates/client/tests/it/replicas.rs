//! Replicas: requests, and both formats of the reply.

use casemate_api::{
    approval::CommitTokenRequest,
    error::ErrorCode,
    replicate::{InstanceRequest, ReplicateRequest},
    reply::NewInstance,
};
use casemate_core::id::NodeId;

use crate::server::{Server, answer, ok};

const VM: &str = r#"{"id":"cvm_2","name":"my-app-2","status":"starting"}"#;
const INFO: &str = r#"{"id":"cvm_2","name":"my-app-2","status":"starting","resource":{"vcpu":1}}"#;
const APP: &str = "0123456789abcdef0123456789abcdef01234567";

#[tokio::test]
async fn each_request_says_what_was_asked_and_nothing_else() {
    let server = Server::with([ok(VM), ok(VM), ok(INFO), ok(VM)]).await;
    let client = server.client();
    let made = client.replicate("my-app", &ReplicateRequest::default()).await.unwrap();
    assert_eq!((made.id.to_string(), made.name), ("cvm_2".to_owned(), "my-app-2".to_owned()));
    let there = ReplicateRequest { node_id: Some(NodeId(2)), ..ReplicateRequest::default() };
    client.replicate_app_cvm(APP, "cvm_1", &there).await.unwrap();
    let request = InstanceRequest {
        docker_compose_file: Some("services: {}".to_owned()),
        pre_launch_script: Some(String::new()),
        ..InstanceRequest::default()
    };
    let made = client.create_instance(APP, &request).await.unwrap();
    assert!(matches!(made, NewInstance::Nested(info) if info.resource.vcpu == Some(1)));
    let token = CommitTokenRequest { token: Some("t".to_owned()), ..CommitTokenRequest::default() };
    client.commit_replica("cvm_1", &token).await.unwrap();

    let asked = server.asked();
    let body = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said: Vec<(&str, String)> =
        asked.iter().map(|asked| (asked.uri.path(), body(&asked.body))).collect();
    let instance = r#"{"docker_compose_file":"services: {}","pre_launch_script":""}"#;
    let of_cvm = format!("/api/v1/apps/{APP}/cvms/cvm_1/replicas");
    let of_app = format!("/api/v1/apps/{APP}/instances");
    let expected = [
        ("/api/v1/cvms/my-app/replicas", "{}"),
        (&*of_cvm, r#"{"node_id":2}"#),
        (&*of_app, instance),
        ("/api/v1/cvms/cvm_1/commit-replica", r#"{"token":"t"}"#),
    ]
    .map(|(path, body)| (path, body.to_owned()));
    assert_eq!(said, expected);
    assert!(asked.iter().all(|asked| asked.method == "POST"));
    assert!(asked.iter().all(|asked| asked.header("idempotency-key").is_some()));
}

#[tokio::test]
async fn an_older_reply_is_flat_and_cvms_of_an_app_are_nested_or_an_error() {
    let flat = r#"{"id":2,"name":"my-app-2","status":"starting","teepod_id":1}"#;
    let hosted = r#"[{"name":"my-app","app_id":"00","hosted":{}}]"#;
    let server = Server::with([ok(flat), ok(format!("[{INFO}]")), ok(hosted)]).await;
    let client = server.client();
    let made = client.create_instance(APP, &InstanceRequest::default()).await.unwrap();
    assert!(matches!(made, NewInstance::Flat(vm) if vm.id.to_string() == "2"));
    assert_eq!(client.app_cvm_infos(APP).await.unwrap()[0].name, "my-app-2");
    client.app_cvm_infos(APP).await.unwrap_err();
}

#[tokio::test]
async fn a_refusal_keeps_its_code_and_is_final() {
    let several = r#"{"error_code":"ERR-03-009","message":"name the hash"}"#;
    let unknown = r#"{"error_code":"ERR-01-006","message":"token is not known"}"#;
    let server = Server::with([answer(400, &[], several), answer(466, &[], unknown)]).await;
    let client = server.client();
    let error = client.replicate("my-app", &ReplicateRequest::default()).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::ReplicaComposeHashRequired));
    let error = client.commit_replica("x", &CommitTokenRequest::default()).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::HashInvalidOrExpired));
    assert_eq!(server.asked().len(), 2);
}
