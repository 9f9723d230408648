//! The way to a host, on which a process may die or be held up.

use std::{
    future::{Future, pending},
    sync::{Arc, Mutex},
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
};
use tokio::sync::Notify;

/// What befalls whoever calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Dies with the call not made.
    DiesBefore,
    /// Dies with the call made and not heard of.
    DiesAfter,
    /// Is held up, and the call is made late.
    LateCall,
    /// Is held up, and hears late of the call.
    LateAnswer,
}

/// A host with a fate for one of the calls to come.
#[derive(Debug)]
pub struct Frail {
    host: Arc<dyn Node>,
    plan: Mutex<Option<(u32, Fate)>>,
    /// Whoever called is dead: its future is to be dropped.
    pub died: Notify,
    /// Whoever called is held up, until [`Self::go_on`].
    pub held_up: Notify,
    pub go_on: Notify,
}

impl Frail {
    pub fn new(host: Arc<dyn Node>) -> Self {
        let [died, held_up, go_on] = [const { Notify::const_new() }; 3];
        Self { host, plan: Mutex::new(None), died, held_up, go_on }
    }

    /// What befalls a call to come: the number of calls that go well first, and the fate.
    pub fn plan(&self, plan: Option<(u32, Fate)>) {
        *self.plan.lock().unwrap() = plan;
    }

    fn fate(&self) -> Option<Fate> {
        let mut plan = self.plan.lock().unwrap();
        match plan.take() {
            Some((0, fate)) => Some(fate),
            Some((calls, fate)) => {
                *plan = Some((calls - 1, fate));
                None
            }
            None => None,
        }
    }

    async fn pass<T>(&self, call: impl Future<Output = T> + Send) -> T {
        let fate = self.fate();
        match fate {
            Some(Fate::DiesBefore) => self.die().await,
            Some(Fate::LateCall) => self.wait().await,
            _ => {}
        }
        let outcome = call.await;
        match fate {
            Some(Fate::DiesAfter) => self.die().await,
            Some(Fate::LateAnswer) => self.wait().await,
            _ => {}
        }
        outcome
    }

    async fn die(&self) {
        self.died.notify_one();
        pending::<()>().await;
    }

    async fn wait(&self) {
        self.held_up.notify_one();
        self.go_on.notified().await;
    }
}

#[async_trait]
impl Node for Frail {
    async fn inventory(&self) -> Result<Inventory, CallError> {
        self.host.inventory().await
    }

    async fn list(&self) -> Result<Vec<(Mark, ObservedVm)>, CallError> {
        self.host.list().await
    }

    async fn find(&self, mark: &Mark) -> Result<Vec<ObservedVm>, CallError> {
        self.pass(self.host.find(mark)).await
    }

    async fn create(&self, config: &VmConfig) -> Result<EngineVmId, CallError> {
        self.pass(self.host.create(config)).await
    }

    async fn push(&self, vm: &EngineVmId, config: &VmConfig) -> Result<(), CallError> {
        self.pass(self.host.push(vm, config)).await
    }

    async fn start(&self, vm: &EngineVmId) -> Result<(), CallError> {
        self.pass(self.host.start(vm)).await
    }

    async fn stop(&self, vm: &EngineVmId) -> Result<(), CallError> {
        self.pass(self.host.stop(vm)).await
    }

    async fn shutdown(&self, vm: &EngineVmId) -> Result<(), CallError> {
        self.pass(self.host.shutdown(vm)).await
    }

    async fn remove(&self, vm: &EngineVmId) -> Result<(), CallError> {
        self.pass(self.host.remove(vm)).await
    }

    async fn resolve_port(&self, vm: &EngineVmId, port: u16) -> Result<Dial, DialError> {
        self.host.resolve_port(vm, port).await
    }

    async fn evidence(
        &self,
        vm: &EngineVmId,
        nonce: Option<&ReportData>,
    ) -> Result<GuestEvidence, CallError> {
        self.host.evidence(vm, nonce).await
    }
    async fn guest_containers(&self, vm: &EngineVmId) -> Result<Vec<GuestContainer>, CallError> {
        self.host.guest_containers(vm).await
    }
    async fn guest_system(&self, vm: &EngineVmId) -> Result<GuestSystem, CallError> {
        self.host.guest_system(vm).await
    }
    async fn guest_network(&self, vm: &EngineVmId) -> Result<GuestNetwork, CallError> {
        self.host.guest_network(vm).await
    }
    async fn logs(&self, vm: &EngineVmId, query: LogQuery) -> Result<LogStream, CallError> {
        self.host.logs(vm, query).await
    }
}
