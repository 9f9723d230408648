//! What is to boot where, as a request for a plan says it. Everything is read; a change or a deployment
//! is made in a transaction that is dropped.

use std::{collections::BTreeSet, sync::Arc};

use casemate_api::{
    cvm_patch::CvmPatch,
    error::{ErrorCode, ErrorDetail},
    governance::GovernancePlanRequest,
    provision::ProvisionRequest,
};
use casemate_core::id::{Address, AppId, ComposeHash, KmsId, NodeId};
use casemate_store::{
    cvms::{App, Cvm},
    revisions,
};

use crate::app::{
    Caller, Ctx, Error, cvms,
    fleet::{FleetNode, Governed},
    kms, provision, update, views,
};

/// Nodes that a plan is about, at most.
const MAX_NODES: usize = 32;
/// Older documents of an app that its contract is asked about: those that were in force last.
const OLD: usize = 5;
/// Revisions among which they are looked for.
const REVISIONS: i64 = 50;

/// What is to boot where.
#[derive(Debug)]
pub struct Target {
    /// The contract of the KMS.
    pub governed: Governed,
    /// The app; `None`: there is none yet.
    pub app: Option<AppId>,
    /// Who is to own a new app.
    pub owner: Option<Address>,
    /// The name of what is to boot.
    pub name: String,
    /// The document.
    pub hash: ComposeHash,
    /// Where.
    pub spots: Vec<Spot>,
    /// Documents that were in force and are not in use any more, newest first.
    pub old: Vec<ComposeHash>,
}

/// A node and the image that would boot there.
#[derive(Debug, Clone)]
pub struct Spot {
    pub node: Arc<FleetNode>,
    /// Hash of the image, where known.
    pub image: Option<[u8; 32]>,
}

impl Spot {
    fn of(node: Arc<FleetNode>, image: &str) -> Self {
        let (inventory, _) = node.observed();
        let found = inventory.images.iter().find(|known| known.name == image);
        let image = found.and_then(|known| digest(known.os_image_hash.as_deref()));
        Self { node, image }
    }
}

fn digest(text: Option<&str>) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text?, &mut digest).ok()?;
    Some(digest)
}

/// What a request is about.
pub async fn target(
    ctx: &Ctx,
    caller: &Caller,
    mut request: GovernancePlanRequest,
) -> Result<Target, Error> {
    let named = [request.cvm_id.is_some(), request.app_id.is_some(), request.provision.is_some()];
    if named.iter().filter(|named| **named).count() > 1 {
        let why = "excludes cvm_id and app_id, and those each other";
        return Err(Error::field(ErrorCode::IncompatibleConfiguration, "provision", why)
            .suggest("Say one of them."));
    }
    if request.patch.is_some() && (request.cvm_id.is_none() || request.compose_hash.is_some()) {
        let why = "goes with a cvm_id and without a compose_hash";
        return Err(Error::field(ErrorCode::IncompatibleConfiguration, "patch", why)
            .suggest("Say which CVM it changes; the hash follows from it."));
    }
    if let Some(wanted) = request.provision.take() {
        return Box::pin(deployment(ctx, caller, &request, *wanted)).await;
    }
    match (&request.cvm_id, &request.app_id) {
        (Some(cvm), _) => of_cvm(ctx, caller, &request, cvm).await,
        (None, Some(app)) => of_app(ctx, caller, &request, app).await,
        (None, None) => of_nothing(ctx, &request),
    }
}

async fn of_cvm(
    ctx: &Ctx,
    caller: &Caller,
    request: &GovernancePlanRequest,
    text: &str,
) -> Result<Target, Error> {
    let cvm = cvms::find(ctx, caller, text).await?;
    let governed = governed(ctx, &cvm.kms, "cvm_id")?;
    let (hash, image) = match (&request.patch, request.compose_hash) {
        (Some(patch), _) => changed(ctx, &cvm, patch).await?,
        (None, hash) => (hash.unwrap_or(cvm.spec.compose_hash), cvm.spec.image.clone()),
    };
    let app = cvms::app_record(ctx, caller, &cvm.spec.app_id.to_string()).await?;
    let nodes = nodes(ctx, request.node_ids.as_deref(), &[cvm.node])?;
    Ok(Target {
        governed,
        app: Some(cvm.spec.app_id),
        owner: None,
        name: cvm.spec.name.clone(),
        hash,
        spots: nodes.into_iter().map(|node| Spot::of(node, &image)).collect(),
        old: old(ctx, &app, hash).await?,
    })
}

