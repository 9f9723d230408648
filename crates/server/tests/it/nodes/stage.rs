//! A service with many simulated hosts, reached as the registry reaches them, with every worker running
//! and a clock that goes on by itself.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use casemate_core::{
    attestation::{GuestEvidence, ReportData},
    cvm::ObservedVm,
    id::EngineVmId,
};
use casemate_engine::node::{
    CallError, Dial, DialError, GuestContainer, GuestNetwork, GuestSystem, Inventory, LogQuery,
    LogStream, Mark, Node, VmConfig,
    guard::GuardedNode,
    sim::{Fault, FaultKind, SimNode},
};
use casemate_server::{
    nodes::{
        open::Opener,
        watch::{self, Connect},
    },
    system::SystemEntropy,
    work::driver,
};
use casemate_store::nodes;
use casemate_testing::wait::poll;
use serde_json::{Value, json};
use tokio::sync::watch::{Receiver, Sender};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::common::{Parts, TestNode, World, provision_body};

/// Longer than anything takes that is not stuck; shorter than a call that hangs.
pub const PATIENCE: Duration = Duration::from_secs(150);

/// What a host does to calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// As it should.
    Answers,
    /// They get no answer until this ends; then the connection breaks.
    Hangs,
}

/// A simulated host that can hang on every call.
#[derive(Debug)]
struct Host {
    sim: SimNode,
    manner: Receiver<Manner>,
}

impl Host {
    async fn pass(&self) -> Result<(), CallError> {
        let mut manner = self.manner.clone();
        if *manner.borrow() == Manner::Answers {
            return Ok(());
        }
        // The sender lives as long as the stage.
        let _ = manner.wait_for(|manner| *manner == Manner::Answers).await;
        Err(CallError::Unknown("the connection broke".to_owned()))
    }
}

#[async_trait]
impl Node for Host {
    async fn inventory(&self) -> Result<Inventory, CallError> {
        self.pass().await?;
        self.sim.inventory().await
    }
    async fn list(&self) -> Result<Vec<(Mark, ObservedVm)>, CallError> {
        self.pass().await?;
        self.sim.list().await
    }
    async fn find(&self, mark: &Mark) -> Result<Vec<ObservedVm>, CallError> {
        self.pass().await?;
        self.sim.find(mark).await
    }
    async fn create(&self, config: &VmConfig) -> Result<EngineVmId, CallError> {
        self.pass().await?;
        self.sim.create(config).await
    }
    async fn push(&self, vm: &EngineVmId, config: &VmConfig) -> Result<(), CallError> {
        self.pass().await?;
        self.sim.push(vm, config).await
    }
    async fn start(&self, vm: &EngineVmId) -> Result<(), CallError> {
        self.pass().await?;
        self.sim.start(vm).await
    }
    async fn stop(&self, vm: &EngineVmId) -> Result<(), CallError> {
        self.pass().await?;
        self.sim.stop(vm).await
    }
    async fn shutdown(&self, vm: &EngineVmId) -> Result<(), CallError> {
        self.pass().await?;
        self.sim.shutdown(vm).await
    }
    async fn remove(&self, vm: &EngineVmId) -> Result<(), CallError> {
        self.pass().await?;
        self.sim.remove(vm).await
    }
    async fn resolve_port(&self, vm: &EngineVmId, port: u16) -> Result<Dial, DialError> {
        self.sim.resolve_port(vm, port).await
    }
    async fn evidence(
        &self,
        vm: &EngineVmId,
        nonce: Option<&ReportData>,
    ) -> Result<GuestEvidence, CallError> {
        self.sim.evidence(vm, nonce).await
    }
    async fn guest_containers(&self, vm: &EngineVmId) -> Result<Vec<GuestContainer>, CallError> {
        self.sim.guest_containers(vm).await
    }
    async fn guest_system(&self, vm: &EngineVmId) -> Result<GuestSystem, CallError> {
        self.sim.guest_system(vm).await
    }
    async fn guest_network(&self, vm: &EngineVmId) -> Result<GuestNetwork, CallError> {
        self.sim.guest_network(vm).await
    }
    async fn logs(&self, vm: &EngineVmId, query: LogQuery) -> Result<LogStream, CallError> {
        self.sim.logs(vm, query).await
    }
}

