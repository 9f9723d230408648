//! Quotas of workspaces.

use serde::{Deserialize, Serialize};

/// `GET /workspaces/{slug}/quotas`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkspaceQuotas {
    pub team_slug: String,
    /// `free`: nobody pays here.
    pub tier: String,
    pub quotas: QuotaLimits,
    /// Nodes that only this workspace uses.
    pub reserved_nodes: QuotaAmount,
    pub reserved_gpu: ReservedGpus,
    /// When these figures were true, RFC 3339.
    pub as_of: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QuotaLimits {
    /// CVMs.
    pub vm_slots: QuotaAmount,
    pub vcpu: QuotaAmount,
    pub memory_mb: QuotaAmount,
    pub disk_gb: QuotaAmount,
}

/// Where there is no limit, both are 2⁵³ − 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QuotaAmount {
    pub limit: i64,
    pub remaining: i64,
}

/// GPUs that only this workspace uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReservedGpus {
    pub gpus: QuotaAmount,
    pub in_use: i64,
    pub misconfigured: i64,
}

/// Amounts of each resource. In a limit `null` is none of its own; 0 is nothing at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct QuotaOverride {
    #[serde(default)]
    pub cvms: Option<i64>,
    #[serde(default)]
    pub vcpu: Option<i64>,
    #[serde(default)]
    pub memory_mb: Option<i64>,
    #[serde(default)]
    pub disk_gb: Option<i64>,
}

/// `GET` and `PUT /admin/workspaces/{slug}/quota`. Casemate only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkspaceQuota {
    pub slug: String,
    /// Sum over its live CVMs.
    pub taken: QuotaOverride,
    /// Limits set for this workspace.
    pub own: QuotaOverride,
    /// Limits in force: its own, else those configured for all.
    pub limit: QuotaOverride,
}
