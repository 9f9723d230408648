//! A simulated dstack host. It lives in its own files, so it outlives a crash of the Casemate that
//! uses it, as a real host would; or in memory, for fast tests.
//!
//! It behaves like dstack-vmm where that hurts: it mints VM ids, `create` makes another VM every
//! time, `start` answers long before the guest is up, a stopped VM still shows `done`, a restarted
//! VMM has forgotten how far its guests are, `shutdown` needs a guest agent that answers, `remove`
//! ends later, room is never checked. Faults on top of that: [`faults`]; fates of guests: [`boot`].
//!
//! Nothing runs in the background. What is to happen is decided when it begins, from the host's
//! seed, and kept with its times; a look compares these with the clock. So a mock clock drives it.
//!
//! | room | what |
//! |---|---|
//! | [`calls`], [`vm_faults`] | what the host does when it is called, what faults do to it |
//! | [`call_faults`], [`session`] | one call: its faults, what it reads, its changes, commit |
//! | [`vm`], [`boot`] | one VM and the course of its runs |
//! | [`store`], [`stored`] | files or memory, all or nothing |
//! | [`journal`], [`audit`], [`host`] | what really happened, for tests |
//! | [`serial`], [`page`] | logs and the page behind a port |
//!
//! Deliberately absent: dstack's automatic restart of exited VMs (use [`FaultKind::RebootHost`]),
//! container logs, statistics, host ports that can be reached.

mod audit;
mod boot;
mod call_faults;
mod calls;
mod config;
mod draw;
mod faults;
mod host;
mod inside;
mod journal;
mod page;
mod serial;
mod session;
mod store;
mod stored;
#[cfg(test)]
mod tests;
mod vm;
mod vm_faults;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use async_trait::async_trait;
use casemate_core::{
    attestation::{GuestEvidence, ReportData},
    cvm::{Boot, ObservedVm, VmPower},
    id::EngineVmId,
    time::{Clock, Entropy, Timestamp},
};
use casemate_verify::simulate::DevelopmentRoot;

pub use self::{
    audit::{Audit, MarkAudit, Overlap, Removed, SimVm, Started},
    config::{Journal, SimConfig},
    faults::{Fault, FaultKind, Faults},
    host::SimHost,
    journal::{Answer, Call, Effect, Method, StartedBy},
};
use self::{
    call_faults::{Shared, Target},
    serial::Serial,
    session::{Session, Trouble},
    store::Store,
    vm::Vm,
};
use super::{
    CallError, Dial, DialError, GuestContainer, GuestNetwork, GuestReported, GuestSystem,
    Inventory, LogQuery, LogStream, Mark, Node, Tee, VmConfig,
    development::{self, DevelopmentGuest, Ppid},
};

/// As dstack's simulated platforms show it.
const SIMULATED_PPID: Ppid = [0; 16];

/// A handle of a simulated host; clones are handles of the same one.
#[derive(Debug, Clone)]
pub struct SimNode {
    shared: Arc<Shared>,
}

