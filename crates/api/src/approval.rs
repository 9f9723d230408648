//! What was prepared for contracts to allow, committed by its token.

use serde::{Deserialize, Serialize};

use crate::num;

/// `POST /cvms/{id}/commit-update` and `POST /cvms/{id}/commit-replica`. The token may stand in the query
/// instead. What is empty or left out is as it was prepared.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CommitTokenRequest {
    /// The token that the preparation gave.
    #[serde(default, deserialize_with = "num::opt_name", skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The hash that was prepared, with or without `0x`; not checked here.
    #[serde(default, deserialize_with = "num::opt_name", skip_serializing_if = "Option::is_none")]
    pub compose_hash: Option<String>,
    /// Transaction that registered the hash, or `already-registered`.
    #[serde(default, deserialize_with = "num::opt_name", skip_serializing_if = "Option::is_none")]
    pub transaction_hash: Option<String>,
}
