//! `POST /cvms/provision`, the first of the two phases of a deployment; newest Go posts it to
//! `/cvms`.

use casemate_core::id::{AppId, NodeId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    body::object,
    compose_file::{ComposeFile, StorageFs},
    kms_type::KmsType,
    num,
    patch::Patch,
};

mod raw;

/// What a client wants deployed. Only `name` must be there; the server asks for the compose file
/// itself, because upstream has a code for its absence.
///
/// Fields with several spellings are read under each of them, and refused when two contradict each
/// other: `teepod_id`, `node_id` and `TeepodID`; `kms` and `kms_type`; `app_id` and `custom_app_id`;
/// `image` and `os_image_name`. Written under the first, which upstream's server knows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(try_from = "raw::RawProvisionRequest")]
pub struct ProvisionRequest {
    /// Name of the CVM, 5–63 characters; not checked here.
    pub name: String,
    /// The app-compose document to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compose_file: Option<ComposeFile>,
    /// Name of an instance type, `tdx.small` if nothing else says how large.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
    /// Virtual CPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vcpu: Option<u32>,
    /// Memory in MB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u32>,
    /// Disk in GB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_size: Option<u32>,
    /// OS image by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Where no image is named: one with (`true`) or without login tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefer_dev: Option<bool>,
    /// The node to run on.
    #[serde(rename = "teepod_id", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>))]
    pub node_id: Option<NodeId>,
    /// Region to run in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Shown in the public directory; `true` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listed: Option<bool>,
    /// Kind of KMS, `phala` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kms: Option<KmsType>,
    /// A KMS by id or slug.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kms_id: Option<String>,
    /// A KMS by the address of its contract.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kms_contract: Option<String>,
    /// A KMS contract by id, text or number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kms_contract_id: Option<String>,
    /// Nonce that the app id is derived from; needs `app_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<u64>,
    /// The app id that is expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub app_id: Option<AppId>,
    /// Names of environment variables, besides those of `compose_file.allowed_envs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env_keys: Option<Vec<String>>,
    /// Sealed environment as hex; the one of commit goes before it. Not checked here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypted_env: Option<String>,
    /// Text that the guest reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_config: Option<String>,
    /// Public keys to let in; they go into the user config.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_authorized_keys: Option<Vec<String>>,
    /// Host ports mapped straight to the VM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<PortMapping>>,
    /// GPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpus: Option<GpuRequest>,
    /// Back memory with huge pages; `false` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hugepages: Option<bool>,
    /// Pin to one NUMA node; `false` if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pin_numa: Option<bool>,
    /// KMS addresses for the guest; empty or left out: the node's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kms_urls: Option<Vec<String>>,
    /// Gateway addresses for the guest; empty or left out: the node's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_urls: Option<Vec<String>>,
    /// App whose CVM serves as the VPC server of this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experimental_vpc_server_app_id: Option<String>,
    /// Secure time, as Go says it; goes into the compose document where that says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secure_time: Option<bool>,
    /// File system of the data disk, as Go says it; goes into the compose document where that says
    /// nothing.
    #[serde(skip_serializing_if = "Patch::is_absent")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<StorageFs>))]
    pub storage_fs: Patch<StorageFs>,
    /// Which key provider, as Go says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_provider_mode: Option<String>,
    /// No gateway, as Go says it: the opposite of `compose_file.gateway_enabled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_gateway: Option<bool>,
    /// Disk encryption, as Go says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<bool>,
}

impl ProvisionRequest {
    /// The sealed environment, wherever the client put it; the top level goes first.
    pub fn sealed_env(&self) -> Option<&str> {
        let inner = || self.compose_file.as_ref()?.encrypted_env.as_deref();
        self.encrypted_env.as_deref().or_else(inner)
    }
}

/// A host port mapped to the VM. Ports are 1–65535; 0 is refused by the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PortMapping {
    /// `tcp` or `udp`; `tcp` if left out.
    #[serde(default, deserialize_with = "num::opt_name")]
    pub protocol: Option<String>,
    /// Port on the host.
    #[serde(default, deserialize_with = "num::opt_int")]
    pub host_port: Option<u16>,
    /// Port in the VM.
    #[serde(default, deserialize_with = "num::opt_int")]
    pub vm_port: Option<u16>,
    /// Address on the host; the node's choice if left out.
    #[serde(default, deserialize_with = "num::opt_name", skip_serializing_if = "Option::is_none")]
    pub host_address: Option<String>,
}

/// GPUs: by slot (provision) or by number (PATCH).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GpuRequest {
    /// The GPUs, one by one.
    #[serde(
        default,
        deserialize_with = "object::opt_list",
        skip_serializing_if = "Option::is_none"
    )]
    pub gpus: Option<Vec<GpuSpec>>,
    /// `listed` (if left out) or `all`.
    #[serde(default, deserialize_with = "num::opt_name", skip_serializing_if = "Option::is_none")]
    pub attach_mode: Option<String>,
    /// How many.
    #[serde(default, deserialize_with = "num::opt_int", skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// Of which product.
    #[serde(default, deserialize_with = "num::opt_name", skip_serializing_if = "Option::is_none")]
    pub product_name: Option<String>,
}

/// One GPU.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GpuSpec {
    /// PCI slot on the host.
    #[serde(default, deserialize_with = "num::opt_name", skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    /// Vendor and device, `10de:2335`.
    #[serde(default, deserialize_with = "num::opt_name", skip_serializing_if = "Option::is_none")]
    pub product_id: Option<String>,
}

/// Which of its two requests `POST /cvms` was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProvisionOrCommit {
    /// A [`ProvisionRequest`].
    Provision,
    /// A [`crate::commit::CommitRequest`].
    Commit,
}

/// Tells the two requests of `POST /cvms` apart: a compose file makes it a provision; everything
/// else is the commit that the path has always been, also when it is neither.
pub fn discriminate(body: &Value) -> ProvisionOrCommit {
    match body.get("compose_file") {
        None | Some(Value::Null) => ProvisionOrCommit::Commit,
        Some(_) => ProvisionOrCommit::Provision,
    }
}
