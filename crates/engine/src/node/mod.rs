//! Nodes: hosts that run CVMs. One trait, modelled on what dstack-vmm really does (`dstack/` §a):
//! the node mints VM ids, `create` is not idempotent, `start` answers long before the guest is up,
//! `shutdown` only asks, `remove` ends later, and capacity is never enforced by the node.
//!
//! | kind | what it is |
//! |---|---|
//! | [`docker`] | containers on a Docker-compatible engine; no TEE |
//! | [`dstack`] | a host with dstack-vmm, through its API |
//! | [`sim`] | a simulated dstack host in its own files, with faults on demand |

pub mod development;
pub mod docker;
pub mod dstack;
pub mod guard;
pub mod guest_facts;
pub mod sim;

use std::{fmt, net::SocketAddr};

use async_trait::async_trait;
use bytes::Bytes;
use casemate_core::{
    attestation::{GuestEvidence, ReportData},
    cvm::{Gpus, ObservedVm, PortMap},
    drift::ReportedConfig,
    id::{AppId, ComposeHash, DeviceId, EngineVmId, KmsId, VmUuid},
    instance::InstanceSeed,
    node::Capabilities,
    preflight::Probe,
    seal::SealedEnv,
    stored::Stored,
    time::Clock,
};
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};

pub use self::guest_facts::{GuestContainer, GuestDisk, GuestNetwork, GuestSystem};
pub use crate::error::CallError;

/// A host that runs CVMs. Implementations must never block the runtime and must bound every call.
#[async_trait]
pub trait Node: Send + Sync + fmt::Debug {
    /// What this host is and can take.
    async fn inventory(&self) -> Result<Inventory, CallError>;

    /// All VMs of this host that carry a mark ([`Mark`]), oldest first; one call, whole list.
    async fn list(&self) -> Result<Vec<(Mark, ObservedVm)>, CallError>;

    /// As [`Self::list`], or `None` if that is the list which `known` is the mark of. A host with many VMs at
    /// rest is looked at all the time, and a driver that can tell so without reading each of them does.
    async fn list_if_changed(&self, _known: Option<ListMark>) -> Result<Option<Listed>, CallError> {
        Ok(Some(Listed { vms: self.list().await?, mark: None }))
    }

    /// What pre-flight asks beyond the inventory. `None`: there is nothing to ask of this kind of node.
    async fn probe(&self, _clock: &dyn Clock) -> Result<Option<Probe>, CallError> {
        Ok(None)
    }

    /// The configurations of all VMs that carry a mark, in a bounded number of calls for the whole host. Empty:
    /// this kind of node does not tell them.
    async fn configs(&self) -> Result<Vec<(Mark, EngineVmId, ReportedConfig)>, CallError> {
        Ok(Vec::new())
    }

    /// The VMs that carry this mark, oldest first. Usually none or one; two after a lost answer.
    async fn find(&self, mark: &Mark) -> Result<Vec<ObservedVm>, CallError>;

    /// Makes a VM, *stopped*, and returns the id the node gave it. Not idempotent.
    async fn create(&self, config: &VmConfig) -> Result<EngineVmId, CallError>;

    /// Replaces the whole configuration; it takes effect at the next start. Idempotent.
    async fn push(&self, vm: &EngineVmId, config: &VmConfig) -> Result<(), CallError>;

    /// Boots the VM; returns when the boot has begun. Repeatable on a running VM.
    async fn start(&self, vm: &EngineVmId) -> Result<(), CallError>;

    /// Powers the VM off at once. Repeatable.
    async fn stop(&self, vm: &EngineVmId) -> Result<(), CallError>;

    /// Asks the guest to go down and returns; look later whether it did.
    async fn shutdown(&self, vm: &EngineVmId) -> Result<(), CallError>;

    /// Removes the VM with its disk; ends later. Repeatable while it is being removed; unknown ids
    /// are `Rejected`.
    async fn remove(&self, vm: &EngineVmId) -> Result<(), CallError>;

