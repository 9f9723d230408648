//! Configuration: the embedded `config.default.toml` (which documents every key), then a file, then
//! `CASEMATE_…` environment variables, then command-line flags.

mod attestation;
mod chains;
mod drift;
mod dstack_kms;
mod gateways;
mod governance;
mod kms_webhook;
mod limits;
mod network;
mod nodes;
mod quotas;
mod templates;
mod webhooks;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use casemate_core::{node::NodeKind, plan::Limits};
use casemate_engine::node::docker::HostAccess;
use figment::{
    Figment,
    providers::{Env, Format, Serialized, Toml},
};
use secrecy::SecretString;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, IntoDeserializer},
};

pub use self::{
    attestation::{Attestation, ConfiguredRoot},
    chains::{Chain, KmsContract},
    drift::Drift,
    dstack_kms::{DstackKms, key_of as dstack_kms_key},
    gateways::{Accept, ConfiguredGateway, GatewayAuth},
    governance::{Governance, OwnerProof},
    kms_webhook::{Check, KmsWebhook},
    limits::Limits as ListenerLimits,
    network::Network,
    nodes::ConfiguredNode,
    quotas::Quotas,
    templates::Templates,
    webhooks::{Ports, SshKeys, Webhooks},
};

/// The commented defaults.
pub const DEFAULTS: &str = include_str!("../../../config.default.toml");

/// Environment variables with the prefix that are not configuration keys.
const NOT_KEYS: [&str; 8] = [
    "crash_at",
    "crash_log",
    "kms_root_key",
    "kms_webhook_token",
    "webhook_secret",
    "api_url",
    "api_key",
    "log",
];

/// The configuration; `config.default.toml` explains each key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every key")]
pub struct Config {
    pub listen: SocketAddr,
    pub gateway_listen: SocketAddr,
    #[serde(deserialize_with = "list")]
    pub role: Vec<Role>,
    pub data_dir: PathBuf,
    pub database_url: String,
    #[serde(deserialize_with = "list")]
    pub node: Vec<NodeChoice>,
    #[serde(deserialize_with = "chains::tables")]
    pub nodes: Vec<ConfiguredNode>,
    pub region: String,
    pub gateway: Gateway,
    #[serde(deserialize_with = "chains::tables")]
    pub gateways: Vec<ConfiguredGateway>,
    pub gateway_auth: GatewayAuth,
    pub admin: Admin,
    pub provision: Provision,
    pub quotas: Quotas,
    pub limits: ListenerLimits,
    pub shutdown: Shutdown,
    pub work: Work,
    pub drift: Drift,
    pub governance: Governance,
    pub attestation: Attestation,
    pub templates: Templates,
    pub webhooks: Webhooks,
    pub ssh_keys: SshKeys,
    pub kms: Kms,
    pub kms_webhook: KmsWebhook,
    #[serde(deserialize_with = "chains::tables")]
    pub chains: Vec<Chain>,
    pub docker: Docker,
    pub sim: Sim,
    pub instance_types: Vec<InstanceType>,
}

/// A role of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// HTTP API and gateway.
    Api,
    /// Nodes, reconcilers, the node watch, the janitor, and the gateway to those nodes.
    Worker,
    /// Web pages.
    Console,
}

/// A kind of node for this process to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeChoice {
    /// Containers on a Docker-compatible container engine.
    Docker,
    /// A simulated dstack host.
    Sim,
    None,
}

