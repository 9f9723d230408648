//! Nodes.

use casemate_api::reply::Tee;
use casemate_core::id::{DeviceId, KmsId, NodeId};

use super::OsImageView;

/// A node as shown in a CVM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRefView {
    pub id: NodeId,
    pub name: String,
    /// For example `us-west-1`.
    pub region: Option<String>,
    /// `None` without a TEE.
    pub device_id: Option<DeviceId>,
    /// Platform id of the host, hex; `None` without a TEE.
    pub ppid: Option<String>,
    /// `ONLINE`, `OFFLINE`, …; not interpreted by clients.
    pub status: Option<String>,
    /// Version of the software that runs VMs there.
    pub version: Option<String>,
    pub tee: Tee,
}

/// A node with its free capacity.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeView {
    pub node: NodeRefView,
    /// Whether every workspace may use it.
    pub listed: bool,
    /// Placement score; higher is preferred, at least 0.
    pub resource_score: f64,
    /// Free virtual CPUs.
    pub remaining_vcpu: u32,
    /// Free memory in MB.
    pub remaining_memory_mb: u32,
    /// Number of CVMs that it can still take.
    pub remaining_slots: u32,
    /// Free disk in GB, if known.
    pub remaining_disk_gb: Option<u32>,
    /// OS images on the node.
    pub images: Vec<OsImageView>,
    /// Whether contract-governed apps can run there.
    pub support_onchain_kms: bool,
    /// Family, model, stepping, platform and SKU of the CPU, 12 hex digits; `None` without TDX.
    pub fmspc: Option<String>,
    /// The KMS used there by default.
    pub default_kms: Option<KmsId>,
    /// The KMS that can be used there.
    pub kms_ids: Vec<KmsId>,
}

/// A cluster of dstack-gateway that leads to CVMs of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeGatewayView {
    /// Its configured name.
    pub name: String,
    /// The node.
    pub node: NodeId,
    /// Where guests register, if configured.
    pub rpc_url: Option<String>,
    /// The domain in URLs.
    pub domain: Option<String>,
    /// Whether it answered last time.
    pub answers: bool,
}
