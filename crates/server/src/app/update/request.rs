//! From what clients send to a [`Change`]: values checked, names resolved, spellings joined.

use casemate_api::{
    cvm_patch::CvmPatch,
    cvm_settings::{
        EnvsRequest, ListedRequest, NameRequest, OsImageRequest, ResourcesRequest,
        UserConfigRequest, VisibilityRequest,
    },
    error::ErrorCode,
    network::NetworkConfigRequest,
    patch::Patch,
    provision::GpuRequest,
};
use casemate_core::{
    change::{Change, Set, Size},
    cvm::Gpus,
    name,
};

use super::ChangeRequest;
use crate::app::{Ctx, Error, provision};

const SHUTDOWN_TIMEOUT: std::ops::RangeInclusive<u32> = 10..=1200;

/// `PATCH /cvms/{id}`.
pub fn patch(ctx: &Ctx, request: &CvmPatch) -> Result<ChangeRequest, Error> {
    let CvmPatch {
        docker_compose_file,
        pre_launch_script,
        allowed_envs,
        public_logs,
        public_sysinfo,
        public_tcbinfo,
        gateway_enabled,
        secure_time,
        encrypted_env,
        env_keys: names,
        user_config: text,
        gpus: cards,
        instance_type,
        vcpu,
        memory,
        disk_size,
        image: os_image,
        shutdown_timeout: seconds,
        allow_force_stop,
        listed,
        allow_restart,
        // About the approval, not the change.
        compose_hash: _,
        transaction_hash: _,
    } = request;
    let change = Change {
        docker_compose_file: docker_compose_file.clone(),
        pre_launch_script: or_empty(pre_launch_script),
        allowed_envs: or_empty(allowed_envs),
        public_logs: *public_logs,
        public_sysinfo: *public_sysinfo,
        public_tcbinfo: *public_tcbinfo,
        gateway_enabled: *gateway_enabled,
        secure_time: *secure_time,
        sealed_env: sealed_env(encrypted_env)?,
        env_keys: env_keys(names.as_ref())?,
        user_config: user_config(text)?,
        gpus: gpus(cards)?,
        instance_type: size(ctx, instance_type.as_deref())?,
        vcpu: *vcpu,
        memory_mb: *memory,
        disk_gb: *disk_size,
        image: image(os_image.as_deref()),
        shutdown_timeout_s: shutdown_timeout(ctx, *seconds)?,
        allow_force_stop: *allow_force_stop,
        listed: *listed,
        ..Change::default()
    };
    Ok(ChangeRequest { may_restart: allow_restart.unwrap_or(true), ..change.into() })
}

/// `PATCH /cvms/{id}/resources`.
pub fn resources(ctx: &Ctx, request: &ResourcesRequest) -> Result<ChangeRequest, Error> {
    let change = Change {
        instance_type: size(ctx, request.instance_type.as_deref())?,
        vcpu: request.vcpu,
        memory_mb: request.memory,
        disk_gb: request.disk_size,
        ..Change::default()
    };
    let may_restart = request.allow_restart.unwrap_or(true);
    Ok(ChangeRequest { may_restart, ..change.into() })
}

/// `PATCH /cvms/{id}/visibility`.
pub fn visibility(request: VisibilityRequest) -> ChangeRequest {
    Change {
        public_logs: request.public_logs,
        public_sysinfo: request.public_sysinfo,
        public_tcbinfo: request.public_tcbinfo,
        listed: request.listed,
        ..Change::default()
    }
    .into()
}

/// `PATCH /cvms/{id}/listed`.
pub fn listed(request: ListedRequest) -> Result<ChangeRequest, Error> {
    match request.listed {
        Some(listed) => Ok(Change { listed: Some(listed), ..Change::default() }.into()),
        None => Err(Error::invalid("listed", "is required")),
    }
}

/// `PATCH /cvms/{id}/name`.
pub fn rename(request: &NameRequest) -> Result<ChangeRequest, Error> {
    name::check(&request.name).map_err(|why| Error::invalid("name", why))?;
    Ok(Change { name: Some(request.name.clone()), ..Change::default() }.into())
}

/// `PATCH /cvms/{id}/os-image`.
pub fn os_image(request: &OsImageRequest) -> Result<ChangeRequest, Error> {
    match image(Some(&request.os_image_name)) {
        Some(image) => Ok(Change { image: Some(image), ..Change::default() }.into()),
        None => Err(Error::invalid("os_image_name", "must name an OS image")),
    }
}

/// `PATCH /cvms/{id}/docker-compose`: the text itself.
pub fn docker_compose(text: String) -> ChangeRequest {
    Change { docker_compose_file: Some(text), ..Change::default() }.into()
}

/// `PATCH /cvms/{id}/pre-launch-script`: the text itself; empty takes it away.
pub fn pre_launch_script(text: String) -> ChangeRequest {
    Change { pre_launch_script: Some(text), ..Change::default() }.into()
}

