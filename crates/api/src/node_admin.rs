//! Nodes as their operator sees them: `/api/v1/admin/nodes`. Casemate only.

use std::collections::BTreeMap;

use casemate_core::{
    node::{NodeKind, NodeState},
    preflight::{Check, Finding, Level},
};
use serde::{Deserialize, Serialize};

use crate::reply::Tee;

/// Adds a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AddNodeRequest {
    /// Unique name: 1 to 40 characters of `a-z`, `0-9` and `-`.
    pub name: String,
    /// `docker`, `sim` or `dstack`.
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
    /// Dstack, and required there: how its dstack-vmm is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dstack: Option<DstackAccess>,
    /// Limits for the sum of its CVMs; absent: its capacity.
    #[serde(default)]
    pub limits: NodeLimits,
    /// Labels for placement, by key: at most 32.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Price of the node, text for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<String>,
}

/// Changes labels, price and device id of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ChangeNodeRequest {
    /// Labels to set; `null` removes one. The others stay.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, Option<String>>,
    /// Price of the node; empty: none. Absent: as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<String>,
    /// Identity of the host of a dstack node, 64 hex digits. Absent: as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
}

/// How a dstack-vmm is reached. Files are on the machine of the process that serves the node; secrets are in
/// files of mode 0600 and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DstackAccess {
    /// `https://rack-1:9080`, `http://…` or `unix:/run/dstack/vmm.sock`.
    pub url: String,
    /// TEE of the host: `tdx`, `sev-snp`, `simulated` or `none`. dstack-vmm does not report it.
    pub tee: Tee,
    /// File with a token of the VMM's `[auth] tokens`, or with the password of `user`; absent: the VMM asks
    /// for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<String>,
    /// A user of the VMM's htpasswd file; absent: `token_file` has a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Certificates, PEM, that are trusted beside those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// File with a token for the external API of guest agents, which dstack 0.6.3 and later require for the
    /// logs of containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_token_file: Option<String>,
    /// Names of the configured gateway clusters that lead to its CVMs, the first one first in replies; absent:
    /// those with the domain of the gateway that dstack-vmm has configured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<String>,
    /// Identity of the host, 64 hex digits: SHA-256 of the PPID (TDX) or of the chip id (SEV-SNP); absent: as
    /// its guests tell it, which those on TDX do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// Slug of the dstack-kms that its guests take their keys from; absent: Casemate does not know it, and
    /// refuses variables on this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms: Option<String>,
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
    /// `docker`, `sim` or `dstack`.
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
    /// How its dstack-vmm is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dstack: Option<DstackAccess>,
    /// Limits that its operator set.
    pub limits: NodeLimits,
    /// Capacity for the sum of its CVMs: the smaller of what it reports and its limits.
    pub capacity: NodeAmount,
    /// Resources that its CVMs use now.
    pub taken: NodeAmount,
    /// Names of its OS images.
    pub images: Vec<String>,
    /// Labels for placement, by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Price of the node, text for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<String>,
    /// Notes of its driver for operators.
    pub notes: Vec<String>,
    /// Pre-flight, of the last look; only where one node is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<NodeFinding>,
}

/// One line of a pre-flight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeFinding {
    /// The check: `reachable`, `credential`, `version`, `features`, `capacity`, `images`, `tee`, `device`,
    /// `kms`, `gateway`, `clock`, `disk`, `snp_minimums` or `guest_token`. What cannot be seen is left out.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub check: Check,
    /// `ok`, `warning` or `problem`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub level: Level,
    /// For people.
    pub message: String,
    /// The remedy, unless the level is `ok`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl From<Finding> for NodeFinding {
    fn from(Finding { check, level, message, remedy }: Finding) -> Self {
        Self { check, level, message, remedy }
    }
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
