//! The two phases of a compose update: a document is prepared and hashed, then put in force by its
//! hash. And the way that skips the first, for clients that have computed the hash themselves.

use std::time::Duration;

use casemate_api::{
    compose_file::ComposeFile,
    compose_update::{ComposeCommitRequest, ComposeReplaceRequest},
    error::{ErrorCode, ErrorDetail},
    patch::Patch,
};
use casemate_core::{
    change::{Change, Set, env_report},
    compose::{AppCompose, ComposeInput, Reason, hash},
    id::CvmId,
};
use casemate_store::{Tx, cvms::Cvm, prepared::Prepared};

use super::{ChangeRequest, configuration, lock_cvm, preview, request};
use crate::{
    app::{Caller, Ctx, Error, provision, views},
    view::ComposeProvisionView,
};

/// Checks a document for a CVM, keeps it for 14 days, and says its hash.
pub async fn prepare(
    ctx: &Ctx,
    tx: &mut Tx,
    caller: &Caller,
    id: CvmId,
    file: &ComposeFile,
    unknown: &[String],
) -> Result<ComposeProvisionView, Error> {
    let cvm = lock_cvm(tx, caller, id).await?;
    let present = configuration(tx, &cvm).await?.document;
    let document = document(file, &cvm, &present)?;
    let sealed_env = match &file.encrypted_env {
        Some(text) => provision::check_sealed_env(Some(text), cvm.spec.env_public_key.is_some())?,
        None => None,
    };
    let text = document.document();
    let compose_hash = hash(&text);
    let now = ctx.now();
    tx.keep_document(&compose_hash, &text, now).await?;
    let days = u64::from(ctx.config.provision.ttl_days);
    let prepared = Prepared { sealed_env, expires_at: now.plus(Duration::from_hours(24 * days)) };
    tx.prepare(cvm.id, &compose_hash, &prepared, now).await?;
    // What the commit would refuse is refused now.
    let change = Change { document: Some(compose_hash), ..Change::default() };
    let (before, after, _) = preview(ctx, tx, &cvm, &change).await?;
    let named = replaces_names(file).then(|| document.allowed_envs.clone());
    let mut warnings = Vec::new();
    if !unknown.is_empty() {
        warnings.push(format!("ignored, because unknown: {}", unknown.join(", ")));
    }
    let node = ctx.fleet.node(cvm.node);
    Ok(ComposeProvisionView {
        app_id: cvm.spec.app_id,
        device_id: node.map(|node| node.observed().0.device_id),
        compose_hash,
        kms: cvm
            .spec
            .env_public_key
            .as_ref()
            .and_then(|_| ctx.fleet.kms_of(&cvm.kms))
            .map(views::kms),
        compose_hash_registered: true,
        compose_unchanged: compose_hash == cvm.spec.compose_hash,
        expires_at: prepared.expires_at.to_string(),
        env_report: env_report(&before, &after, named.as_deref()),
        warnings,
    })
}

/// The change that puts a prepared document in force.
pub async fn commit(
    ctx: &Ctx,
    tx: &mut Tx,
    caller: &Caller,
    id: CvmId,
    asked: &ComposeCommitRequest,
) -> Result<ChangeRequest, Error> {
    let cvm = lock_cvm(tx, caller, id).await?;
    let hash = &asked.compose_hash;
    let fact = ErrorDetail::value("compose_hash", hash.to_string());
    let again = format!("POST /api/v1/cvms/{}/compose_file/provision prepares it again.", cvm.id);
    let prepared = match tx.prepared(cvm.id, hash).await? {
        Some(prepared) if prepared.expires_at > ctx.now() => prepared,
        Some(_) => {
            return Err(Error::code(ErrorCode::ProvisionExpired).detail(fact).suggest(again));
        }
        None => {
            return Err(Error::code(ErrorCode::ComposeUpdateNotFound).detail(fact).suggest(again));
        }
    };
    let given =
        request::sealed_env(&asked.encrypted_env.clone().map_or(Patch::Absent, Patch::Value))?;
    let sealed_env = match (given, prepared.sealed_env) {
        (Set::Keep, Some(kept)) => Set::To(kept),
        (given, _) => given,
    };
    let env_keys = request::env_keys(asked.env_keys.as_ref())?;
    let text = tx.document(hash).await?.unwrap_or_default();
    let document = AppCompose::parse(&text)
        .map_err(|error| Error::Internal(format!("prepared document: {error}")))?;
    // `update_env_vars` given here and not at provision: the names that are sealed are allowed from
    // now on.
    let allowed_envs = match (asked.update_env_vars, &env_keys) {
        (Some(true), Some(keys)) => Some(keys.clone()),
        _ => None,
    };
    let names_changed =
        document.allowed_envs != configuration(tx, &cvm).await?.document.allowed_envs;
    let named = env_keys.clone().or_else(|| names_changed.then_some(document.allowed_envs));
    let change =
        Change { document: Some(*hash), allowed_envs, sealed_env, env_keys, ..Change::default() };
    Ok(ChangeRequest { named, ..change.into() })
}

