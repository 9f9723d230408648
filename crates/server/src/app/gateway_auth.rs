//! Whether a cluster of dstack-gateway may accept a guest. The decision is [`casemate_core::registration`]; here is
//! what it is decided from. Without the database there is no answer, which the listener turns into a refusal.

use casemate_core::{
    id::DeviceId,
    registration::{Denial, KnownCvm, KnownNode, Registration, admit},
};
use casemate_engine::node::Inventory;
use casemate_store::cvms;
use sha2::{Digest, Sha256};

use super::{Ctx, Error};

/// Decides on a registration.
pub async fn authorise(
    ctx: &Ctx,
    registration: &Registration,
) -> Result<Result<(), Denial>, Error> {
    let found = cvms::with_instance(&ctx.db, &registration.instance).await?;
    let nodes: Vec<_> = found.iter().map(|cvm| ctx.fleet.node(cvm.node)).collect();
    let inventories: Vec<_> =
        nodes.iter().map(|node| node.as_ref().map(|node| node.observed().0)).collect();
    let known: Vec<KnownCvm<'_>> = found
        .iter()
        .zip(&inventories)
        .map(|(cvm, inventory)| KnownCvm {
            app: cvm.spec.app_id,
            compose_hash: cvm.spec.compose_hash,
            gateway_enabled: cvm.spec.facts.gateway_enabled,
            image_version: inventory
                .as_deref()
                .and_then(|inventory| image_version(inventory, &cvm.spec.image))
                .unwrap_or_default(),
            phase: cvm.phase,
            desired: &cvm.desired,
            status: &cvm.status,
            node: inventory.as_deref().map(|inventory| KnownNode { device: device(inventory) }),
        })
        .collect();
    Ok(admit(registration, &known, ctx.config.gateway_auth.accept.into()))
}

fn image_version<'a>(inventory: &'a Inventory, name: &str) -> Option<&'a str> {
    let image = inventory.images.iter().find(|image| image.name == name)?;
    Some(&image.version)
}

/// The identity of a host, if that is known. A host without evidence has the hash of nothing.
fn device(inventory: &Inventory) -> Option<DeviceId> {
    let nothing: [u8; 32] = Sha256::digest([]).into();
    inventory.trusted_device_id().filter(|device| *device != DeviceId::from_bytes(nothing))
}
