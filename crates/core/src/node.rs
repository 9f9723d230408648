//! Kinds of node, and the rules for what a node can take. A driver reports its [`Capabilities`] in its
//! inventory; no decision depends on the kind of a node.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::compose::problem::Place;

/// The kind of a node: the software that runs its CVMs.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// Containers on a Docker-compatible container engine; no TEE.
    Docker,
    /// A simulated dstack host.
    #[default]
    Sim,
    /// A host with dstack-vmm.
    Dstack,
}

impl NodeKind {
    pub const ALL: [Self; 3] = [Self::Docker, Self::Sim, Self::Dstack];

    /// The word in the database, on the wire and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Sim => "sim",
            Self::Dstack => "dstack",
        }
    }

    /// The kind with this word; `None`: only a newer version knows it.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

impl fmt::Display for NodeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The state of a node, set by its operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It takes CVMs.
    #[default]
    Active,
    /// It keeps its CVMs and takes no new ones.
    Cordoned,
    /// It is no longer part of the fleet. CVMs on it are given up.
    Removed,
}

impl NodeState {
    pub const ALL: [Self; 3] = [Self::Active, Self::Cordoned, Self::Removed];

    /// The word in the database, on the wire and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Cordoned => "cordoned",
            Self::Removed => "removed",
        }
    }
}

impl FromStr for NodeState {
    type Err = UnknownNodeState;

    fn from_str(word: &str) -> Result<Self, UnknownNodeState> {
        let known = Self::ALL.into_iter().find(|state| state.as_str() == word);
        known.ok_or_else(|| UnknownNodeState(word.to_owned()))
    }
}

impl TryFrom<String> for NodeState {
    type Error = UnknownNodeState;

    fn try_from(word: String) -> Result<Self, UnknownNodeState> {
        word.parse()
    }
}

/// A state that this version does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown state of a node: {0}")]
pub struct UnknownNodeState(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskEncryption {
    /// Each guest encrypts its disk.
    Always,
    /// Disks are unencrypted directories of the host.
    #[default]
    Never,
}

/// What a node can take. The default is nothing: a row written before a capability existed must not promise
/// it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// For messages only.
    pub kind: NodeKind,
    /// Memory of a VM on huge pages, and on one NUMA node.
    pub memory_placement: bool,
    /// GPUs can be attached.
    pub gpus: bool,
    /// Host ports can be forwarded to a VM.
    pub host_ports: bool,
    /// Guests can get KMS URLs.
    pub kms_urls: bool,
    /// Guests can get gateway URLs.
    pub gateway_urls: bool,
    /// A sealing enclave of the host can provide keys.
    pub local_key_provider: bool,
    pub disk_encryption: DiskEncryption,
    /// The control plane can choose the seed of an instance id, and a new id keeps the disk. Otherwise the
    /// disk key depends on the instance id.
    pub instance_seeds: bool,
    /// Guests can open an environment that is sealed to a key of Casemate's KMS.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub sealed_env: bool,
    /// A configuration can remove the user config or the sealed variables of the one before.
    pub clears_files: bool,
    /// A guest can be asked from outside for a quote with a caller's nonce.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub quotes_nonce: bool,
    /// `None`: a VM isolates the app, so every compose file runs. `Some`: containers run on the host, so only
    /// what the operator grants (the driver's words) may reach the host.
    pub compose_grants: Option<Vec<String>>,
}

impl Capabilities {
    /// The capabilities of a dstack host, which runs every CVM as a VM.
    pub const fn of_vm_host(kind: NodeKind) -> Self {
        Self {
            kind,
            memory_placement: true,
            gpus: true,
            host_ports: true,
            kms_urls: true,
            gateway_urls: true,
            local_key_provider: true,
            disk_encryption: DiskEncryption::Always,
            instance_seeds: false,
            sealed_env: true,
            clears_files: false,
            quotes_nonce: false,
            compose_grants: None,
        }
    }

