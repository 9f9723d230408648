//! The fleet as its operator sees it: drift, simulation of placement, CVMs of a node. Casemate only.

use std::collections::BTreeMap;

use casemate_core::drift::{DriftKind, DriftPolicy};
use serde::{Deserialize, Serialize};

/// Differences between nodes and the desired state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DriftReport {
    /// By node.
    pub drift: Vec<NodeDrift>,
    /// Nodes that do not answer now: what is listed of them is as it was when they did.
    pub unreachable: Vec<String>,
    /// There is more: the list ends after 1,000.
    pub truncated: bool,
}

/// A difference between a node and what is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeDrift {
    /// Name of the node.
    pub node: String,
    /// `lost`, `changed`, `unknown_vm`, `wrong_image` or `host_replaced`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub kind: DriftKind,
    /// The configured reaction: `alert`, `repair` or `ignore`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub policy: DriftPolicy,
    /// The object that differs: `state:` or `config:` with the UUID of a CVM, `vm:` with the VM id of the node,
    /// `image:` with a name, `host:` with the previous device id.
    pub subject: String,
    /// Number of the CVM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cvm_id: Option<i64>,
    /// A sentence for people.
    pub what: String,
    /// When it was first seen, RFC 3339.
    pub since: String,
}

/// CVMs to place in a simulation. Nothing is placed or reserved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SimulationRequest {
    /// Instance type of each CVM; absent: the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
    /// How many CVMs, 1 to 1,000.
    pub count: u32,
    /// Names of nodes to leave out, as if they had died.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<String>,
    /// Only this region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// OS image by name; absent: the one that most CVMs fit with, of those the nodes have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Only nodes with each of these labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Only nodes with this TEE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tee: Option<String>,
    /// GPUs of each CVM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus: Option<SimulatedGpus>,
    /// KMS of their keys: id, slug, contract or kind; absent: any that no contract governs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms: Option<String>,
    /// What each CVM asks of its node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<SimulatedNeed>,
}

/// Something that not every node can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SimulatedNeed {
    /// Sealed variables.
    Env,
    /// Host ports.
    Ports,
    /// Memory on huge pages.
    Hugepages,
    /// One NUMA node.
    PinNuma,
    /// KMS or gateway addresses of its own.
    OwnUrls,
    /// Keys of the local key provider of its host.
    LocalKeyProvider,
}

/// GPUs of one CVM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SimulatedGpus {
    /// Vendor and product, `10de:2335`.
    pub product_id: String,
    /// How many, from 1 on.
    pub count: u32,
}

/// The result of a simulated placement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SimulationReply {
    /// How many were asked for.
    pub count: u32,
    /// How many of them fit.
    pub fits: u32,
    /// The OS image that was reckoned with.
    pub image: String,
    /// CVMs that the nodes of `without` have now. They are not among `count`.
    pub displaced: i64,
    /// How many each node takes.
    pub placed: Vec<SimulatedNode>,
    /// Why other nodes take none, and, if not all fit, why each node takes no more.
    pub refused: Vec<RefusedNode>,
}

/// A node that takes some.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SimulatedNode {
    pub node_id: i64,
    pub node: String,
    pub count: u32,
    /// Price of the node, text for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<String>,
}

/// A node that takes none or no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RefusedNode {
    pub node_id: i64,
    pub node: String,
    /// Begins with a verb.
    pub reason: String,
}

/// CVMs of a node, of all workspaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeCvms {
    /// By number, at most 200.
    pub cvms: Vec<NodeCvm>,
    /// Give it as `after` for the next page; absent: that was the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
}

/// A CVM of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeCvm {
    /// Number of the CVM.
    pub id: i64,
    pub name: String,
    pub vm_uuid: String,
    pub app_id: String,
    /// Number of its workspace.
    pub workspace_id: i64,
    /// The word that its owner sees.
    pub status: String,
    /// The id of its VM on the node; absent: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm_id: Option<String>,
    pub image: String,
    /// Virtual CPUs.
    pub vcpu: u32,
    /// MiB.
    pub memory_mb: u32,
    /// GB.
    pub disk_gb: u32,
    /// The KMS that its keys are from.
    pub kms_id: String,
    /// Why its last operation failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// A CVM with the node that it is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlacedCvm {
    #[serde(flatten)]
    pub cvm: NodeCvm,
    /// Name of its node.
    pub node: String,
    /// Name of the node that it is to run on instead, once its VM is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moves_to: Option<String>,
    /// Whether an operation is under way.
    pub in_progress: bool,
}

/// Where a CVM is to run instead.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct MoveRequest {
    /// Name of a node; absent: the one with most room of those that can take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Its node does not answer, and its host does not come back with the VM running.
    #[serde(default)]
    pub given_up: bool,
    /// What is lost may be lost; see `loses` of the reply to a dry run.
    #[serde(default)]
    pub allow_data_loss: bool,
    /// Nothing is done: says what would be.
    #[serde(default)]
    pub dry_run: bool,
}

/// How a CVM moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MoveReply {
    pub name: String,
    pub vm_uuid: String,
    /// Name of its node.
    pub from: String,
    /// Name of the node that takes it.
    pub to: String,
    /// `remove_first`: its VM is shut down and removed, then made on the other node. `leave_behind`: its VM stays
    /// on a host that was given up, and is removed if that comes back.
    pub way: String,
    /// What is lost: `disk`, `instance_id`.
    pub loses: Vec<String>,
    /// The operation; absent: nothing was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
}
