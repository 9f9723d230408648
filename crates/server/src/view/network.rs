//! Host ports and network configuration of a CVM.

use casemate_api::reply::HostPort;
use casemate_core::id::CvmId;

/// A host port that is forwarded to a CVM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortView {
    pub cvm: CvmId,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Port on the host.
    pub host_port: u16,
    /// Port in the VM.
    pub vm_port: u16,
    /// Address on the host; `None`: the node chooses.
    pub host_address: Option<String>,
    /// Networks that may connect; empty: all.
    pub source_cidrs: Vec<String>,
}

/// The network part of a CVM's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkConfigView {
    /// KMS URLs for the guest; empty: the node's.
    pub kms_urls: Vec<String>,
    /// Gateway URLs for the guest; empty: the node's.
    pub gateway_urls: Vec<String>,
    pub ports: Vec<PortView>,
}

/// Whether the CVM's node can restrict connections to host ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirewallView {
    Available,
    /// With the reason.
    Unavailable(String),
}

/// For `GET` and `PUT /cvms/{id}/ports`, and previews.
impl From<&PortView> for HostPort {
    fn from(view: &PortView) -> Self {
        Self {
            id: format!("pm_{}_{}_{}", view.cvm, view.protocol, view.host_port),
            host_port: view.host_port,
            vm_port: view.vm_port,
            protocol: view.protocol.clone(),
            host_address: view.host_address.clone().unwrap_or_default(),
            source_cidrs: view.source_cidrs.clone(),
        }
    }
}
