//! The first phase of a deployment: from a request to a prepared, not yet committed one.
//!
//! Every field has an effect or is refused by name (`docs/fields.md`). Nothing is reserved: people
//! provision to preview. The hash returned is the hash of the bytes that the node will boot, because
//! those bytes are made here, once, and only carried from then on.
//!
//! Where the keys are those of a dstack-kms, it is asked between two transactions: the first one chooses node, KMS
//! and app id and ends with that, the second one decides again and needs the key of what it would prepare.

mod allowed_images;
mod capabilities;
mod compose;
mod identity;
mod passthrough;
mod size;

pub use allowed_images::AllowedImages;
pub(super) use capabilities::{check_document, find_unsupported_in_spec};
pub(super) use compose::{check_env_keys, refusal as compose_refusal};
pub(super) use passthrough::{check_user_config, gpus, ports};
pub(super) use size::{amount, instance_type, refusal_code, refused_field};

use casemate_api::{
    error::{ErrorCode, ErrorDetail},
    provision::ProvisionRequest,
};
use casemate_core::{
    compose::{AppCompose, hash},
    cvm::{Resources, Spec},
    id::{AppId, KmsId, NodeId, ProvisionId},
    name,
    seal::EnvPublicKey,
};
use casemate_engine::kms::KmsError;
use casemate_store::{Tx, provisions::Provision};

use super::{
    Caller, Ctx, Error, disk,
    fleet::{FleetKms, FleetNode},
    kms,
    mutation::{IdempotencyKey, Mutation, WriteError},
    quota, ssh_keys, views,
};
use crate::view::ProvisionView;

/// How often a KMS is asked because the app turned out to be another one.
const ATTEMPTS: usize = 4;

/// The key of an app, as a KMS outside this process gave it.
#[derive(Debug)]
struct KnownKey {
    kms: KmsId,
    app: AppId,
    key: EnvPublicKey,
}

/// Where the key of a KMS outside this process comes from.
#[derive(Debug, Clone, Copy)]
enum RemoteKey<'a> {
    /// It was asked.
    Known(Option<&'a KnownKey>),
    /// Nothing is prepared, so no key is needed.
    Unneeded,
}

/// The KMS was not asked for the key of this app.
struct NotAsked;

impl RemoteKey<'_> {
    /// The app whose key is known of this KMS.
    fn app_of(self, kms: &FleetKms) -> Option<AppId> {
        let Self::Known(known) = self else { return None };
        known.filter(|known| known.kms == kms.id).map(|known| known.app)
    }

    /// The key of an app; `None`: none is needed.
    fn key_of(self, kms: &FleetKms, app: &AppId) -> Result<Option<EnvPublicKey>, NotAsked> {
        match self {
            Self::Unneeded => Ok(None),
            Self::Known(Some(known)) if known.kms == kms.id && known.app == *app => {
                Ok(Some(known.key))
            }
            Self::Known(_) => Err(NotAsked),
        }
    }
}

/// What comes of an attempt.
enum Step<'a> {
    /// It is written.
    Done(Box<ProvisionView>),
    /// The KMS is to be asked for the key of this app first.
    Ask(&'a FleetKms, AppId),
}

/// Prepares a deployment with one of these images. `unknown` are the fields that nobody knows; they are named in a
/// warning.
pub async fn provision(
    ctx: &Ctx,
    caller: &Caller,
    key: Option<IdempotencyKey>,
    request: &ProvisionRequest,
    unknown: &[String],
) -> Result<(Mutation, ProvisionView), WriteError> {
    disk::require(ctx)?;
    // Asked outside of the transactions.
    let images = AllowedImages::ask(ctx, request).await;
    let mut known: Option<KnownKey> = None;
    for _ in 0..ATTEMPTS {
        let mut mutation = ctx.begin_mutation(caller, key.clone()).await?;
        let remote = RemoteKey::Known(known.as_ref());
        let step = prepare(ctx, &mut mutation.tx, caller, request, &images, (unknown, remote));
        match Box::pin(step).await? {
            Step::Done(view) => return Ok((mutation, *view)),
            Step::Ask(kms, app) => {
                // The app id is bound from here on, so that no other request takes it meanwhile. If nothing
                // comes of it, the janitor forgets it.
                mutation.finish_part().await?;
                known = Some(KnownKey {
                    kms: kms.id.clone(),
                    app,
                    key: env_key(ctx, kms, &app).await?,
                });
            }
        }
    }
    Err(casemate_store::Error::Stale.into())
}

