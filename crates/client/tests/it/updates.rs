//! Updates: the request of each, and waiting for their end while the server is away.

use std::time::Duration;

use crate::server::{Answer, Asked, Server, answer, ok};
use casemate_api::{
    compose_file::ComposeFile,
    compose_update::{ComposeCommitRequest, ComposeReplaceRequest},
    cvm_patch::CvmPatch,
    cvm_settings::{EnvsRequest, ResourcesRequest, VisibilityRequest},
    error::ErrorCode,
    instance_id::{
        InstanceIdRequest, InstanceIdsRequest, RefreshInstanceIdRequest, RefreshInstanceIdsRequest,
    },
    network::{NetworkConfigRequest, PortRule},
    patch::Patch,
};
use casemate_client::{EnvGuard, Error, OperationsQuery, RolledBack};
use casemate_core::{compose::hash, time::Timestamp};
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(30);

fn accepted() -> Answer {
    answer(
        202,
        &[],
        r#"{"status":"in_progress","message":"","correlation_id":"op-1","effect":"restart","allowed_envs_changed":true}"#,
    )
}

/// Checks method, path below `/cvms/` and body of a request, and that it is repeatable.
fn expect(asked: &Asked, (method, path, body): (&str, &str, &str)) {
    assert_eq!(asked.method.as_str(), method, "{path}");
    assert_eq!(asked.uri.path(), format!("/api/v1/cvms/{path}"));
    assert_eq!(asked.body, body, "{path}");
    assert!(asked.header("idempotency-key").is_some(), "{path}");
}