/// `PATCH /cvms/{id}/envs`: the names that are sealed become the allowed ones.
pub fn envs(request: &EnvsRequest) -> Result<ChangeRequest, Error> {
    let keys = env_keys(request.env_keys.as_ref())?;
    let sealed_env = sealed_env(&Patch::Value(request.encrypted_env.clone()))?;
    if sealed_env.is_keep() {
        return Err(Error::field(ErrorCode::InvalidEncryptedEnv, "encrypted_env", "is empty")
            .suggest("Seal the variables to the app's env key and send the result as hex."));
    }
    Ok(Change { allowed_envs: keys.clone(), env_keys: keys, sealed_env, ..Change::default() }
        .into())
}

/// `PATCH /cvms/{id}/user_config`.
pub fn user_config_only(request: &UserConfigRequest) -> Result<ChangeRequest, Error> {
    let user_config = user_config(&request.user_config)?;
    Ok(Change { user_config, ..Change::default() }.into())
}

/// `PATCH /cvms/{id}/network-config`.
pub fn network_config(request: &NetworkConfigRequest) -> ChangeRequest {
    Change {
        kms_urls: request.kms_urls.clone(),
        gateway_urls: request.gateway_urls.clone(),
        at_next_start: !request.restart,
        ..Change::default()
    }
    .into()
}

/// Refuses what is for apps that a contract governs, of one that none does.
pub fn refuse_confirmation(
    hash: Option<impl Sized>,
    transaction: Option<&str>,
) -> Result<(), Error> {
    let transaction = transaction.filter(|text| !text.is_empty() && *text != "already-registered");
    let field = match (transaction, hash) {
        (Some(_), _) => "transaction_hash",
        (None, Some(_)) => "compose_hash",
        (None, None) => return Ok(()),
    };
    let why = "is for a KMS governed by contracts, and this app's KMS is not";
    Err(Error::field(ErrorCode::FieldNotServed, field, why)
        .suggest("Send the change itself: it needs no confirmation."))
}

fn or_empty<T: Clone + Default>(patch: &Patch<T>) -> Option<T> {
    match patch {
        Patch::Absent => None,
        Patch::Null => Some(T::default()),
        Patch::Value(value) => Some(value.clone()),
    }
}

/// An empty text is how some clients say nothing.
pub fn sealed_env(patch: &Patch<String>) -> Result<Set<String>, Error> {
    match patch {
        Patch::Absent => Ok(Set::Keep),
        Patch::Null => Ok(Set::Clear),
        Patch::Value(text) => {
            Ok(provision::check_sealed_env(Some(text), true)?.map_or(Set::Keep, Set::To))
        }
    }
}

pub fn env_keys(keys: Option<&Vec<String>>) -> Result<Option<Vec<String>>, Error> {
    if let Some(keys) = keys {
        provision::check_env_keys(keys)?;
    }
    Ok(keys.cloned())
}

pub fn user_config(patch: &Patch<String>) -> Result<Set<String>, Error> {
    match patch {
        Patch::Absent => Ok(Set::Keep),
        Patch::Null => Ok(Set::Clear),
        Patch::Value(text) if text.is_empty() => Ok(Set::Clear),
        Patch::Value(text) => {
            provision::check_user_config(text)?;
            Ok(Set::To(text.clone()))
        }
    }
}

fn gpus(patch: &Patch<GpuRequest>) -> Result<Set<Gpus>, Error> {
    let request = match patch {
        Patch::Absent => return Ok(Set::Keep),
        Patch::Null => return Ok(Set::Clear),
        Patch::Value(request) => request,
    };
    if request.gpus.is_none() && request.attach_mode.is_none() {
        return match (request.count, &request.product_name) {
            (Some(0), _) => Ok(Set::Clear),
            (None, None) => Ok(Set::Keep),
            (count, _) => {
                let field = if count.is_some() { "gpus.count" } else { "gpus.product_name" };
                let why = "needs a node that knows its GPUs, and none here does";
                Err(Error::field(ErrorCode::InsufficientGpu, field, why)
                    .suggest("Name each GPU in gpus.gpus by slot or product_id."))
            }
        };
    }
    Ok(provision::gpus(Some(request))?.map_or(Set::Clear, Set::To))
}

fn size(ctx: &Ctx, name: Option<&str>) -> Result<Option<Size>, Error> {
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(None) };
    let size = provision::instance_type(ctx, name)?;
    Ok(Some(Size { id: size.id.clone(), vcpu: size.vcpu, memory_mb: size.memory_mb }))
}

fn image(name: Option<&str>) -> Option<String> {
    name.filter(|name| !name.is_empty()).map(str::to_owned)
}

fn shutdown_timeout(ctx: &Ctx, patch: Patch<u32>) -> Result<Option<u32>, Error> {
    match patch {
        Patch::Absent => Ok(None),
        Patch::Null => Ok(Some(ctx.config.shutdown.timeout_s)),
        Patch::Value(seconds) if SHUTDOWN_TIMEOUT.contains(&seconds) => Ok(Some(seconds)),
        Patch::Value(_) => {
            Err(Error::invalid("shutdown_timeout", "must be from 10 to 1200 seconds, or null"))
        }
    }
}
