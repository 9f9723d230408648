//! Each KMS as its operator sees it. Nothing here asks one: it is what each told last.

use std::sync::Arc;

use casemate_api::kms_admin::ManagedKms;

use super::{
    Ctx, Error,
    fleet::{FleetKms, FleetNode, ObservedKms},
    views,
};

/// Every KMS, the built-in one first.
pub fn all(ctx: &Ctx) -> Vec<ManagedKms> {
    let nodes = ctx.fleet.all();
    let managed = |kms: &FleetKms| {
        let observed = kms.remote.as_ref().map(|remote| remote.observed());
        let outage = observed.as_ref().and_then(|observed| observed.outage.clone());
        let meta = observed.as_ref().and_then(|observed| observed.meta.as_ref());
        let uses = |node: &&Arc<FleetNode>| ctx.fleet.node_uses(node, &kms.id);
        ManagedKms {
            slug: kms.slug.clone(),
            id: kms.id.to_string(),
            kind: if kms.remote.is_some() { "dstack" } else { "builtin" }.to_owned(),
            kms_type: kms.kind().to_string(),
            url: kms.url.clone(),
            guest_urls: kms.guest_urls().to_vec(),
            contract: kms.governed.as_ref().map(|governed| views::contract(governed.contract)),
            k256_public_key: kms.signing_key(),
            reachable: observed.as_ref().is_none_or(ObservedKms::is_reachable),
            silent_since: outage.as_ref().map(|outage| outage.since.to_string()),
            cause: outage.map(|outage| outage.why),
            root_epoch: meta.map(|meta| meta.epoch.0),
            note: observed.as_ref().and_then(|observed| {
                let why = observed.meta_error.as_ref()?;
                Some(format!("it says nothing of itself: {why}"))
            }),
            looks: observed.map_or(0, |observed| observed.looks),
            nodes: nodes.iter().filter(uses).map(|node| node.name.clone()).collect(),
        }
    };
    ctx.fleet.all_kms().map(managed).collect()
}

/// Refuses a slug that is not that of a dstack-kms of this service.
pub fn check_dstack(ctx: &Ctx, field: &str, slug: &str) -> Result<(), Error> {
    let known: Vec<&str> = ctx
        .fleet
        .all_kms()
        .filter(|kms| kms.remote.is_some())
        .map(|kms| kms.slug.as_str())
        .collect();
    if known.contains(&slug) {
        return Ok(());
    }
    let why = match known.as_slice() {
        [] => format!("names no dstack-kms: {slug}. None is configured; add [[kms.dstack]]"),
        known => format!("names no dstack-kms: {slug}. There are {}", known.join(", ")),
    };
    Err(Error::invalid(field, why))
}
