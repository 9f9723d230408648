//! A host that runs each CVM's compose file under a Docker-compatible engine: real containers, no
//! TEE. It is a dstack host in small: it keeps its VMs in a directory of its own ([`vmdir`]), mints
//! their ids, boots them in the background ([`boot`]) with the progress words of a guest, and
//! outlives the crash of its process at any moment: what is wanted is on disk before it is done, and
//! every step can be done again.
//!
//! What really happens to a compose file is told in [`mod@derive`], what containers find at the guest
//! agent's socket in [`agent`], and what a node without TEE does not protect in the project's
//! README: the engine keeps the variables of containers in its own state, and root reads all.
//!
//! | module | what it does |
//! |---|---|
//! | [`connect`] | finds engine and compose, takes up the directory, goes on with what was under way |
//! | [`boot`], [`script`], [`compose`] | sealed configuration → running containers |
//! | [`scan`], [`mod@derive`] | what a compose file may ask for, and what becomes of it. Pure |
//! | [`inspection`] | what the engine created is what was derived, or nothing starts. Pure |
//! | [`firewall`] | containers do not reach services of the host |
//! | [`shutdown`] | stop, shutdown, remove |
//! | [`observed`], [`resolve_port`], [`logs`], [`inventory`] | looking |

mod agent;
mod archive;
mod boot;
mod build;
mod cgroup;
mod client;
mod compose;
mod config;
mod connect;
mod container;
pub mod derive;
mod document;
mod engine;
mod env;
mod faults;
mod firewall;
mod guestfs;
mod images;
mod inside;
mod inspection;
mod inventory;
mod keys;
mod logs;
mod observed;
mod private_images;
mod registry_check;
mod resolve_port;
mod scan;
mod script;
mod shared;
mod shutdown;
mod vm;
mod vmdir;

