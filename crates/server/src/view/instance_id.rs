//! What became of requests for instance ids.

use casemate_core::id::{CvmId, CvmRef, InstanceId, OperationId};

/// What became of one CVM's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceIdView {
    /// The CVM; `None`: there is none such.
    pub cvm: Option<(CvmId, CvmRef)>,
    /// How the request named it.
    pub identifier: String,
    /// What was done, or would be.
    pub outcome: InstanceIdOutcome,
    /// What it was.
    pub old: Option<InstanceId>,
    /// What it is, or is going to be; `None` also where only the guest will know.
    pub new: Option<InstanceId>,
    /// Whether the gateway leads to the CVM by it.
    pub by_gateway: bool,
    /// Why so, in a sentence.
    pub reason: Option<String>,
    /// The operation that brings the new one about.
    pub correlation_id: Option<OperationId>,
}

/// What was done with an instance id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceIdOutcome {
    /// There is a new one, or will be.
    Updated,
    /// It is as it was.
    Unchanged,
    /// Nothing was to be done, or could be.
    Skipped,
    /// Other changes wait: try again.
    Conflict,
    /// It was refused.
    Error,
}

impl InstanceIdOutcome {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
            Self::Skipped => "skipped",
            Self::Conflict => "conflict",
            Self::Error => "error",
        }
    }
}

/// What became of many.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InstanceIdsView {
    /// How many CVMs were looked at, the ones included that `running_only` and `missing_only` leave out.
    pub scanned: u64,
    /// The others.
    pub items: Vec<InstanceIdView>,
}