    /// The capabilities of a container engine with these grants of its operator.
    pub const fn of_container_engine(grants: Vec<String>) -> Self {
        Self {
            kind: NodeKind::Docker,
            memory_placement: false,
            gpus: false,
            host_ports: false,
            kms_urls: false,
            gateway_urls: false,
            local_key_provider: false,
            disk_encryption: DiskEncryption::Never,
            instance_seeds: true,
            sealed_env: true,
            clears_files: true,
            quotes_nonce: true,
            compose_grants: Some(grants),
        }
    }
}

/// What a configuration needs from its node beyond room and an image. A field is `true` if the request's
/// value differs from the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Requirements {
    pub hugepages: bool,
    pub pin_numa: bool,
    /// GPUs are requested.
    pub gpus: bool,
    /// Host ports are requested.
    pub ports: bool,
    /// KMS URLs are given.
    pub kms_urls: bool,
    /// Gateway URLs are given.
    pub gateway_urls: bool,
    /// `local_key_provider_enabled: true` in the document.
    pub local_key_provider: bool,
    /// `encrypted`, if given.
    pub encrypted: Option<bool>,
    /// Sealed variables are given.
    pub sealed_env: bool,
    /// The user config on the node must be removed.
    pub clears_user_config: bool,
    /// The sealed variables on the node must be removed.
    pub clears_sealed_env: bool,
}

/// The part of a configuration that has a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The app-compose document, which is the same for every CVM that boots it.
    Document,
    /// The settings of one CVM.
    Cvm,
}

/// A field that a node does not support.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported {
    pub part: Part,
    /// The field's name in the request.
    pub field: &'static str,
    /// Begins with a verb.
    pub why: String,
    /// What to do instead, a sentence.
    pub instead: String,
    /// Where in the compose file, with what is refused there.
    pub places: Vec<(Place, String)>,
}

