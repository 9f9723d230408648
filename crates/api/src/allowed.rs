//! Requests that ask whether something gets an app's keys.

use casemate_core::id::{ComposeHash, NodeId};
use serde::{Deserialize, Serialize};

use crate::num;

/// `POST /cvms/{id}/is-allowed` and `POST /apps/{id}/is-allowed`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IsAllowedRequest {
    /// Which document; for a CVM its own if left out.
    #[serde(
        default,
        deserialize_with = "num::opt_compose_hash",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub compose_hash: Option<ComposeHash>,
    /// On which node.
    #[serde(
        default,
        deserialize_with = "num::opt_node_id",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>))]
    pub node_id: Option<NodeId>,
    /// On which host, 64 hex digits.
    #[serde(default, deserialize_with = "num::opt_text", skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// Which chain knows.
    #[serde(default, deserialize_with = "num::opt_int", skip_serializing_if = "Option::is_none")]
    pub chain_id: Option<u64>,
}
