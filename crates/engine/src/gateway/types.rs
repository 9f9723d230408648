//! Answers of a cluster.

use casemate_core::{
    id::{AppId, InstanceId},
    time::Timestamp,
};

use super::wire;

/// One look at a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its nodes and instances.
    pub status: Status,
    /// Its counts.
    pub meta: Meta,
    /// The domains it serves, the preferred ones first.
    pub domains: Vec<Domain>,
    /// Optional features of the build.
    pub features: Features,
    /// Its version; `None`: no public listener is configured, or that does not answer.
    pub version: Option<String>,
}

/// The node that answers, with what it knows of its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Number of the node in its cluster.
    pub node: u32,
    /// Connections through this node.
    pub connections: u64,
    /// Registered instances. One whose id is not that of a CVM is left out.
    pub instances: Vec<Instance>,
    /// Nodes of the cluster.
    pub nodes: Vec<GatewayNode>,
    /// Whether an instance can be taken out of rotation.
    pub has_rotation: bool,
}

/// A registered instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// Its app; `None`: the gateway tells none.
    pub app: Option<AppId>,
    /// `None`: it never connected.
    pub latest_handshake: Option<Timestamp>,
    /// Connections through the node that answers.
    pub connections: u64,
    /// Whether it is in the rotation of its app, as far as that can be set; `None`: the build cannot.
    pub ready: Option<bool>,
    /// Result of the gateway's own health check: `healthy`, `unhealthy`, `unknown`, `ungated`; empty: the build has
    /// none.
    pub health: String,
}

/// A node of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayNode {
    /// Its number.
    pub id: u32,
    /// Address for the other nodes.
    pub url: String,
    /// `None`: never.
    pub last_seen: Option<Timestamp>,
}

/// Counts of instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Registered ones.
    pub registered: u32,
    /// With a handshake in the last five minutes.
    pub online: u32,
}

/// A handshake of an instance with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshake {
    /// Number of the node.
    pub node: u32,
    /// `None`: never.
    pub at: Option<Timestamp>,
}

/// A domain whose subdomains lead to apps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain {
    /// `apps.example.com`.
    pub domain: String,
    /// Port of its URLs.
    pub port: u16,
    /// The only node that serves it; `None`: each.
    pub node: Option<u32>,
    /// The highest is the cluster's own domain.
    pub priority: i32,
    /// `None`: there is none yet.
    pub certificate: Option<Certificate>,
}

/// The certificate of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Certificate {
    /// `None`: the gateway does not tell.
    pub not_after: Option<Timestamp>,
}

/// A domain to be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDomain {
    /// `apps.example.com`.
    pub domain: String,
    /// Port of its URLs.
    pub port: u16,
    /// The highest is the cluster's own domain.
    pub priority: i32,
    /// Id of the DNS credential for its certificate; `None`: the default one.
    pub dns_credential: Option<String>,
}

/// Rules about who may reach the ports of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortPolicy {
    /// Ports with settings of their own.
    pub ports: Vec<PortRule>,
    /// Only those ports are reached.
    pub restricted: bool,
}

/// Settings of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRule {
    /// Port of the guest.
    pub port: u16,
    /// Connections begin with a PROXY protocol header.
    pub proxy_protocol: bool,
}

/// The origin of the policy in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicySource {
    /// An operator.
    Admin,
    /// The app.
    Instance,
    /// Nobody yet: no port is reached.
    None,
}

/// Features that the oldest build does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// Take an instance out of rotation.
    pub rotation: bool,
    /// Remove the record of an instance.
    pub removal: bool,
    /// Policies for ports.
    pub port_policy: bool,
}

/// The result of a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removed {
    /// The cluster had a record of it.
    pub had_record: bool,
    /// The node that answers had it as a peer.
    pub was_local: bool,
}

impl PolicySource {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Instance => "instance",
            Self::None => "none",
        }
    }

    pub(super) fn parse(word: &str) -> Self {
        match word {
            "admin" => Self::Admin,
            "instance" => Self::Instance,
            _ => Self::None,
        }
    }
}

/// `0` is none.
fn time(seconds: u64) -> Option<Timestamp> {
    let micros = i64::try_from(seconds).ok()?.checked_mul(1_000_000)?;
    (seconds > 0).then(|| Timestamp::from_micros(micros))
}

pub(super) fn instance(host: wire::HostInfo) -> Option<Instance> {
    Some(Instance {
        id: host.instance_id.parse().ok()?,
        app: host.app_id.parse().ok(),
        latest_handshake: time(host.latest_handshake),
        connections: host.num_connections,
        ready: host.ready,
        health: host.health,
    })
}

impl From<wire::StatusResponse> for Status {
    fn from(status: wire::StatusResponse) -> Self {
        let told = status.hosts.iter().any(|host| host.ready.is_some());
        let nodes = status.nodes.into_iter().map(|node| GatewayNode {
            id: node.id,
            url: node.url,
            last_seen: time(node.last_seen),
        });
        Self {
            node: status.id,
            connections: status.num_connections,
            nodes: nodes.collect(),
            instances: status.hosts.into_iter().filter_map(instance).collect(),
            has_rotation: told || status.health_gating.is_some(),
        }
    }
}

impl From<wire::HandshakeEntry> for Handshake {
    fn from(entry: wire::HandshakeEntry) -> Self {
        Self { node: entry.observer_node_id, at: time(entry.timestamp) }
    }
}

impl From<wire::DomainInfo> for Domain {
    fn from(info: wire::DomainInfo) -> Self {
        let wire::DomainInfo { config, cert_status } = info;
        let certificate = Certificate { not_after: time(cert_status.not_after) };
        Self {
            domain: config.domain,
            port: u16::try_from(config.port).unwrap_or_default(),
            node: config.node,
            priority: config.priority,
            certificate: cert_status.has_cert.then_some(certificate),
        }
    }
}

impl From<&NewDomain> for wire::DomainConfig {
    fn from(domain: &NewDomain) -> Self {
        Self {
            domain: domain.domain.clone(),
            dns_cred_id: domain.dns_credential.clone(),
            port: domain.port.into(),
            node: None,
            priority: domain.priority,
        }
    }
}

impl From<wire::PortPolicy> for PortPolicy {
    fn from(policy: wire::PortPolicy) -> Self {
        let ports = policy.ports.into_iter().filter_map(|rule| {
            Some(PortRule { port: u16::try_from(rule.port).ok()?, proxy_protocol: rule.pp })
        });
        Self { ports: ports.collect(), restricted: policy.restrict_mode }
    }
}

impl From<PortPolicy> for wire::PortPolicy {
    fn from(policy: PortPolicy) -> Self {
        let ports = policy
            .ports
            .into_iter()
            .map(|rule| wire::PortAttrs { port: rule.port.into(), pp: rule.proxy_protocol });
        Self { ports: ports.collect(), restrict_mode: policy.restricted }
    }
}
