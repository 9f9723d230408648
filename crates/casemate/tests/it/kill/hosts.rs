//! The simulated hosts under the process: one, and for moves another one. Their files outlive every process.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use casemate_dstack_double::{Host, Profile};
use casemate_engine::node::sim::{SimConfig, SimHost, SimNode};
use casemate_server::system::{SystemClock, SystemEntropy};
use casemate_testing::wait::poll;
use tokio::task::JoinHandle;

use super::instance::{Instance, PATIENCE};

/// What drives the hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// The `sim` node, in the process.
    Sim,
    /// The `dstack` node, over a socket.
    Dstack,
}

/// Name of the host that a CVM moves to.
pub const OTHER: &str = "other";

/// The hosts of one case.
pub struct Hosts {
    dir: PathBuf,
    /// The APIs of dstack-vmm over them, where the nodes are dstack nodes.
    vmms: Vec<Vmm>,
}

/// A double of dstack-vmm that outlives the process under test.
struct Vmm {
    url: String,
    server: JoinHandle<()>,
}

impl Vmm {
    async fn over(host: PathBuf) -> Self {
        let config =
            SimConfig { boot_ms: 30, shutdown_ms: 20, remove_ms: 300, ..SimConfig::default() };
        let images = config.images.clone();
        let sim = SimNode::open(host, config, Arc::new(SystemClock), Arc::new(SystemEntropy));
        let host = Host::new(Profile::newest(), sim.expect("the host's files"), images, None);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let app = casemate_dstack_double::router(Arc::new(host));
        let server =
            tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves") });
        Self { url, server }
    }
}

impl Drop for Vmm {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Hosts {
    pub async fn below(dir: &Path, driver: Driver) -> Self {
        let dir = dir.join("nodes");
        let mut vmms = Vec::new();
        if driver == Driver::Dstack {
            for name in ["sim", OTHER] {
                vmms.push(Vmm::over(dir.join(name)).await);
            }
        }
        Self { dir, vmms }
    }

    /// The host on which a CVM is made.
    pub fn first(&self) -> SimHost {
        self.host("sim")
    }

    pub fn other(&self) -> SimHost {
        self.host(OTHER)
    }

    fn host(&self, name: &str) -> SimHost {
        SimHost::open(self.dir.join(name), Arc::new(SystemClock)).expect("the host's files")
    }

    /// Starts the process with the first host, or with both.
    pub async fn start(
        &self,
        dir: &Path,
        with_other: bool,
        variables: &[(&str, &str)],
    ) -> Instance {
        let other = || format!(r#"{{name="{OTHER}",kind="sim",dir="{}"}}"#, self.host_dir(OTHER));
        let dstack = |(name, vmm): (&str, &Vmm)| {
            format!(
                r#"{{name="{name}",kind="dstack",url="{}",tee="tdx",limits={{disk_gb=500}}}}"#,
                vmm.url
            )
        };
        let count = if with_other { 2 } else { 1 };
        let names = ["rack", OTHER].into_iter().zip(&self.vmms).take(count);
        let mut nodes: Vec<String> = names.map(dstack).collect();
        let kind = if nodes.is_empty() { "sim" } else { "none" };
        if nodes.is_empty() && with_other {
            nodes.push(other());
        }
        let nodes = format!("[{}]", nodes.join(","));
        let mut instance =
            Instance::on(kind, dir, &[variables, &[("CASEMATE_NODES", &nodes)]].concat()).await;
        // A node that has not answered yet has no image, so a deployment would be refused.
        let answered = poll(PATIENCE, async || {
            let told = instance.get("/admin/nodes").await.ok()?;
            let all = told["nodes"].as_array()?;
            let answers = all.iter().all(|node| node["reachable"] == true);
            (answers && all.len() == count).then_some(())
        });
        assert!(answered.await.is_some(), "the nodes do not answer\n{}", instance.log());
        instance
    }

    fn host_dir(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }
}
