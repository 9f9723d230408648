//! A node behind a limit of calls at a time and a circuit breaker, so that a host that hangs or refuses
//! costs nothing but its own calls.
//!
//! The breaker opens when several calls in a row got no answer: unreachable, or given up by the caller.
//! While it is open every call fails at once, except [`Node::inventory`]: that is how the node's watch
//! tries again, and one answer closes the breaker. A call that the host answered, also with a refusal,
//! closes it too.
//!
//! The driver may be absent: a node is known before its host was reached for the first time.
//!
//! Deliberately absent: time limits. The caller has one, and a caller that leaves counts as no answer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use async_trait::async_trait;
use casemate_core::{
    attestation::{GuestEvidence, ReportData},
    cvm::ObservedVm,
    drift::ReportedConfig,
    id::EngineVmId,
    preflight::Probe,
    time::Clock,
};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    CallError, Dial, DialError, GuestContainer, GuestNetwork, GuestSystem, Inventory, ListMark,
    Listed, LogQuery, LogStream, Mark, Node, VmConfig,
};

/// Calls without an answer after which no other is tried.
const BREAKS_AFTER: u32 = 3;

/// A node with its limits.
#[derive(Debug)]
pub struct GuardedNode {
    driver: RwLock<Result<Arc<dyn Node>, String>>,
    permits: Semaphore,
    breaker: Mutex<Breaker>,
}

#[derive(Debug, Default)]
struct Breaker {
    /// Calls in a row that got no answer.
    silent: u32,
    /// What the last of them said.
    why: String,
}

impl GuardedNode {
    /// A node whose driver is not there yet, for the reason given; so many calls at a time at most.
    pub fn new(why: &str, calls: usize) -> Self {
        Self {
            driver: RwLock::new(Err(why.to_owned())),
            permits: Semaphore::new(calls.max(1)),
            breaker: Mutex::default(),
        }
    }

    /// Calls go to this driver from now on, or fail for this reason.
    pub fn connect(&self, driver: Result<Arc<dyn Node>, String>) {
        *self.driver.write().unwrap_or_else(PoisonError::into_inner) = driver;
    }

    /// Whether there is a driver.
    pub fn is_connected(&self) -> bool {
        self.driver.read().unwrap_or_else(PoisonError::into_inner).is_ok()
    }

    /// Whether calls fail at once.
    pub fn is_open(&self) -> bool {
        self.breaker().silent >= BREAKS_AFTER
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn driver(&self) -> Result<Arc<dyn Node>, CallError> {
        let driver = self.driver.read().unwrap_or_else(PoisonError::into_inner);
        driver.clone().map_err(CallError::Unreachable)
    }

    /// Begins a call of a lifecycle.
    async fn call(&self) -> Result<UnderWay<'_>, CallError> {
        if self.is_open() {
            let why = self.breaker().why.clone();
            return Err(CallError::Unreachable(why));
        }
        self.begin().await
    }

    /// Begins a call, whatever the breaker says.
    async fn begin(&self) -> Result<UnderWay<'_>, CallError> {
        let driver = self.driver()?;
        let permit = self.permits.acquire().await;
        let permit = permit.map_err(|closed| CallError::Unreachable(closed.to_string()))?;
        Ok(UnderWay { node: self, driver, ended: false, _permit: permit })
    }
}

/// A call under way. Dropped before its end, it got no answer.
struct UnderWay<'a> {
    node: &'a GuardedNode,
    driver: Arc<dyn Node>,
    ended: bool,
    _permit: SemaphorePermit<'a>,
}

impl UnderWay<'_> {
    fn end<T>(mut self, outcome: Result<T, CallError>) -> Result<T, CallError> {
        self.ended = true;
        let mut breaker = self.node.breaker();
        match &outcome {
            Err(CallError::Unreachable(why)) => {
                breaker.silent = breaker.silent.saturating_add(1);
                breaker.why.clone_from(why);
            }
            Ok(_) | Err(CallError::Rejected(_) | CallError::Unknown(_)) => breaker.silent = 0,
        }
        drop(breaker);
        outcome
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let mut breaker = self.node.breaker();
            breaker.silent = breaker.silent.saturating_add(1);
            "the host does not answer in time".clone_into(&mut breaker.why);
        }
    }
}

#[async_trait]
impl Node for GuardedNode {
    async fn inventory(&self) -> Result<Inventory, CallError> {
        let call = self.begin().await?;
        let outcome = call.driver.inventory().await;
        call.end(outcome)
    }

    async fn list(&self) -> Result<Vec<(Mark, ObservedVm)>, CallError> {
        let call = self.call().await?;
        let outcome = call.driver.list().await;
        call.end(outcome)
    }

    async fn list_if_changed(&self, known: Option<ListMark>) -> Result<Option<Listed>, CallError> {
        let call = self.call().await?;
        let outcome = call.driver.list_if_changed(known).await;
        call.end(outcome)
    }

    async fn probe(&self, clock: &dyn Clock) -> Result<Option<Probe>, CallError> {
        let call = self.call().await?;
        let outcome = call.driver.probe(clock).await;
        call.end(outcome)
    }

    async fn configs(&self) -> Result<Vec<(Mark, EngineVmId, ReportedConfig)>, CallError> {
        let call = self.call().await?;
        let outcome = call.driver.configs().await;
        call.end(outcome)
    }

