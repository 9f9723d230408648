//! A host with dstack-vmm, through its API. Nothing of the host's state is kept here but what it is
//! costly to ask for: what its build takes, and its device id.
//!
//! | file | contents |
//! |---|---|
//! | [`client`] | pRPC over HTTP, HTTPS and unix sockets; what a failed call means |
//! | `wire` | the messages |
//! | `features` | what the build takes |
//! | `files` | the credential, and certificates that are trusted |
//! | `convert` | between our types and the messages |
//! | `inventory` | what the host is, and what guests tell of it |
//! | `probe` | what pre-flight asks |
//! | `ra_tls` | the quote in the certificate of a guest |
//! | `logs` | output of containers, else the serial log |
//!
//! dstack-vmm answers success to fields that it does not know, and its bridge networks ignore ports. So
//! a VM is read back after it was made or changed, and a difference is a refusal by name.

pub mod client;
mod convert;
mod features;
mod files;
mod inventory;
mod logs;
mod probe;
mod ra_tls;
mod snp_certificates;
mod wire;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use casemate_core::{
    attestation::{GuestEvidence, ReportData},
    cvm::{ObservedVm, VmPower},
    drift::ReportedConfig,
    id::{DeviceId, EngineVmId},
    preflight::Probe,
    time::Clock,
};

pub use self::{
    client::{Credential, VmmAddress},
    files::{AccessFiles, OpenError, secret},
};
use self::{
    client::{PrpcClient, Trust},
    features::Features,
    inventory::Guests,
    wire::{
        Configuration, GetInfoResponse, GpuList, GuestInfo, Id, Ignored, ImageList, Meta, Nothing,
        StatusRequest, StatusResponse, UpdateVm, VersionResponse, VmInfo,
    },
};
use super::{
    CallError, Dial, DialError, Inventory, LogQuery, LogStream, Mark, Node, Tee, VmConfig,
};

/// Settings of a [`DstackNode`].
#[derive(Debug, Clone)]
pub struct DstackConfig {
    /// Where dstack-vmm listens.
    pub address: VmmAddress,
    /// Its credential, and certificates that are trusted beside those of the system.
    pub files: AccessFiles,
    /// File with a token for the guest agents' external API, which dstack 0.6.3 and later ask for; mode 0600.
    pub guest_token_file: Option<PathBuf>,
    /// What protects memory on this host. dstack-vmm does not tell.
    pub tee: Tee,
    /// Identity of the host, SHA-256 of the PPID or the chip id; `None`: as guests tell it.
    pub device_id: Option<DeviceId>,
    /// Casemate knows the KMS that gives guests of this node their keys, so variables can be sealed for them.
    pub sealed_env: bool,
    /// How long one call may take.
    pub timeout: Duration,
}

/// A host with dstack-vmm.
#[derive(Debug)]
pub struct DstackNode {
    vmm: PrpcClient,
    config: DstackConfig,
    known: Mutex<Known>,
}

/// What was learned of the host.
#[derive(Debug, Default)]
struct Known {
    /// The build that `features` are of.
    build: Option<VersionResponse>,
    features: Option<Arc<Features>>,
    guests: Guests,
}

