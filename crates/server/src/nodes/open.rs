//! Creates a driver from a node's settings; the only place that knows every kind. A new kind adds an arm to
//! [`Opener::driver`].

use std::{
    path::{Component, Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use casemate_api::{
    node_admin::{DstackAccess, NodeLimits},
    reply::Tee as WireTee,
};
use casemate_core::{
    node::NodeKind,
    time::{Clock, Entropy},
};
use casemate_engine::node::{
    Capacity, Node, Tee,
    docker::{DockerConfig, DockerNode, GuestKeys},
    dstack::{AccessFiles, DstackConfig, DstackNode},
    sim::{SimConfig, SimNode},
};

use super::settings::DriverSettings;
use crate::config::Config;

/// What drivers need.
#[derive(Debug)]
pub struct Opener {
    /// Settings that all nodes of a kind share.
    pub config: Arc<Config>,
    /// The KMS that gives docker guests their keys.
    pub kms: Arc<dyn GuestKeys>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

impl Opener {
    /// Opens the node of this name. Its files, if any, are in `nodes/by-name/NAME` of the data directory. The
    /// error is for an operator and says what to do.
    pub async fn driver(
        &self,
        name: &str,
        settings: &DriverSettings,
    ) -> Result<Arc<dyn Node>, String> {
        let own = self.config.data_dir.join("nodes/by-name").join(name);
        match settings {
            DriverSettings::Docker { host } => self.docker(own, host.clone()).await,
            DriverSettings::Sim { dir } => self.sim(dir.clone().unwrap_or(own)),
            DriverSettings::Dstack(access) => self.dstack(access).await,
        }
    }

    /// Opens this process's node of a kind without settings of its own.
    pub async fn default_driver(&self, kind: NodeKind) -> Result<Arc<dyn Node>, String> {
        let dir = self.config.data_dir.join("nodes").join(kind.as_str());
        match kind {
            NodeKind::Docker => self.docker(dir, None).await,
            NodeKind::Sim => self.sim(dir),
            NodeKind::Dstack => Err("a dstack node needs its address: add it with \
                                     casemate admin node add --kind dstack --url"
                .to_owned()),
        }
    }

    async fn dstack(&self, access: &DstackAccess) -> Result<Arc<dyn Node>, String> {
        let timeout = Duration::from_secs(self.config.work.call_timeout_s);
        let node = DstackNode::open(dstack_config(access, timeout)?).await;
        Ok(Arc::new(node.map_err(|error| error.to_string())?))
    }

    async fn docker(&self, dir: PathBuf, host: Option<String>) -> Result<Arc<dyn Node>, String> {
        let settings = &self.config.docker;
        let host = host.unwrap_or_else(|| settings.host.clone());
        let config = DockerConfig {
            allow: settings.allow.clone(),
            registries: settings.registries.clone(),
            host_access: settings.host_access,
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
        let node = node.map_err(|error| error.to_string())?;
        let root = self.kms.development_root().map_err(|error| error.to_string())?;
        node.set_development_root(Arc::new(root));
        Ok(Arc::new(node))
    }
}

/// Checks the settings of a dstack node. The error is the field, as `[[nodes]]` and the API call it, and the reason.
pub fn check_dstack(
    access: &DstackAccess,
    limits: &NodeLimits,
) -> Result<(), (&'static str, String)> {
    let relative = |path: &Option<String>| path.as_ref().is_some_and(|path| !path.starts_with('/'));
    if let Some((field, _)) = files_of(access).into_iter().find(|(_, path)| relative(path)) {
        return Err((field, "must be an absolute path".to_owned()));
    }
    if access.user.is_some() && access.token_file.is_none() {
        return Err((
            "dstack.token_file",
            "is required with user: the file of its password".to_owned(),
        ));
    }
    if limits.disk_gb.is_none() {
        let why = "is required for a dstack node: dstack-vmm does not report the size of its disk";
        return Err(("limits.disk_gb", why.to_owned()));
    }
    dstack_config(access, Duration::ZERO).map(drop).map_err(|why| ("dstack", why))
}

/// The files that the settings of a dstack node name, with their fields.
pub const fn files_of(access: &DstackAccess) -> [(&'static str, &Option<String>); 3] {
    [
        ("dstack.token_file", &access.token_file),
        ("dstack.ca_file", &access.ca_file),
        ("dstack.guest_token_file", &access.guest_token_file),
    ]
}

/// Whether a file is below a directory. `..` is not followed.
pub fn is_below(file: &str, dir: &Path) -> bool {
    let inside = Path::new(file).strip_prefix(dir).map(Path::components);
    inside.is_ok_and(|mut parts| {
        parts.clone().next().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
    })
}

/// The driver's settings of a dstack node; the error names the field.
fn dstack_config(access: &DstackAccess, timeout: Duration) -> Result<DstackConfig, String> {
    let file = |path: &Option<String>| path.as_ref().map(PathBuf::from);
    let device_id = access.device_id.as_deref().map(str::parse).transpose();
    Ok(DstackConfig {
        address: access.url.parse().map_err(|why| format!("url: {why}"))?,
        files: AccessFiles {
            token: file(&access.token_file),
            user: access.user.clone(),
            ca: file(&access.ca_file),
        },
        guest_token_file: file(&access.guest_token_file),
        tee: match access.tee {
            WireTee::None => Tee::None,
            WireTee::Simulated => Tee::Simulated,
            WireTee::Tdx => Tee::Tdx,
            WireTee::SevSnp => Tee::SevSnp,
        },
        device_id: device_id.map_err(|why| format!("device_id: {why}"))?,
        sealed_env: access.kms.is_some(),
        timeout,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_below_a_directory_is_named_without_a_way_out() {
        let dir = Path::new("/var/lib/casemate/credentials");
        let below = |file: &str| is_below(&file.replace('~', "/var/lib/casemate/credentials"), dir);
        for file in ["~/rack-1.token", "~/rack/1", "~//rack-1"] {
            assert!(below(file), "{file}");
        }
        for file in
            ["~", "~/", "~-other/x", "~/../admin.key", "~/a/../../b", "/etc/passwd", "x", ""]
        {
            assert!(!below(file), "{file}");
        }
    }
}