/// What would be prepared; nothing is.
pub async fn preview(
    ctx: &Ctx,
    caller: &Caller,
    request: &ProvisionRequest,
) -> Result<ProvisionView, Error> {
    let images = AllowedImages::ask(ctx, request).await.for_a_plan();
    let mut tx = ctx.begin().await?;
    let step = prepare(ctx, &mut tx, caller, request, &images, (&[], RemoteKey::Unneeded));
    match Box::pin(step).await? {
        Step::Done(view) => Ok(*view),
        Step::Ask(kms, _) => Err(Error::Internal(format!("{} is asked for a preview", kms.slug))),
    }
}

async fn prepare<'a>(
    ctx: &'a Ctx,
    tx: &mut Tx,
    caller: &Caller,
    request: &ProvisionRequest,
    images: &AllowedImages,
    (unknown, remote): (&[String], RemoteKey<'_>),
) -> Result<Step<'a>, Error> {
    name::check(&request.name).map_err(|why| Error::invalid("name", why))?;
    let compose = compose::document(request)?;
    let sealed = passthrough::seals(request);
    let allowed = kms::choose(ctx, request, sealed)?;
    if allowed.iter().all(|kms| kms.governed.is_some()) {
        identity::refuse_what_a_contract_decides(request, &compose)?;
    }
    let document = compose.document();
    let compose_hash = hash(&document);
    capabilities::refuse_what_none_can(request)?;
    let sealed_env = passthrough::sealed_env(request, compose.kms_enabled)?;
    let user_config = passthrough::user_config(request)?;
    let ports = ports(request.ports.as_deref())?;
    let gpus = gpus(request.gpus.as_ref())?;
    let setup = capabilities::RequestedSetup {
        request,
        compose: &compose,
        ports: &ports,
        gpus: gpus.as_ref(),
    };
    let matched = size::place(ctx, &setup, &allowed, images).await?;
    let kms = matched.kms;
    quota::check_prepared(ctx, tx, caller, &amount(&matched.resources)).await?;
    if kms.governed.is_some() {
        identity::refuse_what_a_contract_decides(request, &compose)?;
    }

    let (user_config, keys_warning) =
        with_account_keys(ctx, caller, user_config, matched.image.is_dev).await?;
    let now = ctx.now();
    tx.keep_document(&compose_hash, &document, now).await?;
    // The contract that is to be the app may be there already; which one it is says the commit.
    let app = if kms.governed.is_some() {
        None
    } else {
        let known = remote.app_of(kms);
        let identity = identity::Identity { request, hash: &compose_hash, kms, known };
        Some(identity.app_id(ctx, tx, caller).await?)
    };
    let env_key = match app.or(request.app_id).filter(|_| compose.kms_enabled) {
        Some(app) if !kms.kms.is_remote() => Some(env_key(ctx, kms, &app).await?),
        Some(app) => match remote.key_of(kms, &app) {
            Ok(key) => key,
            Err(NotAsked) => return Ok(Step::Ask(kms, app)),
        },
        None => None,
    };
    let spec = Spec {
        revision: 1,
        name: request.name.clone(),
        app_id: app.or(request.app_id).unwrap_or(AppId::from_bytes([0; 20])),
        compose_hash,
        facts: compose.facts(),
        env_public_key: env_key,
        resources: Resources {
            hugepages: request.hugepages.unwrap_or(false),
            pin_numa: request.pin_numa.unwrap_or(false),
            gpus,
            ..matched.resources.clone()
        },
        image: matched.image.name.clone(),
        ports,
        user_config,
        kms_urls: request.kms_urls.clone().unwrap_or_default(),
        gateway_urls: request.gateway_urls.clone().unwrap_or_default(),
        vpc_server_app_id: None,
        listed: request.listed.unwrap_or(true),
        env_keys: request.env_keys.clone().unwrap_or_default(),
        shutdown_timeout_s: ctx.config.shutdown.timeout_s,
        allow_force_stop: true,
        vm: 1,
        instance_seed: None,
        deployer: None,
    };
    let prepared = Provision {
        id: ProvisionId::from_uuid(ctx.entropy.uuid_v7(now)),
        workspace: caller.workspace.id,
        kms: kms.id.clone(),
        node: matched.node.id,
        sealed_env,
        created_at: now,
        expires_at: now.plus(ctx.config.provision.ttl()),
        cvm: None,
        app,
        spec,
    };
    tx.insert_provision(&prepared).await?;
    let mut warnings = warnings(unknown, &compose);
    warnings.extend(images.warning(&matched.image).into_iter().chain(keys_warning));
    Ok(Step::Done(Box::new(view(kms, &matched, &prepared, app.or(request.app_id), warnings))))
}

