//! From what is stored to what the wire shows: the one place that fills [`crate::view`].

use std::time::Duration;

use casemate_api::{compose_file::StorageFs, reply::Tee};
use casemate_core::{
    change::Effect,
    compose::AppCompose,
    cvm::{Boot, Phase, Power, VmPower},
    id::{Address, NodeId},
    place::Candidate,
};
use casemate_engine::node::{Image, Inventory};
use casemate_store::cvms::Cvm;

use super::{
    Caller, Ctx,
    fleet::{FleetKms, FleetNode},
    update::Accepted,
};
use crate::view::{
    CvmView, FailureView, GatewayView, KmsView, NodeRefView, NodeView, OnchainView, OperationView,
    OsImageView, OsView, PersonView, PublicUrl, TenantView, UpdateView, WaitingView,
};

/// The view of a CVM, without its document.
pub fn cvm(ctx: &Ctx, caller: &Caller, cvm: &Cvm) -> CvmView {
    let spec = &cvm.spec;
    let observed = cvm.status.observed.as_ref();
    let node = ctx.fleet.node(cvm.node);
    let gateways = gateways_of(ctx, cvm);
    let running = observed.is_some_and(|vm| vm.power == VmPower::Running);
    CvmView {
        id: cvm.id,
        reference: cvm.reference.clone(),
        vm_uuid: cvm.uuid,
        name: spec.name.clone(),
        app_id: spec.app_id,
        instance_id: cvm.instance_id,
        phase: cvm.phase,
        in_progress: cvm.operation.is_some(),
        operation: cvm.operation.map(|open| OperationView {
            kind: open.kind,
            correlation_id: open.id,
            started_at: open.started_at.to_string(),
            target: open.kind.target(cvm.desired.power),
        }),
        boot_progress: observed
            .filter(|vm| running && vm.boot != Boot::Unknown)
            .map(|vm| vm.boot.as_str().to_owned()),
        boot_error: observed.and_then(boot_error),
        shutdown_progress: observed.and_then(|vm| vm.shutdown_progress.clone()),
        uptime: observed
            .filter(|_| running)
            .and_then(|vm| vm.started_at)
            .map(|at| human(ctx.now().since(at))),
        exited_at: observed.and_then(|vm| vm.exited_at).map(|at| at.to_string()),
        failure: failure(cvm),
        waiting_for: waiting(ctx, cvm),
        vcpu: spec.resources.vcpu,
        memory_mb: spec.resources.memory_mb,
        disk_gb: spec.resources.disk_gb,
        gpus: spec
            .resources
            .gpus
            .as_ref()
            .map_or(0, |gpus| u32::try_from(gpus.gpus.len()).unwrap_or(u32::MAX)),
        instance_type: spec.resources.instance_type.clone(),
        price_per_hour: price(ctx, spec.resources.instance_type.as_deref()),
        node: node.as_deref().map(node_ref),
        os: os(node.as_deref().map(|node| node.observed().0).as_deref(), &spec.image),
        kms: spec.env_public_key.as_ref().and_then(|_| ctx.fleet.kms_of(&cvm.kms)).map(kms),
        onchain: ctx.fleet.kms_of(&cvm.kms).and_then(|kms| kms.governed.as_ref()).map(|_| {
            OnchainView {
                app_contract: contract(spec.app_id),
                deployer: spec.deployer.map(contract),
                rpc_endpoint: None,
            }
        }),
        env_public_key: spec.env_public_key.as_ref().map(ToString::to_string),
        compose_hash: spec.compose_hash,
        docker_compose_hash: spec.facts.docker_compose_hash.clone(),
        pre_launch_script_hash: spec.facts.pre_launch_script_hash.clone(),
        docker_compose_file: None,
        compose_document: None,
        features: spec.facts.features.clone(),
        manifest_version: spec.facts.manifest_version,
        runner: spec.facts.runner.clone(),
        public_logs: spec.facts.public_logs,
        public_sysinfo: spec.facts.public_sysinfo,
        public_tcbinfo: spec.facts.public_tcbinfo,
        gateway_enabled: spec.facts.gateway_enabled,
        secure_time: spec.facts.secure_time,
        storage_fs: spec.facts.storage_fs.as_deref().and_then(|fs| fs.parse::<StorageFs>().ok()),
        listed: spec.listed,
        public_urls: public_urls(cvm, &gateways),
        gateway: gateways.into_iter().next(),
        syslog_endpoint: None,
        logs: None,
        workspace: TenantView {
            id: caller.workspace.id,
            name: caller.workspace.name.clone(),
            slug: Some(caller.workspace.slug.clone()),
        },
        creator: (cvm.created_by == caller.user.id)
            .then(|| PersonView { id: caller.user.id, username: caller.user.username.clone() }),
        created_at: cvm.created_at.to_string(),
        updated_at: Some(cvm.updated_at.to_string()),
        deleted_at: None,
        scheduled_delete_at: cvm.delete_at.map(|at| at.to_string()),
    }
}