    /// Where the gateway reaches a published port of the VM. `port` is the compose file's published
    /// port (the left side of `8080:80`).
    async fn resolve_port(&self, vm: &EngineVmId, port: u16) -> Result<Dial, DialError>;

    /// What the running guest shows about itself. With `nonce` its quote contains it; nodes whose guests cannot
    /// be asked for that from outside refuse it ([`Capabilities::quotes_nonce`]), none ignores it.
    async fn evidence(
        &self,
        vm: &EngineVmId,
        nonce: Option<&ReportData>,
    ) -> Result<GuestEvidence, CallError>;

    /// The containers of the running guest; refused while it does not answer.
    async fn guest_containers(&self, vm: &EngineVmId) -> Result<Vec<GuestContainer>, CallError>;

    /// The system of the running guest; refused while it does not answer.
    async fn guest_system(&self, vm: &EngineVmId) -> Result<GuestSystem, CallError>;

    /// The network of the running guest; refused while it does not answer.
    async fn guest_network(&self, vm: &EngineVmId) -> Result<GuestNetwork, CallError>;

    /// The containers' output, oldest line first, as text lines `service | text`.
    async fn logs(&self, vm: &EngineVmId, query: LogQuery) -> Result<LogStream, CallError>;
}

/// What tells one list of VMs of a host from another, for as long as this process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListMark(u64);

/// The VMs of a host that carry a mark.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Oldest first.
    pub vms: Vec<(Mark, ObservedVm)>,
    /// `None`: this kind of node cannot tell whether the next list is another one.
    pub mark: Option<ListMark>,
}

/// A stream of log text; an item may hold several lines or part of one.
pub type LogStream = BoxStream<'static, Result<Bytes, CallError>>;

/// Which part of the logs.
#[derive(Debug, Clone, Copy)]
pub struct LogQuery {
    /// Go on with new lines until the reader leaves.
    pub follow: bool,
    /// At most this many lines from before now.
    pub tail: u32,
}

/// Where the gateway sends a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dial {
    /// Plain HTTP (or h2c) to this address.
    Tcp(SocketAddr),
    /// There is no guest: answer this HTML page with status 200.
    Page(String),
}

/// Why a port cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// The VM is down or its containers are not up yet; the text says which.
    #[error("{0}")]
    NotUp(String),
    /// The app publishes other ports.
    #[error("port {port} is not published; published: {published:?}")]
    NotPublished {
        /// What was asked for.
        port: u16,
        /// What there is.
        published: Vec<u16>,
    },
    /// The node does not answer.
    #[error("{0}")]
    Unreachable(String),
}

/// Our mark on a VM: its name on the node, `<cvm name>.<vm uuid>`. dstack-vmm finds VMs by a part of
/// their name, so the uuid in it tells ours from others and one CVM from another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mark {
    name: String,
    uuid: VmUuid,
}

impl Mark {
    /// The mark of this CVM.
    pub fn new(name: &str, uuid: VmUuid) -> Self {
        Self { name: name.to_owned(), uuid }
    }

    /// The CVM it belongs to.
    pub const fn uuid(&self) -> VmUuid {
        self.uuid
    }

    /// Reads a VM name of a node; `None` when it is not ours.
    pub fn parse(vm_name: &str) -> Option<Self> {
        let (name, uuid) = vm_name.rsplit_once('.')?;
        Some(Self::new(name, uuid.parse().ok()?))
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.name, self.uuid)
    }
}