impl DstackNode {
    /// Reads the files that the settings name. Nothing is asked of the host yet.
    pub async fn open(config: DstackConfig) -> Result<Self, OpenError> {
        let credential = config.files.credential().await?;
        let ca = config.files.certificates().await?;
        let trust = ca.as_deref().map_or(Trust::System, Trust::SystemAnd);
        let vmm = PrpcClient::new(config.address.clone(), credential, trust, config.timeout);
        let known = Known { guests: Guests::new(config.device_id), ..Known::default() };
        Ok(Self { vmm: vmm.map_err(OpenError::Client)?, config, known: Mutex::new(known) })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the build takes; its document is read again when the build is another one.
    async fn learn(&self) -> Result<VersionResponse, CallError> {
        let build: VersionResponse = self.vmm.call("Version", &Nothing {}).await?;
        if self.known().build.as_ref() == Some(&build) {
            return Ok(build);
        }
        let document = self.vmm.openapi().await?;
        let features = document.as_ref().and_then(Features::of_document);
        let mut known = self.known();
        known.features = Some(Arc::new(features.unwrap_or_else(Features::oldest)));
        known.build = Some(build.clone());
        Ok(build)
    }

    /// That the build can make VMs for this TEE: none would be made without it.
    fn check_tee(&self, build: &VersionResponse, features: &Features) -> Result<(), CallError> {
        let field = match self.config.tee {
            Tee::Tdx | Tee::SevSnp => return Ok(()),
            Tee::Simulated => "simulated_tee",
            Tee::None => "no_tee",
        };
        if features.has_field("VmConfiguration", field) {
            return Ok(());
        }
        Err(CallError::Unreachable(format!(
            "dstack-vmm {} has no {field}: update it, or say what TEE the host has",
            build.version
        )))
    }

    async fn features(&self) -> Result<Arc<Features>, CallError> {
        let known = self.known().features.clone();
        if let Some(features) = known {
            return Ok(features);
        }
        self.learn().await?;
        let known = self.known().features.clone();
        known.ok_or_else(|| CallError::Unknown("the build of dstack-vmm is not known".to_owned()))
    }

    async fn info(&self, vm: &EngineVmId) -> Result<VmInfo, CallError> {
        let found: GetInfoResponse = self.vmm.call("GetInfo", &Id { id: vm.0.clone() }).await?;
        let not_found = || CallError::Rejected("VM not found".to_owned());
        found.info.filter(|_| found.found).ok_or_else(not_found)
    }

    async fn configuration(&self, vm: &EngineVmId) -> Result<Configuration, CallError> {
        let untold = || CallError::Unknown("dstack-vmm does not tell the configuration".to_owned());
        self.info(vm).await?.configuration.ok_or_else(untold)
    }

    /// That the VM is as it was sent.
    async fn check(&self, vm: &EngineVmId, config: &VmConfig) -> Result<(), CallError> {
        let differences = convert::differences(&self.configuration(vm).await?, config);
        if differences.is_empty() {
            return Ok(());
        }
        let fields = differences.join(", ");
        Err(CallError::Rejected(format!("dstack-vmm accepted {fields} and does not have it")))
    }

    async fn about(&self, method: &str, vm: &EngineVmId) -> Result<(), CallError> {
        self.vmm.call::<_, Ignored>(method, &Id { id: vm.0.clone() }).await?;
        Ok(())
    }

    async fn status(&self, keyword: &str) -> Result<Vec<VmInfo>, CallError> {
        let request =
            StatusRequest { brief: true, keyword: keyword.to_owned(), ..StatusRequest::default() };
        let vms = self.vmm.call::<_, StatusResponse>("Status", &request).await?.vms;
        self.known().guests.note_booted(&vms, keyword.is_empty());
        Ok(vms)
    }
}

#[async_trait]
impl Node for DstackNode {
    async fn inventory(&self) -> Result<Inventory, CallError> {
        // A token that was rotated is in the same file.
        match self.config.files.credential().await {
            Ok(credential) => self.vmm.set_credential(credential),
            Err(error) => return Err(CallError::Unreachable(error.to_string())),
        }
        let build = self.learn().await?;
        self.check_tee(&build, &*self.features().await?)?;
        // One after the other: a host is looked at through one connection, which is kept.
        let meta: Meta = self.vmm.call("GetMeta", &Nothing {}).await?;
        let images: ImageList = self.vmm.call("ListImages", &Nothing {}).await?;
        let gpus: GpuList = self.vmm.call("ListGpus", &Nothing {}).await?;
        self.ask_a_guest().await;
        let guests = self.known().guests.clone();
        Ok(inventory::inventory(&self.config, &build, &meta, images, &gpus, &guests))
    }

    async fn list(&self) -> Result<Vec<(Mark, ObservedVm)>, CallError> {
        let vms = self.status("").await?;
        let ours = vms.iter().filter_map(|vm| Some((convert::mark(vm)?, vm)));
        ours.map(|(mark, vm)| Ok((mark, understood(vm)?))).collect()
    }

    async fn probe(&self, clock: &dyn Clock) -> Result<Option<Probe>, CallError> {
        self.look_closely(clock).await.map(Some)
    }

    async fn configs(&self) -> Result<Vec<(Mark, EngineVmId, ReportedConfig)>, CallError> {
        self.read_configs().await
    }