/// What the open operation of a CVM waits for: its node, if that does not answer.
pub fn waiting(ctx: &Ctx, cvm: &Cvm) -> Option<WaitingView> {
    cvm.operation?;
    let node = ctx.fleet.node(cvm.node)?;
    let outage = node.outage()?;
    Some(WaitingView {
        code: "node_unreachable",
        cause: format!(
            "node {} does not answer ({}); the operation goes on when it does",
            node.name, outage.why
        ),
        since: outage.since.to_string(),
    })
}

/// The view of an accepted change.
pub fn update(accepted: &Accepted) -> UpdateView {
    let message = match (accepted.waits_behind, accepted.effect) {
        (Some(_), _) => "Update accepted; it waits for the operation under way",
        (None, Effect::Nothing) => "Nothing to change: the CVM is like that already",
        (None, Effect::Record) => "Updated; no restart needed",
        (None, Effect::NextStart) => "Update accepted; it counts from the next start on",
        (None, Effect::Restart) if accepted.cvm.desired.power == Power::Stopped => {
            "Update accepted; the CVM stays stopped"
        }
        (None, Effect::Restart) => "Update accepted; the CVM restarts with it",
    };
    UpdateView {
        correlation_id: accepted.operation,
        message: message.to_owned(),
        effect: accepted.waits_behind.is_none().then_some(accepted.effect),
        queue_position: accepted.waits_behind,
        joined_to: None,
        env_report: accepted.report.clone(),
        allowed_envs_changed: accepted.allowed_envs_changed,
        warnings: Vec::new(),
    }
}

/// The view with the document, for replies that carry it.
pub fn with_document(mut view: CvmView, document: &str) -> CvmView {
    if let Ok(parsed) = AppCompose::parse(document) {
        view.docker_compose_file = parsed.docker_compose_file;
    }
    view.compose_document = serde_json::from_str(document).ok();
    view
}

/// Why the last operation failed; where none did, why a service that should run does not.
fn failure(cvm: &Cvm) -> Option<FailureView> {
    let of_operation = cvm.status.failure.as_ref().map(|failure| FailureView {
        code: failure.code.as_str().to_owned(),
        cause: failure.cause.clone(),
        at: failure.at.to_string(),
    });
    of_operation.or_else(|| {
        let faults = &cvm.status.observed.as_ref()?.faults;
        let first = faults.first().filter(|_| cvm.phase == Phase::Error)?;
        Some(FailureView {
            code: first.kind.code().to_owned(),
            cause: faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            at: first.at.to_string(),
        })
    })
}

fn boot_error(vm: &casemate_core::cvm::ObservedVm) -> Option<String> {
    match &vm.boot {
        Boot::Failed(why) => Some(why.clone()),
        // dstack keeps the last error after a later success; that is no error.
        Boot::Done => None,
        Boot::Unknown | Boot::Progress(_) => vm.boot_error.clone(),
    }
}

/// Where the ports of a CVM are reached: each port through each gateway.
pub fn public_urls(cvm: &Cvm, gateways: &[GatewayView]) -> Vec<PublicUrl> {
    let url = |gateway: &GatewayView, port: u16| {
        let app = gateway.url(cvm.spec.app_id, port);
        let instance = cvm.instance_id.map_or_else(|| app.clone(), |id| gateway.url(id, port));
        PublicUrl { app, instance }
    };
    let of_port =
        |port: &u16| gateways.iter().map(|gateway| url(gateway, *port)).collect::<Vec<_>>();
    published(cvm).iter().flat_map(of_port).collect()
}

/// The gateways to a CVM, none if its document asks for none.
pub fn gateways_of(ctx: &Ctx, cvm: &Cvm) -> Vec<GatewayView> {
    if cvm.spec.facts.gateway_enabled { gateways(ctx, cvm.node) } else { Vec::new() }
}

/// The published ports: those that the node sees, else those that the compose file says.
pub fn published(cvm: &Cvm) -> &[u16] {
    let observed = cvm.status.observed.as_ref().and_then(|vm| vm.published.as_deref());
    observed.unwrap_or(&cvm.spec.facts.ports)
}

/// `3d 4h`, `2h 5m`, `1m 12s`: the two largest units.
fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let first = units.iter().position(|(size, _)| seconds >= *size).unwrap_or(3);
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (size, unit) in units.iter().skip(first).take(2) {
        parts.push(format!("{}{unit}", rest / size));
        rest %= size;
    }
    parts.join(" ")
}

/// Where the gateways to the CVMs of a node are, at least one: those of its clusters, else the node's own, else the one
/// of Casemate.
pub fn gateways(ctx: &Ctx, node: NodeId) -> Vec<GatewayView> {
    let mut domains = super::gateways::domains(ctx, node);
    if domains.is_empty() {
        let own = ctx.fleet.node(node).and_then(|node| node.observed().0.gateway_domain.clone());
        domains.extend(own);
    }
    if domains.is_empty() {
        return vec![own_gateway(ctx)];
    }
    let view = |base_domain| GatewayView { base_domain, cname: None, scheme: "https".to_owned() };
    domains.into_iter().map(view).collect()
}

