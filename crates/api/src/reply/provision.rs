//! The reply of `POST /cvms/provision`.

use serde::{Deserialize, Serialize};

use super::KmsNode;

/// What was prepared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Provisioned {
    /// 40 hex digits; `null` on chain.
    #[serde(default)]
    pub app_id: Option<String>,
    /// Key to seal the environment to, 64 hex digits; `null` on chain.
    #[serde(default)]
    pub app_env_encrypt_pubkey: Option<String>,
    /// 64 hex digits.
    pub compose_hash: String,
    /// The KMS chosen.
    #[serde(default)]
    pub kms_info: Option<KmsNode>,
    /// Of the node's CPU.
    #[serde(default)]
    pub fmspc: Option<String>,
    /// 64 hex digits.
    #[serde(default)]
    pub device_id: Option<String>,
    /// 64 hex digits.
    #[serde(default)]
    pub os_image_hash: Option<String>,
    /// `tdx.small`.
    #[serde(default)]
    pub instance_type: Option<String>,
    /// The node chosen; integer in every version.
    #[serde(default)]
    pub teepod_id: Option<i64>,
    /// The same again.
    #[serde(default)]
    pub node_id: Option<i64>,
    /// `kms_…`.
    #[serde(default)]
    pub kms_id: Option<String>,
    /// `kc_…`, from 2026-06-23 on; absent, never `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_contract_id: Option<String>,
    /// Whether the chain already allows the hash.
    #[serde(default)]
    pub compose_hash_registered: bool,
    /// RFC 3339 (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// What was ignored or decided otherwise (Casemate only).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}
