use casemate_api::{
    fleet::{
        DriftReport, MoveReply, MoveRequest, NodeCvms, PlacedCvm, SimulationReply,
        SimulationRequest,
    },
    gateway_admin::{
        GatewayDomain, GatewayInstanceDetail, GatewayPortPolicy, ManagedGateway, ManagedGateways,
        NewGatewayDomain,
    },
    node_admin::{AddNodeRequest, ChangeNodeRequest, ManagedNode, ManagedNodes},
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

    /// `PATCH /admin/nodes/{name}`: labels and price.
    pub async fn change_node(
        &self,
        name: &str,
        change: &ChangeNodeRequest,
    ) -> Result<ManagedNode, Error> {
        self.patch(&["admin", "nodes", name], change).await
    }

    /// `GET /admin/drift`: of one node, or of all.
    pub async fn drift(&self, node: Option<&str>) -> Result<DriftReport, Error> {
        let query: Vec<(&str, String)> =
            node.map(|node| ("node", node.to_owned())).into_iter().collect();
        self.get(&["admin", "drift"], &query).await
    }

    /// `POST /admin/nodes/{name}/accept-host`.
    pub async fn accept_host(&self, name: &str) -> Result<(), Error> {
        let call = self.changing(Method::POST, &["admin", "nodes", name, "accept-host"])?;
        self.send(&call).await.map(drop)
    }

    /// `GET /admin/nodes/{name}/cvms`: the page after this number, 0 for the first one.
    pub async fn node_cvms(&self, name: &str, after: i64) -> Result<NodeCvms, Error> {
        self.get(&["admin", "nodes", name, "cvms"], &[("after", after.to_string())]).await
    }

    /// `GET /admin/cvms/{cvm}`: a CVM of any workspace, with its node.
    pub async fn placed_cvm(&self, cvm: &str) -> Result<PlacedCvm, Error> {
        self.get(&["admin", "cvms", cvm], &[]).await
    }

    /// `POST /admin/cvms/{cvm}/move`.
    pub async fn move_cvm(&self, cvm: &str, request: &MoveRequest) -> Result<MoveReply, Error> {
        self.post(&["admin", "cvms", cvm, "move"], Some(request)).await
    }

    /// `POST /admin/gateways/{name}/domains`.
    pub async fn add_gateway_domain(
        &self,
        gateway: &str,
        domain: &NewGatewayDomain,
    ) -> Result<GatewayDomain, Error> {
        self.post(&["admin", "gateways", gateway, "domains"], Some(domain)).await
    }

    /// `DELETE /admin/gateways/{name}/domains/{domain}`.
    pub async fn delete_gateway_domain(&self, gateway: &str, domain: &str) -> Result<(), Error> {
        self.delete(&["admin", "gateways", gateway, "domains", domain]).await
    }

    /// `GET /admin/gateways/{name}/instances/{instance_id}`: asked of the cluster now.
    pub async fn gateway_instance(
        &self,
        gateway: &str,
        instance: &str,
    ) -> Result<GatewayInstanceDetail, Error> {
        self.get(&["admin", "gateways", gateway, "instances", instance], &[]).await
    }

    /// `POST /admin/gateways/{name}/instances/{instance_id}/port-policy`.
    pub async fn set_gateway_port_policy(
        &self,
        gateway: &str,
        instance: &str,
        policy: &GatewayPortPolicy,
    ) -> Result<GatewayInstanceDetail, Error> {
        let path = ["admin", "gateways", gateway, "instances", instance, "port-policy"];
        self.post(&path, Some(policy)).await
    }

    /// `DELETE /admin/gateways/{name}/instances/{instance_id}/port-policy`.
    pub async fn clear_gateway_port_policy(
        &self,
        gateway: &str,
        instance: &str,
    ) -> Result<(), Error> {
        self.delete(&["admin", "gateways", gateway, "instances", instance, "port-policy"]).await
    }

    /// `POST /admin/placement/simulate`.
    pub async fn simulate_placement(
        &self,
        request: &SimulationRequest,
    ) -> Result<SimulationReply, Error> {
        self.post(&["admin", "placement", "simulate"], Some(request)).await
    }
}
