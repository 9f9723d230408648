//! The first phase of a deployment: from a request to a prepared, not yet committed one.
//!
//! Every field has an effect or is refused by name (`docs/fields.md`). Nothing is reserved: people
//! provision to preview. The hash returned is the hash of the bytes that the node will boot, because
//! those bytes are made here, once, and only carried from then on.

mod carry;
mod compose;
mod identity;
mod kind;
mod size;

pub(super) use carry::{check_user_config, gpus, ports};
pub(super) use compose::{check_env_keys, refusal as compose_refusal};
pub(super) use kind::{Cannot, cannot_take, check_document};
pub(super) use size::{amount, instance_type, refusal_code, refused_field};

use casemate_api::{
    error::ErrorCode, kms_type::KmsType, provision::ProvisionRequest, view::ProvisionView,
};
use casemate_core::{
    compose::hash,
    cvm::{Resources, Spec},
    id::{NodeId, ProvisionId},
    name,
};
use casemate_store::{Tx, provisions::Provision};

use super::{
    Caller, Ctx, Error,
    fleet::{FleetKms, FleetNode},
    views,
};

const DAY: u64 = 24 * 60 * 60;

/// Prepares a deployment. `unknown` are the fields that nobody knows; they are named in a warning.
pub async fn provision(
    ctx: &Ctx,
    tx: &mut Tx,
    caller: &Caller,
    request: ProvisionRequest,
    unknown: &[String],
) -> Result<ProvisionView, Error> {
    name::check(&request.name).map_err(|why| Error::invalid("name", why))?;
    let kms = choose_kms(ctx, &request)?;
    let compose = compose::document(&request)?;
    let document = compose.document();
    let compose_hash = hash(&document);
    kind::refuse_what_none_can(&request)?;
    let sealed_env = carry::sealed_env(&request, compose.kms_enabled)?;
    let user_config = carry::user_config(&request)?;
    let ports = ports(request.ports.as_deref())?;
    let gpus = gpus(request.gpus.as_ref())?;
    let asked =
        kind::Asked { request: &request, compose: &compose, ports: &ports, gpus: gpus.as_ref() };
    let matched = size::place(ctx, &asked).await?;

    let now = ctx.now();
    tx.keep_document(&compose_hash, &document, now).await?;
    let app_id = identity::app_id(ctx, tx, caller, &request, &compose_hash, &kms).await?;
    let env_key = if compose.kms_enabled {
        let key = kms.kms.env_public_key(&app_id, now.unix_seconds()).await.map_err(kms_failed)?;
        Some(key.public_key)
    } else {
        None
    };
    let spec = Spec {
        revision: 1,
        name: request.name.clone(),
        app_id,
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
    };
    let ttl = std::time::Duration::from_secs(DAY * u64::from(ctx.config.provision.ttl_days));
    let prepared = Provision {
        id: ProvisionId::from_uuid(ctx.entropy.uuid_v7(now)),
        workspace: caller.workspace.id,
        kms: kms.id.clone(),
        node: matched.node.id,
        sealed_env,
        created_at: now,
        expires_at: now.plus(ttl),
        cvm: None,
        spec,
    };
    tx.insert_provision(&prepared).await?;
    Ok(view(ctx, &matched, &prepared, unknown))
}

fn view(
    ctx: &Ctx,
    matched: &size::Match,
    prepared: &Provision,
    unknown: &[String],
) -> ProvisionView {
    let (inventory, _) = matched.node.seen();
    let spec = &prepared.spec;
    let warnings = match unknown {
        [] => Vec::new(),
        fields => vec![format!("ignored, because unknown: {}", fields.join(", "))],
    };
    ProvisionView {
        app_id: Some(spec.app_id),
        env_public_key: spec.env_public_key.as_ref().map(ToString::to_string),
        compose_hash: spec.compose_hash,
        kms: Some(views::kms(ctx)),
        fmspc: inventory.fmspc.clone(),
        device_id: Some(inventory.device_id),
        os_image_hash: matched.image.os_image_hash.clone(),
        instance_type: spec.resources.instance_type.clone(),
        node_id: Some(matched.node.id),
        compose_hash_registered: true,
        expires_at: prepared.expires_at.to_string(),
        warnings,
    }
}

/// Turns a KMS that does not answer into a refusal.
pub(super) fn kms_failed(error: casemate_engine::error::CallError) -> Error {
    use casemate_engine::error::CallError;
    match error {
        CallError::Rejected(why) => Error::because(ErrorCode::KmsNotFound, why),
        CallError::Unreachable(why) | CallError::Unknown(why) => {
            Error::because(ErrorCode::KmsUnreachable, format!("the KMS does not answer: {why}"))
        }
    }
}

fn choose_kms(ctx: &Ctx, request: &ProvisionRequest) -> Result<FleetKms, Error> {
    let kms = &ctx.fleet.kms;
    let no_such = |field: &str, what: &str| {
        Err(Error::field(ErrorCode::KmsNotFound, field, format!("names no KMS here: {what}"))
            .suggest(format!("Use kms \"phala\" or kms_id \"{}\" ({}).", kms.id, kms.slug)))
    };
    match request.kms {
        None | Some(KmsType::Phala) => {}
        Some(other) => return no_such("kms", other.as_str()),
    }
    if let Some(id) = request.kms_id.as_deref().filter(|id| !kms.answers_to(id)) {
        return no_such("kms_id", id);
    }
    for (field, given) in
        [("kms_contract", &request.kms_contract), ("kms_contract_id", &request.kms_contract_id)]
    {
        // The KMS without a chain has this word for an address.
        if let Some(contract) =
            given.as_deref().filter(|text| !matches!(*text, "phala" | "kc_phala"))
        {
            return no_such(field, contract);
        }
    }
    Ok(kms.clone())
}

/// Checks a sealed env without opening it; returns it in lower-case hex.
pub(super) fn check_sealed_env(
    given: Option<&str>,
    kms_enabled: bool,
) -> Result<Option<String>, Error> {
    carry::checked("encrypted_env", given, kms_enabled)
}

/// The node of this id, or the error that says it is not there.
pub(super) fn node(ctx: &Ctx, id: NodeId) -> Result<std::sync::Arc<FleetNode>, Error> {
    ctx.fleet.node(id).ok_or_else(|| {
        Error::field(ErrorCode::NodeNotFound, "node_id", format!("names no node: {id}"))
            .suggest("See GET /api/v1/teepods/available for those there are.")
    })
}