    async fn find(&self, mark: &Mark) -> Result<Vec<ObservedVm>, CallError> {
        let name = mark.to_string();
        let vms = self.status(&mark.uuid().to_string()).await?;
        let ours = vms.iter().filter(|vm| {
            vm.name == name || convert::mark(vm).is_some_and(|found| found.uuid() == mark.uuid())
        });
        let mut found = ours.map(understood).collect::<Result<Vec<_>, _>>()?;
        for vm in found.iter_mut().filter(|vm| vm.power == VmPower::Exited) {
            if vm.boot_error.is_none() {
                vm.boot_error = logs::last_words(&self.vmm, &vm.id).await;
            }
        }
        Ok(found)
    }

    async fn create(&self, config: &VmConfig) -> Result<EngineVmId, CallError> {
        let features = self.features().await?;
        let rejected = |error: convert::NoField| CallError::Rejected(error.to_string());
        let request = convert::new_vm(config, self.config.tee, &features).map_err(rejected)?;
        // The only call that reads the whole document before something is made.
        if features.has_method("prpc/GetComposeHash") {
            self.vmm.call::<_, Ignored>("GetComposeHash", &request).await?;
        }
        let made: Id = self.vmm.call("CreateVm", &request).await?;
        let vm = EngineVmId(made.id);
        match self.check(&vm, config).await {
            Err(CallError::Rejected(why)) => {
                // It never ran. If this fails too, the next look finds it by its name.
                let _ = self.about("RemoveVm", &vm).await;
                Err(CallError::Rejected(why))
            }
            // It is there, whatever reading it back came to.
            Ok(()) | Err(CallError::Unreachable(_) | CallError::Unknown(_)) => Ok(vm),
        }
    }

    async fn push(&self, vm: &EngineVmId, config: &VmConfig) -> Result<(), CallError> {
        let features = self.features().await?;
        let has = self.configuration(vm).await?;
        let updates = convert::updates(vm, &has, config, &features)
            .map_err(|error| CallError::Rejected(error.to_string()))?;
        for update in updates.into_iter().flatten() {
            self.vmm.call::<UpdateVm, Ignored>("UpdateVm", &update).await?;
        }
        self.check(vm, config).await
    }

    async fn start(&self, vm: &EngineVmId) -> Result<(), CallError> {
        self.about("StartVm", vm).await
    }

    async fn stop(&self, vm: &EngineVmId) -> Result<(), CallError> {
        self.about("StopVm", vm).await
    }

    async fn shutdown(&self, vm: &EngineVmId) -> Result<(), CallError> {
        self.about("ShutdownVm", vm).await
    }

    async fn remove(&self, vm: &EngineVmId) -> Result<(), CallError> {
        self.about("RemoveVm", vm).await
    }

    /// Host ports are not dialled: tenants choose their addresses, and this process may reach more than they do.
    async fn resolve_port(&self, _: &EngineVmId, _: u16) -> Result<Dial, DialError> {
        let why = "CVMs of this node are reached through the gateway of the node or a host port";
        Err(DialError::NotUp(why.to_owned()))
    }

    /// From the guest agent, through the VMM. Quotes for a caller's nonce are made only for the app itself.
    async fn evidence(
        &self,
        vm: &EngineVmId,
        nonce: Option<&ReportData>,
    ) -> Result<GuestEvidence, CallError> {
        if nonce.is_some() {
            let why = "guests of dstack make quotes for a nonce only for the app in them, not for their host";
            return Err(CallError::Rejected(why.to_owned()));
        }
        let told: GuestInfo = self.vmm.guest("Info", &vm.0).await?;
        ra_tls::evidence(told, self.config.tee)
    }

    async fn logs(&self, vm: &EngineVmId, query: LogQuery) -> Result<LogStream, CallError> {
        logs::logs(&self.vmm, &self.config, vm, query).await
    }
}

fn understood(vm: &VmInfo) -> Result<ObservedVm, CallError> {
    convert::observed(vm).ok_or_else(|| {
        CallError::Unknown(format!(
            "dstack-vmm shows VM {} in an unknown state: {}",
            vm.id, vm.status
        ))
    })
}
