//! Bodies of the power verbs. `start`, `stop` and `shutdown` have none.

use serde::{Deserialize, Serialize};

use crate::num;

/// `POST /cvms/{id}/restart`; the body may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RestartRequest {
    /// Without a graceful shutdown.
    #[serde(default, deserialize_with = "num::flag")]
    pub force: bool,
}
