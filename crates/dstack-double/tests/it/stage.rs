//! Hosts that listen, and drivers for them.

use std::{sync::Arc, time::Duration};

use casemate_core::{
    compose::app_compose,
    id::{AppId, VmUuid},
    time::{Clock, Entropy, Timestamp},
};
use casemate_dstack_double::{Host, Profile, router};
use casemate_engine::node::{
    Mark, Tee, VmConfig,
    dstack::{AccessFiles, DstackConfig, DstackNode},
    sim::{SimConfig, SimNode},
};
use tokio::task::JoinHandle;

pub const TOKEN: &str = "t0ken";

/// The time of the machine: the double runs as a program does.
#[derive(Debug)]
pub struct Real;

impl Clock for Real {
    #[expect(clippy::disallowed_methods, reason = "tests over sockets run in real time")]
    fn now(&self) -> Timestamp {
        let since =
            std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap())
    }
}

impl Entropy for Real {
    #[expect(clippy::disallowed_methods, reason = "tests over sockets run with real ids")]
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).unwrap();
    }
}

pub struct Stage {
    pub host: Arc<Host>,
    pub url: String,
    pub node: DstackNode,
    pub server: JoinHandle<()>,
    dir: tempfile::TempDir,
}

impl Stage {
    pub async fn new(profile: Profile) -> Self {
        let config = SimConfig::fast();
        let images = config.images.clone();
        let sim = SimNode::in_memory(config, Arc::new(Real), Arc::new(Real));
        let host = Arc::new(Host::new(profile, sim, images, Some(TOKEN)));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = router(host.clone());
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let dir = tempfile::tempdir().unwrap();
        secret(&dir.path().join("token"), TOKEN);
        let node = DstackNode::open(settings(&url, &dir)).await.unwrap();
        Self { host, url, node, server, dir }
    }

    /// Settings for another driver of the same host.
    pub fn settings(&self) -> DstackConfig {
        settings(&self.url, &self.dir)
    }
}

fn settings(url: &str, dir: &tempfile::TempDir) -> DstackConfig {
    DstackConfig {
        address: url.parse().unwrap(),
        files: AccessFiles { token: Some(dir.path().join("token")), ..AccessFiles::default() },
        guest_token_file: None,
        tee: Tee::Tdx,
        device_id: None,
        sealed_env: false,
        timeout: Duration::from_millis(1500),
    }
}

pub fn secret(path: &std::path::Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

pub fn config(name: &str) -> VmConfig {
    let compose = serde_json::json!({
        "manifest_version": 2, "name": name, "runner": "docker-compose",
        "docker_compose_file": "services:\n  web:\n    image: busybox\n",
    });
    let compose = compose.to_string();
    let mut id = [0; 16];
    Real.fill(&mut id);
    VmConfig {
        mark: Mark::new(name, VmUuid::from_uuid(uuid::Uuid::from_bytes(id))),
        app_id: AppId::from_bytes([1; 20]),
        kms: None,
        compose_hash: app_compose::hash(&compose),
        compose,
        image: "dstack-0.5.5".to_owned(),
        vcpu: 1,
        memory_mb: 2048,
        disk_gb: 10,
        ports: Vec::new(),
        sealed_env: None,
        env_is_new: false,
        user_config: None,
        hugepages: false,
        pin_numa: false,
        gpus: None,
        kms_urls: Vec::new(),
        gateway_urls: Vec::new(),
        gateway_domain: None,
        instance_seed: None,
    }
}
