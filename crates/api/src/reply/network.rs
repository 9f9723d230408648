//! Host ports of a CVM and what its guest is told of the network.

use serde::{Deserialize, Serialize};

/// An item of `GET` and `PUT /cvms/{id}/ports`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HostPort {
    /// `pm_…`.
    pub id: String,
    /// Port on the host.
    pub host_port: u16,
    /// Port in the VM.
    pub vm_port: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Address on the host; empty: the node chooses.
    pub host_address: String,
    /// Networks that may connect; empty: all.
    #[serde(default)]
    pub source_cidrs: Vec<String>,
}

/// `GET` and `PATCH /cvms/{id}/network-config`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NetworkConfig {
    /// KMS addresses for the guest; empty: the node's.
    #[serde(default)]
    pub kms_urls: Vec<String>,
    /// Gateway addresses for the guest; empty: the node's.
    #[serde(default)]
    pub gateway_urls: Vec<String>,
    /// Host ports.
    #[serde(default)]
    pub ports: Vec<NetworkPort>,
}

/// A host port in the network configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NetworkPort {
    /// Port on the host.
    pub host_port: u16,
    /// Port in the VM.
    pub vm_port: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Address on the host; empty: the node chooses.
    #[serde(default)]
    pub host_address: String,
}

/// `GET /cvms/{id}/firewall-status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FirewallStatus {
    /// Whether the node filters who may connect to host ports.
    pub available: bool,
    /// Why it does not.
    #[serde(default)]
    pub reason: Option<String>,
}
