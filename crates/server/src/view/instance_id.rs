//! Results of requests for new instance ids.

use casemate_api::reply::InstanceIdStatus;
use casemate_core::id::{CvmId, CvmRef, InstanceId, OperationId};

/// The result for one CVM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceIdView {
    /// The CVM; `None`: not found.
    pub cvm: Option<(CvmId, CvmRef)>,
    /// The identifier in the request.
    pub identifier: String,
    pub outcome: InstanceIdStatus,
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

/// The results for several CVMs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InstanceIdsView {
    /// Number of CVMs considered, including those that `running_only` and `missing_only` leave out.
    pub scanned: u64,
    /// The results, without those left out.
    pub items: Vec<InstanceIdView>,
}
