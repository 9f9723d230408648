//! Revisions: requests of the SDK, and redeploys.

use crate::server::{Answer, Server, answer, ok};
use casemate_api::revision::{AppRedeployRequest, RedeployRequest};
use casemate_client::EnvGuard;

const REVISION: &str = r#""revision_id":"rev_1","app_id":"aa","vm_uuid":"u","compose_hash":"00","created_at":"2026-01-01T00:00:00Z","operation_type":"deploy""#;

fn revision(more: &str) -> Answer {
    ok(format!("{{{REVISION}{more}}}"))
}

#[tokio::test]
async fn revisions_are_read_with_what_others_leave_out() {
    let page = r#"{"revisions":[],"total":0,"page":2,"page_size":7,"total_pages":0}"#;
    let one = format!("{{{REVISION}}}");
    let diff = format!(
        r#"{{"from":{one},"to":{one},"identical":true,"docker_compose_file":null,"pre_launch_script":null,"fields":[],"env":{{"added":[],"removed":[],"missing":[]}},"encrypted_env_changed":false,"user_config":null}}"#
    );
    let server = Server::with([
        ok(page),
        revision(r#","compose_file":"{}","encrypted_env":"","user_config":"""#),
        revision(r#","compose_file":{"a":1},"encrypted_env":"","user_config":"""#),
        ok(diff),
        ok(r#"{"items":[{"vm_uuid":"u","compose_hash":"00","on_chain":false}]}"#),
        ok("{}"),
    ])
    .await;
    let client = server.client();
    assert_eq!(client.revisions("aa", Some(2), Some(7)).await.unwrap().page_size, 7);
    let raw = client.revision("aa", "rev_1", true).await.unwrap();
    assert_eq!(raw.compose_file, Some("{}".into()));
    let whole = client.revision("aa", "rev_1", false).await.unwrap();
    assert_eq!(whole.compose_file.unwrap()["a"], 1);
    assert_eq!((whole.revision.trace_id, whole.revision.cvm), (None, None));
    assert!(client.revision_diff("aa", "rev_1", "rev_2").await.unwrap().identical);
    let pending = client.pending_updates("aa").await.unwrap();
    assert_eq!(pending.items[0].instance_name, None);
    let preview = client.pending_preview("aa", "u", "00").await.unwrap();
    assert_eq!(preview.pending_docker_compose, None);

    let asked = server.asked();
    let paths: Vec<String> = asked.iter().map(|asked| asked.uri.to_string()).collect();
    let below = |path: &str| format!("/api/v1/apps/aa/{path}");
    let expected = [
        below("revisions?page=2&page_size=7"),
        below("revisions/rev_1?raw_compose_file=true"),
        below("revisions/rev_1"),
        below("revisions/rev_1/diff/rev_2"),
        below("pending-updates"),
        below("pending-updates/u/00/preview"),
    ];
    assert_eq!(paths, expected);
}

#[tokio::test]
async fn the_way_back_is_sent_as_the_api_has_it() {
    let one = r#"{"message":"m","correlation_id":"op-1","status":"no_change","effect":"nothing"}"#;
    let many = format!(
        r#"{{"message":"m","correlation_id":null,"status":"in_progress","cvms":[{{"vm_uuid":"u","name":"n",{}]}}"#,
        &one[1..]
    );
    let server =
        Server::with([answer(202, &[], one), answer(202, &[], many), answer(202, &[], "{}")]).await;
    let client = server.client();
    let request = RedeployRequest { allow_env_mismatch: Some(true), ..RedeployRequest::default() };
    let done = client.redeploy_cvm("a", "rev_1", &request, EnvGuard::Report).await.unwrap();
    assert_eq!(
        (done.status.as_str(), done.course.effect.as_deref()),
        ("no_change", Some("nothing"))
    );
    let request =
        AppRedeployRequest { vm_uuids: vec!["u".to_owned()], all: None, allow_env_mismatch: None };
    let all = client.redeploy_app("aa", "rev_1", &request, EnvGuard::Workspace).await.unwrap();
    assert_eq!(all.cvms[0].update.correlation_id, "op-1");
    // Other servers reply without useful fields.
    let request = AppRedeployRequest { all: Some(true), ..AppRedeployRequest::default() };
    let nothing = client.redeploy_app("aa", "rev_1", &request, EnvGuard::Workspace).await.unwrap();
    assert_eq!(nothing.cvms, []);

    let asked = server.asked();
    let sent: Vec<(&str, &str)> = asked
        .iter()
        .map(|asked| (asked.uri.path(), str::from_utf8(&asked.body).unwrap()))
        .collect();
    let expected = [
        ("/api/v1/cvms/a/revisions/rev_1/redeploy", r#"{"allow_env_mismatch":true}"#),
        ("/api/v1/apps/aa/revisions/rev_1/redeploy", r#"{"vm_uuids":["u"]}"#),
        ("/api/v1/apps/aa/revisions/rev_1/redeploy", r#"{"all":true}"#),
    ];
    assert_eq!(sent, expected);
    assert_eq!(asked[0].header("x-casemate-env-guard"), Some("report"));
    assert!(asked.iter().all(|asked| asked.header("idempotency-key").is_some()));
}