use std::{
    collections::HashMap,
    io,
    sync::{Arc, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use casemate_core::{
    attestation::{GuestEvidence, ReportData},
    cvm::{Boot, ObservedVm},
    id::EngineVmId,
    instance::InstanceSeed,
    time::{Clock, Entropy},
};

pub use self::{
    config::{DockerConfig, HostAccess},
    keys::{GuestKeys, KeyOwner, KmsKeys},
};
use self::{
    container::{Container, Together, together},
    shared::Shared,
    vm::Vm,
    vmdir::{Down, Instance, Manifest, VmDir},
};
use super::{
    CallError, Dial, DialError, GuestContainer, GuestNetwork, GuestSystem, Inventory, LogQuery,
    LogStream, Mark, Node, VmConfig,
};

/// How long [`DockerNode::close`] waits for what runs in the background.
const CLOSE: Duration = Duration::from_secs(5);

/// Why there can be no docker node here. The text says what is missing and how to get it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// No engine answers.
    #[error("no container engine answers at {host}: {cause}")]
    Engine {
        /// Where it was looked for.
        host: String,
        /// What happened.
        cause: String,
    },
    /// The engine is there, Compose v2 is not.
    #[error("{0}")]
    Compose(String),
    /// The configuration or the directory cannot be used.
    #[error("{0}")]
    Config(String),
}

/// A host that runs each CVM's compose file under a Docker-compatible engine.
#[derive(Debug)]
pub struct DockerNode {
    node: Arc<Shared>,
}

impl DockerNode {
    /// Connects to the engine, takes up the VMs of `config.dir` and goes on with what was under way:
    /// VMs that are to be up are booted again unless their containers are up already.
    pub async fn connect(
        config: DockerConfig,
        keys: Arc<dyn GuestKeys>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, ConnectError> {
        let node = connect::open(config, keys, clock, entropy).await?;
        connect::resume(&node).await?;
        Ok(Self { node })
    }

    /// Stops the guest agents and what runs in the background. Containers keep running.
    pub async fn close(&self) {
        self.node.closing.cancel();
        for vm in self.node.all() {
            vm.set_agent(None);
        }
        self.node.tracker.close();
        if tokio::time::timeout(CLOSE, self.node.tracker.wait()).await.is_err() {
            tracing::warn!("a docker node is closed with work in the background");
        }
        self.node.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// The VM, unless it is being removed.
    fn living(&self, id: &EngineVmId) -> Result<Arc<Vm>, CallError> {
        let vm = self.node.vm(id)?;
        if vm.record().removing {
            return Err(CallError::Rejected(format!("VM is being removed: {id}")));
        }
        Ok(vm)
    }

    async fn boot(&self, vm: &Arc<Vm>) -> Result<(), CallError> {
        let now = self.node.clock.now();
        let set = vm.set_state(move |state| {
            state.started = true;
            state.booted = false;
            state.started_at = Some(now);
        });
        set.await.map_err(not_written)?;
        vm.begin_boot();
        self.node.spawn(vm, boot::boot(Arc::clone(&self.node), Arc::clone(vm)));
        Ok(())
    }

    /// Whether a VM that should be up is, or is on its way.
    async fn is_up(&self, vm: &Vm) -> Result<bool, CallError> {
        if !vm.record().state.started {
            return Ok(false);
        }
        Ok(match vm.boot().0 {
            Boot::Progress(_) => true,
            Boot::Done => {
                let containers = self.node.engine.containers(Some(&vm.id)).await?;
                matches!(together(&containers), Together::Fine { .. })
            }
            Boot::Failed(_) | Boot::Unknown => false,
        })
    }
}

/// Nothing was written, or nothing whole.
#[expect(clippy::needless_pass_by_value, reason = "used as a function in map_err")]
fn not_written(error: io::Error) -> CallError {
    CallError::Unknown(format!("the node's directory: {error}"))
}

#[async_trait]
impl Node for DockerNode {
    async fn inventory(&self) -> Result<Inventory, CallError> {
        inventory::inventory(&self.node).await
    }

    async fn list(&self) -> Result<Vec<(Mark, ObservedVm)>, CallError> {
        let containers = self.node.engine.containers(None).await?;
        let unhealthy = self.node.engine.unhealthy(None).await?;
        let mut of_vm: HashMap<EngineVmId, Vec<Container>> = HashMap::new();
        for container in containers {
            of_vm.entry(container.vm.clone()).or_default().push(container);
        }
        let mut found = Vec::new();
        for vm in self.node.all() {
            let Some(mark) = vm.record().manifest.mark() else { continue };
            let containers = of_vm.remove(&vm.id).unwrap_or_default();
            let observed = observed::observe(&self.node, &vm, &containers, &unhealthy).await;
            found.push((mark, observed));
        }
        Ok(found)
    }

    async fn find(&self, mark: &Mark) -> Result<Vec<ObservedVm>, CallError> {
        let mut found = Vec::new();
        for vm in self.node.all() {
            if vm.record().manifest.mark().is_some_and(|own| own.uuid() == mark.uuid()) {
                let containers = self.node.engine.containers(Some(&vm.id)).await?;
                let unhealthy = self.node.engine.unhealthy(Some(&vm.id)).await?;
                found.push(observed::observe(&self.node, &vm, &containers, &unhealthy).await);
            }
        }
        Ok(found)
    }

    async fn create(&self, config: &VmConfig) -> Result<EngineVmId, CallError> {
        let id = EngineVmId(self.node.entropy.uuid_v4().to_string());
        let mut seed = [0; 20];
        self.node.entropy.fill(&mut seed);
        let instance = Instance { seed: InstanceSeed::from_bytes(seed), instance_id: None };
        let manifest = Manifest::new(id.clone(), config, self.node.clock.now());
        let (vms_dir, config) = (self.node.vms_dir.clone(), config.clone());
        let made = tokio::task::spawn_blocking(move || {
            let dir = VmDir::create(&vms_dir, &manifest, &config, &instance)?;
            Vm::load(manifest.id, dir)
        });
        let made = made.await.map_err(|error| CallError::Unknown(error.to_string()))?;
        self.node.add(Arc::new(made.map_err(not_written)?));
        Ok(id)
    }

    async fn push(&self, vm: &EngineVmId, config: &VmConfig) -> Result<(), CallError> {
        let vm = self.living(vm)?;
        let _gate = vm.gate.lock().await;
        let created_at = vm.record().manifest.created_at;
        let manifest = Manifest::new(vm.id.clone(), config, created_at);
        vm.set_config(manifest, config.clone()).await.map_err(not_written)
    }

    async fn start(&self, vm: &EngineVmId) -> Result<(), CallError> {
        let vm = self.living(vm)?;
        let _gate = vm.gate.lock().await;
        if self.is_up(&vm).await? {
            return Ok(());
        }
        let text = vm.on_disk(|vm| vm.dir.compose()).await.map_err(not_written)?;
        boot::check_hash(&text, &vm.record()).map_err(CallError::Rejected)?;
        self.boot(&vm).await
    }

    async fn stop(&self, vm: &EngineVmId) -> Result<(), CallError> {
        let vm = self.living(vm)?;
        let _gate = vm.gate.lock().await;
        let set = vm.set_state(|state| {
            (state.started, state.booted, state.down) = (false, false, Down::Hard);
        });
        set.await.map_err(not_written)?;
        vm.next_job();
        let _work = vm.work.lock().await;
        vm.set_going_down(Some("powering off"));
        let killed = shutdown::kill_all(&self.node, &vm).await;
        vm.set_agent(None);
        self.node.ports.clear(&vm.id);
        vm.set_going_down(None);
        killed
    }

    async fn shutdown(&self, vm: &EngineVmId) -> Result<(), CallError> {
        let vm = self.living(vm)?;
        let _gate = vm.gate.lock().await;
        if !vm.record().state.started {
            return Ok(());
        }
        let set = vm.set_state(|state| {
            (state.started, state.booted, state.down) = (false, false, Down::Graceful);
        });
        set.await.map_err(not_written)?;
        vm.set_going_down(Some("powering off"));
        self.node.spawn(&vm, shutdown::shut_down(Arc::clone(&self.node), Arc::clone(&vm)));
        Ok(())
    }

    async fn remove(&self, vm: &EngineVmId) -> Result<(), CallError> {
        let vm = self.node.vm(vm)?;
        let _gate = vm.gate.lock().await;
        if vm.record().removing {
            return Ok(());
        }
        vm.set_removing().await.map_err(not_written)?;
        self.node.spawn(&vm, shutdown::remove(Arc::clone(&self.node), Arc::clone(&vm)));
        Ok(())
    }

    async fn resolve_port(&self, vm: &EngineVmId, port: u16) -> Result<Dial, DialError> {
        let vm = self.living(vm).map_err(|error| DialError::NotUp(error.to_string()))?;
        resolve_port::resolve_port(&self.node, &vm, port).await
    }

    /// From the guest agent, which is a part of this process.
    async fn evidence(
        &self,
        vm: &EngineVmId,
        nonce: Option<&ReportData>,
    ) -> Result<GuestEvidence, CallError> {
        let vm = self.living(vm)?;
        let is_up = vm.record().state.started && matches!(vm.boot().0, Boot::Done);
        let Some(identity) = vm.agent_identity().filter(|_| is_up) else {
            return Err(CallError::Rejected("the CVM does not run".to_owned()));
        };
        let evidence = identity.guest.evidence(&identity.root, nonce);
        evidence.map_err(|error| CallError::Rejected(error.to_string()))
    }

    async fn guest_containers(&self, vm: &EngineVmId) -> Result<Vec<GuestContainer>, CallError> {
        inside::containers(&self.node, &*self.living(vm)?).await
    }

    async fn guest_system(&self, vm: &EngineVmId) -> Result<GuestSystem, CallError> {
        inside::system(&self.node, &*self.living(vm)?).await
    }

    async fn guest_network(&self, vm: &EngineVmId) -> Result<GuestNetwork, CallError> {
        inside::network(&self.node, &*self.living(vm)?).await
    }

    async fn logs(&self, vm: &EngineVmId, query: LogQuery) -> Result<LogStream, CallError> {
        let vm = self.living(vm)?;
        logs::logs(&self.node, &vm, query).await
    }
}
