//! `GET /teepods/available`.

use serde::{Deserialize, Serialize};

use crate::num;

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

/// Where a CVM could run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AvailableNodes {
    /// Of the workspace.
    pub tier: String,
    /// What the workspace may use in all.
    pub capacity: Capacity,
    /// Nodes.
    pub nodes: Vec<AvailableNode>,
    /// KMS.
    pub kms_list: Vec<NodeKms>,
}

/// What a workspace may use in all; `null` is without limit, and so is -1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Capacity {
    /// CVMs.
    #[serde(default)]
    pub max_instances: Option<i64>,
    /// Virtual CPUs.
    #[serde(default)]
    pub max_vcpu: Option<i64>,
    /// Memory in MB.
    #[serde(default)]
    pub max_memory: Option<i64>,
    /// Disk in GB.
    #[serde(default)]
    pub max_disk: Option<i64>,
}

/// A node with what is left on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AvailableNode {
    /// Integer id in every version.
    pub teepod_id: i64,
    /// The same again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<i64>,
    /// Name.
    pub name: String,
    /// Open to every workspace.
    pub listed: bool,
    /// The greater, the sooner it is chosen.
    #[serde(serialize_with = "num::shortest")]
    pub resource_score: f64,
    /// Virtual CPUs left.
    #[serde(serialize_with = "num::shortest")]
    pub remaining_vcpu: f64,
    /// Memory left in MB.
    #[serde(serialize_with = "num::shortest")]
    pub remaining_memory: f64,
    /// CVMs that it still takes.
    #[serde(serialize_with = "num::shortest")]
    pub remaining_cvm_slots: f64,
    /// Disk left in GB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_disk: Option<u64>,
    /// OS images.
    pub images: Vec<NodeImage>,
    /// Whether apps governed by a chain can run there.
    #[serde(default)]
    pub support_onchain_kms: bool,
    /// Of its CPU.
    #[serde(default)]
    pub fmspc: Option<String>,
    /// 64 hex digits.
    #[serde(default)]
    pub device_id: Option<String>,
    /// Region.
    #[serde(default)]
    pub region_identifier: Option<String>,
    /// `kms_…`.
    #[serde(default)]
    pub default_kms: Option<String>,
    /// `kms_…` each; never `null`.
    #[serde(default)]
    pub kms_list: Vec<String>,
    /// What protects its VMs (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tee: Option<Tee>,
}

/// An OS image of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeImage {
    /// `dstack-0.5.4`.
    pub name: String,
    /// `dstack-0-5-4`.
    #[serde(default)]
    pub slug: String,
    /// With login tools.
    pub is_dev: bool,
    /// Three or four numbers.
    pub version: Vec<u32>,
    /// 64 hex digits.
    #[serde(default)]
    pub os_image_hash: Option<String>,
    /// Needs a GPU.
    #[serde(default)]
    pub requires_gpu: bool,
}

/// A KMS with the images that its contract allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeKms {
    /// `kms_…`.
    pub id: String,
    /// Name in paths.
    #[serde(default)]
    pub slug: Option<String>,
    /// Address of its API.
    pub url: String,
    /// Version of its software.
    pub version: String,
    /// Chain of its contract.
    #[serde(default)]
    pub chain_id: Option<u64>,
    /// Address of its contract.
    #[serde(default)]
    pub kms_contract_address: Option<String>,
    /// App id of its gateway.
    #[serde(default)]
    pub gateway_app_id: Option<String>,
    /// By name.
    #[serde(default)]
    pub supported_os_images: Vec<String>,
}
