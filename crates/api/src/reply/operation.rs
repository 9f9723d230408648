//! Operations of a CVM.

use serde::{Deserialize, Serialize};

use super::{
    Activity, AnyId, CvmPhase, EnvReport, OperationOutcome, OperationState, OperationType,
    StepOutcome, Waiting,
};

/// `GET /cvms/{id}/operations`: newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OperationsPage {
    /// The operations of this page.
    pub items: Vec<OperationRecord>,
    /// `cursor` of the next request; `null` at the end.
    #[serde(default)]
    pub next_cursor: Option<String>,
    /// Number of operations of all pages.
    pub total: u64,
}

/// One durable change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OperationRecord {
    /// Its id.
    pub correlation_id: String,
    /// The kind of operation.
    pub operation_type: OperationType,
    /// The status in which the CVM is if all goes well.
    pub target_state: CvmPhase,
    /// User who asked for it: a number, from 2026-05-22 on `usr_…`.
    pub triggered_by: AnyId,
    /// Their login name.
    #[serde(default)]
    pub triggered_by_username: Option<String>,
    /// Their e-mail address.
    #[serde(default)]
    pub triggered_by_email: Option<String>,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339; `null` while it is open.
    #[serde(default)]
    pub completed_at: Option<String>,
    /// From the one to the other; `null` while it is open.
    #[serde(default)]
    pub duration_ms: Option<u64>,
    /// `failed` for everything that is neither under way nor completed; see `state`.
    pub status: OperationOutcome,
    /// Why it did not end as wished, for people.
    #[serde(default)]
    pub error_message: Option<String>,
    /// Names of its steps, oldest first.
    #[serde(default)]
    pub sub_operations: Vec<String>,
    /// What happened meanwhile, oldest first.
    #[serde(default)]
    pub events: Vec<OperationEvent>,
    /// Name of the CVM when it was accepted.
    pub instance_name: String,
    /// The document it is about, 64 hex digits.
    #[serde(default)]
    pub compose_hash: Option<String>,
    /// The same in more words (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<OperationState>,
    /// Why it failed, for programs: `boot_timeout` (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// What it waits for, while it is under way (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<Waiting>,
    /// What was done for it, oldest first (Casemate only).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<OperationStep>,
    /// How many changes go before it, while it waits (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_position: Option<u32>,
    /// The operation that carried it out together with others (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined_to: Option<String>,
    /// How the names of the variables differed, where the request named some (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_report: Option<EnvReport>,
}

/// Something that happened to a CVM during an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OperationEvent {
    /// Its kind.
    pub event_type: String,
    /// RFC 3339.
    pub timestamp: String,
    /// Status of the CVM then.
    pub state: CvmPhase,
}

/// One step of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OperationStep {
    /// What it does: `push`, `start`.
    pub name: String,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339; `null` while it is under way.
    pub ended_at: Option<String>,
    /// `unknown` if its answer was lost; `null` while it is under way.
    pub outcome: Option<StepOutcome>,
    /// Why it did not work.
    pub cause: Option<Cause>,
}

/// Why something did not work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Cause {
    /// For programs.
    pub code: String,
    /// For people.
    pub message: String,
}

/// `GET /cvms/{id}/operation-status`. What an idle CVM has not is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OperationStatus {
    /// Whether an operation is under way.
    pub status: Activity,
    /// Whether it is the latter.
    #[serde(default)]
    pub in_progress: bool,
    /// Id of the operation under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The kind of operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_type: Option<OperationType>,
    /// The status in which the CVM is if all goes well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_state: Option<CvmPhase>,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// The step under way or tried last (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<OperationStep>,
    /// How many operations wait behind it (Casemate only).
    #[serde(default)]
    pub queued: u32,
}

/// `POST /cvms/{id}/operations/cancel`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Cancelled {
    /// Whether there was something to cancel.
    pub cancelled: bool,
    /// The operation that was cancelled.
    #[serde(default)]
    pub correlation_id: Option<String>,
    /// The operation that leads back to the configuration before (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_correlation_id: Option<String>,
}

/// `POST /cvms/batch-stop`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BatchStop {
    /// CVMs in the request.
    pub total: u64,
    /// Those that are being stopped.
    pub stopped: u64,
    /// Those that were down already.
    pub skipped: u64,
    /// Those that could not be stopped.
    #[serde(default)]
    pub errors: Vec<BatchStopError>,
}

/// A CVM of a batch that could not be stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BatchStopError {
    /// As it was sent.
    pub cvm_id: String,
    /// Why.
    pub error: String,
}
