//! Nodes as their operator sees them: `/api/v1/admin/nodes`. Casemate only.

use casemate_core::node::{NodeKind, NodeState};
use serde::{Deserialize, Serialize};

/// Adds a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AddNodeRequest {
    /// Unique name: 1 to 40 characters of `a-z`, `0-9` and `-`.
    pub name: String,
    /// `docker` or `sim`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub kind: NodeKind,
    /// Where it stands; absent: as the server's other nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Docker: the engine, `unix:///run/docker.sock`, `tcp://10.0.0.3:2375`; absent: the server's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Sim: an absolute path of its files, where several processes may serve it in turn; absent: in the
    /// data directory of the process that adds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
    /// Limits for the sum of its CVMs; absent: its capacity.
    #[serde(default)]
    pub limits: NodeLimits,
}

/// Limits of an operator for the sum of all CVMs of a node. An absent field: the capacity that the node reports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct NodeLimits {
    /// Number of CVMs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slots: Option<u32>,
    /// Virtual CPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vcpu: Option<u32>,
    /// MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<u32>,
    /// GB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_gb: Option<u32>,
}

/// Every node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ManagedNodes {
    /// By id.
    pub nodes: Vec<ManagedNode>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ManagedNode {
    /// `teepod_id` elsewhere.
    pub id: i64,
    /// Unique name.
    pub name: String,
    /// `docker` or `sim`.
    pub kind: String,
    /// `active`, `cordoned` (takes no new CVMs) or `removed` (given up, with CVMs that are not deleted
    /// yet).
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub state: NodeState,
    /// Where it stands.
    pub region: String,
    /// Kind of its TEE: `none`, `simulated`, `tdx`, `sev-snp`.
    pub tee: String,
    /// Version of the software that runs VMs there; empty: it has not answered yet.
    pub version: String,
    /// Whether it answered last time.
    pub reachable: bool,
    /// Since when it has not answered, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_since: Option<String>,
    /// Why it did not answer last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Whether the process that replies serves it.
    pub served_here: bool,
    /// How often this process has looked at it; rises with every look.
    pub looks: u64,
    /// Address of its container engine; absent: the server's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Directory of its files, if several processes may serve it in turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
    /// Limits that its operator set.
    pub limits: NodeLimits,
    /// Capacity for the sum of its CVMs: the smaller of what it reports and its limits.
    pub capacity: NodeAmount,
    /// Resources that its CVMs use now.
    pub taken: NodeAmount,
    /// Names of its OS images.
    pub images: Vec<String>,
    /// Notes of its driver for operators.
    pub notes: Vec<String>,
}

/// An amount of what nodes have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeAmount {
    /// Number of CVMs.
    pub slots: i64,
    /// Virtual CPUs.
    pub vcpu: i64,
    /// MiB.
    pub memory_mb: i64,
    /// GB.
    pub disk_gb: i64,
}