    async fn find(&self, mark: &Mark) -> Result<Vec<ObservedVm>, CallError> {
        let call = self.call().await?;
        let outcome = call.driver.find(mark).await;
        call.end(outcome)
    }

    async fn create(&self, config: &VmConfig) -> Result<EngineVmId, CallError> {
        let call = self.call().await?;
        let outcome = call.driver.create(config).await;
        call.end(outcome)
    }

    async fn push(&self, vm: &EngineVmId, config: &VmConfig) -> Result<(), CallError> {
        let call = self.call().await?;
        let outcome = call.driver.push(vm, config).await;
        call.end(outcome)
    }

    async fn start(&self, vm: &EngineVmId) -> Result<(), CallError> {
        let call = self.call().await?;
        let outcome = call.driver.start(vm).await;
        call.end(outcome)
    }

    async fn stop(&self, vm: &EngineVmId) -> Result<(), CallError> {
        let call = self.call().await?;
        let outcome = call.driver.stop(vm).await;
        call.end(outcome)
    }

    async fn shutdown(&self, vm: &EngineVmId) -> Result<(), CallError> {
        let call = self.call().await?;
        let outcome = call.driver.shutdown(vm).await;
        call.end(outcome)
    }

    async fn remove(&self, vm: &EngineVmId) -> Result<(), CallError> {
        let call = self.call().await?;
        let outcome = call.driver.remove(vm).await;
        call.end(outcome)
    }

    async fn evidence(
        &self,
        vm: &EngineVmId,
        nonce: Option<&ReportData>,
    ) -> Result<GuestEvidence, CallError> {
        let call = self.call().await?;
        let outcome = call.driver.evidence(vm, nonce).await;
        call.end(outcome)
    }

    async fn guest_containers(&self, vm: &EngineVmId) -> Result<Vec<GuestContainer>, CallError> {
        let call = self.call().await?;
        let outcome = call.driver.guest_containers(vm).await;
        call.end(outcome)
    }

    async fn guest_system(&self, vm: &EngineVmId) -> Result<GuestSystem, CallError> {
        let call = self.call().await?;
        let outcome = call.driver.guest_system(vm).await;
        call.end(outcome)
    }

    async fn guest_network(&self, vm: &EngineVmId) -> Result<GuestNetwork, CallError> {
        let call = self.call().await?;
        let outcome = call.driver.guest_network(vm).await;
        call.end(outcome)
    }

    /// Guests may answer though the host's API does not, and requests to them are no calls of a
    /// lifecycle: neither limit applies.
    async fn resolve_port(&self, vm: &EngineVmId, port: u16) -> Result<Dial, DialError> {
        let driver = self.driver().map_err(|error| DialError::Unreachable(error.to_string()))?;
        driver.resolve_port(vm, port).await
    }

    /// As for ports.
    async fn logs(&self, vm: &EngineVmId, query: LogQuery) -> Result<LogStream, CallError> {
        self.driver()?.logs(vm, query).await
    }
}

#[cfg(test)]
mod tests {
    use casemate_core::time::{Clock, Entropy, Timestamp};

    use super::*;
    use crate::node::sim::{Fault, FaultKind, Faults, SimConfig, SimNode};

    #[derive(Debug)]
    struct Still;

    impl Clock for Still {
        fn now(&self) -> Timestamp {
            Timestamp::from_micros(1)
        }
    }

    impl Entropy for Still {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(7);
        }
    }

    fn host() -> SimNode {
        SimNode::in_memory(SimConfig::fast(), Arc::new(Still), Arc::new(Still))
    }

    fn silent(host: &SimNode) {
        let fault = Fault { count: None, ..Fault::new(FaultKind::Unreachable) };
        host.host().set_faults(Faults { faults: vec![fault], ..Faults::default() }).unwrap();
    }

    #[tokio::test]
    async fn a_node_without_a_driver_says_why() {
        let node = GuardedNode::new("no engine answers", 4);
        let error = node.list().await.unwrap_err();
        assert_eq!(error, CallError::Unreachable("no engine answers".to_owned()));
        node.connect(Ok(Arc::new(host())));
        assert_eq!(node.list().await.unwrap().len(), 0);
    }

    #[tokio::test]
    async fn silence_opens_the_breaker_and_one_answer_closes_it() {
        let host = host();
        let node = GuardedNode::new("", 4);
        node.connect(Ok(Arc::new(host.clone())));
        silent(&host);
        for _ in 0..BREAKS_AFTER {
            assert!(!node.is_open());
            node.list().await.unwrap_err();
        }
        assert!(node.is_open());
        host.host().clear_faults().unwrap();
        let error = node.list().await.unwrap_err();
        assert_eq!(error, CallError::Unreachable("simulated fault".to_owned()), "not tried");
        node.inventory().await.unwrap();
        node.list().await.unwrap();
    }

    #[tokio::test]
    async fn a_caller_that_leaves_got_no_answer_and_gives_its_place_back() {
        let node = GuardedNode::new("", 1);
        node.connect(Ok(Arc::new(host())));
        for _ in 0..BREAKS_AFTER {
            drop(node.begin().await.unwrap());
        }
        assert!(node.is_open());
        assert_eq!(node.permits.available_permits(), 1);
    }
}
