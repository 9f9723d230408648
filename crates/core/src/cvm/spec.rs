//! Intent: what a CVM should be. Stored as JSON in `cvms.spec`; the compose document and the sealed
//! env are kept beside it, by hash.

use serde::{Deserialize, Serialize};

use crate::{
    compose::Facts,
    id::{Address, AppId, ComposeHash},
    instance::InstanceSeed,
    seal::EnvPublicKey,
};

/// The configuration of one CVM. A change makes a new one with a higher generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Counts the configurations that a node has to be told, from 1. The newest may wait for the next
    /// start: then it is higher than [`DesiredState::generation`].
    #[serde(default = "first")]
    pub revision: i64,
    /// Name within the workspace, 5–63 characters ([`crate::name`]).
    pub name: String,
    /// The app this CVM is an instance of.
    pub app_id: AppId,
    /// Which app-compose document it boots.
    pub compose_hash: ComposeHash,
    /// What lists and routes need to know of that document.
    pub facts: Facts,
    /// The key its environment is sealed to; `None`: the app gets no keys.
    pub env_public_key: Option<EnvPublicKey>,
    /// CPU, memory, disk and GPUs.
    pub resources: Resources,
    /// OS image by the node's name for it, for example `dstack-0.5.4`.
    pub image: String,
    /// Host ports the node maps straight to the VM. Empty: the gateway is the only way in.
    #[serde(default)]
    pub ports: Vec<PortMap>,
    /// Text the guest reads as `.user-config`, at most 50 MiB on the engine and 1 MiB here.
    #[serde(default)]
    pub user_config: Option<String>,
    /// KMS addresses for the guest; empty: the node's own.
    #[serde(default)]
    pub kms_urls: Vec<String>,
    /// Gateway addresses for the guest; empty: the node's own.
    #[serde(default)]
    pub gateway_urls: Vec<String>,
    /// App whose CVM serves as the VPC server of this one.
    #[serde(default)]
    pub vpc_server_app_id: Option<String>,
    /// Shown in the public directory.
    pub listed: bool,
    /// Names of the sealed variables as the client named them; the values are nowhere.
    #[serde(default)]
    pub env_keys: Vec<String>,
    /// Graceful shutdown may take this long, 10–1200 s.
    pub shutdown_timeout_s: u32,
    /// Whether a shutdown past its deadline is forced.
    pub allow_force_stop: bool,
    /// Counts the VMs that the CVM was to have, from 1. Another VM has another instance id and an
    /// empty disk.
    #[serde(default = "first")]
    pub vm: i64,
    /// What the instance id is made of, where the node takes it from us ([`crate::instance`]); `None`:
    /// the guest draws it for the life of its VM.
    #[serde(default)]
    pub instance_seed: Option<InstanceSeed>,
    /// Account that deployed the contract which is the app, as its client said or, failing that, the
    /// contract's owner at the commit. Only shown. `None`: no contract is the app.
    #[serde(default)]
    pub deployer: Option<Address>,
}

const fn first() -> i64 {
    1
}

/// What a CVM takes from its node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Name of the instance type these figures came from, if they all did.
    #[serde(default)]
    pub instance_type: Option<String>,
    /// Virtual CPUs, at least 1.
    pub vcpu: u32,
    /// Memory in MiB, at least 1.
    pub memory_mb: u32,
    /// Disk in GB, at least 1.
    pub disk_gb: u32,
    /// Back memory with huge pages.
    #[serde(default)]
    pub hugepages: bool,
    /// Pin to one NUMA node.
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

/// One GPU to attach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuAttach {
    /// PCI slot on the host.
    pub slot: Option<String>,
    /// Vendor and device, `10de:2335`.
    pub product_id: Option<String>,
}

/// One host port mapped to the VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMap {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Port on the host.
    pub host_port: u16,
    /// Port in the VM.
    pub vm_port: u16,
    /// Address on the host; default the node's own choice.
    #[serde(default)]
    pub host_address: Option<String>,
}

/// What a CVM should be doing, apart from its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredState {
    /// On, off or gone.
    pub power: Power,
    /// Counts the wanted boots: a restart is a desired state for a boot newer than the last one.
    pub run: i64,
    /// Generation of the configuration that must be on the node before the next start.
    pub generation: i64,
    /// How a running VM is brought down when the desired state needs it down (stop, restart, update).
    pub stop: StopMode,
    /// Which VM it is to have ([`Spec::vm`]); an earlier one is removed with its disk.
    pub vm: i64,
}

/// On, off or gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Power {
    /// Booted.
    Running,
    /// Down, its data kept.
    Stopped,
    /// Gone with all data.
    Deleted,
}

/// How a VM is brought down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopMode {
    /// Power off at once.
    Hard,
    /// Ask the guest, wait, then force if allowed.
    Graceful {
        /// Seconds to wait for the guest.
        timeout_s: u32,
        /// Whether to force past the deadline; otherwise the operation fails and the VM stays up.
        force: bool,
    },
}
