//! What a CVM's configuration says of the network. Read from the database: what the node was told or
//! will be told, also while it does not answer.

use casemate_core::node::NodeKind;

use super::{Caller, Ctx, Error, cvms, update};
use crate::view::{FirewallView, NetworkConfigView};

/// Host ports, KMS and gateway addresses of a CVM.
pub async fn config(ctx: &Ctx, caller: &Caller, text: &str) -> Result<NetworkConfigView, Error> {
    let cvm = cvms::find(ctx, caller, text).await?;
    Ok(update::network::config(&cvm.spec, cvm.id))
}

/// Whether the CVM's node filters who may connect to host ports. No kind of node does so far.
pub async fn firewall(ctx: &Ctx, caller: &Caller, text: &str) -> Result<FirewallView, Error> {
    let cvm = cvms::find(ctx, caller, text).await?;
    let Some(node) = ctx.fleet.node(cvm.node) else {
        let why = "the CVM's node is not configured any more";
        return Ok(FirewallView::Unavailable(why.to_owned()));
    };
    let why = match (node.observed().0.capabilities.host_ports, node.kind) {
        (false, _) => {
            "a docker node maps no host ports, so there is nothing to filter: published ports are \
             reached through the gateway"
        }
        (true, NodeKind::Sim) => "a simulated node has host ports and no firewall in front of them",
        (true, NodeKind::Docker | NodeKind::Dstack) => {
            "the node has no firewall in front of its host ports"
        }
    };
    Ok(FirewallView::Unavailable(why.to_owned()))
}
