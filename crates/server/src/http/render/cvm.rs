//! CVM objects, nested from 2026-01-21 on.

use casemate_api::{
    page::Page,
    reply::{
        CvmDetail, CvmInfo, CvmKms, CvmListItem, CvmOs, CvmsPage, Endpoint, Failure, Gateway,
        LogUrls, NodeInfo, NodeMark, Progress, Resource, UserMark, UserRef, Waiting, WorkspaceMark,
        WorkspaceRef,
    },
    version::ApiVersion,
};

use super::{cvm_flat, user_id, workspace_id};
use crate::view::{
    CvmView, FailureView, GatewayView, LogUrlsView, NodeRefView, OperationView, PersonView,
    PublicUrl, TenantView, WaitingView,
};

/// `GET /cvms/{id}`.
pub fn cvm_detail(view: &CvmView, version: ApiVersion) -> CvmDetail {
    if version.has_nested_objects() {
        let mut info = cvm_info(view);
        info.compose_file.clone_from(&view.compose_document);
        CvmDetail::Nested(Box::new(info))
    } else {
        CvmDetail::Flat(Box::new(cvm_flat::flat(view, version)))
    }
}

/// `GET /cvms/paginated`.
pub fn cvm_list(page: &Page<CvmView>, next: Option<String>, version: ApiVersion) -> CvmsPage {
    CvmsPage {
        items: page.items.iter().map(|view| cvm_list_item(view, version)).collect(),
        total: page.total,
        page: page.page,
        page_size: page.page_size,
        pages: page.pages,
        next_cursor: next,
    }
}

/// An item of `GET /cvms/paginated`.
pub fn cvm_list_item(view: &CvmView, version: ApiVersion) -> CvmListItem {
    if version.has_nested_objects() {
        CvmListItem::Nested(Box::new(cvm_info(view)))
    } else {
        CvmListItem::Hosted(Box::new(cvm_flat::hosted(view)))
    }
}

/// The nested object, without the compose document.
pub fn cvm_info(view: &CvmView) -> CvmInfo {
    CvmInfo {
        id: view.reference.to_string(),
        name: view.name.clone(),
        app_id: Some(view.app_id.to_string()),
        vm_uuid: Some(view.vm_uuid.to_string()),
        instance_id: view.instance_id.map(|id| id.to_string()),
        resource: resource(view),
        node_info: view.node.as_ref().map(node_info),
        os: Some(os(view)),
        kms_type: view.kms.as_ref().map(|kms| kms.kind.to_string()),
        kms_info: kms(view),
        status: view.phase.into(),
        in_progress: view.in_progress,
        progress: view.operation.as_ref().map(progress),
        compose_hash: Some(view.compose_hash.to_string()),
        docker_compose_hash: view.docker_compose_hash.clone(),
        pre_launch_script_hash: view.pre_launch_script_hash.clone(),
        gateway: view.gateway.as_ref().map(gateway).unwrap_or_default(),
        logs: view.logs.as_ref().map(logs),
        services: Vec::new(),
        endpoints: Some(endpoints(&view.public_urls)),
        public_urls: Some(endpoints(&view.public_urls)),
        public_logs: view.public_logs,
        public_sysinfo: view.public_sysinfo,
        public_tcbinfo: view.public_tcbinfo,
        gateway_enabled: view.gateway_enabled,
        secure_time: view.secure_time,
        listed: view.listed,
        storage_fs: view.storage_fs.map(|fs| fs.as_str().to_owned()),
        workspace: Some(workspace(&view.workspace)),
        creator: view.creator.as_ref().map(person),
        created_at: Some(view.created_at.clone()),
        updated_at: view.updated_at.clone(),
        deleted_at: view.deleted_at.clone(),
        app_url: app_url(view),
        base_image: Some(view.os.name.clone()),
        runner: Some(view.runner.clone()),
        manifest_version: Some(view.manifest_version.to_string()),
        features: Some(view.features.clone()),
        disk_size: Some(view.disk_gb),
        encrypted_env_pubkey: view.env_public_key.clone(),
        project_type: None,
        compose_file: None,
        failure: view.failure.as_ref().map(failure),
        waiting_for: view.waiting_for.as_ref().map(waiting),
    }
}

