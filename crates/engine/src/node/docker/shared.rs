//! What all parts of a docker node share.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use casemate_core::{
    id::{DeviceId, EngineVmId},
    time::{Clock, Entropy},
};
use casemate_verify::simulate::DevelopmentRoot;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    DockerConfig, GuestKeys, agent, cgroup::Cgroups, compose::Compose, derive::Grants,
    document::Document, engine::Engine, firewall::Firewall, inspection::EngineDefaults,
    private_images::PrivateImages, resolve_port::PortCache, vm::Vm,
};
use crate::{
    error::CallError,
    node::development::{DevelopmentGuest, Ppid},
};

/// Boots that work on the engine and the disk at one time; both are shared.
pub(super) const BOOTS: usize = 4;

/// The node.
#[derive(Debug)]
pub(super) struct Shared {
    pub config: DockerConfig,
    pub grants: Grants,
    pub engine: Engine,
    pub engine_defaults: EngineDefaults,
    pub compose: Compose,
    pub cgroups: Cgroups,
    pub firewall: Firewall,
    /// Address of the engine.
    pub engine_host: String,
    pub private_images: PrivateImages,
    pub vms_dir: PathBuf,
    pub ident: Ident,
    pub version: String,
    /// For the operator: what this version of compose lacks.
    pub compose_note: Option<String>,
    /// For the operator: what this version of runc lets containers do.
    pub runc_note: Option<String>,
    /// Changes when the host starts anew, and all containers with it.
    pub host_run: String,
    pub local: bool,
    pub keys: Arc<dyn GuestKeys>,
    /// Signs the quotes of guests.
    pub root: Arc<DevelopmentRoot>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub agent_limits: agent::Limits,
    pub boots: Semaphore,
    /// Places of logs that are followed.
    pub followed: Arc<Semaphore>,
    pub tracker: TaskTracker,
    pub closing: CancellationToken,
    pub ports: PortCache,
    pub vms: RwLock<BTreeMap<EngineVmId, Arc<Vm>>>,
    /// Held as long as the node is open: one process at a time.
    pub lock: Mutex<Option<File>>,
}

/// Who the node is.
#[derive(Debug, Clone)]
pub(super) struct Ident {
    /// Random, kept in the directory: tells this node's containers from another's.
    pub node: String,
    /// The host, as its quotes name it.
    pub ppid: Ppid,
    pub device: DeviceId,
}

impl Shared {
    /// The VM with this id.
    pub fn vm(&self, id: &EngineVmId) -> Result<Arc<Vm>, CallError> {
        let vms = self.vms.read().unwrap_or_else(PoisonError::into_inner);
        vms.get(id).cloned().ok_or_else(|| CallError::Rejected(format!("VM not found: {id}")))
    }

    /// All VMs, the oldest first.
    pub fn all(&self) -> Vec<Arc<Vm>> {
        let vms = self.vms.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<Arc<Vm>> = vms.values().cloned().collect();
        drop(vms);
        all.sort_by_key(|vm| (vm.record().manifest.created_at, vm.id.clone()));
        all
    }

    /// Takes up a VM.
    pub fn add(&self, vm: Arc<Vm>) {
        self.vms.write().unwrap_or_else(PoisonError::into_inner).insert(vm.id.clone(), vm);
    }

    /// Forgets a VM.
    pub fn forget(&self, id: &EngineVmId) {
        self.vms.write().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// Runs a job on a VM in the background, after the one before it has let go. A newer job or the
    /// end of the node drops it where it stands.
    pub fn spawn(self: &Arc<Self>, vm: &Arc<Vm>, job: impl Future<Output = ()> + Send + 'static) {
        let token = vm.next_job();
        let (node, vm) = (Arc::clone(self), Arc::clone(vm));
        self.tracker.spawn(async move {
            let alone = async {
                let _work = vm.work.lock().await;
                job.await;
            };
            tokio::select! {
                () = token.cancelled() => {}
                () = node.closing.cancelled() => {}
                () = alone => {}
            }
        });
    }

    /// Serves the guest agent of a VM.
    pub async fn serve_agent(&self, vm: &Arc<Vm>) -> io::Result<()> {
        let compose = vm.on_disk(|vm| vm.dir.compose()).await?;
        let record = vm.record();
        let manifest = &record.manifest;
        let document = Document::parse(&compose).map_err(io::Error::other)?;
        let guest = DevelopmentGuest {
            app_id: manifest.app_id,
            compose_hash: manifest.compose_hash,
            instance_id: record.instance.instance_id,
            key_provider: if document.has_kms() { "kms" } else { "none" },
            app_compose: compose,
            image: manifest.image.clone(),
            os_image_hash: os_image_hash(&manifest.image),
            vcpu: manifest.vcpu,
            memory_mb: manifest.memory_mb,
            ppid: self.ident.ppid,
        };
        let identity = agent::Identity {
            guest,
            kms: manifest.kms.clone(),
            app_name: document.name.clone(),
            has_kms: document.has_kms(),
            root: Arc::clone(&self.root),
        };
        let (run, private) = (vm.dir.run(), vm.dir.agent());
        let (keys, limits) = (Arc::clone(&self.keys), &self.agent_limits);
        let agent = agent::serve(&run, &private, identity, keys, limits, &self.tracker)?;
        vm.set_agent(Some(agent));
        Ok(())
    }
}

/// There is no OS image on a docker node; its name is hashed so that the value is stable.
pub(super) fn os_image_hash(image: &str) -> String {
    hex::encode(Sha256::digest(format!("casemate docker node: no OS image: {image}")))
}