/// The service and its hosts.
pub struct Stage {
    pub world: World,
    manners: Vec<Sender<Manner>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Names of hosts: the world wants them for ever.
const NAMES: [&str; 20] = [
    "rack-01", "rack-02", "rack-03", "rack-04", "rack-05", "rack-06", "rack-07", "rack-08",
    "rack-09", "rack-10", "rack-11", "rack-12", "rack-13", "rack-14", "rack-15", "rack-16",
    "rack-17", "rack-18", "rack-19", "rack-20",
];

impl Stage {
    /// With so many hosts, at most 20.
    pub async fn with_hosts(count: usize) -> Self {
        let hosts = NAMES.iter().take(count).map(|&name| TestNode { name, ..TestNode::sim() });
        let guards: Mutex<Vec<Arc<GuardedNode>>> = Mutex::default();
        let manners: Mutex<Vec<Sender<Manner>>> = Mutex::default();
        let reach = |sim: SimNode| {
            let sender = Sender::new(Manner::Answers);
            let host = Host { sim, manner: sender.subscribe() };
            let guard = Arc::new(GuardedNode::new("", 32));
            guard.connect(Ok(Arc::new(host)));
            guards.lock().unwrap().push(guard.clone());
            manners.lock().unwrap().push(sender);
            guard as Arc<dyn Node>
        };
        let dir = tempfile::tempdir().unwrap();
        let parts = Parts::fresh(dir, Arc::new(SystemEntropy)).await;
        let world = Box::pin(World::of(parts, hosts.collect(), reach, |config| {
            // A call that hangs outlasts everything that is waited for here.
            config.work.call_timeout_s = 600;
            config.work.lease_s = 1200;
            config.work.watch_nodes_s = 1;
        }))
        .await;
        let stage = Self {
            world,
            manners: manners.into_inner().unwrap(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        stage.run(guards.into_inner().unwrap()).await;
        stage
    }

    async fn run(&self, guards: Vec<Arc<GuardedNode>>) {
        let ctx = &self.world.ctx;
        let opener = Arc::new(Opener {
            config: ctx.config.clone(),
            kms: self.world.kms.clone(),
            clock: ctx.clock.clone(),
            entropy: ctx.entropy.clone(),
        });
        let rows = nodes::all(&ctx.db).await.unwrap();
        for ((node, row), guard) in ctx.fleet.all().into_iter().zip(rows).zip(guards) {
            let connect = Connect { opener: opener.clone(), guard, row };
            self.tasks.spawn(watch::run(ctx.clone(), node, connect, self.stop.clone()));
        }
        self.tasks.spawn(driver::run(ctx.clone(), "test".to_owned(), self.stop.clone()));
        let (clock, stop) = (self.world.clock.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            let mut at = Instant::now();
            while stop
                .run_until_cancelled(tokio::time::sleep(Duration::from_millis(2)))
                .await
                .is_some()
            {
                clock.advance(at.elapsed());
                at = Instant::now();
            }
        });
    }

    /// Host `number`, from 1 on, hangs on every call, or no more.
    pub fn hang(&self, number: usize, manner: Manner) {
        self.manners[number - 1].send_replace(manner);
    }

    /// Every call to host `number` ends in this.
    pub fn fail(&self, number: usize, kind: FaultKind) {
        let fault = Fault { count: None, ..Fault::new(kind) };
        self.world.sims[number - 1].host().set_faults(vec![fault]).unwrap();
    }

    pub fn heal(&self, number: usize) {
        self.world.sims[number - 1].host().clear_faults().unwrap();
        self.hang(number, Manner::Answers);
    }

    /// Provisions a CVM for a host; the body that commits it.
    pub async fn provision(&self, name: &str, number: usize) -> Value {
        let mut body = provision_body(name);
        body["node_id"] = json!(number);
        let made = self.world.post("/cvms/provision", body).await.ok();
        json!({ "app_id": made["app_id"], "compose_hash": made["compose_hash"] })
    }

    pub async fn commit(&self, body: Value) {
        self.world.post("/cvms", body).await.ok();
    }

    pub async fn deploy(&self, name: &str, number: usize) {
        let body = self.provision(name, number).await;
        self.commit(body).await;
    }

    /// What the API says of a CVM; `None`: there is none.
    pub async fn cvm(&self, name: &str) -> Option<Value> {
        let reply = self.world.get(&format!("/cvms/{name}")).await;
        reply.status.is_success().then(|| reply.json())
    }

    /// Waits until the API says so of a CVM.
    pub async fn until(&self, name: &str, what: &str, holds: impl Fn(Option<&Value>) -> bool) {
        let mut seen = None;
        let held = poll(PATIENCE, async || {
            seen = self.cvm(name).await;
            holds(seen.as_ref()).then_some(())
        });
        assert!(held.await.is_some(), "{name} is not {what}: {seen:?}");
    }

    pub async fn until_running(&self, name: &str) {
        let runs = |cvm: &Value| cvm["status"] == "running" && cvm["in_progress"] == false;
        self.until(name, "running", |cvm| cvm.is_some_and(runs)).await;
    }

    pub async fn until_gone(&self, name: &str) {
        self.until(name, "gone", |cvm| cvm.is_none()).await;
    }

    pub async fn until_waiting(&self, name: &str) {
        let waits = |cvm: &Value| cvm["waiting_for"]["code"] == "node_unreachable";
        self.until(name, "waiting for its node", |cvm| cvm.is_some_and(waits)).await;
    }

    /// Names of the CVMs that have a VM on host `number`.
    pub fn vms(&self, number: usize) -> Vec<String> {
        let vms = self.world.sims[number - 1].host().vms().unwrap();
        let name = |mark: String| mark.split('.').next().unwrap_or_default().to_owned();
        let mut names: Vec<String> =
            vms.iter().map(|vm| name(vm.config.mark.to_string())).collect();
        names.sort();
        names
    }

    pub async fn end(self) {
        for manner in &self.manners {
            manner.send_replace(Manner::Answers);
        }
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
