//! What routes that change a CVM answer.

use serde::{Deserialize, Serialize};

use super::{ChangeStatus, KmsNode};

/// `PATCH /cvms/{id}`, and its confirmation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Accepted {
    /// Id of the operation.
    pub correlation_id: String,
    /// How the change goes on (Casemate only).
    #[serde(flatten)]
    pub course: Course,
}

/// The routes that change one thing. Shipped clients know no `status` but `in_progress`, so a change
/// that changes nothing says that too; its `effect` tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpdateResult {
    /// `in_progress`.
    #[serde(default)]
    pub status: ChangeStatus,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// Id of the operation.
    #[serde(default)]
    pub correlation_id: String,
    /// How the change goes on (Casemate only).
    #[serde(flatten)]
    pub course: Course,
}

/// `PATCH /cvms/{id}/envs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnvsUpdateResult {
    /// As every other update.
    #[serde(flatten)]
    pub update: UpdateResult,
    /// Whether the allowed names are other ones now, and with them the compose hash.
    #[serde(default)]
    pub allowed_envs_changed: bool,
}

/// How a change goes on. What does not apply is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Course {
    /// What has to be done: `nothing`, `record`, `next_start`, `restart`; absent while the change waits
    /// (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<String>,
    /// How many changes go before it, where it waits (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_position: Option<u32>,
    /// The waiting operation that carries it out together with others (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined_to: Option<String>,
    /// How the names of the variables differ, where the request named some (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_report: Option<EnvReport>,
    /// What was ignored or decided otherwise (Casemate only).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// How the names of an app's variables differ after a change; the values are nowhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnvReport {
    /// Names that were not there before, ascending.
    pub added: Vec<String>,
    /// Names that are no longer there, ascending.
    pub removed: Vec<String>,
    /// Those of `removed` that the compose file still uses.
    pub missing: Vec<String>,
}

/// `POST /cvms/{id}/compose_file/provision`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ComposeProvisioned {
    /// 40 hex digits.
    pub app_id: Option<String>,
    /// Identity of the CVM's host, 64 hex digits.
    pub device_id: Option<String>,
    /// 64 hex digits.
    pub compose_hash: String,
    /// The app's KMS.
    #[serde(default)]
    pub kms_info: Option<KmsNode>,
    /// Whether the chain already allows the hash.
    #[serde(default)]
    pub compose_hash_registered: bool,
    /// Whether the CVM has this document already; newest clients read it.
    #[serde(default)]
    pub compose_unchanged: bool,
    /// RFC 3339 (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// How the names of the variables would differ, where the request named some (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_report: Option<EnvReport>,
    /// What was ignored or decided otherwise (Casemate only).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}
