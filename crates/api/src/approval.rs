//! What was prepared for contracts to allow, committed by its token; and what the answer 465 says of it.

use casemate_core::id::{AppId, ComposeHash, DeviceId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    error::{ErrorBody, ErrorCode},
    num,
    reply::{KmsNode, OnchainStatus},
};

/// `POST /cvms/{id}/commit-update` and `POST /cvms/{id}/commit-replica`. The token may stand in the query
/// instead. What is empty or left out is as it was prepared.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CommitTokenRequest {
    /// The token that the preparation gave.
    #[serde(default, deserialize_with = "num::opt_name", skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The hash that was prepared, with or without `0x`; not checked here.
    #[serde(default, deserialize_with = "num::opt_name", skip_serializing_if = "Option::is_none")]
    pub compose_hash: Option<String>,
    /// Transaction that registered the hash, or `already-registered`.
    #[serde(default, deserialize_with = "num::opt_name", skip_serializing_if = "Option::is_none")]
    pub transaction_hash: Option<String>,
}

/// What contracts have to allow before a request is accepted: the details of the answer 465.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Approval {
    /// The document to register.
    pub compose_hash: ComposeHash,
    /// The app, and the address of its contract.
    pub app_id: AppId,
    /// The device to allow, where the contract does not yet.
    pub device_id: Option<DeviceId>,
    /// The KMS with its chain and contract.
    pub kms_info: Option<KmsNode>,
    /// What commits it without an API key. A credential.
    pub commit_token: Option<String>,
    /// Page that shows a person what to approve.
    pub commit_url: Option<String>,
    /// Where the token goes.
    pub api_commit_url: Option<String>,
    /// What the chain says now.
    pub onchain_status: Option<OnchainStatus>,
}

impl Approval {
    /// What an error body says of it; `None`: it is another error, or does not say what to register.
    #[must_use]
    pub fn of(body: &ErrorBody) -> Option<Self> {
        let body = body.structured()?;
        if body.error_code != ErrorCode::HashRegistrationRequired.code() {
            return None;
        }
        let value = |name: &str| {
            let found = body.details.iter().find(|fact| fact.field == name);
            found.and_then(|fact| fact.value.as_ref())
        };
        let text = |name: &str| value(name).and_then(Value::as_str);
        let owned = |name: &str| text(name).map(str::to_owned);
        Some(Self {
            compose_hash: text("compose_hash")?.parse().ok()?,
            app_id: text("app_id")?.parse().ok()?,
            device_id: text("device_id").and_then(|id| id.parse().ok()),
            kms_info: value("kms_info").and_then(|kms| KmsNode::deserialize(kms).ok()),
            commit_token: owned("commit_token"),
            commit_url: owned("commit_url"),
            api_commit_url: owned("api_commit_url"),
            onchain_status: value("onchain_status")
                .and_then(|status| OnchainStatus::deserialize(status).ok()),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body(details: &Value) -> ErrorBody {
        let body = json!({ "error_code": "ERR-01-005", "message": "no", "details": details,
            "suggestions": [], "links": [] });
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn the_details_of_465_are_read_with_and_without_a_token() {
        let kms = json!({ "id": "kms_1", "slug": null, "url": "https://k", "version": "1",
            "chain_id": 8453, "kms_contract_address": "0x33", "gateway_app_id": null,
            "chain": { "id": 8453 } });
        let mut details = vec![
            json!({ "field": "compose_hash", "value": format!("0x{}", "11".repeat(32)), "message": null }),
            json!({ "field": "app_id", "value": "22".repeat(20) }),
            json!({ "field": "device_id", "value": "33".repeat(32) }),
            json!({ "field": "kms_info", "value": kms }),
        ];
        let plain = Approval::of(&body(&json!(details))).unwrap();
        assert_eq!(plain.compose_hash, ComposeHash::from_bytes([0x11; 32]));
        assert_eq!(plain.kms_info.unwrap().chain_id, Some(8453));
        assert_eq!((plain.commit_token, plain.onchain_status), (None, None));
        details.push(json!({ "field": "commit_token", "value": "tok" }));
        details.push(json!({ "field": "onchain_status", "value": { "compose_hash_allowed": false,
            "device_id_allowed": true, "is_allowed": false } }));
        let whole = Approval::of(&body(&json!(details))).unwrap();
        assert_eq!(whole.commit_token.as_deref(), Some("tok"));
        assert!(whole.onchain_status.is_some_and(|status| status.device_id_allowed));
        assert_eq!(Approval::of(&body(&json!([]))), None, "nothing to register");
    }
}
