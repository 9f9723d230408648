//! `GET /teepods/cvm-create-resources`: everything a client offers for a new CVM, in one reply.

use serde::{Deserialize, Serialize};

use super::{AvailableNode, Capacity};

/// Nodes, KMS, gateways and sizes, and which belong together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateResources {
    /// Of the workspace.
    pub tier: String,
    /// Limits of the workspace.
    pub capacity: Capacity,
    /// Nodes.
    pub nodes: Vec<AvailableNode>,
    /// KMS.
    pub kms_nodes: Vec<CreateKms>,
    /// Which KMS serve which node.
    pub node_kms_relations: Vec<NodeKmsRelation>,
    /// Gateways, once for each node that they lead to.
    pub gateway_nodes: Vec<CreateGateway>,
    /// Sizes, in the order of the configuration.
    pub instance_types: Vec<CreateInstanceType>,
    /// GPUs to be had.
    pub gpu_availability: GpuAvailability,
}

/// An id inside this reply: text from 2026-05-22 on. Before, a number, which is the place in the list, from 1, and
/// means nothing elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum ResourceId {
    /// Place in the list.
    Number(u64),
    /// `kms_…`, `kc_…`, `gn_…`.
    Text(String),
}

/// A KMS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateKms {
    /// `kms_…`.
    pub id: ResourceId,
    /// Name in paths.
    pub slug: Option<String>,
    /// Address of its API.
    pub url: String,
    /// Version of its software.
    pub version: String,
    /// `phala`, `base`, …
    pub kms_type: String,
    /// Chain of its contract.
    pub chain_id: Option<u64>,
    /// Its contract, `kc_…`.
    pub kms_contract_id: ResourceId,
    /// Address of its contract.
    pub kms_contract_address: Option<String>,
    /// App id of its gateway.
    pub gateway_app_id: Option<String>,
    /// OS images that its contract allows, by name.
    pub supported_os_images: Vec<String>,
}

/// A KMS that serves a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeKmsRelation {
    /// The node.
    pub teepod_id: i64,
    /// The KMS.
    pub kms_id: ResourceId,
    /// `phala`, `base`, …
    pub kms_type: String,
    /// OS images that its contract allows, by name.
    pub supported_os_images: Vec<String>,
}

/// A gateway that leads to CVMs of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateGateway {
    /// `gn_…`.
    pub id: ResourceId,
    /// The node.
    pub teepod_id: i64,
    /// Contract of the first KMS of the node; `null` without one.
    pub kms_contract_id: Option<ResourceId>,
    /// Where guests register with it; `null` if that is the node's affair.
    pub rpc_url: Option<String>,
    /// Domain below which the CVMs are reached.
    pub domain_suffix: Option<String>,
    /// Whether it answered last time.
    pub enabled: bool,
}

/// A size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateInstanceType {
    /// `tdx.small`.
    pub id: String,
    /// `Small`.
    pub name: String,
    /// Virtual CPUs.
    pub vcpu: u32,
    /// Memory in MB.
    pub memory_mb: u32,
    /// Disk in GB where none is asked for.
    pub default_disk_size_gb: u32,
    /// Needs a GPU.
    pub requires_gpu: bool,
    /// How many GPUs it needs.
    pub requires_gpu_count: u32,
    /// Name of the family.
    pub family: String,
    /// Place in the list, from 0.
    pub display_order: u64,
}

/// GPUs to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GpuAvailability {
    /// Whether the workspace has GPUs set aside; never with Casemate.
    pub has_reserved_gpus: bool,
    /// How many.
    pub reserved_gpu_count: u32,
    /// Whether a size on offer has GPUs.
    pub has_public_gpus: bool,
    /// How many are free; 0, because nodes do not count them.
    pub public_gpu_count: u32,
}
