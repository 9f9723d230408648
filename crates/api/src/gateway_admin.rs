//! Clusters of dstack-gateway as their operator sees them: `/api/v1/admin/gateways`. Casemate only.

use serde::{Deserialize, Serialize};

/// Every configured cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ManagedGateways {
    /// In the order of the configuration, without their instances.
    pub gateways: Vec<ManagedGateway>,
}

/// A cluster, as it was at the last look of the process that replies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ManagedGateway {
    /// Configured name.
    pub name: String,
    /// Address of its admin listener.
    pub admin_url: String,
    /// Configured domains; the first one is in URLs of apps.
    pub base_domains: Vec<String>,
    /// Whether it answered last time.
    pub reachable: bool,
    /// Why it did not answer last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Since when it has not answered, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_since: Option<String>,
    /// Time of the last answer, RFC 3339. Everything below is of then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_at: Option<String>,
    /// How often this process has looked at it.
    pub looks: u64,
    /// Absent without `rpc_url` in the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Optional features of its build; absent: it has not answered yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<ManagedGatewayFeatures>,
    /// Names of the nodes of the fleet whose CVMs it leads to.
    pub nodes: Vec<String>,
    /// Nodes of the cluster.
    pub peers: Vec<GatewayPeer>,
    /// Domains that it serves, the preferred ones first.
    pub domains: Vec<GatewayDomain>,
    /// Number of registered instances.
    pub registered: u32,
    /// Number of those with a handshake in the last five minutes.
    pub online: u32,
    /// Connections through the node that answers.
    pub connections: u64,
    /// The newest handshake of an instance, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_handshake: Option<String>,
    /// At most 200, the newest handshakes first; empty in lists.
    pub instances: Vec<GatewayInstance>,
    /// Contradictions between the configuration and the cluster.
    pub notes: Vec<String>,
}

/// Optional features of a build of dstack-gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ManagedGatewayFeatures {
    /// Take an instance out of the rotation of its app.
    pub rotation: bool,
    /// Remove the record of an instance.
    pub removal: bool,
    /// Policies for the ports of an instance.
    pub port_policy: bool,
}

/// A node of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GatewayPeer {
    /// Number of the node in its cluster.
    pub id: u32,
    /// Address for the other nodes.
    pub url: String,
    /// When another node last saw it, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<String>,
}

/// A domain whose subdomains lead to apps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GatewayDomain {
    /// `apps.example.com`.
    pub domain: String,
    /// Port of its URLs.
    pub port: u16,
    /// The highest is the cluster's own domain.
    pub priority: i32,
    /// Whether it has a certificate.
    pub has_certificate: bool,
    /// When that expires, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_until: Option<String>,
}

/// A registered instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GatewayInstance {
    /// 40 hex digits.
    pub instance_id: String,
    /// Its app, 40 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_id: Option<String>,
    /// RFC 3339; absent: it never connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_handshake: Option<String>,
    /// Connections through the node that answers.
    pub connections: u64,
    /// Whether it is in the rotation of its app; absent: the build does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    /// `healthy`, `unhealthy`, `unknown` or `ungated`; absent: the build checks no health.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
}

/// A domain that a cluster is to serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewGatewayDomain {
    /// `apps.example.com`.
    pub domain: String,
    /// Port of its URLs; absent: 443.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The highest is the cluster's own domain; absent: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// Id of the DNS credential for its certificate at the cluster; absent: the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_credential: Option<String>,
}

/// Who may reach the ports of an instance through a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct GatewayPortPolicy {
    /// Ports with settings of their own, at most 1,024.
    pub ports: Vec<GatewayPort>,
    /// Only those ports are reached.
    pub restricted: bool,
}

/// Settings of a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct GatewayPort {
    /// Port of the guest.
    pub port: u16,
    /// Connections begin with a PROXY protocol header.
    #[serde(default)]
    pub proxy_protocol: bool,
}

/// What a cluster tells of an instance when it is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GatewayInstanceDetail {
    /// 40 hex digits.
    pub instance_id: String,
    /// When each node of the cluster last shook hands with it.
    pub handshakes: Vec<GatewayHandshake>,
    /// The policy in force; absent: none, or the build has no policies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_policy: Option<GatewayPortPolicy>,
    /// Who set it: `admin`, `instance` or `none`.
    pub port_policy_source: String,
}

/// The last handshake of a node of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GatewayHandshake {
    /// Number of the node.
    pub node: u32,
    /// RFC 3339; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}
