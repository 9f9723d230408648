//! Nodes: hosts that run CVMs.

use casemate_core::id::{DeviceId, KmsId, NodeId};
use serde::{Deserialize, Serialize};

use super::OsImageView;

/// What protects the memory of VMs on a node. On the wire only with Casemate, as `tee`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Tee {
    /// Nothing: the host reads everything.
    None,
    /// A simulated one: as good as none.
    Simulated,
    /// Intel TDX.
    Tdx,
    /// AMD SEV-SNP.
    SevSnp,
}

impl Tee {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Simulated => "simulated",
            Self::Tdx => "tdx",
            Self::SevSnp => "sev-snp",
        }
    }
}

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
