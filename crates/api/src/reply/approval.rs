//! What was prepared for contracts to allow, as whoever holds its token sees it.

use serde::{Deserialize, Serialize};

use super::{ChangeStatus, CommitState, EnvReport, FieldDiff, KmsNode};

/// `POST /cvms/{id}/commit-update`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Committed {
    /// Id of the operation.
    pub correlation_id: String,
    /// `in_progress`; for a token that is committed again, `succeeded` once the update is.
    #[serde(default)]
    pub status: ChangeStatus,
}

/// What contracts say now. In the answer 465 it is left out where they do not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OnchainStatus {
    /// Whether the app allows the document.
    pub compose_hash_allowed: bool,
    /// Whether it allows the device.
    pub device_id_allowed: bool,
    /// Both, and the KMS knows the app.
    pub is_allowed: bool,
}

/// A call that the owner of the app's contract has to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ContractCall {
    /// `addComposeHash(bytes32)`, `addDevice(bytes32)`.
    pub method: String,
    /// Its argument, `0x` and 64 hex digits.
    pub argument: String,
    /// The contract of the app.
    pub to: String,
    /// What a Safe or a wallet takes: selector and argument.
    pub calldata: String,
    /// Whether it was made; `null`: the chain does not answer.
    pub done: Option<bool>,
}

/// What a document that was prepared makes different.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DocumentChange {
    /// The compose file as a unified diff; `null`: the same.
    pub docker_compose_file: Option<String>,
    /// The pre-launch script as a unified diff; `null`: the same.
    pub pre_launch_script: Option<String>,
    /// The other fields of the document that differ, by name.
    pub fields: Vec<FieldDiff>,
    /// How the names of variables differ.
    pub env: EnvReport,
    /// Whether another sealed environment comes with it.
    pub encrypted_env_changed: bool,
    /// Everything that the request changes, by the names of its fields.
    pub asked: Vec<String>,
}

/// `GET /cvms/{id}/commit-update`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CommitInfo {
    /// `update`, `replica`, `instance`.
    pub kind: String,
    /// How it stands.
    pub status: CommitState,
    /// `cvm_…`; `null`: it is deleted.
    pub cvm_id: Option<String>,
    /// Its name.
    pub cvm_name: Option<String>,
    /// 40 hex digits.
    pub app_id: String,
    /// The document to register, 64 hex digits.
    pub compose_hash: String,
    /// The device it is to run on, 64 hex digits.
    pub device_id: Option<String>,
    /// The KMS with its contract.
    pub kms_info: Option<KmsNode>,
    /// The chain.
    pub chain_id: u64,
    /// Who owns the contract of the app.
    pub owner: Option<String>,
    /// What contracts say now; left out where they do not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub onchain_status: Option<OnchainStatus>,
    /// What has to be called.
    pub calls: Vec<ContractCall>,
    /// What would be different; `null` where it can be committed no more.
    pub change: Option<DocumentChange>,
    /// When it was prepared, RFC 3339.
    pub created_at: String,
    /// Until when it can be committed, RFC 3339.
    pub expires_at: String,
}