/// The first of [`gateways`].
pub fn gateway(ctx: &Ctx, node: NodeId) -> GatewayView {
    gateways(ctx, node).into_iter().next().unwrap_or_else(|| own_gateway(ctx))
}

fn own_gateway(ctx: &Ctx) -> GatewayView {
    GatewayView {
        base_domain: ctx.addresses.gateway_domain.clone(),
        cname: None,
        scheme: ctx.addresses.gateway_scheme.to_owned(),
    }
}

/// The price of an instance type, where it has one.
pub fn price(ctx: &Ctx, instance_type: Option<&str>) -> Option<String> {
    let wanted = instance_type?;
    let sizes = &ctx.config.instance_types;
    sizes.iter().find(|size| size.id == wanted).map(|size| size.hourly_rate.clone())
}

/// The view of a KMS.
pub fn kms(kms: &FleetKms) -> KmsView {
    let governed = kms.governed.as_ref();
    KmsView {
        id: kms.id.clone(),
        slug: Some(kms.slug.clone()),
        url: kms.url.clone(),
        version: match kms.remote {
            None => env!("CARGO_PKG_VERSION").to_owned(),
            // It does not tell.
            Some(_) => "dstack-kms".to_owned(),
        },
        chain_id: governed.map(|governed| governed.chain.chain_id()),
        kms_contract_address: governed.map(|governed| contract(governed.contract)),
        gateway_app_id: governed.and_then(|governed| governed.gateway_app_id.clone()),
        kind: kms.kind(),
        k256_public_key: Some(kms.signing_key()),
        ca_public_key: kms.ca_key(),
        supported_os_images: Vec::new(),
    }
}

/// An address as clients write it.
pub fn contract(address: impl Into<Address>) -> String {
    format!("0x{}", address.into())
}

const fn tee(tee: casemate_engine::node::Tee) -> Tee {
    use casemate_engine::node::Tee as Engine;
    match tee {
        Engine::None => Tee::None,
        Engine::Simulated => Tee::Simulated,
        Engine::Tdx => Tee::Tdx,
        Engine::SevSnp => Tee::SevSnp,
    }
}

/// A node as a CVM shows it.
pub fn node_ref(node: &FleetNode) -> NodeRefView {
    let (inventory, reachable) = node.observed();
    NodeRefView {
        id: node.id,
        name: node.name.clone(),
        region: Some(node.region.clone()),
        device_id: Some(inventory.device_id),
        ppid: None,
        status: Some(if reachable { "ONLINE" } else { "OFFLINE" }.to_owned()),
        version: Some(inventory.version.clone()),
        tee: tee(inventory.tee),
    }
}

/// A node with what is left on it.
pub fn node(ctx: &Ctx, node: &FleetNode, candidate: &Candidate) -> NodeView {
    let (inventory, reachable) = node.observed();
    let left = |all: i64, taken: i64| u32::try_from((all - taken).max(0)).unwrap_or(u32::MAX);
    let (all, taken) = (&candidate.capacity, &candidate.taken);
    let kms = ctx.fleet.kms_of_node(node);
    NodeView {
        node: node_ref(node),
        listed: true,
        resource_score: if reachable { f64::from(left(all.slots, taken.slots)) } else { 0.0 },
        remaining_vcpu: left(all.vcpu, taken.vcpu),
        remaining_memory_mb: left(all.memory_mb, taken.memory_mb),
        remaining_slots: left(all.slots, taken.slots),
        remaining_disk_gb: Some(left(all.disk_gb, taken.disk_gb)),
        images: inventory.images.iter().map(image).collect(),
        support_onchain_kms: kms.iter().any(|kms| kms.governed.is_some()),
        fmspc: inventory.fmspc.clone(),
        default_kms: kms.first().map(|kms| kms.id.clone()),
        kms_ids: kms.iter().map(|kms| kms.id.clone()).collect(),
    }
}

/// An OS image.
pub fn image(image: &Image) -> OsImageView {
    OsImageView {
        name: image.name.clone(),
        version: image.version.clone(),
        is_dev: image.is_dev,
        requires_gpu: false,
        os_image_hash: image.os_image_hash.clone(),
    }
}

fn os(inventory: Option<&Inventory>, name: &str) -> OsView {
    let known =
        inventory.and_then(|inventory| inventory.images.iter().find(|image| image.name == name));
    OsView {
        name: name.to_owned(),
        version: known.as_ref().map(|image| image.version.clone()),
        is_dev: known.as_ref().map(|image| image.is_dev),
        os_image_hash: known.and_then(|image| image.os_image_hash.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_like_a_person_says_them() {
        for (seconds, text) in
            [(0, "0s"), (72, "1m 12s"), (7_500, "2h 5m"), (273_600, "3d 4h"), (59, "59s")]
        {
            assert_eq!(human(Duration::from_secs(seconds)), text);
        }
    }
}
