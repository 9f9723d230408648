//! Operations of a CVM.

use casemate_api::reply::StepOutcome;
use casemate_core::{
    cvm::Phase,
    id::{ComposeHash, OperationId, UserId},
    operation::{OperationKind, OperationState},
};

use super::{EnvReportView, WaitingView};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationRecordView {
    pub correlation_id: OperationId,
    pub kind: OperationKind,
    pub state: OperationState,
    /// The phase it ends in if it succeeds.
    pub target: Phase,
    pub triggered_by: UserId,
    /// Login name, if known.
    pub triggered_by_username: Option<String>,
    /// E-mail address, if known and visible to the caller.
    pub triggered_by_email: Option<String>,
    /// When it was accepted.
    pub started_at: String,
    /// When it closed.
    pub ended_at: Option<String>,
    /// Time from acceptance to the end, in milliseconds.
    pub duration_ms: Option<u64>,
    /// Why it failed.
    pub failure: Option<CauseView>,
    /// What it waits for while it is open.
    pub waiting_for: Option<WaitingView>,
    /// Oldest first.
    pub steps: Vec<StepView>,
    /// Events of the CVM during the operation, oldest first.
    pub events: Vec<OperationEventView>,
    /// Name of the CVM when it was accepted.
    pub instance_name: String,
    pub compose_hash: Option<ComposeHash>,
    /// Number of changes before it in the queue, while it is queued.
    pub queue_position: Option<u32>,
    /// The operation that carried out this one in a batch.
    pub joined_to: Option<OperationId>,
    /// Changes of variable names, if the request named some.
    pub env_report: Option<EnvReportView>,
}

/// An event of a CVM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationEventView {
    /// For example `cvm.updated`.
    pub kind: String,
    pub at: String,
    /// The phase of the CVM at that time.
    pub phase: Phase,
}

/// A step of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepView {
    /// For example `push` or `start`.
    pub name: String,
    /// When its intent was recorded.
    pub started_at: String,
    /// `None`: not ended.
    pub ended_at: Option<String>,
    /// `None`: not ended.
    pub outcome: Option<StepOutcome>,
    /// Why it failed.
    pub cause: Option<CauseView>,
}

/// The cause of a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CauseView {
    /// Machine-readable, for example `boot_timeout`.
    pub code: String,
    /// One line for people.
    pub message: String,
}

/// The open and queued operations of a CVM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationStatusView {
    /// `None`: idle.
    pub current: Option<OperationRecordView>,
    /// Number of queued operations.
    pub queued: u32,
}
