//! `POST /status/batch`: the state of many CVMs at once.

use serde::{Deserialize, Serialize};

/// Which CVMs. The reply is keyed by these texts as they were sent, so they are not parsed here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StatusBatchRequest {
    /// `vm_uuid`s, with or without dashes; clients send at most 100.
    pub vm_uuids: Vec<String>,
}