/// The document and image that a change would come to, after all that waits.
async fn changed(ctx: &Ctx, cvm: &Cvm, patch: &CvmPatch) -> Result<(ComposeHash, String), Error> {
    let asked = update::request::patch(ctx, patch).map_err(|error| error.within("patch"))?;
    let mut tx = ctx.begin().await?;
    let preview = update::preview(ctx, &mut tx, cvm, &asked.change).await;
    drop(tx);
    let (_, next, _) = preview.map_err(|error| error.within("patch"))?;
    Ok((next.spec.compose_hash, next.spec.image))
}

async fn of_app(
    ctx: &Ctx,
    caller: &Caller,
    request: &GovernancePlanRequest,
    text: &str,
) -> Result<Target, Error> {
    let app = match cvms::app_record(ctx, caller, text).await {
        Ok(app) => app,
        // Only what the chain tells everybody is said of it.
        Err(error) if request.kms.is_some() && error.is(ErrorCode::NotFound) => {
            let id = cvms::app_id(text).ok_or(error)?;
            return of_contract(ctx, request, Some(id));
        }
        Err(error) => return Err(error),
    };
    let governed = governed(ctx, &app.kms, "app_id")?;
    if let Some(kms) = &request.kms
        && kms::called(ctx, "kms", kms)?.id != app.kms
    {
        let why = format!("is not the one that governs the app, {}", app.kms);
        return Err(
            Error::field(ErrorCode::IncompatibleConfiguration, "kms", why).suggest("Leave it out.")
        );
    }
    let newest = app.cvms.first();
    let hash = request
        .compose_hash
        .or(newest.map(|cvm| cvm.spec.compose_hash))
        .ok_or_else(|| Error::invalid("compose_hash", "is required"))?;
    let own: Vec<NodeId> = app.cvms.iter().map(|cvm| cvm.node).collect();
    let image = |node: &FleetNode| {
        let there = app.cvms.iter().find(|cvm| cvm.node == node.id).or(newest);
        there.map(|cvm| cvm.spec.image.clone()).unwrap_or_default()
    };
    let nodes = nodes(ctx, request.node_ids.as_deref(), &own)?;
    let spots = nodes.into_iter().map(|node| {
        let image = image(&node);
        Spot::of(node, &image)
    });
    Ok(Target {
        governed,
        app: Some(app.app_id),
        owner: None,
        name: app.name.clone(),
        hash,
        spots: spots.collect(),
        old: old(ctx, &app, hash).await?,
    })
}

/// A deployment as it would be prepared.
async fn deployment(
    ctx: &Ctx,
    caller: &Caller,
    request: &GovernancePlanRequest,
    wanted: ProvisionRequest,
) -> Result<Target, Error> {
    let excluded = [
        ("compose_hash", request.compose_hash.is_some()),
        ("node_ids", request.node_ids.is_some()),
        ("kms", request.kms.is_some()),
    ];
    if let Some((field, _)) = excluded.into_iter().find(|(_, given)| *given) {
        return Err(Error::field(
            ErrorCode::IncompatibleConfiguration,
            field,
            "excludes provision",
        )
        .suggest("Say it in provision."));
    }
    let name = wanted.name.clone();
    let governed = {
        let kms = kms::choose(ctx, &wanted).map_err(|error| error.within("provision"))?;
        governed(ctx, &kms.id, "provision.kms")?
    };
    let images = provision::AllowedImages::ask(ctx, &wanted).await.for_a_plan();
    let mut tx = ctx.begin().await?;
    let prepared = provision::provision(ctx, &mut tx, caller, wanted, &[], &images).await;
    drop(tx);
    let prepared = prepared.map_err(|error| error.within("provision"))?;
    let id =
        prepared.node_id.ok_or_else(|| Error::Internal("provision without a node".to_owned()))?;
    let node = provision::node(ctx, id)?;
    Ok(Target {
        governed,
        app: prepared.app_id,
        owner: owner(prepared.app_id, request)?,
        name,
        hash: prepared.compose_hash,
        spots: vec![Spot { node, image: digest(prepared.os_image_hash.as_deref()) }],
        old: Vec::new(),
    })
}

