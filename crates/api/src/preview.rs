//! What a change would come to, asked before it is made.

use serde::{Deserialize, Serialize};

use crate::{cvm_patch::CvmPatch, network::PortRule, num};

/// `POST /cvms/{id}/preview`: one of the fields says which change.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PreviewRequest {
    /// As `PATCH /cvms/{id}` takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<Box<CvmPatch>>,
    /// As `PUT /cvms/{id}/ports` takes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<PortRule>>,
    /// A revision, by its id or hash, as `POST /cvms/{id}/redeploy` takes it.
    #[serde(default, deserialize_with = "num::opt_name", skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}