/// Everything a node is told about a VM; pushed whole every time.
#[derive(Debug, Clone, PartialEq)]
pub struct VmConfig {
    /// Name on the node.
    pub mark: Mark,
    /// Identity of the app.
    pub app_id: AppId,
    /// The KMS that its keys are from; `None`: the node's only one.
    pub kms: Option<KmsId>,
    /// The app-compose document, byte for byte.
    pub compose: String,
    /// SHA-256 of `compose` as we promised it; the node refuses to start on any other.
    pub compose_hash: ComposeHash,
    /// OS image by the node's name for it.
    pub image: String,
    /// Virtual CPUs.
    pub vcpu: u32,
    /// Memory in MiB.
    pub memory_mb: u32,
    /// Disk in GB.
    pub disk_gb: u32,
    /// Host ports mapped to the VM.
    pub ports: Vec<PortMap>,
    /// Sealed environment; `None`: the app has none.
    pub sealed_env: Option<SealedEnv>,
    /// Whether `sealed_env` is another one than was in force before. Only such a one takes the place of variables that
    /// the guest sealed again by itself.
    pub env_is_new: bool,
    /// `.user-config` of the guest.
    pub user_config: Option<String>,
    /// Back memory with huge pages.
    pub hugepages: bool,
    /// Pin to one NUMA node.
    pub pin_numa: bool,
    /// GPUs to attach.
    pub gpus: Option<Gpus>,
    /// KMS addresses for the guest; empty: the node's own.
    pub kms_urls: Vec<String>,
    /// Gateway addresses for the guest; empty: the node's own.
    pub gateway_urls: Vec<String>,
    /// Domain of the gateway that leads to its ports, with the port of the gateway where that is unusual.
    pub gateway_domain: Option<String>,
    /// What the instance id is made of from the next boot on; `None`: what the VM was made with.
    /// Nodes whose disks hang on the instance id refuse one.
    pub instance_seed: Option<InstanceSeed>,
}

/// What protects the memory of VMs on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tee {
    /// Nothing: the host reads everything.
    #[serde(rename = "none")]
    None,
    /// A simulated one: as good as none.
    #[serde(rename = "simulated")]
    Simulated,
    /// Intel TDX.
    #[serde(rename = "tdx")]
    Tdx,
    /// AMD SEV-SNP.
    #[serde(rename = "sev-snp")]
    SevSnp,
}

impl Tee {
    /// The word on the wire (`node.tee`).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Simulated => "simulated",
            Self::Tdx => "tdx",
            Self::SevSnp => "sev-snp",
        }
    }
}

/// What a node is and can take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// What protects its VMs.
    pub tee: Tee,
    /// Version of the software that runs VMs there.
    pub version: String,
    /// Identity of the host.
    pub device_id: DeviceId,
    /// Which of this guests reported.
    #[serde(default = "GuestReported::all", skip_serializing_if = "GuestReported::is_all")]
    pub guest_reported: GuestReported,
    /// Family, model, stepping, platform and SKU of the CPU, 12 hex digits; `None` without TDX.
    pub fmspc: Option<String>,
    /// OS images it has.
    pub images: Vec<Image>,
    /// What all CVMs together may take.
    pub capacity: Capacity,
    /// What configurations it can take. Rows of an older version have none: they promise nothing.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// Base domain of the node's own gateway, with its port where that is not 443: apps are reached there over
    /// https. `None`: Casemate's gateway leads to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_domain: Option<String>,
    /// Its GPUs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<Gpu>,
    /// What the last pre-flight saw; `None`: nothing yet, or there is nothing to see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
    /// What an operator should know, for example where CPU limits apply.
    pub notes: Vec<String>,
}

/// Facts of a host that its guests reported, because its software does not. They are good for comparison. A
/// tenant can make its guest report anything, so they never decide who gets keys or traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GuestReported {
    pub device_id: bool,
    /// `os_image_hash` of the images.
    pub image_hashes: bool,
}

impl GuestReported {
    /// Everything, as for rows of an older version.
    const fn all() -> Self {
        Self { device_id: true, image_hashes: true }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
    fn is_all(&self) -> bool {
        *self == Self::all()
    }
}

/// A GPU of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    /// Its place in the host.
    pub slot: String,
    /// Vendor and product, `10de:2335`.
    pub product_id: String,
    pub is_free: bool,
}