impl NodeChoice {
    pub const fn kind(self) -> Option<NodeKind> {
        match self {
            Self::Docker => Some(NodeKind::Docker),
            Self::Sim => Some(NodeKind::Sim),
            Self::None => None,
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every key")]
pub struct Gateway {
    pub base_domain: String,
    pub drain_s: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every key")]
pub struct Admin {
    pub credentials_dir: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every key")]
pub struct Provision {
    pub ttl_days: u32,
    pub instance_type: String,
}

impl Provision {
    /// How long a prepared deployment can be committed.
    pub fn ttl(&self) -> Duration {
        Duration::from_secs(24 * 60 * 60 * u64::from(self.ttl_days))
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every key")]
pub struct Shutdown {
    pub timeout_s: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every key")]
pub struct Work {
    pub boot_timeout_s: u64,
    pub create_settles_s: u64,
    pub call_timeout_s: u64,
    pub calls_per_node: usize,
    pub lease_s: u64,
    pub concurrency: usize,
    pub queue: u16,
    pub watch_nodes_s: u64,
    pub looks: usize,
    pub node_missing_s: u64,
}

impl Work {
    /// Time without a heartbeat after which a process's nodes count as unserved.
    pub const fn node_missing(&self) -> Duration {
        Duration::from_secs(self.node_missing_s)
    }

    /// The timeouts that the plan uses.
    pub fn limits(&self) -> Limits {
        Limits {
            boot: Duration::from_secs(self.boot_timeout_s),
            create_settles: Duration::from_secs(self.create_settles_s),
            ..Limits::default()
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every key")]
pub struct Kms {
    pub slug: String,
    pub root_key_file: PathBuf,
    #[serde(deserialize_with = "chains::tables")]
    pub contracts: Vec<KmsContract>,
    #[serde(deserialize_with = "chains::tables")]
    pub dstack: Vec<DstackKms>,
    /// From `CASEMATE_KMS_ROOT_KEY` only, never from a file.
    #[serde(skip)]
    pub root_key: Option<SecretString>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every key")]
pub struct Docker {
    pub host: String,
    pub script_image: String,
    #[serde(deserialize_with = "list")]
    pub allow: Vec<String>,
    #[serde(deserialize_with = "list")]
    pub registries: Vec<String>,
    pub host_access: HostAccess,
    pub script_timeout_s: u32,
    pub pids: u32,
    pub log_mb: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every key")]
pub struct Sim {
    pub boot_ms: u64,
    pub shutdown_ms: u64,
    pub remove_ms: u64,
    pub slots: u32,
    pub vcpu: u32,
    pub memory_mb: u32,
    pub disk_gb: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config.default.toml documents every key")]
pub struct InstanceType {
    pub id: String,
    pub name: String,
    pub family: String,
    pub vcpu: u32,
    pub memory_mb: u32,
    pub disk_gb: u32,
    pub hourly_rate: String,
}

/// Settings from the command line; they override everything else.
#[derive(Debug, Clone, Default, Serialize)]
#[expect(missing_docs, reason = "named like the keys")]
pub struct Overrides {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_listen: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub role: Vec<Role>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub node: Vec<NodeChoice>,
}

/// An invalid configuration; the message names the key.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A key is unknown, missing or of the wrong type.
    #[error("configuration: {0}")]
    Read(Box<figment::Error>),
    /// A value is invalid.
    #[error("configuration: {key}: {reason}")]
    Value {
        /// For example `chains[0].rpc_urls`.
        key: String,
        reason: String,
    },
}

impl Config {
    /// Loads the configuration of this process.
    pub fn load(file: Option<PathBuf>, overrides: &Overrides) -> Result<Self, ConfigError> {
        let mut figment = Figment::new().merge(Toml::string(DEFAULTS));
        if let Some(file) = file {
            figment = figment.merge(Toml::file_exact(file));
        }
        let variables = Env::prefixed("CASEMATE_").ignore(&NOT_KEYS).split("__");
        let mut config: Self = figment
            .merge(variables)
            .merge(Serialized::defaults(overrides))
            .extract()
            .map_err(|error| ConfigError::Read(Box::new(error)))?;
        config.kms.root_key = variable("CASEMATE_KMS_ROOT_KEY").map(SecretString::from);
        config.kms_webhook.token = variable("CASEMATE_KMS_WEBHOOK_TOKEN").map(SecretString::from);
        if config.data_dir.as_os_str().is_empty() {
            config.data_dir = default_data_dir();
        }
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let refuse = |key: &str, reason: &str| {
            Err(ConfigError::Value { key: key.to_owned(), reason: reason.to_owned() })
        };
        if self.work.lease_s < 2 * self.work.call_timeout_s {
            return refuse("work.lease_s", "must be at least twice work.call_timeout_s");
        }
        if !(10..=1200).contains(&self.shutdown.timeout_s) {
            return refuse("shutdown.timeout_s", "must be 10 to 1200");
        }
        if self.gateway.drain_s > 300 {
            return refuse("gateway.drain_s", "must be 0 to 300");
        }
        if self.role.is_empty() {
            return refuse("role", "must name at least one of api, worker, console");
        }
        if !self.has(Role::Worker) && self.node.iter().any(|kind| *kind != NodeChoice::None) {
            return refuse("node", "is for a process with role worker: leave it out here");
        }
        if !self.has(Role::Worker) && !self.nodes.is_empty() {
            return refuse("nodes", "is for a process with role worker: leave it out here");
        }
        if self.work.node_missing_s < 30 {
            return refuse("work.node_missing_s", "must be at least 30");
        }
        if self.work.concurrency == 0 {
            return refuse("work.concurrency", "must be at least 1");
        }
        if self.work.calls_per_node == 0 {
            return refuse("work.calls_per_node", "must be at least 1");
        }
        if self.work.looks == 0 {
            return refuse("work.looks", "must be at least 1");
        }
        nodes::check(&self.nodes, &self.kms)?;
        self.kms_webhook.check()?;
        gateways::check(&self.gateways, &self.nodes)?;
        self.gateway_auth.check()?;
        let credentials = &self.admin.credentials_dir;
        if !credentials.as_os_str().is_empty() && credentials.is_relative() {
            return refuse("admin.credentials_dir", "must be an absolute path");
        }
        self.limits.check()?;
        self.drift.check()?;
        self.attestation.check()?;
        self.templates.check()?;
        self.webhooks.check()?;
        self.ssh_keys.check()?;
        if !self.instance_types.iter().any(|size| size.id == self.provision.instance_type) {
            return refuse("provision.instance_type", "is not one of instance_types");
        }
        chains::check(&self.chains, &self.kms)?;
        dstack_kms::check(&self.chains, &self.kms)
    }

    pub fn has(&self, role: Role) -> bool {
        self.role.contains(&role)
    }

    /// Whether this process runs a gateway, for clients or for other processes' gateways.
    pub fn serves_gateway(&self) -> bool {
        self.has(Role::Api) || self.has(Role::Worker)
    }

    /// Where files are that a node added through the API may name.
    pub fn credentials_dir(&self) -> PathBuf {
        match &self.admin.credentials_dir {
            none if none.as_os_str().is_empty() => self.data_dir.join("credentials"),
            dir => dir.clone(),
        }
    }

    /// The URL of the database: configured, or the file in the data directory.
    pub fn database(&self) -> String {
        if self.database_url.is_empty() {
            format!("sqlite://{}", self.data_dir.join("casemate.db").display())
        } else {
            self.database_url.clone()
        }
    }

    /// The file with the root keys of the built-in KMS.
    pub fn root_key_file(&self) -> PathBuf {
        if self.kms.root_key_file.as_os_str().is_empty() {
            self.data_dir.join("kms-root.key")
        } else {
            self.kms.root_key_file.clone()
        }
    }
}

/// A list, or comma-separated words, as in an environment variable.
fn list<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Words(String),
        List(Vec<String>),
    }
    let words = match Form::deserialize(from)? {
        Form::Words(text) => text.split(',').map(|word| word.trim().to_owned()).collect(),
        Form::List(words) => words,
    };
    let words = words.into_iter().filter(|word| !word.is_empty());
    words.map(|word| T::deserialize(word.into_deserializer())).collect()
}

/// An environment variable; an empty one counts as unset.
#[expect(clippy::disallowed_methods, reason = "configuration is where the environment is read")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// `$XDG_DATA_HOME/casemate`, else `~/.local/share/casemate`, else `./casemate-data`.
pub fn default_data_dir() -> PathBuf {
    let home = || variable("HOME").map(|home| PathBuf::from(home).join(".local/share"));
    variable("XDG_DATA_HOME")
        .map(PathBuf::from)
        .or_else(home)
        .map_or_else(|| PathBuf::from("casemate-data"), |base| base.join("casemate"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_a_whole_configuration() {
        let config = Config::load(None, &Overrides::default()).unwrap();
        assert_eq!(config.listen.port(), 8090);
        assert_eq!(config.instance_types[0].id, "tdx.small");
        assert!(config.node.is_empty());
    }

    #[test]
    fn flags_win_and_unknown_keys_are_named() {
        let flags = Overrides {
            listen: Some("127.0.0.1:0".parse().unwrap()),
            node: vec![NodeChoice::Sim],
            ..Overrides::default()
        };
        let config = Config::load(None, &flags).unwrap();
        assert_eq!((config.listen.port(), &*config.node), (0, &[NodeChoice::Sim][..]));

        let dir = tempfile::tempdir().unwrap();
        let words = "role = \"api, console\"\nnode = [\"none\"]\n\
                     [docker]\nregistries = \"registry.lan:5000\"\nhost_access = \"open\"\n";
        std::fs::write(dir.path().join("w.toml"), words).unwrap();
        let config = Config::load(Some(dir.path().join("w.toml")), &Overrides::default()).unwrap();
        assert_eq!(config.role, [Role::Api, Role::Console]);
        assert_eq!(config.node, [NodeChoice::None]);
        assert_eq!(config.docker.registries, ["registry.lan:5000"]);
        assert_eq!(config.docker.host_access, HostAccess::Open);
        for (roles, nodes, key) in
            [(vec![Role::Api], vec![NodeChoice::Sim], "node"), (vec![], vec![], "role")]
        {
            let config = Config { role: roles, node: nodes, ..config.clone() };
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }

        let file = dir.path().join("c.toml");
        std::fs::write(&file, "[work]\nlease = 3\n").unwrap();
        let error = Config::load(Some(file), &Overrides::default()).unwrap_err().to_string();
        assert!(error.contains("lease"), "{error}");
    }
}
