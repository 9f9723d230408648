//! What can be asked for: nodes, sizes, OS images, app ids.

use casemate_core::{create_address::create_address, id::AppId};
use casemate_store::{nodes, provisions};

use super::{Caller, Ctx, Error, cvms, views, workspaces};
use crate::view::{InstanceTypeView, NodeGatewayView, NodeRefView, NodeView, OsImageView};

/// Every node with what is left on it.
pub async fn nodes(ctx: &Ctx) -> Result<Vec<NodeView>, Error> {
    let taken = nodes::usage(&ctx.db).await?;
    let all = ctx.fleet.all();
    Ok(all.iter().map(|node| views::node(ctx, node, &ctx.fleet.candidate(node, &taken))).collect())
}

/// Every node, on a page of a workspace: all workspaces use all nodes.
pub fn workspace_nodes(ctx: &Ctx, caller: &Caller, slug: &str) -> Result<Vec<NodeRefView>, Error> {
    workspaces::check(caller, slug)?;
    Ok(ctx.fleet.all().iter().map(|node| views::node_ref(node)).collect())
}

/// The clusters of dstack-gateway that lead to each node.
pub fn gateways(ctx: &Ctx) -> Vec<NodeGatewayView> {
    let mut all = Vec::new();
    for node in ctx.fleet.all() {
        for cluster in ctx.gateways.of_node(&node) {
            let configured = ctx.config.gateways.iter().find(|one| one.name == cluster.name);
            all.push(NodeGatewayView {
                name: cluster.name.clone(),
                node: node.id,
                rpc_url: configured.and_then(|one| one.rpc_url.clone()),
                domain: cluster.base_domains.first().cloned(),
                answers: cluster.answers(),
            });
        }
    }
    all
}

/// Every size on offer, in the order of the configuration.
pub fn instance_types(ctx: &Ctx) -> Vec<InstanceTypeView> {
    let sizes = ctx.config.instance_types.iter();
    sizes
        .map(|size| InstanceTypeView {
            id: size.id.clone(),
            name: size.name.clone(),
            description: format!(
                "{} vCPU, {} MB memory, {} GB disk",
                size.vcpu, size.memory_mb, size.disk_gb
            ),
            family: size.family.clone(),
            vcpu: size.vcpu,
            memory_mb: size.memory_mb,
            default_disk_gb: size.disk_gb,
            hourly_rate: size.hourly_rate.clone(),
            requires_gpu: false,
        })
        .collect()
}

/// Every OS image of any node, once each, by name.
pub fn os_images(ctx: &Ctx) -> Vec<OsImageView> {
    let mut images: Vec<OsImageView> = Vec::new();
    for node in ctx.fleet.all() {
        for image in &node.observed().0.images {
            if !images.iter().any(|known| known.name == image.name) {
                images.push(views::image(image));
            }
        }
    }
    images.sort_by(|a, b| a.name.cmp(&b.name));
    images
}

/// The OS images that a CVM can have on its node, and the name of the one it has.
pub async fn available_os_images(
    ctx: &Ctx,
    caller: &Caller,
    text: &str,
) -> Result<(Vec<OsImageView>, String), Error> {
    let cvm = cvms::find(ctx, caller, text).await?;
    let images =
        ctx.fleet.node(cvm.node).map(|node| node.observed().0.images.clone()).unwrap_or_default();
    Ok((images.iter().map(views::image).collect(), cvm.spec.image))
}

/// The next app ids that the caller's workspace can provision with, and their nonces. Nothing is
/// reserved.
pub async fn next_app_ids(
    ctx: &Ctx,
    caller: &Caller,
    count: usize,
) -> Result<Vec<(AppId, u64)>, Error> {
    let workspace = &caller.workspace;
    let from = provisions::next_nonce(&ctx.db, workspace.id).await?.unwrap_or(0);
    let free = provisions::free_nonces(&ctx.db, workspace.id, from, count).await?;
    Ok(free.into_iter().map(|nonce| (create_address(&workspace.wallet, nonce), nonce)).collect())
}
