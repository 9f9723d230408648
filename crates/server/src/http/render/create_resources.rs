//! `GET /teepods/cvm-create-resources`.

use casemate_api::reply::{
    AvailableNodes, CreateGateway, CreateInstanceType, CreateKms, CreateResources, GpuAvailability,
    NodeKmsRelation, ResourceId,
};
use casemate_core::id::KmsId;

use crate::view::{
    InstanceTypeView, KmsContractView, KmsView, NodeGatewayView, NodeView, contracts,
};

/// Ids as a version writes them.
struct Ids<'a> {
    text: bool,
    kms: &'a [KmsView],
    contracts: &'a [KmsContractView],
}

/// The id of the item at a place, from 0.
fn id(text: bool, place: usize, name: &str) -> ResourceId {
    if text {
        ResourceId::Text(name.to_owned())
    } else {
        ResourceId::Number(u64::try_from(place).unwrap_or(u64::MAX).saturating_add(1))
    }
}

impl Ids<'_> {
    fn of_kms(&self, wanted: &KmsId) -> Option<(ResourceId, &KmsView)> {
        let (place, kms) = self.kms.iter().enumerate().find(|(_, kms)| kms.id == *wanted)?;
        Some((id(self.text, place, wanted.as_ref()), kms))
    }

    fn of_contract(&self, kms: &KmsView) -> Option<ResourceId> {
        let mut all = self.contracts.iter().enumerate();
        let (place, contract) = all.find(|(_, contract)| contract.nodes.contains(kms))?;
        Some(id(self.text, place, &contract.id))
    }
}

/// The reply. `shown` is that of `GET /teepods/available` for the same nodes and KMS; ids are text or places in lists.
pub fn create_resources(
    shown: AvailableNodes,
    (nodes, kms): (&[NodeView], &[KmsView]),
    gateways: &[NodeGatewayView],
    sizes: &[InstanceTypeView],
    text_ids: bool,
) -> CreateResources {
    let all_contracts = contracts(kms);
    let ids = Ids { text: text_ids, kms, contracts: &all_contracts };
    let relations = nodes.iter().flat_map(|node| {
        node.kms_ids.iter().filter_map(|wanted| {
            let (kms_id, kms) = ids.of_kms(wanted)?;
            Some(NodeKmsRelation {
                teepod_id: node.node.id.0,
                kms_id,
                kms_type: kms.kind.to_string(),
                supported_os_images: kms.supported_os_images.clone(),
            })
        })
    });
    CreateResources {
        tier: shown.tier,
        capacity: shown.capacity,
        nodes: shown.nodes,
        kms_nodes: kms.iter().filter_map(|kms| create_kms(&ids, kms)).collect(),
        node_kms_relations: relations.collect(),
        gateway_nodes: gateways
            .iter()
            .enumerate()
            .map(|(place, gateway)| create_gateway(&ids, nodes, place, gateway))
            .collect(),
        instance_types: (0..).zip(sizes).map(|(place, size)| create_size(place, size)).collect(),
        gpu_availability: GpuAvailability {
            has_public_gpus: sizes.iter().any(|size| size.requires_gpu),
            ..GpuAvailability::default()
        },
    }
}

fn create_kms(ids: &Ids<'_>, kms: &KmsView) -> Option<CreateKms> {
    let (id, _) = ids.of_kms(&kms.id)?;
    Some(CreateKms {
        id,
        slug: kms.slug.clone(),
        url: kms.url.clone(),
        version: kms.version.clone(),
        kms_type: kms.kind.to_string(),
        chain_id: kms.chain_id,
        kms_contract_id: ids.of_contract(kms)?,
        kms_contract_address: kms.kms_contract_address.clone(),
        gateway_app_id: kms.gateway_app_id.clone(),
        supported_os_images: kms.supported_os_images.clone(),
    })
}

fn create_gateway(
    ids: &Ids<'_>,
    nodes: &[NodeView],
    place: usize,
    gateway: &NodeGatewayView,
) -> CreateGateway {
    let node = nodes.iter().find(|node| node.node.id == gateway.node);
    let kms = node.and_then(|node| node.default_kms.as_ref()).and_then(|kms| ids.of_kms(kms));
    CreateGateway {
        id: id(ids.text, place, &format!("gn_{}", gateway.name)),
        teepod_id: gateway.node.0,
        kms_contract_id: kms.and_then(|(_, kms)| ids.of_contract(kms)),
        rpc_url: gateway.rpc_url.clone(),
        domain_suffix: gateway.domain.clone(),
        enabled: gateway.answers,
    }
}

fn create_size(display_order: u64, size: &InstanceTypeView) -> CreateInstanceType {
    CreateInstanceType {
        id: size.id.clone(),
        name: size.name.clone(),
        vcpu: size.vcpu,
        memory_mb: size.memory_mb,
        default_disk_size_gb: size.default_disk_gb,
        requires_gpu: size.requires_gpu,
        requires_gpu_count: u32::from(size.requires_gpu),
        family: size.family.clone(),
        display_order,
    }
}
