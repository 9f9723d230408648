//! Whether the node of a CVM can honour a configuration. Only what a change touches is asked: what
//! was accepted before stays accepted.

use casemate_api::error::{ErrorCode, ErrorDetail};
use casemate_core::{
    change::{Change, Configuration, Set},
    cvm::Resources,
    node::{Requirements, unsupported},
    place::{Amount, admit},
};
use casemate_store::{Tx, cvms::Cvm};

use crate::app::{Ctx, Error, fleet, fleet::FleetNode, provision, quota};

/// Refuses what the CVM's node cannot do.
pub async fn on_node(
    ctx: &Ctx,
    tx: &mut Tx,
    cvm: &Cvm,
    base: &Configuration,
    next: &Configuration,
    change: &Change,
) -> Result<(), Error> {
    name(tx, cvm, base, next).await?;
    let more = growth(&cvm.spec.resources, &next.spec.resources);
    let Some(node) = ctx.fleet.node(cvm.node) else {
        return within_quota(ctx, tx, cvm, &more).await;
    };
    image(&node, base, next)?;
    capabilities(&node, base, change)?;
    if next.document.docker_compose_file != base.document.docker_compose_file {
        provision::check_document(&node, &next.document)?;
    }
    room(tx, cvm, &node, more).await?;
    within_quota(ctx, tx, cvm, &more).await
}

async fn name(
    tx: &mut Tx,
    cvm: &Cvm,
    base: &Configuration,
    next: &Configuration,
) -> Result<(), Error> {
    let name = &next.spec.name;
    if *name == base.spec.name {
        return Ok(());
    }
    match tx.cvm_of_name(cvm.workspace, name).await? {
        Some(other) if other != cvm.id => Err(Error::because(
            ErrorCode::CvmNameInUse,
            format!("CVM name \"{name}\" is already in use in this workspace"),
        )),
        _ => Ok(()),
    }
}

fn image(node: &FleetNode, base: &Configuration, next: &Configuration) -> Result<(), Error> {
    let (inventory, _) = node.observed();
    let wanted = &next.spec.image;
    if *wanted == base.spec.image || inventory.images.iter().any(|image| image.name == *wanted) {
        return Ok(());
    }
    let names: Vec<&str> = inventory.images.iter().map(|image| image.name.as_str()).collect();
    Err(Error::field(ErrorCode::ImageNotFound, "image", format!("{wanted} is not on this node"))
        .suggest(format!("Available: {}.", names.join(", "))))
}

fn capabilities(node: &FleetNode, base: &Configuration, change: &Change) -> Result<(), Error> {
    let given = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let asks = Requirements {
        gpus: matches!(change.gpus, Set::To(_)),
        ports: change.ports.as_ref().is_some_and(|ports| !ports.is_empty()),
        kms_urls: given(&change.kms_urls),
        gateway_urls: given(&change.gateway_urls),
        sealed_env: matches!(change.sealed_env, Set::To(_)),
        clears_user_config: change.user_config == Set::Clear && base.spec.user_config.is_some(),
        clears_sealed_env: change.sealed_env == Set::Clear && base.sealed_env.is_some(),
        ..Requirements::default()
    };
    match unsupported(&asks, &node.observed().0.capabilities) {
        None => Ok(()),
        Some(unsupported) => {
            Err(Error::field(ErrorCode::FieldNotServed, unsupported.field, unsupported.why)
                .suggest(unsupported.instead)
                .detail(ErrorDetail::value("node", node.name.clone())))
        }
    }
}

/// Only growth is asked for: a CVM keeps what it was admitted with.
fn growth(old: &Resources, new: &Resources) -> Amount {
    let (new, old) = (provision::amount(new), provision::amount(old));
    Amount {
        slots: 0,
        vcpu: (new.vcpu - old.vcpu).max(0),
        memory_mb: (new.memory_mb - old.memory_mb).max(0),
        disk_gb: (new.disk_gb - old.disk_gb).max(0),
    }
}

async fn within_quota(ctx: &Ctx, tx: &mut Tx, cvm: &Cvm, more: &Amount) -> Result<(), Error> {
    if *more == Amount::default() {
        return Ok(());
    }
    quota::check(ctx, &tx.lock_workspace_usage(cvm.workspace).await?, more)
}

async fn room(tx: &mut Tx, cvm: &Cvm, node: &FleetNode, more: Amount) -> Result<(), Error> {
    if more == Amount::default() {
        return Ok(());
    }
    let taken = fleet::amount(tx.lock_node_and_sum(cvm.node).await?);
    admit(node.capacity(), taken, more).map_err(|why| {
        Error::because(provision::refusal_code(&why), format!("{} {why}", node.name))
            .detail(ErrorDetail::message(provision::refused_field(&why), why.to_string()))
            .suggest("Ask for less, or make room on the node.")
    })
}
