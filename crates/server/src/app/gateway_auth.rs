//! Whether a cluster of dstack-gateway may accept a guest. The decision is [`casemate_core::registration`]; here is
//! what it is decided from. Without the database there is no answer, which the listener turns into a refusal.

use std::collections::BTreeMap;

use casemate_core::{
    id::CvmId,
    registration::{Denial, EvidenceState, KnownCvm, KnownNode, Registration, admit},
};
use casemate_engine::node::Inventory;
use casemate_store::{
    cvms::{self, Cvm},
    evidence,
};

use super::{Ctx, Error, fleet::FleetKms};
use crate::config::Check;

/// Decides on a registration.
pub async fn authorise(
    ctx: &Ctx,
    registration: &Registration,
) -> Result<Result<(), Denial>, Error> {
    let found = cvms::with_instance(&ctx.db, &registration.instance).await?;
    let nodes: Vec<_> = found.iter().map(|cvm| ctx.fleet.node(cvm.node)).collect();
    let inventories: Vec<_> =
        nodes.iter().map(|node| node.as_ref().map(|node| node.observed().0)).collect();
    let webhook = &ctx.config.kms_webhook;
    let webhook_checks = webhook.listen.is_some() && webhook.device == Check::Known;
    let of_app = found.iter().filter(|cvm| cvm.spec.app_id == registration.app);
    let states = evidence::states(&ctx.db, &registration.app, of_app.clone()).await?;
    let states: BTreeMap<CvmId, EvidenceState> = of_app.map(|cvm| cvm.id).zip(states).collect();
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
            node: inventory
                .as_deref()
                .map(|inventory| KnownNode { device: inventory.trusted_device_id() }),
            device_checked: webhook_checks && asks_webhook(ctx, cvm),
            // A CVM of another app is refused as that.
            evidence: states.get(&cvm.id).copied().unwrap_or(EvidenceState::NotSeen),
        })
        .collect();
    Ok(admit(registration, &known, ctx.config.gateway_auth.accept.into()))
}

fn image_version<'a>(inventory: &'a Inventory, name: &str) -> Option<&'a str> {
    let image = inventory.images.iter().find(|image| image.name == name)?;
    Some(&image.version)
}

fn asks_webhook(ctx: &Ctx, cvm: &Cvm) -> bool {
    ctx.fleet.kms_of(&cvm.kms).is_some_and(FleetKms::asks_webhook)
}
