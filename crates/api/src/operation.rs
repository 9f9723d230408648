//! Requests about operations, and for many CVMs at once.

use casemate_core::id::OperationId;
use serde::{Deserialize, Serialize};

use crate::num;

/// CVMs in one batch at most.
pub const MAX_BATCH: usize = 50;

/// `POST /cvms/{id}/operations/cancel`; the body may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CancelRequest {
    /// Which operation, also one that waits; the one under way if left out (Casemate only).
    #[serde(
        default,
        deserialize_with = "num::opt_operation_id",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub correlation_id: Option<OperationId>,
}

/// `POST /cvms/batch-stop`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BatchStopRequest {
    /// Ids in any of their forms, at most 50. The reply repeats them as they were sent, so they are not
    /// parsed here.
    // More than a batch may hold is the server's to refuse, as upstream does: with 400.
    #[serde(deserialize_with = "num::names::<1000, _>")]
    #[cfg_attr(feature = "openapi", schema(max_items = 50))]
    pub cvm_ids: Vec<String>,
}
