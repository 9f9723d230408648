//! The state of CVMs, one or many at once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{CvmPhase, Failure, OperationType, Waiting};

/// `GET /cvms/{id}/state` without `target`, and the events of the stream with it. What is not known
/// is absent: the official client refuses `null`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CvmState {
    /// `cvm_…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// 40 hex digits, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// Name.
    #[serde(default)]
    pub name: String,
    /// As in [`super::CvmInfo::status`].
    pub status: CvmPhase,
    /// Whether an operation is open or waiting.
    #[serde(default)]
    pub in_progress: bool,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime: Option<String>,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exited_at: Option<String>,
    /// How far the guest is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_progress: Option<String>,
    /// Why it did not boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_error: Option<String>,
    /// How far a shutdown is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shutdown_progress: Option<String>,
    /// Id of the operation under way (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// Why the last operation failed (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What the open operation waits for (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<Waiting>,
}

/// `POST /status/batch`: by `vm_uuid` as the client sent it. CVMs it may not see are left out.
pub type StatusBatch = BTreeMap<String, CvmStatus>;

/// The state of one of many CVMs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CvmStatus {
    /// As the client sent it.
    pub vm_uuid: String,
    /// As in [`super::CvmInfo::status`].
    pub status: CvmPhase,
    /// For people.
    #[serde(default)]
    pub uptime: Option<String>,
    /// Whether an operation is open or waiting.
    #[serde(default)]
    pub in_progress: bool,
    /// How far the guest is.
    #[serde(default)]
    pub boot_progress: Option<String>,
    /// Why it did not boot.
    #[serde(default)]
    pub boot_error: Option<String>,
    /// How far a shutdown is.
    #[serde(default)]
    pub shutdown_progress: Option<String>,
    /// What the open operation does.
    #[serde(default)]
    pub operation_type: Option<OperationType>,
    /// RFC 3339.
    #[serde(default)]
    pub operation_started_at: Option<String>,
    /// Id of the operation.
    #[serde(default)]
    pub correlation_id: Option<String>,
    /// The open operation, from 2026-06-23 on; absent, never `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<StatusOperation>,
}

/// The open operation of a CVM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StatusOperation {
    /// The kind of operation.
    #[serde(rename = "type")]
    pub kind: OperationType,
    /// The CVM's status meanwhile.
    #[serde(default)]
    pub phase: Option<CvmPhase>,
    /// RFC 3339.
    #[serde(default)]
    pub started_at: Option<String>,
    /// Its id.
    #[serde(default)]
    pub correlation_id: Option<String>,
}
