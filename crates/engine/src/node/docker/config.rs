//! Configuration of a docker node.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::node::Capacity;

/// How a docker node is set up. Every field but `dir` has a default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DockerConfig {
    /// Where the node keeps its VMs; made if it is missing.
    pub dir: PathBuf,
    /// What compose files may ask for although it gives the host away ([`super::derive::Grant`]):
    /// `privileged`, `docker-socket`, `host-network`, …
    #[serde(default)]
    pub allow: Vec<String>,
    /// Registries, as image names have them (`registry.lan:5000`), that apps may pull from although they
    /// are not on the public network.
    #[serde(default)]
    pub registries: Vec<String>,
    /// Whether containers may connect to services of the host.
    #[serde(default)]
    pub host_access: HostAccess,
    /// Image in which pre-launch, init and bash scripts run.
    #[serde(default = "default_script_image")]
    pub script_image: String,
    /// Address of the engine (`unix://…`, `tcp://…`). Default: `DOCKER_HOST`, else the usual socket.
    #[serde(default)]
    pub host: Option<String>,
    /// The docker command with the Compose v2 plugin.
    #[serde(default = "default_docker")]
    pub docker: PathBuf,
    /// Names of OS images this node claims to have. A label only: containers run on the host's
    /// kernel and no guest OS boots.
    #[serde(default = "default_images")]
    pub images: Vec<String>,
    /// What all CVMs together may take. Default: four virtual CPUs for each real one, the engine's
    /// memory, 64 CVMs.
    #[serde(default)]
    pub capacity: Option<Capacity>,
    /// A boot, pulling of images included, that takes longer has failed.
    #[serde(default = "default_boot_timeout")]
    pub boot_timeout_s: u32,
    /// An init or pre-launch script that takes longer has failed.
    #[serde(default = "default_script_timeout")]
    pub script_timeout_s: u32,
    /// Processes and threads of one CVM; of each container where the limits of CVMs do not apply as a whole.
    #[serde(default = "default_pids")]
    pub pids: u32,
    /// What the log of a container may take on disk, in MiB.
    #[serde(default = "default_log_mb")]
    pub log_mb: u32,
}

/// Whether containers may connect to services that listen on an address of the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostAccess {
    /// No. The node keeps a rule in the host's firewall ([`super::firewall`]).
    #[default]
    Closed,
    /// Yes, to all that listen on all addresses.
    Open,
}

impl HostAccess {
    /// How the names of bridges begin, by which the firewall tells one from the other.
    pub(super) const fn bridge_prefix(self) -> &'static str {
        match self {
            Self::Closed => "cm",
            Self::Open => "co",
        }
    }
}

impl DockerConfig {
    /// The defaults, in this directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            allow: Vec::new(),
            registries: Vec::new(),
            host_access: HostAccess::default(),
            script_image: default_script_image(),
            host: None,
            docker: default_docker(),
            images: default_images(),
            capacity: None,
            boot_timeout_s: default_boot_timeout(),
            script_timeout_s: default_script_timeout(),
            pids: default_pids(),
            log_mb: default_log_mb(),
        }
    }
}

fn default_script_image() -> String {
    "bash:5".to_owned()
}

fn default_docker() -> PathBuf {
    PathBuf::from("docker")
}

fn default_images() -> Vec<String> {
    ["dstack-0.5.4", "dstack-dev-0.5.4"].map(str::to_owned).to_vec()
}

const fn default_boot_timeout() -> u32 {
    1800
}

const fn default_script_timeout() -> u32 {
    600
}

const fn default_pids() -> u32 {
    4096
}

const fn default_log_mb() -> u32 {
    50
}
