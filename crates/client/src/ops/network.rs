use casemate_api::{
    network::{NetworkConfigRequest, PortRule, PortsRequest},
    reply::{FirewallStatus, HostPort, NetworkConfig},
};
use reqwest::Method;

use crate::{error::Error, http::Client};

impl Client {
    /// `GET /cvms/{id}/network-config`: the guest's network configuration.
    pub async fn network_config(&self, cvm: &str) -> Result<NetworkConfig, Error> {
        self.get(&["cvms", cvm, "network-config"], &[]).await
    }

    /// `PATCH /cvms/{id}/network-config`.
    pub async fn update_network_config(
        &self,
        cvm: &str,
        request: &NetworkConfigRequest,
    ) -> Result<NetworkConfig, Error> {
        self.patch(&["cvms", cvm, "network-config"], request).await
    }

    /// `GET /cvms/{id}/ports`: the host ports forwarded to it.
    pub async fn ports(&self, cvm: &str) -> Result<Vec<HostPort>, Error> {
        self.get(&["cvms", cvm, "ports"], &[]).await
    }

    /// `PUT /cvms/{id}/ports`: replaces all host ports.
    pub async fn set_ports(&self, cvm: &str, ports: Vec<PortRule>) -> Result<Vec<HostPort>, Error> {
        let call = self.changing(Method::PUT, &["cvms", cvm, "ports"])?;
        self.ask(call.json(&PortsRequest { ports })?).await
    }

    /// `GET /cvms/{id}/firewall-status`: whether its node can restrict connections to host ports.
    pub async fn firewall_status(&self, cvm: &str) -> Result<FirewallStatus, Error> {
        self.get(&["cvms", cvm, "firewall-status"], &[]).await
    }
}
