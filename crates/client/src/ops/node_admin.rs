use casemate_api::{
    gateway_admin::{ManagedGateway, ManagedGateways},
    node_admin::{AddNodeRequest, ManagedNode, ManagedNodes},
};
use reqwest::Method;

use crate::{error::Error, http::Client};

/// Node administration. Casemate only.
impl Client {
    /// `GET /admin/nodes`.
    pub async fn managed_nodes(&self) -> Result<Vec<ManagedNode>, Error> {
        let all: ManagedNodes = self.get(&["admin", "nodes"], &[]).await?;
        Ok(all.nodes)
    }

    /// `GET /admin/nodes/{name}`.
    pub async fn managed_node(&self, name: &str) -> Result<ManagedNode, Error> {
        self.get(&["admin", "nodes", name], &[]).await
    }

    /// `POST /admin/nodes`: the server connects to the node after its reply.
    pub async fn add_node(&self, node: &AddNodeRequest) -> Result<ManagedNode, Error> {
        self.post(&["admin", "nodes"], Some(node)).await
    }

    /// `POST /admin/nodes/{name}/check`: the server checks the node after its reply, and then increments
    /// `looks`.
    pub async fn check_node(&self, name: &str) -> Result<ManagedNode, Error> {
        self.ask(self.changing(Method::POST, &["admin", "nodes", name, "check"])?).await
    }

    /// `POST /admin/nodes/{name}/cordon`: marks it unschedulable.
    pub async fn cordon_node(&self, name: &str) -> Result<ManagedNode, Error> {
        self.ask(self.changing(Method::POST, &["admin", "nodes", name, "cordon"])?).await
    }

    /// `POST /admin/nodes/{name}/uncordon`: marks it schedulable.
    pub async fn uncordon_node(&self, name: &str) -> Result<ManagedNode, Error> {
        self.ask(self.changing(Method::POST, &["admin", "nodes", name, "uncordon"])?).await
    }

    /// `GET /admin/gateways`: clusters of dstack-gateway, without their instances.
    pub async fn managed_gateways(&self) -> Result<Vec<ManagedGateway>, Error> {
        let all: ManagedGateways = self.get(&["admin", "gateways"], &[]).await?;
        Ok(all.gateways)
    }

    /// `GET /admin/gateways/{name}`.
    pub async fn managed_gateway(&self, name: &str) -> Result<ManagedGateway, Error> {
        self.get(&["admin", "gateways", name], &[]).await
    }

    /// `DELETE /admin/nodes/{name}`. `give_up`: even with CVMs, which are lost then.
    pub async fn remove_node(&self, name: &str, give_up: bool) -> Result<(), Error> {
        self.delete_with(&["admin", "nodes", name], &[("give_up", give_up.to_string())]).await
    }
}
