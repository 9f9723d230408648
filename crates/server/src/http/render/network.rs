//! Host ports of a CVM and what its guest is told of the network; the same in every version.

use casemate_api::reply::{FirewallStatus, HostPort, NetworkConfig, NetworkPort};

use crate::view::{FirewallView, NetworkConfigView, PortView};

/// `GET` and `PUT /cvms/{id}/ports`.
pub fn ports(views: &[PortView]) -> Vec<HostPort> {
    views.iter().map(HostPort::from).collect()
}

/// `GET` and `PATCH /cvms/{id}/network-config`.
pub fn network_config(view: &NetworkConfigView) -> NetworkConfig {
    let port = |view: &PortView| NetworkPort {
        host_port: view.host_port,
        vm_port: view.vm_port,
        protocol: view.protocol.clone(),
        host_address: view.host_address.clone().unwrap_or_default(),
    };
    NetworkConfig {
        kms_urls: view.kms_urls.clone(),
        gateway_urls: view.gateway_urls.clone(),
        ports: view.ports.iter().map(port).collect(),
    }
}

/// `GET /cvms/{id}/firewall-status`.
pub fn firewall_status(view: &FirewallView) -> FirewallStatus {
    match view {
        FirewallView::Available => FirewallStatus { available: true, reason: None },
        FirewallView::Unavailable(why) => {
            FirewallStatus { available: false, reason: Some(why.clone()) }
        }
    }
}
