//! A world whose VMs are [`Guest`]s, an app with several instances in it, and the gateway before it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, Request, Response, StatusCode},
};
use casemate_core::{
    attestation::{GuestEvidence, ReportData},
    cvm::{ObservedVm, Spec, StopMode},
    id::{AppId, CvmRef, EngineVmId, VmUuid},
    operation::OperationKind,
};
use casemate_engine::node::{
    CallError, Dial, DialError, GuestContainer, GuestNetwork, GuestSystem, Inventory, LogQuery,
    LogStream, Mark, Node, VmConfig, sim::SimNode,
};
use casemate_server::{gateway::Gateway, system::SystemEntropy, work};
use casemate_store::{
    cvms::{self, Cvm, NewCvm},
    lease,
};
use casemate_testing::wait::poll;
use serde_json::{Value, json};

use crate::readiness::{
    common::{Parts, TestNode, World},
    guest::Guest,
};

/// Nothing here takes as long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A simulated host whose guests answer; each publishes port 8080.
#[derive(Debug)]
pub struct Host {
    sim: SimNode,
    guests: Mutex<BTreeMap<EngineVmId, Arc<Guest>>>,
}

impl Host {
    fn guest(&self, vm: &EngineVmId) -> Arc<Guest> {
        let mut guests = self.guests.lock().unwrap();
        guests.entry(vm.clone()).or_insert_with(|| Guest::new(&vm.0)).clone()
    }
}

