//! Flat CVM objects.

use casemate_api::{
    reply::{AnyId, CvmFlat, Hosted, HostedCvm, KmsNode, ManagedUser, NewInstance, Teepod, Vm},
    version::ApiVersion,
};

use super::{
    cvm::{app_url, billing_period, cvm_info, endpoints, failure, waiting},
    cvm_id, user_id,
};
use crate::view::{CvmView, NodeRefView};

/// `PATCH /cvms/{id}/visibility`: flat in every version, because the official client insists.
pub fn cvm_visibility(view: &CvmView, version: ApiVersion) -> CvmFlat {
    flat(view, version)
}

/// `POST /cvms`.
pub fn cvm_commit(view: &CvmView, version: ApiVersion) -> Vm {
    vm(view, version)
}

/// The power verbs and `POST /cvms/{id}/replicas`.
pub fn vm_action(view: &CvmView, version: ApiVersion) -> Vm {
    vm(view, version)
}

/// `POST /apps/{id}/instances`.
pub fn new_instance(view: &CvmView, version: ApiVersion) -> NewInstance {
    if version.new_instances_are_nested() {
        NewInstance::Nested(Box::new(cvm_info(view)))
    } else {
        NewInstance::Flat(Box::new(vm(view, version)))
    }
}

pub(super) fn flat(view: &CvmView, version: ApiVersion) -> CvmFlat {
    CvmFlat {
        id: cvm_id(view.id, &view.reference, version),
        name: view.name.clone(),
        status: view.phase.into(),
        in_progress: view.in_progress,
        teepod_id: view.node.as_ref().map(|node| node.id.0),
        teepod: view.node.as_ref().map(teepod),
        app_id: view.app_id.to_string(),
        vm_uuid: Some(view.vm_uuid.to_string()),
        instance_id: view.instance_id.map(|id| id.to_string()),
        vcpu: view.vcpu,
        memory: view.memory_mb,
        disk_size: view.disk_gb,
        base_image: Some(view.os.name.clone()),
        encrypted_env_pubkey: view.env_public_key.clone(),
        listed: view.listed,
        project_id: None,
        project_type: None,
        instance_type: view.instance_type.clone(),
        public_sysinfo: view.public_sysinfo,
        public_logs: view.public_logs,
        public_tcbinfo: view.public_tcbinfo,
        dapp_dashboard_url: None,
        syslog_endpoint: view.syslog_endpoint.clone(),
        kms_info: view.kms.as_ref().map(KmsNode::from),
        contract_address: app_contract(view),
        deployer_address: deployer(view),
        scheduled_delete_at: view.scheduled_delete_at.clone(),
        public_urls: endpoints(&view.public_urls),
        gateway_domain: gateway_domain(view),
        machine_info: None,
        created_at: Some(view.created_at.clone()),
        updated_at: view.updated_at.clone(),
        failure: view.failure.as_ref().map(failure),
        waiting_for: view.waiting_for.as_ref().map(waiting),
    }
}

pub(super) fn hosted(view: &CvmView) -> HostedCvm {
    HostedCvm {
        hosted: hosted_vm(view),
        name: view.name.clone(),
        managed_user: view
            .creator
            .as_ref()
            .map(|person| ManagedUser { id: person.id.0, username: person.username.clone() }),
        node: view.node.as_ref().map(teepod),
        listed: view.listed,
        status: view.phase.into(),
        in_progress: view.in_progress,
        dapp_dashboard_url: None,
        syslog_endpoint: view.syslog_endpoint.clone(),
        allow_upgrade: true,
        project_id: None,
        project_type: None,
        billing_period: billing_period(view),
        kms_info: view.kms.as_ref().map(KmsNode::from),
        contract_address: app_contract(view),
        deployer_address: deployer(view),
        vcpu: Some(view.vcpu),
        memory: Some(view.memory_mb),
        disk_size: Some(view.disk_gb),
        gateway_domain: gateway_domain(view),
        public_urls: endpoints(&view.public_urls),
        machine_info: None,
        updated_at: view.updated_at.clone(),
    }
}

fn hosted_vm(view: &CvmView) -> Hosted {
    Hosted {
        id: view.vm_uuid.to_string(),
        name: view.name.clone(),
        status: view.phase.into(),
        uptime: view.uptime.clone().unwrap_or_default(),
        app_url: app_url(view),
        app_id: view.app_id.to_string(),
        instance_id: view.instance_id.map(|id| id.to_string()),
        configuration: None,
        exited_at: view.exited_at.clone(),
        boot_progress: view.boot_progress.clone(),
        boot_error: view.boot_error.clone(),
        shutdown_progress: view.shutdown_progress.clone(),
        image_version: view.os.version.clone(),
    }
}

fn vm(view: &CvmView, version: ApiVersion) -> Vm {
    Vm {
        id: cvm_id(view.id, &view.reference, version),
        name: view.name.clone(),
        status: view.phase.into(),
        teepod_id: view.node.as_ref().map_or(0, |node| node.id.0),
        teepod: view.node.as_ref().map(teepod),
        user_id: view.creator.as_ref().map(|person| {
            if version.ids_are_strings() {
                AnyId::Text(user_id(person.id))
            } else {
                AnyId::Number(person.id.0)
            }
        }),
        app_id: Some(view.app_id.to_string()),
        vm_uuid: Some(view.vm_uuid.to_string()),
        instance_id: view.instance_id.map(|id| id.to_string()),
        app_url: app_url(view),
        base_image: Some(view.os.name.clone()),
        vcpu: view.vcpu,
        memory: view.memory_mb,
        disk_size: view.disk_gb,
        manifest_version: Some(view.manifest_version),
        version: None,
        runner: Some(view.runner.clone()),
        docker_compose_file: view.docker_compose_file.clone(),
        features: Some(view.features.clone()),
        created_at: view.created_at.clone(),
        encrypted_env_pubkey: view.env_public_key.clone(),
        app_auth_contract_address: app_contract(view),
        deployer_address: deployer(view),
        correlation_id: view.operation.as_ref().map(|open| open.correlation_id.to_string()),
    }
}

fn teepod(node: &NodeRefView) -> Teepod {
    Teepod {
        id: node.id.0,
        name: node.name.clone(),
        region_identifier: node.region.clone(),
        tee: Some(node.tee),
    }
}

fn gateway_domain(view: &CvmView) -> Option<String> {
    view.gateway.as_ref().map(|gateway| gateway.base_domain.clone())
}

fn app_contract(view: &CvmView) -> Option<String> {
    view.onchain.as_ref().map(|chain| chain.app_contract.clone())
}

fn deployer(view: &CvmView) -> Option<String> {
    view.onchain.as_ref().and_then(|chain| chain.deployer.clone())
}