/// The change that puts a document in force whose hash the client knows already.
pub async fn replace(
    ctx: &Ctx,
    tx: &mut Tx,
    caller: &Caller,
    id: CvmId,
    asked: &ComposeReplaceRequest,
) -> Result<ChangeRequest, Error> {
    let whole = ComposeFile { update_env_vars: Some(true), ..asked.compose_file.clone() };
    let prepared = prepare(ctx, tx, caller, id, &whole, &[])
        .await
        .map_err(|error| error.within("compose_file"))?;
    if prepared.compose_hash != asked.compose_hash {
        return Err(Error::code(ErrorCode::ComposeHashMismatch)
            .detail(ErrorDetail::value("expected", prepared.compose_hash.to_string()))
            .detail(ErrorDetail::value("compose_hash", asked.compose_hash.to_string()))
            .suggest(format!(
                "The document as the guest will read it has the hash {}: check it and send that.",
                prepared.compose_hash
            )));
    }
    let request = ComposeCommitRequest {
        compose_hash: asked.compose_hash,
        encrypted_env: asked.encrypted_env.clone(),
        env_keys: asked.env_keys.clone(),
        update_env_vars: None,
        transaction_hash: None,
    };
    commit(ctx, tx, caller, id, &request).await
}

const fn replaces_names(file: &ComposeFile) -> bool {
    matches!(file.update_env_vars, Some(true))
}

/// The document of an update. Everything that is not said is its default, but for what the disk was
/// made with, which stays, and the names of variables, which are only replaced on request.
fn document(file: &ComposeFile, cvm: &Cvm, present: &AppCompose) -> Result<AppCompose, Error> {
    let word = file.key_provider.as_deref().map(str::to_ascii_lowercase);
    let keys_off = match word.as_deref() {
        None | Some("kms") => false,
        Some("none") => true,
        Some(_) => {
            let why = "must be kms or none";
            return Err(Error::field(ErrorCode::FieldNotServed, "key_provider", why)
                .suggest("Leave it out: it cannot change."));
        }
    };
    let allowed_envs = if replaces_names(file) {
        file.allowed_envs.clone().unwrap_or_default()
    } else {
        present.allowed_envs.clone()
    };
    let input = ComposeInput {
        allowed_envs,
        bash_script: file.bash_script.clone(),
        default_gateway_domain: file.default_gateway_domain.clone(),
        docker_compose_file: file.docker_compose_file.clone(),
        features: file.features.clone(),
        gateway_enabled: file.gateway(),
        init_script: file.init_script.clone(),
        kms_enabled: if keys_off {
            Some(false)
        } else {
            file.kms_enabled.or(Some(present.kms_enabled))
        },
        local_key_provider_enabled: file
            .local_key_provider_enabled
            .or(Some(present.local_key_provider_enabled)),
        manifest_version: file.manifest_version,
        name: file.name.clone(),
        no_instance_id: file.no_instance_id.or(Some(present.no_instance_id)),
        pre_launch_script: file.pre_launch_script.clone(),
        public_logs: file.public_logs,
        public_sysinfo: file.public_sysinfo,
        public_tcbinfo: file.public_tcbinfo,
        runner: file.runner.clone(),
        salt: file.salt.clone(),
        secure_time: file.secure_time,
        storage_fs: Some(match file.storage_fs {
            Patch::Absent => present.storage_fs.clone(),
            Patch::Null => None,
            Patch::Value(fs) => Some(fs.as_str().to_owned()),
        }),
        tproxy_enabled: None,
    };
    // An empty file is 400 here, one that does not parse 422.
    AppCompose::new(input, &cvm.spec.name, &[]).map_err(|error| match error.field {
        "docker_compose_file" if error.reason != Reason::Required => {
            Error::invalid("docker_compose_file", error.message)
        }
        _ => provision::compose_refusal(error),
    })
}
