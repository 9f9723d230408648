//! Operations of a CVM: its timeline.

use casemate_core::{
    cvm::Phase,
    id::{ComposeHash, OperationId, UserId},
    operation::{OperationKind, OperationState},
};

use super::{EnvReportView, WaitingView};

/// One durable change, from request to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationRecordView {
    /// Its id.
    pub correlation_id: OperationId,
    /// What it does.
    pub kind: OperationKind,
    /// How far it is.
    pub state: OperationState,
    /// The phase it ends in if all goes well.
    pub target: Phase,
    /// Who asked for it.
    pub triggered_by: UserId,
    /// Their login name, where known.
    pub triggered_by_username: Option<String>,
    /// Their e-mail address, where known and allowed to be seen.
    pub triggered_by_email: Option<String>,
    /// When it was accepted.
    pub started_at: String,
    /// When it closed.
    pub ended_at: Option<String>,
    /// From the one to the other, in milliseconds.
    pub duration_ms: Option<u64>,
    /// Why it failed.
    pub failure: Option<CauseView>,
    /// What it waits for, while it is under way.
    pub waiting_for: Option<WaitingView>,
    /// What was done for it, oldest first.
    pub steps: Vec<StepView>,
    /// What happened to the CVM meanwhile, oldest first.
    pub events: Vec<OperationEventView>,
    /// Name of the CVM when it was accepted.
    pub instance_name: String,
    /// The document it is about.
    pub compose_hash: Option<ComposeHash>,
    /// How many changes go before it, while it waits.
    pub queue_position: Option<u32>,
    /// The operation that carried it out together with others.
    pub joined_to: Option<OperationId>,
    /// How the names of the variables differed, where the request named some.
    pub env_report: Option<EnvReportView>,
}

/// Something that happened to a CVM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationEventView {
    /// Its kind, `cvm.updated`.
    pub kind: String,
    /// When.
    pub at: String,
    /// What the CVM was doing then.
    pub phase: Phase,
}

/// One step of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepView {
    /// What it does: `push`, `start`.
    pub name: String,
    /// When it was written down that it would be tried.
    pub started_at: String,
    /// When it ended; `None`: it has not.
    pub ended_at: Option<String>,
    /// How it ended; `None`: it has not.
    pub outcome: Option<StepOutcome>,
    /// Why it did not work.
    pub cause: Option<CauseView>,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepOutcome {
    /// As it should.
    Done,
    /// The node said no, or the guest did not do it.
    Failed,
    /// Nobody knows: the answer was lost, or the process died. The next step looked.
    Unknown,
}

impl StepOutcome {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// Why something did not work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CauseView {
    /// For programs, `boot_timeout`.
    pub code: String,
    /// For people, one line.
    pub message: String,
}

/// What a CVM is busy with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationStatusView {
    /// The operation under way; `None`: idle.
    pub current: Option<OperationRecordView>,
    /// How many wait behind it.
    pub queued: u32,
}

/// What came of a request to cancel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelView {
    /// The operation that was called off; `None`: there was none to call off.
    pub cancelled: Option<OperationId>,
    /// The operation that leads back to the configuration before, where one is needed.
    pub rollback: Option<OperationId>,
}

/// What came of a batch of stops.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BatchStopView {
    /// CVMs that are being stopped.
    pub stopped: u64,
    /// CVMs that were down already.
    pub skipped: u64,
    /// Those that could not be stopped: the id as it was sent, and why.
    pub errors: Vec<(String, String)>,
}
