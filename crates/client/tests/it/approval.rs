//! Approval by contracts: prepared, confirmed by hash, committed by token.

use casemate_api::{approval::CommitTokenRequest, cvm_patch::CvmPatch};
use casemate_client::{ApprovalRequired, EnvGuard};
use casemate_core::id::{ComposeHash, TxHash};
use secrecy::ExposeSecret;
use serde_json::json;

use crate::server::{Answer, Server, answer, ok};

const TOKEN: &str = "1c2f3c0e-7c8d-4a43-9a51-6c9d8a1d3f10";

fn needed(token: Option<&str>) -> Answer {
    let mut details = vec![
        json!({ "field": "compose_hash", "value": "11".repeat(32) }),
        json!({ "field": "app_id", "value": "22".repeat(20) }),
        json!({ "field": "device_id", "value": "33".repeat(32) }),
        json!({ "field": "kms_info", "value": { "id": "kms_1", "url": "https://kms.test", "version": "1",
            "chain_id": 8453, "kms_contract_address": format!("0x{}", "44".repeat(20)) } }),
    ];
    details.extend(token.map(|token| json!({ "field": "commit_token", "value": token })));
    let body = json!({ "error_code": "ERR-01-005", "message": "register it", "details": details,
        "suggestions": [], "links": [] });
    answer(465, &[], body.to_string())
}

#[tokio::test]
async fn what_has_to_be_registered_is_an_outcome_of_its_own() {
    let accepted = || answer(202, &[], r#"{"correlation_id":"op-1"}"#);
    let committed = answer(202, &[], r#"{"correlation_id":"op-1","status":"in_progress"}"#);
    let answers = [needed(None), needed(Some(TOKEN)), accepted(), accepted(), committed];
    let server = Server::with(answers).await;
    let client = server.client();
    let patch = CvmPatch { vcpu: Some(2), ..CvmPatch::default() };

    let error = client.patch_cvm("my-app", &patch, EnvGuard::Workspace).await.unwrap_err();
    let hash = ComposeHash::from_bytes([0x11; 32]);
    let required = ApprovalRequired::of(&error).unwrap().unwrap();
    assert_eq!((required.compose_hash, required.chain_id), (hash, 8453));
    assert!(required.commit_token.is_none());
    let error = client.prepare_cvm_patch("my-app", &patch, EnvGuard::Workspace).await.unwrap_err();
    let required = ApprovalRequired::of(&error).unwrap().unwrap();
    assert_eq!(required.commit_token.unwrap().expose_secret(), TOKEN);
    client.prepare_cvm_patch("my-app", &patch, EnvGuard::Workspace).await.unwrap();
    let transaction = TxHash::from_bytes([0xab; 32]);
    client.confirm_cvm_patch("my-app", hash, Some(transaction)).await.unwrap();
    let request =
        CommitTokenRequest { token: Some(TOKEN.to_owned()), ..CommitTokenRequest::default() };
    client.commit_update("my-app", &request).await.unwrap();

    let asked = server.asked();
    let said = |index: usize, name: &str| asked[index].header(name).map(str::to_owned);
    assert_eq!(said(0, "x-prepare-only"), None);
    assert_eq!(said(1, "x-prepare-only").as_deref(), Some("true"));
    assert_eq!(said(3, "x-compose-hash"), Some("11".repeat(32)));
    assert_eq!(said(3, "x-transaction-hash"), Some(format!("0x{}", "ab".repeat(32))));
    assert_eq!(asked[3].body, "{}");
    assert_eq!(asked[4].uri.path(), "/api/v1/cvms/my-app/commit-update");
    assert_eq!(asked[4].body, json!({ "token": TOKEN }).to_string());
}

#[tokio::test]
async fn an_error_does_not_hold_the_token() {
    let refused = json!({ "error_code": "ERR-01-006", "message": "not known", "details": [],
        "suggestions": [], "links": [] });
    let server = Server::with([answer(466, &[], refused.to_string()), ok("{}")]).await;
    let client = server.client();
    let error = client.commit_info("my-app", TOKEN).await.unwrap_err();
    assert!(!format!("{error:?} {error}").contains(TOKEN));
    assert!(ApprovalRequired::of(&error).is_none());
    assert_eq!(server.asked()[0].uri.query(), Some(format!("token={TOKEN}").as_str()));
}