/// The first field that a node with these capabilities does not support. The columns "on docker" and "on sim"
/// of `docs/fields.md` show this table.
pub fn unsupported(
    requirements: &Requirements,
    capabilities: &Capabilities,
) -> Option<Unsupported> {
    const LEAVE: &str = "Leave it out.";
    let (asks, has, kind) = (requirements, capabilities, capabilities.kind);
    let rules = [
        (
            asks.hugepages && !has.memory_placement,
            Part::Cvm,
            "hugepages",
            format!("cannot be had on a {kind} node: there is no VM"),
            LEAVE,
        ),
        (
            asks.pin_numa && !has.memory_placement,
            Part::Cvm,
            "pin_numa",
            format!("cannot be had on a {kind} node: there is no VM"),
            LEAVE,
        ),
        (asks.gpus && !has.gpus, Part::Cvm, "gpus", format!("cannot be attached on a {kind} node"), LEAVE),
        (
            asks.ports && !has.host_ports,
            Part::Cvm,
            "ports",
            format!("cannot be mapped on a {kind} node"),
            "Publish the ports in the compose file and reach them through the gateway.",
        ),
        (
            asks.kms_urls && !has.kms_urls,
            Part::Cvm,
            "kms_urls",
            format!("cannot be set on a {kind} node: its guests use the built-in KMS"),
            LEAVE,
        ),
        (
            asks.gateway_urls && !has.gateway_urls,
            Part::Cvm,
            "gateway_urls",
            format!("cannot be set on a {kind} node: Casemate is its gateway"),
            LEAVE,
        ),
        (
            asks.local_key_provider && !has.local_key_provider,
            Part::Document,
            "compose_file.local_key_provider_enabled",
            format!("cannot be had on a {kind} node: it has no sealing enclave"),
            "Leave it out: the built-in KMS keeps the keys.",
        ),
        (
            asks.encrypted == Some(true) && has.disk_encryption == DiskEncryption::Never,
            Part::Cvm,
            "encrypted",
            format!("cannot be had on a {kind} node: its disks are plain directories of the host"),
            LEAVE,
        ),
        (
            asks.encrypted == Some(false) && has.disk_encryption == DiskEncryption::Always,
            Part::Cvm,
            "encrypted",
            "cannot be false: the guest always encrypts its disk".to_owned(),
            LEAVE,
        ),
        (
            asks.sealed_env && !has.sealed_env,
            Part::Cvm,
            "encrypted_env",
            format!(
                "cannot be opened on this {kind} node: Casemate does not know the KMS that its guests get \
                 their keys from"
            ),
            "Leave the variables out, or deploy to another node. Its operator can name the KMS in the settings \
             of the node: kms.",
        ),
        (
            asks.clears_user_config && !has.clears_files,
            Part::Cvm,
            "user_config",
            "cannot be cleared on this node: its engine keeps the last one; set it to {} instead"
                .to_owned(),
            LEAVE,
        ),
        (
            asks.clears_sealed_env && !has.clears_files,
            Part::Cvm,
            "encrypted_env",
            "cannot be cleared on this node: its engine keeps the last one; seal an empty list instead"
                .to_owned(),
            LEAVE,
        ),
    ];
    let (_, part, field, why, instead) = rules.into_iter().find(|(breaks, ..)| *breaks)?;
    Some(Unsupported { part, field, why, instead: instead.to_owned(), places: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Requirements = Requirements {
        hugepages: true,
        pin_numa: true,
        gpus: true,
        ports: true,
        kms_urls: true,
        gateway_urls: true,
        local_key_provider: true,
        encrypted: Some(true),
        sealed_env: true,
        clears_user_config: true,
        clears_sealed_env: true,
    };

    #[test]
    fn nothing_asked_is_supported_everywhere() {
        for capabilities in [
            Capabilities::default(),
            Capabilities::of_container_engine(Vec::new()),
            Capabilities::of_vm_host(NodeKind::Sim),
        ] {
            assert_eq!(unsupported(&Requirements::default(), &capabilities), None);
        }
    }

    #[test]
    fn a_vm_host_takes_all_but_what_its_engine_keeps() {
        let host = Capabilities::of_vm_host(NodeKind::Sim);
        let of = host.clone();
        let field = |asks: Requirements| unsupported(&asks, &of).map(|found| found.field);
        assert_eq!(field(ALL), Some("user_config"));
        assert_eq!(field(Requirements { clears_user_config: false, ..ALL }), Some("encrypted_env"));
        let kept = Requirements { clears_user_config: false, clears_sealed_env: false, ..ALL };
        assert_eq!(field(kept), None);
        assert_eq!(field(Requirements { encrypted: Some(false), ..kept }), Some("encrypted"));
        let foreign_kms = Capabilities { sealed_env: false, ..host };
        let refused = unsupported(&kept, &foreign_kms).map(|found| found.field);
        assert_eq!(refused, Some("encrypted_env"));
    }

    /// A container engine refuses each requirement by its own field.
    #[test]
    fn a_container_engine_refuses_each_by_its_field() {
        let engine = Capabilities::of_container_engine(Vec::new());
        let none = Requirements::default();
        let cases = [
            (Requirements { hugepages: true, ..none }, Some("hugepages")),
            (Requirements { pin_numa: true, ..none }, Some("pin_numa")),
            (Requirements { gpus: true, ..none }, Some("gpus")),
            (Requirements { ports: true, ..none }, Some("ports")),
            (Requirements { kms_urls: true, ..none }, Some("kms_urls")),
            (Requirements { gateway_urls: true, ..none }, Some("gateway_urls")),
            (
                Requirements { local_key_provider: true, ..none },
                Some("compose_file.local_key_provider_enabled"),
            ),
            (Requirements { encrypted: Some(true), ..none }, Some("encrypted")),
            (Requirements { encrypted: Some(false), ..none }, None),
            (Requirements { clears_user_config: true, clears_sealed_env: true, ..none }, None),
        ];
        for (asks, field) in cases {
            assert_eq!(unsupported(&asks, &engine).map(|found| found.field), field);
        }
    }

    #[test]
    fn a_row_of_an_older_version_promises_nothing() {
        let read: Capabilities = serde_json::from_str("{}").unwrap();
        assert_eq!(read, Capabilities::default());
        assert!(!read.host_ports && !read.gpus && read.compose_grants.is_none());
    }

    #[test]
    fn every_kind_is_read_back() {
        for kind in NodeKind::ALL {
            assert_eq!(NodeKind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(NodeKind::parse("another"), None);
    }
}