/// A new app of which document and nodes are known.
fn of_nothing(ctx: &Ctx, request: &GovernancePlanRequest) -> Result<Target, Error> {
    if request.kms.is_none() {
        let why = "is required, or app_id, provision, or kms with compose_hash and node_ids";
        return Err(Error::field(ErrorCode::InvalidRequest, "cvm_id", why)
            .suggest("Say what the plan is to be about."));
    }
    of_contract(ctx, request, None)
}

/// An app of which nothing is recorded here; `None`: that there is not yet.
fn of_contract(
    ctx: &Ctx,
    request: &GovernancePlanRequest,
    app: Option<AppId>,
) -> Result<Target, Error> {
    let kms = kms::called(ctx, "kms", request.kms.as_deref().unwrap_or_default())?;
    let hash = request.compose_hash.ok_or_else(|| Error::invalid("compose_hash", "is required"))?;
    let nodes = nodes(ctx, request.node_ids.as_deref(), &[])?;
    if nodes.is_empty() {
        return Err(Error::invalid("node_ids", "is required"));
    }
    Ok(Target {
        governed: governed(ctx, &kms.id, "kms")?,
        app,
        owner: owner(app, request)?,
        name: app.map_or_else(|| "new app".to_owned(), views::contract),
        hash,
        spots: nodes.into_iter().map(|node| Spot { node, image: None }).collect(),
        old: Vec::new(),
    })
}

/// Who is to own an app that there is not yet.
fn owner(app: Option<AppId>, request: &GovernancePlanRequest) -> Result<Option<Address>, Error> {
    match (app, request.signer) {
        (None, None) => Err(Error::invalid("signer", "is required: it is to own the new app")),
        (None, signer) => Ok(signer),
        (Some(_), _) => Ok(None),
    }
}

fn governed(ctx: &Ctx, kms: &KmsId, field: &str) -> Result<Governed, Error> {
    let kms = kms::of(ctx, kms)?;
    kms.governed.clone().ok_or_else(|| {
        let why =
            format!("is not governed by a contract: {} gives keys to its workspace", kms.slug);
        Error::field(ErrorCode::FieldNotServed, field, why)
            .detail(ErrorDetail::value("kms_id", kms.id.to_string()))
            .suggest("Nothing has to be allowed: make the change.")
    })
}

/// The nodes that are named, else these; each once.
fn nodes(
    ctx: &Ctx,
    named: Option<&[NodeId]>,
    own: &[NodeId],
) -> Result<Vec<Arc<FleetNode>>, Error> {
    if named.is_some_and(|named| named.len() > MAX_NODES) {
        return Err(Error::invalid("node_ids", format!("must be at most {MAX_NODES}")));
    }
    let ids: BTreeSet<NodeId> = named.unwrap_or(own).iter().copied().collect();
    ids.into_iter().map(|id| provision::node(ctx, id)).collect()
}

/// What was in force on CVMs of the app and is on none now, the newest first.
async fn old(ctx: &Ctx, app: &App, wanted: ComposeHash) -> Result<Vec<ComposeHash>, Error> {
    let live: BTreeSet<ComposeHash> = app.cvms.iter().map(|cvm| cvm.spec.compose_hash).collect();
    let past = revisions::of_app(&ctx.db, &app.app_id, 0, REVISIONS).await?;
    let mut old: Vec<ComposeHash> = Vec::new();
    for revision in past {
        let hash = revision.compose_hash;
        if hash != wanted && !live.contains(&hash) && !old.contains(&hash) {
            old.push(hash);
        }
    }
    old.truncate(OLD);
    Ok(old)
}