#[async_trait]
impl Node for Host {
    async fn inventory(&self) -> Result<Inventory, CallError> {
        self.sim.inventory().await
    }
    async fn list(&self) -> Result<Vec<(Mark, ObservedVm)>, CallError> {
        self.sim.list().await
    }
    async fn find(&self, mark: &Mark) -> Result<Vec<ObservedVm>, CallError> {
        self.sim.find(mark).await
    }
    async fn create(&self, config: &VmConfig) -> Result<EngineVmId, CallError> {
        self.sim.create(config).await
    }
    async fn push(&self, vm: &EngineVmId, config: &VmConfig) -> Result<(), CallError> {
        self.sim.push(vm, config).await
    }
    async fn start(&self, vm: &EngineVmId) -> Result<(), CallError> {
        self.guest(vm).boot().await;
        self.sim.start(vm).await
    }
    async fn stop(&self, vm: &EngineVmId) -> Result<(), CallError> {
        self.guest(vm).kill();
        self.sim.stop(vm).await
    }
    async fn shutdown(&self, vm: &EngineVmId) -> Result<(), CallError> {
        self.guest(vm).kill();
        self.sim.shutdown(vm).await
    }
    async fn remove(&self, vm: &EngineVmId) -> Result<(), CallError> {
        self.guest(vm).kill();
        self.sim.remove(vm).await
    }
    async fn resolve_port(&self, vm: &EngineVmId, port: u16) -> Result<Dial, DialError> {
        self.sim.resolve_port(vm, port).await?;
        let address = self.guest(vm).address();
        match (port, address) {
            (8080, Some(address)) => Ok(Dial::Tcp(address)),
            // As of an engine that keeps the address of a container that died.
            (8080, None) => Ok(Dial::Tcp(([127, 0, 0, 1], 1).into())),
            (port, _) => Err(DialError::NotPublished { port, published: vec![8080] }),
        }
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

/// A compose file with these labels.
pub fn compose(labels: &str) -> String {
    format!(
        "services:\n  web:\n    image: busybox:1.36\n    ports: [\"8080:80\"]\n    labels: {labels}\n"
    )
}

/// Looks every second, and gives up at the first that fails.
pub const HEALTHZ: &str =
    "{casemate.ready.http: 8080/healthz, casemate.ready.interval: 1, casemate.ready.threshold: 1}";

pub struct Stage {
    pub world: World,
    pub host: Arc<Host>,
    pub gateway: Gateway,
    pub app: AppId,
    count: usize,
}

/// An answer of the gateway.
#[derive(Debug, Clone)]
pub struct Said {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Said {
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        self.text
    }

    #[track_caller]
    pub fn refused(self, status: u16, word: &str) -> Self {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert!(self.text.contains(word), "{self:?}");
        self
    }
}

pub async fn read(response: Response<Body>) -> Said {
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Said { status: parts.status, headers: parts.headers, text }
}

impl Stage {
    /// An app with so many instances, all running.
    pub async fn with(instances: usize, labels: &str) -> Self {
        let parts = Parts::fresh(tempfile::tempdir().unwrap(), Arc::new(SystemEntropy)).await;
        let made: Mutex<Option<Arc<Host>>> = Mutex::default();
        let reach = |sim: SimNode| -> Arc<dyn Node> {
            let host = Arc::new(Host { sim, guests: Mutex::default() });
            *made.lock().unwrap() = Some(host.clone());
            host
        };
        let world = Box::pin(World::of(parts, vec![TestNode::sim()], reach, |_| {})).await;
        let host = made.into_inner().unwrap().unwrap();
        let body =
            json!({ "name": "web-1", "compose_file": { "docker_compose_file": compose(labels) } });
        let made = world.post("/cvms/provision", body).await.ok();
        let body = json!({ "app_id": made["app_id"], "compose_hash": made["compose_hash"] });
        world.post("/cvms", body).await.ok();
        let app = made["app_id"].as_str().unwrap().parse().unwrap();
        let gateway = Gateway::new(world.ctx.clone(), "localhost", None);
        let mut stage = Self { world, host, gateway, app, count: 1 };
        for _ in 1..instances {
            stage.replicate().await;
        }
        stage.world.settle().await;
        stage
    }

    /// One more instance, under way.
    async fn replicate(&mut self) {
        self.count += 1;
        let first = self.cvm("web-1").await;
        let (ctx, spec) = (&self.world.ctx, &first.spec);
        let new = NewCvm {
            reference: CvmRef::from_random(ctx.entropy.u64()),
            uuid: VmUuid::from_uuid(ctx.entropy.uuid_v4()),
            workspace: first.workspace,
            created_by: first.created_by,
            node: first.node,
            kms: first.kms.clone(),
            spec: Spec { name: format!("web-{}", self.count), ..spec.clone() },
            sealed_env: None,
            stop: StopMode::Graceful { timeout_s: 60, force: true },
        };
        let mut tx = ctx.db.begin().await.unwrap();
        let cvm = tx.insert_cvm(new, ctx.now()).await.unwrap().cvm;
        let (id, kind) = (ctx.operation_id(), OperationKind::Create);
        tx.open_operation(id, cvm.id, kind, 1, cvm.created_by, ctx.now()).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub async fn cvm(&self, name: &str) -> Cvm {
        let found = cvms::for_gateway(&self.world.ctx.db, self.app.as_bytes()).await.unwrap();
        found.into_iter().find(|cvm| cvm.spec.name == name).unwrap()
    }

    /// The guest of a CVM.
    pub async fn guest(&self, name: &str) -> Arc<Guest> {
        let cvm = self.cvm(name).await;
        let casemate_core::cvm::EngineState::Present { vm } = &cvm.status.engine else {
            panic!("{name} has no VM")
        };
        self.host.guest(vm)
    }

    pub fn request(&self, method: &str, path: &str, body: Body) -> Request<Body> {
        Request::builder()
            .method(method)
            .uri(path)
            .header("host", format!("{}-8080.localhost", self.app))
            .body(body)
            .unwrap()
    }

    pub async fn ask(&self, method: &str, path: &str) -> Said {
        let request = self.request(method, path, Body::empty());
        read(self.gateway.answer(request).await.unwrap()).await
    }

    /// The same in a task.
    pub fn spawn(&self, method: &str, path: &str) -> tokio::task::JoinHandle<Said> {
        let (gateway, request) = (self.gateway.clone(), self.request(method, path, Body::empty()));
        tokio::spawn(async move { read(gateway.answer(request).await.unwrap()).await })
    }

    /// Asks until something holds of the answers.
    pub async fn until(&self, what: &str, mut holds: impl FnMut(&Said) -> bool) {
        let mut said = None;
        let held = poll(PATIENCE, async || {
            let now = said.insert(self.ask("GET", "/who").await);
            holds(now).then_some(())
        });
        assert!(held.await.is_some(), "never {what}: {said:?}");
    }

    /// Works in real time until nothing is due or leased: what goes on beside it keeps its share.
    pub async fn settle_slowly(&self) {
        let deadline = Instant::now() + PATIENCE;
        while lease::busy(&self.world.ctx.db).await.unwrap() > 0 || self.step().await > 0 {
            assert!(Instant::now() < deadline, "the world does not come to rest");
            tokio::time::sleep(Duration::from_millis(2)).await;
            self.world.clock.advance_ms(2);
            self.step().await;
        }
    }

    /// Works on what is due now; how many turns that took.
    pub async fn step(&self) -> usize {
        Box::pin(work::driver::settle_now(&self.world.ctx, "test")).await
    }

    pub async fn status(&self, name: &str) -> String {
        let seen = self.world.get(&format!("/cvms/{name}")).await.ok();
        seen["status"].as_str().unwrap().to_owned()
    }

    pub async fn send(&self, method: &str, path: &str, body: Value) -> Value {
        self.world.call(method, path, "2026-01-21", Some(body)).await.ok()
    }
}
