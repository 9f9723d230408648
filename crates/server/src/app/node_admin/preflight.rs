//! The facts of a pre-flight: what the watch of a node has seen last.

use casemate_api::node_admin::ManagedNode;
use casemate_core::{
    id::{DeviceId, NodeId},
    place::Amount,
    preflight::{Facts, ImageFact},
};
use casemate_engine::node::Inventory;

use crate::app::Ctx;

/// The facts of a node.
pub fn facts(ctx: &Ctx, node: &ManagedNode) -> Facts {
    let fleet = ctx.fleet.node(NodeId(node.id));
    let inventory = fleet.map_or_else(|| Inventory::unknown().into(), |node| node.observed().0);
    let image = |image: &casemate_engine::node::Image| ImageFact {
        name: image.name.clone(),
        version: image.version.clone(),
        os_image_hash: image.os_image_hash.clone(),
    };
    Facts {
        silence: (!node.reachable)
            .then(|| node.cause.clone().unwrap_or_else(|| "no answer yet".to_owned())),
        version: inventory.version.clone(),
        tee: node.tee.clone(),
        device_id: Some(inventory.device_id).filter(|id| *id != DeviceId::from_bytes([0; 32])),
        images: inventory.images.iter().map(image).collect(),
        capacity: Amount {
            slots: node.capacity.slots,
            vcpu: node.capacity.vcpu,
            memory_mb: node.capacity.memory_mb,
            disk_gb: node.capacity.disk_gb,
        },
        gateway: domain_and_port(inventory.gateway_domain.as_deref().unwrap_or_default()),
        probe: inventory.probe.clone(),
    }
}

/// `apps.example:8443`; without a port it is 443.
fn domain_and_port(text: &str) -> (String, u16) {
    let port = text.rsplit_once(':').and_then(|(domain, port)| Some((domain, port.parse().ok()?)));
    let (domain, port) = port.unwrap_or((text, 443));
    (domain.to_owned(), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_has_a_port() {
        assert_eq!(domain_and_port("apps.example"), ("apps.example".to_owned(), 443));
        assert_eq!(domain_and_port("apps.example:8443"), ("apps.example".to_owned(), 8443));
    }
}
