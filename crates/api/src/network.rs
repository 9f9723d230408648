//! What a CVM's guest is told of the network, and the host ports that lead to it. `null` means: leave
//! it alone.

use serde::{Deserialize, Serialize};

use crate::{body::object, num, provision::PortMapping};

/// `PATCH /cvms/{id}/network-config`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NetworkConfigRequest {
    /// KMS addresses for the guest; empty: the node's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_urls: Option<Vec<String>>,
    /// Gateway addresses for the guest; empty: the node's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_urls: Option<Vec<String>>,
    /// Restart the guest now; otherwise the addresses count from its next start on.
    #[serde(default, deserialize_with = "num::flag")]
    pub restart: bool,
}

/// `PUT /cvms/{id}/ports`: every host port of the CVM from now on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PortsRequest {
    /// The ports; an empty list takes all away.
    #[serde(deserialize_with = "object::list")]
    pub ports: Vec<PortRule>,
}

/// One host port. Ports are 1–65535; 0 is refused by the server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PortRule {
    /// Port in the VM; required, asked for by the server.
    #[serde(default, deserialize_with = "num::opt_int", skip_serializing_if = "Option::is_none")]
    pub vm_port: Option<u16>,
    /// `tcp` or `udp`; `tcp` if left out.
    #[serde(default, deserialize_with = "num::opt_name", skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Port on the host; the server's choice if left out.
    #[serde(default, deserialize_with = "num::opt_int", skip_serializing_if = "Option::is_none")]
    pub host_port: Option<u16>,
    /// Address on the host; the node's choice if left out.
    #[serde(default, deserialize_with = "num::opt_name", skip_serializing_if = "Option::is_none")]
    pub host_address: Option<String>,
    /// Networks that may connect, `203.0.113.0/24`; empty or left out: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_cidrs: Option<Vec<String>>,
}

impl PortRule {
    /// The same as a host port of a provision.
    pub fn mapping(&self) -> PortMapping {
        PortMapping {
            protocol: self.protocol.clone(),
            host_port: self.host_port,
            vm_port: self.vm_port,
            host_address: self.host_address.clone(),
        }
    }
}
