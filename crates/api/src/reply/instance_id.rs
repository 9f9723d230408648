//! What became of requests for instance ids.

use serde::{Deserialize, Serialize};

use super::{AnyId, InstanceIdStatus};

/// `PATCH /cvms/{id}/instance-id`, `POST /cvms/{id}/refresh-instance-id`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InstanceIdResult {
    /// Id of the CVM; a number up to 2026-01-21. 0 or empty: there is no such CVM.
    pub cvm_id: AnyId,
    /// How the request named it.
    pub identifier: String,
    /// The result of the request.
    pub status: InstanceIdStatus,
    /// What it was.
    #[serde(default)]
    pub old_instance_id: Option<String>,
    /// What it is or is going to be; `null` where only the guest will know.
    #[serde(default)]
    pub new_instance_id: Option<String>,
    /// `teepod_state`: as the node told it; `none`: nobody told it yet.
    pub source: String,
    /// Whether the gateway leads to the CVM by it.
    pub verified_with_gateway: bool,
    /// Why so.
    #[serde(default)]
    pub reason: Option<String>,
    /// The operation that brings the new one about (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
}

/// `PATCH /cvms/instance-ids`, `POST /cvms/refresh-instance-ids`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InstanceIdResults {
    /// Length of `items`.
    pub total: u64,
    /// CVMs that were looked at.
    pub scanned: u64,
    /// Items with this status.
    pub updated: u64,
    /// Items with this status.
    pub unchanged: u64,
    /// Items with this status.
    pub skipped: u64,
    /// Items with status `conflict`.
    pub conflicts: u64,
    /// Items with status `error`.
    pub errors: u64,
    /// One for each CVM.
    pub items: Vec<InstanceIdResult>,
}