impl Inventory {
    /// Of a node that has not answered yet: it has nothing and promises nothing.
    pub fn unknown() -> Self {
        Self {
            tee: Tee::None,
            version: String::new(),
            device_id: DeviceId::from_bytes([0; 32]),
            guest_reported: GuestReported::all(),
            fmspc: None,
            images: Vec::new(),
            capacity: Capacity { slots: 0, vcpu: 0, memory_mb: 0, disk_gb: 0 },
            capabilities: Capabilities::default(),
            gateway_domain: None,
            gpus: Vec::new(),
            probe: None,
            notes: Vec::new(),
        }
    }
}

impl Inventory {
    /// The device id, if it is known from the operator or the software of the host.
    pub fn trusted_device_id(&self) -> Option<DeviceId> {
        let known = self.device_id != DeviceId::from_bytes([0; 32]);
        (known && !self.guest_reported.device_id).then_some(self.device_id)
    }

    /// The hashes of the images of this name that the software of the host reported.
    pub fn trusted_image_hashes(&self, name: &str) -> impl Iterator<Item = &str> {
        let images = (!self.guest_reported.image_hashes).then_some(&self.images);
        let named = images.into_iter().flatten().filter(move |image| image.name == name);
        named.filter_map(|image| image.os_image_hash.as_deref())
    }

    /// With what was known before and the node does not tell every time: its device id and the hashes of its
    /// images, which guests tell, and the last probe, unless there is a newer one.
    #[must_use]
    pub fn with_known(mut self, known: &Self, probe: Option<Option<&Probe>>) -> Self {
        if self.device_id == DeviceId::from_bytes([0; 32]) {
            self.device_id = known.device_id;
        }
        for image in self.images.iter_mut().filter(|image| image.os_image_hash.is_none()) {
            let before = known.images.iter().find(|before| before.name == image.name);
            image.os_image_hash = before.and_then(|before| before.os_image_hash.clone());
        }
        self.probe = match probe {
            Some(newest) => newest.cloned(),
            None => known.probe.clone(),
        };
        self
    }
}

impl Stored for Inventory {}

/// What all CVMs of a node together may take. The control plane accounts for it; nodes do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Number of CVMs.
    pub slots: u32,
    /// Virtual CPUs.
    pub vcpu: u32,
    /// Memory in MiB.
    pub memory_mb: u32,
    /// Disk in GB.
    pub disk_gb: u32,
}

/// One OS image of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// `dstack-0.5.4`, `dstack-dev-0.5.4`.
    pub name: String,
    /// `0.5.4`.
    pub version: String,
    /// With login tools.
    pub is_dev: bool,
    /// SHA-256 over the image's checksum file, 64 hex digits.
    pub os_image_hash: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(hash: Option<&str>) -> Image {
        Image {
            name: "dstack-0.6.6".to_owned(),
            version: "0.6.6".to_owned(),
            is_dev: false,
            os_image_hash: hash.map(str::to_owned),
        }
    }

    #[test]
    fn what_only_guests_tell_outlives_a_restart() {
        let device = |byte| DeviceId::from_bytes([byte; 32]);
        let known = Inventory {
            device_id: device(1),
            images: vec![image(Some("aa"))],
            ..Inventory::unknown()
        };
        let told = Inventory { images: vec![image(None)], ..Inventory::unknown() };
        let now = told.with_known(&known, None);
        assert_eq!((now.device_id, now.images), (device(1), vec![image(Some("aa"))]));
        let told = Inventory {
            device_id: device(2),
            images: vec![image(Some("bb"))],
            ..Inventory::unknown()
        };
        let now = told.clone().with_known(&known, None);
        assert_eq!((now.device_id, &now.images), (device(2), &told.images), "what is told counts");
    }
}
