//! `GET /teepods/available`.

use casemate_api::reply::{AvailableNode, AvailableNodes, Capacity, NodeImage, NodeKms};

use crate::view::{CapacityView, KmsView, NodeView, OsImageView, WorkspaceView};

/// `GET /teepods/available`; the same in every version.
pub fn teepods_available(
    workspace: &WorkspaceView,
    capacity: &CapacityView,
    nodes: &[NodeView],
    kms: &[KmsView],
) -> AvailableNodes {
    AvailableNodes {
        tier: workspace.tier.clone(),
        capacity: Capacity {
            max_instances: capacity.max_instances,
            max_vcpu: capacity.max_vcpu,
            max_memory: capacity.max_memory_mb,
            max_disk: capacity.max_disk_gb,
        },
        nodes: nodes.iter().map(available).collect(),
        kms_list: kms.iter().map(node_kms).collect(),
    }
}

fn available(view: &NodeView) -> AvailableNode {
    let node = &view.node;
    AvailableNode {
        teepod_id: node.id.0,
        node_id: Some(node.id.0),
        name: node.name.clone(),
        listed: view.listed,
        resource_score: view.resource_score,
        remaining_vcpu: f64::from(view.remaining_vcpu),
        remaining_memory: f64::from(view.remaining_memory_mb),
        remaining_cvm_slots: f64::from(view.remaining_slots),
        remaining_disk: view.remaining_disk_gb.map(u64::from),
        images: view.images.iter().map(image).collect(),
        support_onchain_kms: view.support_onchain_kms,
        fmspc: view.fmspc.clone(),
        device_id: node.device_id.map(|id| id.to_string()),
        region_identifier: node.region.clone(),
        default_kms: view.default_kms.as_ref().map(ToString::to_string),
        kms_list: view.kms_ids.iter().map(ToString::to_string).collect(),
        tee: Some(node.tee),
    }
}

fn image(view: &OsImageView) -> NodeImage {
    NodeImage {
        name: view.name.clone(),
        slug: view.slug(),
        is_dev: view.is_dev,
        version: view.version_numbers(),
        os_image_hash: view.os_image_hash.clone(),
        requires_gpu: view.requires_gpu,
    }
}

fn node_kms(view: &KmsView) -> NodeKms {
    NodeKms {
        id: view.id.to_string(),
        slug: view.slug.clone(),
        url: view.url.clone(),
        version: view.version.clone(),
        chain_id: view.chain_id,
        kms_contract_address: view.kms_contract_address.clone(),
        gateway_app_id: view.gateway_app_id.clone(),
        supported_os_images: view.supported_os_images.clone(),
    }
}