impl SimNode {
    /// The host in this directory, which is made if need be. Several processes may open it.
    pub fn open(
        dir: PathBuf,
        config: SimConfig,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> io::Result<Self> {
        let shared =
            Shared { store: Store::directory(dir)?, config, clock, entropy, root: OnceLock::new() };
        shared.open()?;
        Ok(Self { shared: Arc::new(shared) })
    }

    /// A host that lasts as long as its last handle.
    pub fn in_memory(config: SimConfig, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let shared =
            Shared { store: Store::memory(), config, clock, entropy, root: OnceLock::new() };
        Self { shared: Arc::new(shared) }
    }

    /// The root of its guests' quotes; fixed by the first call. Without one it is a root that everybody knows.
    pub fn set_development_root(&self, root: Arc<DevelopmentRoot>) {
        self.shared.root.get_or_init(|| root);
    }

    /// The operator's side of this host: what really happened, and faults.
    pub fn host(&self) -> SimHost {
        SimHost::new(self.shared.store.clone(), Arc::clone(&self.shared.clock))
    }

    async fn call<T: Send + 'static>(
        &self,
        method: Method,
        target: Target,
        op: impl Fn(&mut Session<'_>) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, CallError> {
        self.shared.run(move |shared| shared.call(method, &target, &op)).await
    }

    /// A call about one VM, which is there, or the call is refused.
    async fn call_vm<T: Send + 'static>(
        &self,
        method: Method,
        vm: &EngineVmId,
        op: impl Fn(&mut Session<'_>, Vm) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, CallError> {
        let id = vm.clone();
        self.call(method, Target::Vm(vm.clone()), move |session| {
            let vm = session.get(&id)?.ok_or_else(|| Trouble::refused("VM not found"))?;
            op(session, vm)
        })
        .await
    }

    /// A call to the guest agent of a VM, which has to be up.
    async fn ask_guest<T: Send + 'static>(
        &self,
        vm: &EngineVmId,
        answer: impl Fn(&Vm, Timestamp) -> T + Send + 'static,
    ) -> Result<T, CallError> {
        self.call_vm(Method::GuestFacts, vm, move |session, vm| {
            if !vm.agent_up(session.now) {
                return Err(Trouble::refused(not_up(&vm.observed(session.now))));
            }
            Ok(answer(&vm, session.now))
        })
        .await
    }
}

#[async_trait]
impl Node for SimNode {
    async fn inventory(&self) -> Result<Inventory, CallError> {
        self.call(Method::Inventory, Target::Host, |session| Ok(inventory(session.config))).await
    }

    async fn list(&self) -> Result<Vec<(Mark, ObservedVm)>, CallError> {
        self.call(Method::List, Target::Host, |session| {
            let now = session.now;
            Ok(session.all(|vm| (vm.config.mark.clone(), vm.observed(now)))?)
        })
        .await
    }

    async fn find(&self, mark: &Mark) -> Result<Vec<ObservedVm>, CallError> {
        let uuid = mark.uuid();
        self.call(Method::Find, Target::Mark(mark.clone()), move |session| {
            let now = session.now;
            Ok(session.marked(uuid)?.iter().map(|vm| vm.observed(now)).collect())
        })
        .await
    }

    async fn create(&self, config: &VmConfig) -> Result<EngineVmId, CallError> {
        let target = Target::Mark(config.mark.clone());
        let config = Arc::new(config.clone());
        self.call(Method::Create, target, move |session| calls::create(session, &config)).await
    }

    async fn push(&self, vm: &EngineVmId, config: &VmConfig) -> Result<(), CallError> {
        let config = config.clone();
        self.call_vm(Method::Push, vm, move |session, vm| calls::push(session, vm, &config)).await
    }

    async fn start(&self, vm: &EngineVmId) -> Result<(), CallError> {
        self.call_vm(Method::Start, vm, calls::start).await
    }

    async fn stop(&self, vm: &EngineVmId) -> Result<(), CallError> {
        self.call_vm(Method::Stop, vm, |session, vm| {
            calls::stop(session, vm);
            Ok(())
        })
        .await
    }

    async fn shutdown(&self, vm: &EngineVmId) -> Result<(), CallError> {
        self.call_vm(Method::Shutdown, vm, calls::shutdown).await
    }

    async fn remove(&self, vm: &EngineVmId) -> Result<(), CallError> {
        self.call_vm(Method::Remove, vm, |session, vm| {
            calls::remove(session, vm);
            Ok(())
        })
        .await
    }

    async fn resolve_port(&self, vm: &EngineVmId, port: u16) -> Result<Dial, DialError> {
        let dialled = self.call_vm(Method::Dial, vm, move |session, vm| {
            if vm.serves(session.now) {
                return Ok(Dial::Page(page::page(&vm, port, session.now)));
            }
            Err(Trouble::refused(not_up(&vm.observed(session.now))))
        });
        dialled.await.map_err(|error| match error {
            CallError::Rejected(text) => DialError::NotUp(text),
            CallError::Unreachable(text) | CallError::Unknown(text) => DialError::Unreachable(text),
        })
    }