fn vm() -> Answer {
    ok(r#"{"id":"cvm_1","name":"my-app","status":"running"}"#)
}

#[tokio::test]
async fn every_change_is_sent_as_the_api_has_it() {
    let flat = answer(418, &[], "");
    let answers = [
        accepted(),
        accepted(),
        flat,
        vm(),
        answer(204, &[], ""),
        accepted(),
        accepted(),
        accepted(),
        accepted(),
    ];
    let server = Server::with(answers).await;
    let client = server.client();
    let patch = CvmPatch {
        user_config: Patch::Null,
        vcpu: Some(2),
        allow_restart: Some(false),
        ..CvmPatch::default()
    };
    let done = client.patch_cvm("a", &patch, EnvGuard::Refuse).await.unwrap();
    assert_eq!(done.course.effect.as_deref(), Some("restart"));
    let resources = ResourcesRequest { vcpu: Some(2), ..ResourcesRequest::default() };
    client.update_resources("a", &resources).await.unwrap();
    let visible = VisibilityRequest { public_logs: Some(false), ..VisibilityRequest::default() };
    client.update_visibility("a", visible).await.unwrap_err();
    client.set_listed("a", true).await.unwrap();
    client.rename("a", "other-name").await.unwrap();
    client.update_os_image("a", "dstack-0.5.4").await.unwrap();
    client.update_docker_compose("a", "services: {}").await.unwrap();
    client.update_pre_launch_script("a", "").await.unwrap();
    client.update_user_config("a", None).await.unwrap();

    let asked = server.asked();
    let expected = [
        ("PATCH", "a", r#"{"user_config":null,"vcpu":2,"allow_restart":false}"#),
        ("PATCH", "a/resources", r#"{"vcpu":2}"#),
        ("PATCH", "a/visibility", r#"{"public_logs":false}"#),
        ("PATCH", "a/listed", r#"{"listed":true}"#),
        ("PATCH", "a/name", r#"{"name":"other-name"}"#),
        ("PATCH", "a/os-image", r#"{"os_image_name":"dstack-0.5.4"}"#),
        ("PATCH", "a/docker-compose", "services: {}"),
        ("PATCH", "a/pre-launch-script", ""),
        ("PATCH", "a/user_config", r#"{"user_config":null}"#),
    ];
    assert_eq!(asked.len(), expected.len());
    for (asked, expected) in asked.iter().zip(expected) {
        expect(asked, expected);
    }
    assert_eq!(asked[0].header("x-casemate-env-guard"), Some("refuse"));
    assert_eq!(asked[1].header("x-casemate-env-guard"), None);
    let kind = |index: usize| asked[index].header("content-type");
    assert_eq!([kind(0), kind(6)], [Some("application/json"), Some("text/yaml")]);
    assert_eq!(kind(7), Some("text/plain"));
}

#[tokio::test]
async fn compose_files_and_variables_go_with_their_guard() {
    let prepared = ok(r#"{"compose_hash":"00","app_id":null,"device_id":null}"#);
    let server = Server::with([accepted(), prepared, accepted(), accepted()]).await;
    let client = server.client();
    let hash = hash("x");
    let envs = EnvsRequest {
        encrypted_env: "00".to_owned(),
        env_keys: Some(vec!["A".to_owned()]),
        ..EnvsRequest::default()
    };
    let changed = client.update_envs("a", &envs, EnvGuard::Report).await.unwrap();
    assert!(changed.allowed_envs_changed);
    client.provision_compose("a", &ComposeFile::default()).await.unwrap();
    let commit = ComposeCommitRequest {
        compose_hash: hash,
        encrypted_env: None,
        env_keys: None,
        update_env_vars: None,
        transaction_hash: None,
    };
    client.commit_compose("a", &commit, EnvGuard::Workspace).await.unwrap();
    let replace = ComposeReplaceRequest {
        compose_file: ComposeFile::default(),
        compose_hash: hash,
        encrypted_env: None,
        env_keys: None,
    };
    client.replace_compose("a", &replace, EnvGuard::Refuse).await.unwrap();

    let asked = server.asked();
    let commit = format!(r#"{{"compose_hash":"{hash}"}}"#);
    let replace = format!(r#"{{"compose_file":{{}},"compose_hash":"{hash}"}}"#);
    let envs = r#"{"encrypted_env":"00","env_keys":["A"]}"#;
    expect(&asked[0], ("PATCH", "a/envs", envs));
    expect(&asked[1], ("POST", "a/compose_file/provision", "{}"));
    expect(&asked[2], ("PATCH", "a/compose_file", &commit));
    expect(&asked[3], ("POST", "a/compose_file", &replace));
    let guard = |index: usize| asked[index].header("x-casemate-env-guard");
    assert_eq!([guard(0), guard(1), guard(2)], [Some("report"), None, None]);
    assert_eq!(guard(3), Some("refuse"));
}

#[tokio::test]
async fn times_ports_and_batches_are_sent_as_the_api_has_them() {
    let answers = [
        vm(),
        vm(),
        ok("{}"),
        ok("[]"),
        ok(r#"{"cancelled":false}"#),
        ok(r#"{"total":2,"stopped":1,"skipped":1,"errors":[]}"#),
    ];
    let server = Server::with(answers).await;
    let client = server.client();
    client.schedule_delete("a", Some(Timestamp::from_micros(0))).await.unwrap();
    client.schedule_delete("a", None).await.unwrap();
    client.update_network_config("a", &NetworkConfigRequest::default()).await.unwrap();
    let port = PortRule { vm_port: Some(80), ..PortRule::default() };
    client.set_ports("a", vec![port]).await.unwrap();
    assert!(!client.cancel_operation("a", None).await.unwrap().cancelled);
    assert_eq!(client.batch_stop(&["a".to_owned(), "b".to_owned()]).await.unwrap().stopped, 1);

    let expected = [
        ("PATCH", "a/scheduled-delete", r#"{"scheduled_delete_at":"1970-01-01T00:00:00Z"}"#),
        ("PATCH", "a/scheduled-delete", r#"{"scheduled_delete_at":null}"#),
        ("PATCH", "a/network-config", r#"{"restart":false}"#),
        ("PUT", "a/ports", r#"{"ports":[{"vm_port":80}]}"#),
        ("POST", "a/operations/cancel", "{}"),
        ("POST", "batch-stop", r#"{"cvm_ids":["a","b"]}"#),
    ];
    for (asked, expected) in server.asked().iter().zip(expected) {
        expect(asked, expected);
    }
}

fn record(id: &str, kind: &str, state: &str, second: u8) -> Value {
    let status = match state {
        "succeeded" => "completed",
        "running" | "pending" => "in_progress",
        _ => "failed",
    };
    let at = format!("2026-01-31T12:00:{second:02}Z");
    let ended = (status != "in_progress").then_some(&at);
    let failed = status == "failed";
    json!({
        "correlation_id": id, "operation_type": kind, "target_state": "running",
        "triggered_by": "usr_1", "started_at": &at, "completed_at": ended, "status": status,
        "state": state, "instance_name": "my-app", "error_code": failed.then_some("boot_timeout"),
        "error_message": failed.then_some("the guest did not come up"),
    })
}

fn page(records: &[Value]) -> Answer {
    ok(json!({ "items": records, "next_cursor": null, "total": records.len() }).to_string())
}

#[tokio::test]
async fn an_operation_is_waited_for_over_a_server_that_goes_away() {
    let down = || answer(502, &[], "");
    let answers = [
        page(&[record("op-1", "update", "pending", 1)]),
        page(&[record("op-1", "update", "running", 1)]),
        down(),
        down(),
        down(),
        down(),
        down(),
        page(&[record("op-2", "update", "pending", 1), record("op-1", "update", "running", 1)]),
        page(&[record("op-1", "update", "succeeded", 2)]),
    ];
    let server = Server::with(answers).await;
    let mut seen = Vec::new();
    let told = |record: &casemate_api::reply::OperationRecord| seen.push(record.state.clone());
    let done = server.client().wait_for_operation("a", "op-1", LONG, told).await.unwrap();
    assert_eq!(done.status, "completed");
    let seen: Vec<_> = seen.into_iter().flatten().collect();
    assert_eq!(seen, ["pending", "running", "succeeded"], "each difference once");
}

#[tokio::test]
async fn a_failure_has_code_cause_and_the_way_back() {
    let failed = || record("op-1", "update", "failed", 5);
    let answers = [
        page(&[record("op-1", "update", "running", 1)]),
        page(&[record("op-2", "rollback", "running", 5), failed()]),
        page(&[record("op-2", "rollback", "succeeded", 5), failed()]),
    ];
    let server = Server::with(answers).await;
    let error = server.client().wait_for_operation("a", "op-1", LONG, |_| {}).await.unwrap_err();
    let text = error.to_string();
    assert_eq!(text, "the update failed: the guest did not come up; rolled back");
    let Error::Operation(failed) = error else { panic!("{text}") };
    assert_eq!(failed.code.as_deref(), Some("boot_timeout"));
    assert_eq!(failed.rolled_back, RolledBack::Done);
}

#[tokio::test]
async fn waiting_ends_in_time_and_an_unknown_operation_is_no_success() {
    let open = || page(&[record("op-1", "update", "running", 1)]);
    let server = Server::with((0..100).map(|_| open())).await;
    let short = Duration::from_millis(300);
    let client = server.client();
    let error = client.wait_for_operation("a", "op-1", short, |_| {}).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    let error = client.wait_for_operation("a", "op-9", short, |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("op-9 is not among them"), "{error}");

    let gone = answer(404, &[], r#"{"error_code":"ERR-03-001","message":"gone"}"#);
    let server = Server::with([gone]).await;
    let error = server.client().wait_for_operation("a", "op-1", LONG, |_| {}).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::CvmNotFound));
}

#[tokio::test]
async fn operations_are_listed_as_asked() {
    let server = Server::with([page(&[]), ok(r#"{"status":"idle"}"#)]).await;
    let query = OperationsQuery {
        cursor: Some("c".to_owned()),
        limit: Some(5),
        from: Some(Timestamp::from_micros(0)),
        until: None,
        kinds: vec!["update".to_owned(), "stop".to_owned()],
    };
    server.client().operations("a", &query).await.unwrap();
    assert!(!server.client().operation_status("a").await.unwrap().in_progress);
    let asked = server.asked();
    let expected = "cursor=c&limit=5&start_time=1970-01-01T00%3A00%3A00Z&operation_types=update&operation_types=stop";
    assert_eq!(asked[0].uri.query(), Some(expected));
}

#[tokio::test]
async fn instance_ids_are_asked_for_in_both_meanings() {
    let one = r#"{"cvm_id":1,"identifier":"a","status":"updated","source":"none","verified_with_gateway":false}"#;
    let many = r#"{"total":0,"scanned":0,"updated":0,"unchanged":0,"skipped":0,"conflicts":0,"errors":0,"items":[]}"#;
    let server = Server::with([ok(one), ok(one), ok(many), ok(many)]).await;
    let client = server.client();
    let look = InstanceIdRequest { overwrite: true, ..InstanceIdRequest::default() };
    let found = client.look_for_instance_id("a", &look).await.unwrap();
    assert_eq!((found.status.as_str(), found.new_instance_id), ("updated", None));
    let replace = RefreshInstanceIdRequest { dry_run: false, allow_data_loss: true };
    client.replace_instance_id("a", &replace).await.unwrap();
    let all = InstanceIdsRequest { limit: Some(5), ..InstanceIdsRequest::default() };
    assert_eq!(client.look_for_instance_ids(&all).await.unwrap().total, 0);
    let named = RefreshInstanceIdsRequest {
        ids: vec!["a".to_owned()],
        ..RefreshInstanceIdsRequest::default()
    };
    client.replace_instance_ids(&named).await.unwrap();
    let asked = server.asked();
    let expected = [
        ("PATCH", "a/instance-id", r#"{"overwrite":true,"dry_run":false,"allow_data_loss":false}"#),
        ("POST", "a/refresh-instance-id", r#"{"dry_run":false,"allow_data_loss":true}"#),
        (
            "PATCH",
            "instance-ids",
            r#"{"cvm_ids":null,"running_only":null,"missing_only":null,"overwrite":false,"limit":5,"dry_run":false,"allow_data_loss":false}"#,
        ),
        (
            "POST",
            "refresh-instance-ids",
            r#"{"ids":["a"],"dry_run":false,"allow_data_loss":false}"#,
        ),
    ];
    for (asked, expected) in asked.iter().zip(expected) {
        expect(asked, expected);
    }
}
