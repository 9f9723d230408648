mod faults;
mod kill;
mod life;
mod logs;
mod sequences;
mod trace;

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use casemate_core::{
    compose::app_compose,
    cvm::ObservedVm,
    id::{AppId, EngineVmId, VmUuid},
    time::{Clock, Entropy, Timestamp},
};
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{RngCore, SeedableRng},
};

use super::{Fault, Journal, SimConfig, SimHost, SimNode};
use crate::node::{Mark, Node, VmConfig};

/// A clock that stands still until it is told.
#[derive(Debug)]
pub(super) struct ManualClock(AtomicI64);

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

#[derive(Debug)]
pub(super) struct Seeded(Mutex<ChaCha20Rng>);

impl Seeded {
    pub(super) fn new(seed: u64) -> Self {
        Self(Mutex::new(ChaCha20Rng::seed_from_u64(seed)))
    }
}

impl Entropy for Seeded {
    fn fill(&self, buffer: &mut [u8]) {
        self.0.lock().unwrap().fill_bytes(buffer);
    }
}

/// A host, the clock that drives it, and the operator's view of it.
#[derive(Debug)]
pub(super) struct World {
    pub clock: Arc<ManualClock>,
    pub node: SimNode,
    pub host: SimHost,
}

impl World {
    /// In memory, with delays that do not vary.
    pub fn new() -> Self {
        Self::with(SimConfig { jitter_percent: 0, journal: Journal::All, ..SimConfig::default() })
    }

    pub fn with(config: SimConfig) -> Self {
        let clock = clock();
        let node = SimNode::in_memory(config, clock.clone(), Arc::new(Seeded::new(1)));
        Self { clock, host: node.host(), node }
    }

    pub fn in_dir(dir: &Path, config: SimConfig, clock: Arc<ManualClock>) -> Self {
        let entropy = Arc::new(Seeded::new(1));
        let node = SimNode::open(dir.to_owned(), config, clock.clone(), entropy).unwrap();
        Self { clock, host: node.host(), node }
    }

    pub fn pass(&self, millis: i64) {
        self.clock.0.fetch_add(millis * 1000, Ordering::SeqCst);
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn fault(&self, fault: Fault) {
        self.host.set_faults(vec![fault]).unwrap();
    }

    pub async fn create(&self, config: &VmConfig) -> EngineVmId {
        self.node.create(config).await.unwrap()
    }

    /// A VM that was started just now.
    pub async fn started(&self, config: &VmConfig) -> EngineVmId {
        let vm = self.create(config).await;
        self.node.start(&vm).await.unwrap();
        vm
    }

    /// A VM that is up.
    pub async fn booted(&self, config: &VmConfig) -> EngineVmId {
        let vm = self.started(config).await;
        self.pass(2000);
        vm
    }

    /// The only VM with this mark.
    pub async fn observed(&self, mark: &Mark) -> ObservedVm {
        let vms = self.node.find(mark).await.unwrap();
        assert_eq!(vms.len(), 1, "{vms:?}");
        vms.into_iter().next().unwrap()
    }
}

pub(super) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock(AtomicI64::new(1_767_225_600_000_000)))
}

pub(super) fn mark(n: u8) -> Mark {
    let uuid: VmUuid = format!("00000000-0000-4000-8000-0000000000{n:02x}").parse().unwrap();
    Mark::new(&format!("app-{n}"), uuid)
}

/// A configuration for the mark whose document holds this text.
pub(super) fn config(n: u8, text: &str) -> VmConfig {
    document(n, &serde_json::json!({ "docker_compose_file": text }))
}

pub(super) fn document(n: u8, json: &serde_json::Value) -> VmConfig {
    let compose = json.to_string();
    VmConfig {
        mark: mark(n),
        app_id: AppId::from_bytes([n; 20]),
        kms: None,
        compose_hash: app_compose::hash(&compose),
        compose,
        image: "dstack-0.5.5".to_owned(),
        vcpu: 1,
        memory_mb: 2048,
        disk_gb: 20,
        ports: vec![],
        sealed_env: None,
        env_is_new: false,
        user_config: None,
        hugepages: false,
        pin_numa: false,
        gpus: None,
        kms_urls: vec![],
        gateway_urls: vec![],
        gateway_domain: None,
        instance_seed: None,
    }
}

pub(super) const MILLISECOND: Duration = Duration::from_millis(1);
