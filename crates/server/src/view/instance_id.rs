//! Results of requests for new instance ids.

use casemate_core::id::{CvmId, CvmRef, InstanceId, OperationId};

/// The result for one CVM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceIdView {
    /// The CVM; `None`: not found.
    pub cvm: Option<(CvmId, CvmRef)>,
    /// The identifier in the request.
    pub identifier: String,
    pub outcome: InstanceIdOutcome,
    /// The previous id.
    pub old: Option<InstanceId>,
    /// The new id; `None` if there is none or only the guest will know it.
    pub new: Option<InstanceId>,
    /// Whether the gateway resolves the id to the CVM.
    pub by_gateway: bool,
    /// The cause, in one sentence.
    pub reason: Option<String>,
    /// The operation that changes the id.
    pub correlation_id: Option<OperationId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceIdOutcome {
    /// The id was changed, or will be.
    Updated,
    /// The id stays.
    Unchanged,
    /// Nothing had to be done, or could be done.
    Skipped,
    /// Other changes are queued: try again.
    Conflict,
    /// The request was refused.
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

/// The results for several CVMs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InstanceIdsView {
    /// Number of CVMs considered, including those that `running_only` and `missing_only` leave out.
    pub scanned: u64,
    /// The results, without those left out.
    pub items: Vec<InstanceIdView>,
}
