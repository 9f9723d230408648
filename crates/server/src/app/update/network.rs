//! Host ports of a CVM, and the addresses its guest is told.

use casemate_api::{
    error::{ErrorCode, ErrorDetail},
    network::{PortRule, PortsRequest},
};
use casemate_core::{
    change::Change,
    cvm::{PortMap, Spec},
    id::CvmId,
};
use casemate_store::Tx;

use super::ChangeRequest;
use crate::{
    app::{Caller, Error, provision},
    view::{NetworkConfigView, PortView},
};

/// Where host ports are chosen that a client leaves open.
const CHOSEN: std::ops::Range<u16> = 20_000..30_000;

/// What a configuration says of the network.
pub fn config(spec: &Spec, cvm: CvmId) -> NetworkConfigView {
    NetworkConfigView {
        kms_urls: spec.kms_urls.clone(),
        gateway_urls: spec.gateway_urls.clone(),
        ports: spec.ports.iter().map(|port| view(cvm, port)).collect(),
    }
}

fn view(cvm: CvmId, port: &PortMap) -> PortView {
    PortView {
        cvm,
        protocol: port.protocol.clone(),
        host_port: port.host_port,
        vm_port: port.vm_port,
        host_address: port.host_address.clone(),
        source_cidrs: Vec::new(),
    }
}

/// The change that gives a CVM these host ports and no others. What a client leaves open is chosen
/// among the ports that no CVM of the node has.
pub async fn ports(
    tx: &mut Tx,
    caller: &Caller,
    id: CvmId,
    request: &PortsRequest,
) -> Result<ChangeRequest, Error> {
    let cvm = tx
        .lock_cvm(id)
        .await?
        .filter(|cvm| cvm.workspace == caller.workspace.id)
        .ok_or_else(crate::app::cvms::not_found)?;
    if let Some(index) = request.ports.iter().position(filters) {
        let field = format!("ports.{index}.source_cidrs");
        let why = "needs a node with a firewall, and this CVM's node has none";
        return Err(Error::field(ErrorCode::FieldNotServed, &field, why)
            .suggest("Leave it out; GET …/firewall-status says what the node can do."));
    }
    // Two that choose at the same time see each other.
    tx.lock_node_and_sum(cvm.node).await?;
    let taken = tx.ports_on_node(cvm.node, Some(id)).await?;
    let mut mappings = Vec::new();
    for rule in &request.ports {
        let mut mapping = rule.mapping();
        if mapping.host_port.is_none() {
            let chosen = CHOSEN.clone().find(|port| {
                !taken.iter().any(|other| other.host_port == *port)
                    && !request.ports.iter().any(|other| other.host_port == Some(*port))
                    && !mappings.iter().any(|other: &casemate_api::provision::PortMapping| {
                        other.host_port == Some(*port)
                    })
            });
            mapping.host_port = chosen;
        }
        mappings.push(mapping);
    }
    let ports = provision::ports(Some(&mappings))?;
    let clash = ports.iter().find(|port| {
        taken
            .iter()
            .any(|other| (&other.protocol, other.host_port) == (&port.protocol, port.host_port))
    });
    if let Some(port) = clash {
        let taken = format!("{}/{}", port.host_port, port.protocol);
        return Err(Error::because(
            ErrorCode::StateConflict,
            format!("host port {taken} is taken by another CVM of the node"),
        )
        .detail(ErrorDetail::value("host_port", taken))
        .suggest("Leave host_port out to have one chosen."));
    }
    Ok(Change { ports: Some(ports), ..Change::default() }.into())
}

fn filters(rule: &PortRule) -> bool {
    rule.source_cidrs.as_ref().is_some_and(|networks| !networks.is_empty())
}
