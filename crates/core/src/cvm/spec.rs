//! The configuration and desired state of a CVM. The spec is stored as JSON in `cvms.spec`; the compose
//! document is stored by its hash, the sealed environment beside the spec.

use serde::{Deserialize, Serialize};

use super::BootIdentity;
use crate::{
    compose::Facts,
    id::{Address, AppId, ComposeHash},
    instance::InstanceSeed,
    seal::EnvPublicKey,
};

/// The configuration of one CVM. A change creates a new one with a higher revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Counts the configurations that a node must get, from 1. If the newest one waits for the next start, it
    /// is higher than [`DesiredState::generation`].
    #[serde(default = "first")]
    pub revision: i64,
    /// Unique within the workspace, 5–63 characters ([`crate::name`]).
    pub name: String,
    /// The app that this CVM is an instance of.
    pub app_id: AppId,
    /// The app-compose document that it boots.
    pub compose_hash: ComposeHash,
    /// Properties of that document for lists and routes.
    pub facts: Facts,
    /// The key that its environment is sealed to; `None`: the app gets no keys.
    pub env_public_key: Option<EnvPublicKey>,
    /// CPU, memory, disk and GPUs.
    pub resources: Resources,
    /// The node's name of the OS image, for example `dstack-0.5.4`.
    pub image: String,
    /// Host ports that the node forwards to the VM. If empty, the gateway is the only way in.
    #[serde(default)]
    pub ports: Vec<PortMap>,
    /// Content of the guest's `.user-config`, at most 50 MiB on dstack and 1 MiB here.
    #[serde(default)]
    pub user_config: Option<String>,
    /// KMS URLs for the guest; empty: the node's own.
    #[serde(default)]
    pub kms_urls: Vec<String>,
    /// Gateway URLs for the guest; empty: the node's own.
    #[serde(default)]
    pub gateway_urls: Vec<String>,
    /// App whose CVM is the VPC server of this one.
    #[serde(default)]
    pub vpc_server_app_id: Option<String>,
    /// Whether it is in the public directory.
    pub listed: bool,
    /// Names of the sealed variables as the client gave them. Values are not known.
    #[serde(default)]
    pub env_keys: Vec<String>,
    /// Timeout of a graceful shutdown, 10–1200 s.
    pub shutdown_timeout_s: u32,
    /// Whether a shutdown that times out is forced.
    pub allow_force_stop: bool,
    /// Number of the VM that the CVM should have, from 1. Another VM has another instance id and an empty
    /// disk.
    #[serde(default = "first")]
    pub vm: i64,
    /// The seed of the instance id, if the node accepts one ([`crate::instance`]); `None`: the guest draws it
    /// once per VM.
    #[serde(default)]
    pub instance_seed: Option<InstanceSeed>,
    /// The account that deployed the app contract, as given by the client, else the contract's owner at the
    /// commit. For display only. `None`: the app is not contract-governed.
    #[serde(default)]
    pub deployer: Option<Address>,
}

impl Spec {
    /// What its guest boots.
    pub fn boot_identity(&self) -> BootIdentity {
        BootIdentity { compose_hash: self.compose_hash, image: self.image.clone() }
    }
}

const fn first() -> i64 {
    1
}

/// Resources that a CVM takes from its node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// The instance type, if all figures are those of one.
    #[serde(default)]
    pub instance_type: Option<String>,
    /// At least 1.
    pub vcpu: u32,
    /// In MiB, at least 1.
    pub memory_mb: u32,
    /// In GB, at least 1.
    pub disk_gb: u32,
    /// Whether memory is on huge pages.
    #[serde(default)]
    pub hugepages: bool,
    /// Whether the VM is pinned to one NUMA node.
    #[serde(default)]
    pub pin_numa: bool,
    /// GPUs to attach.
    #[serde(default)]
    pub gpus: Option<Gpus>,
}

/// GPUs of a CVM (`gpus` of the provision request).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpus {
    /// PCI slot and product id (`10de:2335`) of each.
    pub gpus: Vec<GpuAttach>,
    /// `listed` or `all`.
    pub attach_mode: String,
}

/// A GPU to attach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuAttach {
    /// PCI slot on the host.
    pub slot: Option<String>,
    /// Vendor and device, `10de:2335`.
    pub product_id: Option<String>,
}

/// A host port that is forwarded to the VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMap {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Port on the host.
    pub host_port: u16,
    /// Port in the VM.
    pub vm_port: u16,
    /// Address on the host; default: the node's choice.
    #[serde(default)]
    pub host_address: Option<String>,
}

/// The desired state of a CVM, apart from its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredState {
    pub power: Power,
    /// Number of desired boots: a restart asks for a boot newer than the last one.
    pub run: i64,
    /// Generation of the configuration that the node must have before the next start.
    pub generation: i64,
    /// How a running VM is stopped when the desired state needs it (stop, restart, update).
    pub stop: StopMode,
    /// Number of the desired VM ([`Spec::vm`]); an earlier one is removed with its disk.
    pub vm: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Power {
    Running,
    /// Off, data kept.
    Stopped,
    /// Removed with all data.
    Deleted,
}

/// How a VM is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopMode {
    /// Power off immediately.
    Hard,
    /// Ask the guest, wait, then power off if `force`.
    Graceful {
        /// Seconds to wait for the guest.
        timeout_s: u32,
        /// Whether to power off after the timeout; otherwise the operation fails and the VM stays up.
        force: bool,
    },
}
