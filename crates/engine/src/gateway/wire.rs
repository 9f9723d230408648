//! Messages of the admin API. Names and units are those of its proto (`dstack/gateway/rpc/proto`). In answers
//! every field may be absent: builds differ.

use serde::{Deserialize, Serialize};

/// No arguments.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Nothing {}

/// The argument of `GetInfo`.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Id {
    pub id: String,
}

/// The argument of everything about one instance.
#[derive(Debug, Clone, Serialize)]
pub(super) struct InstanceId {
    pub instance_id: String,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct SetReady {
    pub instance_id: String,
    pub ready: bool,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct SetPortPolicy {
    pub instance_id: String,
    pub policy: PortPolicy,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct DomainName<'a> {
    pub domain: &'a str,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct StatusResponse {
    pub id: u32,
    /// Address under which the other nodes of the cluster reach this one.
    pub url: String,
    pub num_connections: u64,
    pub hosts: Vec<HostInfo>,
    pub nodes: Vec<GatewayNodeInfo>,
    /// Builds that cannot take an instance out of rotation have no such field.
    pub health_gating: Option<bool>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct HostInfo {
    pub instance_id: String,
    pub app_id: String,
    /// Seconds since 1970; 0: never.
    pub latest_handshake: u64,
    /// Of the node that answers, not of its cluster.
    pub num_connections: u64,
    /// Whether an operator left it in rotation. Older builds have no such field.
    pub ready: Option<bool>,
    /// `healthy`, `unhealthy`, `unknown`, `ungated`; empty in older builds.
    pub health: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct GatewayNodeInfo {
    pub id: u32,
    pub url: String,
    /// Seconds since 1970.
    pub last_seen: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct GetInfoResponse {
    pub found: bool,
    pub info: Option<HostInfo>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct GetMetaResponse {
    pub registered: u32,
    pub online: u32,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Handshakes {
    pub handshakes: Vec<HandshakeEntry>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct HandshakeEntry {
    pub observer_node_id: u32,
    /// Seconds since 1970.
    pub timestamp: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Domains {
    pub domains: Vec<DomainInfo>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct DomainInfo {
    pub config: DomainConfig,
    pub cert_status: CertStatus,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct DomainConfig {
    pub domain: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_cred_id: Option<String>,
    pub port: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<u32>,
    pub priority: i32,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct CertStatus {
    pub has_cert: bool,
    /// Seconds since 1970; 0: no certificate.
    pub not_after: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct PortPolicy {
    pub ports: Vec<PortAttrs>,
    pub restrict_mode: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct PortAttrs {
    pub port: u32,
    /// Send a PROXY protocol header.
    pub pp: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct GetPortPolicyResponse {
    pub effective: Option<PortPolicy>,
    /// `admin`, `instance`, `none`.
    pub source: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct RemoveCvmResponse {
    pub record_existed: bool,
    pub removed_locally: bool,
}

/// Of the public listener.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct InfoResponse {
    pub version: String,
}
