//! The first phase of a deployment: from a request to a prepared, not yet committed one.
//!
//! Every field has an effect or is refused by name (`docs/fields.md`). Nothing is reserved: people
//! provision to preview. The hash returned is the hash of the bytes that the node will boot, because
//! those bytes are made here, once, and only carried from then on.

mod compose;
mod identity;
mod size;

pub(super) use size::{amount, refusal_code};

use casemate_api::{
    error::ErrorCode, kms_type::KmsType, provision::ProvisionRequest, view::ProvisionView,
};
use casemate_core::{
    compose::{AppCompose, hash},
    cvm::{GpuAttach, Gpus, PortMap, Resources, Spec},
    id::{NodeId, ProvisionId},
    name, seal,
};
use casemate_store::{Tx, provisions::Provision};
use serde_json::{Value, json};

use super::{
    Caller, Ctx, Error,
    fleet::{FleetKms, FleetNode},
    views,
};

const DAY: u64 = 24 * 60 * 60;
const MAX_USER_CONFIG: usize = 1024 * 1024;

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
    let matched = size::place(ctx, &request).await?;
    refuse_what_the_node_cannot(&matched.node, &request, &compose)?;
    let sealed_env = sealed_env(&request, &compose)?;
    let user_config = user_config(&request)?;
    let ports = ports(&request)?;
    let gpus = gpus(&request)?;

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

fn view(ctx: &Ctx, matched: &size::Match, prepared: &Provision, unknown: &[String]) -> ProvisionView {
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
        fmspc: inventory.fmspc,
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
        if let Some(contract) = given.as_deref().filter(|text| !matches!(*text, "phala" | "kc_phala")) {
            return no_such(field, contract);
        }
    }
    Ok(kms.clone())
}

/// Names what this kind of node cannot do, with the way out.
fn refuse_what_the_node_cannot(
    node: &FleetNode,
    request: &ProvisionRequest,
    compose: &AppCompose,
) -> Result<(), Error> {
    let refuse = |field: &str, why: &str| Err(Error::field(ErrorCode::FieldNotServed, field, why));
    if request.experimental_vpc_server_app_id.is_some() {
        return refuse("experimental_vpc_server_app_id", "is not served: there is no VPC here");
    }
    if request.encrypted == Some(false) {
        return refuse("encrypted", "cannot be false: the guest always encrypts its disk");
    }
    if request.key_provider_mode.as_deref().is_some_and(|mode| mode != "kms" && mode != "none") {
        return refuse("key_provider_mode", "must be kms or none");
    }
    if node.kind != "docker" {
        return Ok(());
    }
    let given = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let cannot = [
        (request.hugepages == Some(true), "hugepages", "cannot be had on a docker node: there is no VM"),
        (request.pin_numa == Some(true), "pin_numa", "cannot be had on a docker node: there is no VM"),
        (request.gpus.is_some(), "gpus", "cannot be attached on a docker node"),
        (
            request.ports.as_ref().is_some_and(|ports| !ports.is_empty()),
            "ports",
            "cannot be mapped on a docker node: publish them in the compose file and use the gateway",
        ),
        (given(&request.kms_urls), "kms_urls", "cannot be set on a docker node: its guests use the built-in KMS"),
        (given(&request.gateway_urls), "gateway_urls", "cannot be set on a docker node: Casemate is its gateway"),
        (
            compose.local_key_provider_enabled,
            "compose_file.local_key_provider_enabled",
            "cannot be had on a docker node: it has no sealing enclave",
        ),
    ];
    match cannot.into_iter().find(|(asked, ..)| *asked) {
        Some((_, field, why)) => refuse(field, why),
        None => Ok(()),
    }
}

fn sealed_env(request: &ProvisionRequest, compose: &AppCompose) -> Result<Option<String>, Error> {
    check_sealed_env(request.sealed_env(), compose.kms_enabled)
}