/// The user config with the keys of the account, which only development images take, and a warning about them.
async fn with_account_keys(
    ctx: &Ctx,
    caller: &Caller,
    user_config: Option<String>,
    is_dev: bool,
) -> Result<(Option<String>, Option<String>), Error> {
    let account = if is_dev { ssh_keys::texts(ctx, caller).await? } else { Vec::new() };
    Ok(passthrough::with_account_keys(user_config, &account, is_dev))
}

fn view(
    kms: &FleetKms,
    matched: &size::Match<'_>,
    prepared: &Provision,
    app: Option<AppId>,
    warnings: Vec<String>,
) -> ProvisionView {
    let (inventory, _) = matched.node.observed();
    let spec = &prepared.spec;
    ProvisionView {
        app_id: app,
        env_public_key: spec.env_public_key.as_ref().map(ToString::to_string),
        compose_hash: spec.compose_hash,
        kms: Some(views::kms(kms)),
        fmspc: inventory.fmspc.clone(),
        device_id: Some(inventory.device_id),
        os_image_hash: matched.image.os_image_hash.clone(),
        instance_type: spec.resources.instance_type.clone(),
        node_id: Some(matched.node.id),
        compose_hash_registered: kms.governed.is_none(),
        expires_at: prepared.expires_at.to_string(),
        warnings,
    }
}

/// What a client should know of a request that is accepted.
fn warnings(unknown: &[String], compose: &AppCompose) -> Vec<String> {
    let mut warnings = Vec::new();
    if !unknown.is_empty() {
        warnings.push(format!("ignored, because unknown: {}", unknown.join(", ")));
    }
    let unset = compose.unset_variables();
    if !unset.is_empty() {
        warnings.push(format!(
            "the compose file uses variables that are not given and have no default: {}",
            unset.join(", ")
        ));
    }
    warnings
}

/// The key that environments of an app are sealed to. Not within a transaction where the KMS is another
/// program ([`casemate_engine::kms::Kms::is_remote`]).
pub(super) async fn env_key(ctx: &Ctx, kms: &FleetKms, app: &AppId) -> Result<EnvPublicKey, Error> {
    let key = kms.kms.env_public_key(app, ctx.now().unix_seconds()).await;
    Ok(key.map_err(|error| kms_failed(kms, &error))?.public_key)
}

/// Turns a KMS that gives no key into a refusal.
pub(super) fn kms_failed(kms: &FleetKms, error: &KmsError) -> Error {
    let code = match error {
        KmsError::Rejected(_) => ErrorCode::KmsNotFound,
        error if error.is_transient() => ErrorCode::KmsUnreachable,
        _ => ErrorCode::KmsUntrusted,
    };
    let error_of = Error::because(code, format!("the KMS {} gives no key: {error}", kms.slug))
        .detail(ErrorDetail::value("kms_id", &*kms.slug));
    if kms.kms.is_remote() { error_of.suggest(error.way_out()) } else { error_of }
}

/// Checks a sealed env without opening it; returns it in lower-case hex.
pub(super) fn check_sealed_env(
    given: Option<&str>,
    kms_enabled: bool,
) -> Result<Option<String>, Error> {
    passthrough::checked("encrypted_env", given, kms_enabled)
}

/// The node of this id, or the error that says it is not there.
pub(super) fn node(ctx: &Ctx, id: NodeId) -> Result<std::sync::Arc<FleetNode>, Error> {
    ctx.fleet.node(id).ok_or_else(|| {
        Error::field(ErrorCode::NodeNotFound, "node_id", format!("names no node: {id}"))
            .suggest("See GET /api/v1/teepods/available for those there are.")
    })
}
