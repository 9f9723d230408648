//! The hosts of the fleet, as far as their quotes name them.

use casemate_api::attestation::AttestedNode;
use casemate_core::{id::DeviceId, node::NodeState};

use crate::app::{Ctx, fleet::FleetNode};

/// Every host.
pub fn nodes(ctx: &Ctx) -> Vec<AttestedNode> {
    ctx.fleet.all().iter().map(|node| shown(node)).collect()
}

/// The device ids that are known.
pub fn device_ids(ctx: &Ctx) -> Vec<String> {
    let mut known: Vec<String> = nodes(ctx).into_iter().filter_map(|node| node.device_id).collect();
    known.sort();
    known.dedup();
    known
}

/// The platform ids that are known: none, because hosts tell only their hashes, the device ids.
pub fn ppids(ctx: &Ctx) -> Vec<String> {
    let mut known: Vec<String> = nodes(ctx).into_iter().filter_map(|node| node.ppid).collect();
    known.sort();
    known.dedup();
    known
}

fn shown(node: &FleetNode) -> AttestedNode {
    let (inventory, reachable) = node.observed();
    let known = inventory.device_id != DeviceId::from_bytes([0; 32]);
    let status = match (node.policy().state, reachable) {
        (NodeState::Cordoned, _) => "MAINTENANCE",
        (_, true) => "ONLINE",
        (_, false) => "OFFLINE",
    };
    AttestedNode {
        object_type: "node".to_owned(),
        id: Some(node.id.0),
        node_id: Some(node.id.0),
        name: Some(node.name.clone()),
        region: Some(node.region.clone()).filter(|region| !region.is_empty()),
        device_id: known.then(|| inventory.device_id.to_string()),
        ppid: None,
        status: Some(status.to_owned()),
        version: Some(inventory.version.clone()).filter(|version| !version.is_empty()),
    }
}