/// Checks a sealed env without opening it; returns it in lower-case hex.
pub(super) fn check_sealed_env(given: Option<&str>, kms_enabled: bool) -> Result<Option<String>, Error> {
    let Some(text) = given.filter(|text| !text.is_empty()) else { return Ok(None) };
    if !kms_enabled {
        return Err(Error::field(
            ErrorCode::IncompatibleConfiguration,
            "encrypted_env",
            "needs a KMS: without one the guest has no key to open it",
        ));
    }
    let sealed: seal::SealedEnv = text
        .parse()
        .map_err(|why| Error::field(ErrorCode::InvalidEncryptedEnv, "encrypted_env", why))?;
    Ok(Some(sealed.to_string()))
}

/// The user config, with the SSH keys in it if there are any.
fn user_config(request: &ProvisionRequest) -> Result<Option<String>, Error> {
    let given = request.user_config.as_deref().filter(|text| !text.is_empty());
    let keys = request.ssh_authorized_keys.as_ref().filter(|keys| !keys.is_empty());
    let text = match (given, keys) {
        (None, None) => return Ok(None),
        (Some(text), None) => text.to_owned(),
        (None, Some(keys)) => json!({ "ssh_authorized_keys": keys }).to_string(),
        (Some(text), Some(keys)) => {
            let Ok(Value::Object(mut config)) = serde_json::from_str(text) else {
                return Err(Error::field(
                    ErrorCode::IncompatibleConfiguration,
                    "ssh_authorized_keys",
                    "needs user_config to be a JSON object, or none",
                ));
            };
            config.insert("ssh_authorized_keys".to_owned(), json!(keys));
            Value::Object(config).to_string()
        }
    };
    if text.len() > MAX_USER_CONFIG {
        return Err(Error::invalid("user_config", format!("must be at most {MAX_USER_CONFIG} bytes")));
    }
    Ok(Some(text))
}

fn ports(request: &ProvisionRequest) -> Result<Vec<PortMap>, Error> {
    let given = request.ports.iter().flatten().enumerate();
    given
        .map(|(index, port)| {
            let missing = |field: &str| {
                Error::invalid(&format!("ports.{index}.{field}"), "must be a port from 1 to 65535")
            };
            let protocol = port.protocol.clone().unwrap_or_else(|| "tcp".to_owned()).to_lowercase();
            if protocol != "tcp" && protocol != "udp" {
                return Err(Error::invalid(&format!("ports.{index}.protocol"), "must be tcp or udp"));
            }
            Ok(PortMap {
                protocol,
                host_port: port.host_port.filter(|port| *port > 0).ok_or_else(|| missing("host_port"))?,
                vm_port: port.vm_port.filter(|port| *port > 0).ok_or_else(|| missing("vm_port"))?,
                host_address: port.host_address.clone(),
            })
        })
        .collect()
}

fn gpus(request: &ProvisionRequest) -> Result<Option<Gpus>, Error> {
    let Some(given) = &request.gpus else { return Ok(None) };
    if given.count.is_some() || given.product_name.is_some() {
        return Err(Error::field(
            ErrorCode::FieldNotServed,
            "gpus",
            "by count and product_name is for updates; name each GPU by slot and product_id",
        ));
    }
    let attach_mode = given.attach_mode.clone().unwrap_or_else(|| "listed".to_owned());
    if attach_mode != "listed" && attach_mode != "all" {
        return Err(Error::invalid("gpus.attach_mode", "must be listed or all"));
    }
    let gpus: Vec<GpuAttach> = given
        .gpus
        .iter()
        .flatten()
        .map(|gpu| GpuAttach { slot: gpu.slot.clone(), product_id: gpu.product_id.clone() })
        .collect();
    if gpus.is_empty() && attach_mode == "listed" {
        return Ok(None);
    }
    Ok(Some(Gpus { gpus, attach_mode }))
}

/// The node of this id, or the error that says it is not there.
pub(super) fn node(ctx: &Ctx, id: NodeId) -> Result<std::sync::Arc<FleetNode>, Error> {
    ctx.fleet
        .node(id)
        .cloned()
        .ok_or_else(|| Error::field(ErrorCode::NodeNotFound, "node_id", format!("names no node: {id}")))
}
