//! Nodes: hosts that run CVMs.

use casemate_api::reply::Tee;
use casemate_core::id::{DeviceId, KmsId, NodeId};

use super::OsImageView;

/// A node, as far as a CVM shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRefView {
    /// Integer id.
    pub id: NodeId,
    /// Name.
    pub name: String,
    /// Where it is, `us-west-1`.
    pub region: Option<String>,
    /// Identity of the host; `None` without a TEE.
    pub device_id: Option<DeviceId>,
    /// Platform id of the host, hex; `None` without a TEE.
    pub ppid: Option<String>,
    /// `ONLINE`, `OFFLINE`, …: free text to clients.
    pub status: Option<String>,
    /// Version of the software that runs VMs there.
    pub version: Option<String>,
    /// What protects its VMs.
    pub tee: Tee,
}

/// A node with what is left on it.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeView {
    /// Which node.
    pub node: NodeRefView,
    /// Open to every workspace.
    pub listed: bool,
    /// The greater, the sooner it is chosen, from 0.
    pub resource_score: f64,
    /// Virtual CPUs left.
    pub remaining_vcpu: u32,
    /// Memory left in MB.
    pub remaining_memory_mb: u32,
    /// CVMs that it still takes.
    pub remaining_slots: u32,
    /// Disk left in GB, where known.
    pub remaining_disk_gb: Option<u32>,
    /// OS images it has.
    pub images: Vec<OsImageView>,
    /// Whether apps governed by a chain can run there.
    pub support_onchain_kms: bool,
    /// Family, model, stepping, platform and SKU of the CPU, 12 hex digits; `None` without TDX.
    pub fmspc: Option<String>,
    /// KMS that is chosen there if none is named.
    pub default_kms: Option<KmsId>,
    /// KMS that can be chosen there.
    pub kms_ids: Vec<KmsId>,
}