fn resource(view: &CvmView) -> Resource {
    Resource {
        instance_type: view.instance_type.clone(),
        vcpu: Some(view.vcpu),
        memory_in_gb: Some(f64::from(view.memory_mb) / 1024.0),
        disk_in_gb: Some(view.disk_gb),
        gpus: Some(view.gpus),
        compute_billing_price: view.price_per_hour.clone(),
        billing_period: billing_period(view),
    }
}

/// How it is billed: by the hour where it has a price.
pub(super) fn billing_period(view: &CvmView) -> Option<String> {
    view.price_per_hour.as_ref().map(|_| "hourly".to_owned())
}

/// A node in a CVM or in a list.
pub fn node_info(node: &NodeRefView) -> NodeInfo {
    NodeInfo {
        object_type: NodeMark::Node,
        id: Some(node.id.0),
        name: Some(node.name.clone()),
        region: node.region.clone(),
        device_id: node.device_id.map(|id| id.to_string()),
        ppid: node.ppid.clone(),
        status: node.status.clone(),
        version: node.version.clone(),
        tee: Some(node.tee),
    }
}

fn os(view: &CvmView) -> CvmOs {
    CvmOs {
        name: Some(view.os.name.clone()),
        version: view.os.version.clone(),
        is_dev: view.os.is_dev,
        os_image_hash: view.os.os_image_hash.clone(),
    }
}

fn kms(view: &CvmView) -> Option<CvmKms> {
    if view.kms.is_none() && view.env_public_key.is_none() {
        return None;
    }
    let kms = view.kms.as_ref();
    let onchain = view.onchain.as_ref();
    Some(CvmKms {
        chain_id: kms.and_then(|kms| kms.chain_id),
        dstack_kms_address: kms.and_then(|kms| kms.kms_contract_address.clone()),
        dstack_app_address: onchain.map(|chain| chain.app_contract.clone()),
        deployer_address: onchain.and_then(|chain| chain.deployer.clone()),
        rpc_endpoint: onchain.and_then(|chain| chain.rpc_endpoint.clone()),
        encrypted_env_pubkey: view.env_public_key.clone(),
        k256_pubkey: kms.and_then(|kms| kms.k256_public_key.clone()),
    })
}

fn progress(operation: &OperationView) -> Progress {
    Progress {
        target: Some(operation.target.as_str().to_owned()),
        started_at: Some(operation.started_at.clone()),
        correlation_id: Some(operation.correlation_id.to_string()),
    }
}

fn gateway(gateway: &GatewayView) -> Gateway {
    Gateway {
        base_domain: Some(gateway.base_domain.clone()),
        cname: gateway.cname.clone(),
        scheme: Some(gateway.scheme.clone()),
    }
}

fn logs(urls: &LogUrlsView) -> LogUrls {
    LogUrls {
        serial: urls.serial.clone(),
        stdout: urls.stdout.clone(),
        stderr: urls.stderr.clone(),
        container_log_base: urls.container_log_base.clone(),
    }
}

pub(super) fn endpoints(urls: &[PublicUrl]) -> Vec<Endpoint> {
    let endpoint =
        |url: &PublicUrl| Endpoint { app: url.app.clone(), instance: url.instance.clone() };
    urls.iter().map(endpoint).collect()
}

/// Address of the first published port.
pub(super) fn app_url(view: &CvmView) -> Option<String> {
    view.public_urls.first().map(|url| url.app.clone())
}

pub(super) fn workspace(workspace: &TenantView) -> WorkspaceRef {
    WorkspaceRef {
        object_type: WorkspaceMark::Workspace,
        id: workspace_id(workspace.id),
        name: workspace.name.clone(),
        slug: workspace.slug.clone(),
        avatar_url: None,
    }
}

pub(super) fn person(person: &PersonView) -> UserRef {
    UserRef {
        object_type: UserMark::User,
        id: Some(user_id(person.id)),
        username: Some(person.username.clone()),
        avatar_url: None,
    }
}

pub(super) fn waiting(waiting: &WaitingView) -> Waiting {
    Waiting {
        code: waiting.code.to_owned(),
        cause: waiting.cause.clone(),
        since: waiting.since.clone(),
    }
}

pub(super) fn failure(failure: &FailureView) -> Failure {
    Failure { code: failure.code.clone(), cause: failure.cause.clone(), at: failure.at.clone() }
}
