//! From a node's settings to its driver: the one place that knows every kind. A new kind adds an arm
//! to [`Opener::driver`].

use std::{path::PathBuf, sync::Arc};

use casemate_core::{
    node::NodeKind,
    time::{Clock, Entropy},
};
use casemate_engine::node::{
    Capacity, Node,
    docker::{DockerConfig, DockerNode, GuestKeys},
    sim::{SimConfig, SimNode},
};

use super::settings::DriverSettings;
use crate::config::Config;

/// What opening a node needs.
#[derive(Debug)]
pub struct Opener {
    /// Settings that all nodes of a kind share.
    pub config: Arc<Config>,
    /// Whose keys docker nodes give to their guests.
    pub kms: Arc<dyn GuestKeys>,
    /// The time for drivers.
    pub clock: Arc<dyn Clock>,
    /// Randomness for drivers.
    pub entropy: Arc<dyn Entropy>,
}

impl Opener {
    /// Opens the node of this name. Its files, where they are ours, are in `nodes/by-name/NAME` of the
    /// data directory. The error says what to do, fit for an operator.
    pub async fn driver(
        &self,
        name: &str,
        settings: &DriverSettings,
    ) -> Result<Arc<dyn Node>, String> {
        let own = self.config.data_dir.join("nodes/by-name").join(name);
        match settings {
            DriverSettings::Docker { host } => self.docker(own, host.clone()).await,
            DriverSettings::Sim { dir } => self.sim(dir.clone().unwrap_or(own)),
        }
    }

    /// Opens this instance's node of a kind that no row has settings for.
    pub async fn default_driver(&self, kind: NodeKind) -> Result<Arc<dyn Node>, String> {
        let dir = self.config.data_dir.join("nodes").join(kind.as_str());
        match kind {
            NodeKind::Docker => self.docker(dir, None).await,
            NodeKind::Sim => self.sim(dir),
        }
    }

    async fn docker(&self, dir: PathBuf, host: Option<String>) -> Result<Arc<dyn Node>, String> {
        let settings = &self.config.docker;
        let host = host.unwrap_or_else(|| settings.host.clone());
        let config = DockerConfig {
            allow: settings.allow.clone(),
            registries: settings.registries.clone(),
            script_timeout_s: settings.script_timeout_s,
            pids: settings.pids,
            log_mb: settings.log_mb,
            script_image: settings.script_image.clone(),
            host: Some(host).filter(|host| !host.is_empty()),
            ..DockerConfig::new(dir)
        };
        let (clock, entropy) = (self.clock.clone(), self.entropy.clone());
        let node = DockerNode::connect(config, self.kms.clone(), clock, entropy).await;
        Ok(Arc::new(node.map_err(|error| error.to_string())?))
    }

    fn sim(&self, dir: PathBuf) -> Result<Arc<dyn Node>, String> {
        let settings = &self.config.sim;
        let config = SimConfig {
            boot_ms: settings.boot_ms,
            shutdown_ms: settings.shutdown_ms,
            remove_ms: settings.remove_ms,
            capacity: Capacity {
                slots: settings.slots,
                vcpu: settings.vcpu,
                memory_mb: settings.memory_mb,
                disk_gb: settings.disk_gb,
            },
            ..SimConfig::default()
        };
        let node = SimNode::open(dir, config, self.clock.clone(), self.entropy.clone());
        Ok(Arc::new(node.map_err(|error| error.to_string())?))
    }
}