    async fn evidence(
        &self,
        vm: &EngineVmId,
        nonce: Option<&ReportData>,
    ) -> Result<GuestEvidence, CallError> {
        let nonce = nonce.copied();
        let root = self.shared.development_root()?;
        self.call_vm(Method::Evidence, vm, move |session, vm| {
            if !vm.agent_up(session.now) {
                return Err(Trouble::refused(not_up(&vm.observed(session.now))));
            }
            let guest = development_guest(session.config, &vm, session.now);
            let evidence = guest.evidence(&root, nonce.as_ref());
            evidence.map_err(|error| Trouble::refused(error.to_string()))
        })
        .await
    }

    async fn guest_containers(&self, vm: &EngineVmId) -> Result<Vec<GuestContainer>, CallError> {
        self.ask_guest(vm, inside::containers).await
    }

    async fn guest_system(&self, vm: &EngineVmId) -> Result<GuestSystem, CallError> {
        self.ask_guest(vm, inside::system).await
    }

    async fn guest_network(&self, vm: &EngineVmId) -> Result<GuestNetwork, CallError> {
        self.ask_guest(vm, |_, _| inside::network()).await
    }

    async fn logs(&self, vm: &EngineVmId, query: LogQuery) -> Result<LogStream, CallError> {
        let look = |session: &mut Session<'_>, vm: Vm| Ok(Serial::of(&vm, session.now));
        let serial = self.call_vm(Method::Logs, vm, look).await?;
        Ok(serial::stream(Arc::clone(&self.shared), vm.clone(), &serial, query))
    }
}

fn not_up(observed: &ObservedVm) -> String {
    match (observed.power, &observed.boot) {
        (VmPower::Running, Boot::Progress(text)) => format!("the CVM is starting: {text}"),
        (VmPower::Running, Boot::Failed(text)) => format!("the CVM did not boot: {text}"),
        (VmPower::Running, Boot::Unknown | Boot::Done) => "the CVM is starting".to_owned(),
        (VmPower::Stopping, _) => "the CVM is shutting down".to_owned(),
        (VmPower::Exited | VmPower::Stopped, _) => "the CVM is stopped".to_owned(),
        (VmPower::Removing, _) => "the CVM is being removed".to_owned(),
    }
}

/// The guest that runs in this VM.
fn development_guest(config: &SimConfig, vm: &Vm, now: Timestamp) -> DevelopmentGuest {
    let image = config.images.iter().find(|image| image.name == vm.config.image);
    DevelopmentGuest {
        app_id: vm.config.app_id,
        compose_hash: vm.run.as_ref().map_or(vm.config.compose_hash, |run| run.compose_hash),
        instance_id: vm.instance_id(now),
        app_compose: vm.config.compose.clone(),
        key_provider: if vm.config.kms.is_some() { "kms" } else { "none" },
        image: vm.config.image.clone(),
        os_image_hash: image.and_then(|image| image.os_image_hash.clone()).unwrap_or_default(),
        vcpu: vm.config.vcpu,
        memory_mb: vm.config.memory_mb,
        ppid: SIMULATED_PPID,
    }
}

fn inventory(config: &SimConfig) -> Inventory {
    Inventory {
        tee: Tee::Simulated,
        version: "0.6.0-sim".to_owned(),
        device_id: development::device_id(&SIMULATED_PPID),
        guest_reported: GuestReported::default(),
        fmspc: None,
        images: config.images.clone(),
        capacity: config.capacity,
        capabilities: config.capabilities.clone(),
        gateway_domain: None,
        gpus: Vec::new(),
        probe: None,
        notes: vec!["simulated host: no CVM of this node runs anything".to_owned()],
    }
}
