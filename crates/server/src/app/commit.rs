//! The second phase of a deployment: one transaction consumes the provision, admits the CVM, and
//! writes its wish, its operation and its event. Committing twice gives the same CVM.

use casemate_api::{
    commit::CommitRequest,
    error::{ErrorCode, ErrorDetail},
    view::CvmView,
};
use casemate_core::{
    compose::AppCompose,
    cvm::{Spec, StopMode},
    id::{CvmRef, EventSeq, VmUuid},
    operation::OperationKind,
    place::admit,
};
use casemate_store::{
    Error as StoreError, Tx,
    cvms::{Cvm, NewCvm},
    provisions::{self, Provision},
};

use super::{
    Caller, Ctx, Error,
    events::{self, Happening, Place},
    fleet,
    provision::{check_sealed_env, node},
    views,
};
use crate::crash;

/// What a commit did.
#[derive(Debug)]
pub struct Committed {
    /// The CVM, with its document.
    pub view: CvmView,
    /// The event to announce after the transaction; `None` when the CVM was there already.
    pub news: Option<EventSeq>,
}

/// Commits the newest open provision that fits the request.
pub async fn commit(
    ctx: &Ctx,
    tx: &mut Tx,
    caller: &Caller,
    request: &CommitRequest,
) -> Result<Committed, Error> {
    refuse_chain_fields(request)?;
    let found =
        tx.provisions_for(caller.workspace.id, &request.compose_hash, request.app_id.as_ref()).await?;
    let now = ctx.now();
    let open = found.iter().find(|provision| {
        provision.cvm.is_none()
            && provision.expires_at > now
            && request.kms_id.as_deref().is_none_or(|kms| ctx.fleet.kms.answers_to(kms))
    });
    if let Some(existing) = existing(ctx, tx, caller, request, open).await? {
        return Ok(existing);
    }
    let Some(provision) = open else { return Err(missing(&found, request, now)) };
    let document = provisions::document(&ctx.db, &request.compose_hash)
        .await?
        .ok_or_else(|| Error::Internal("a provision without its document".to_owned()))?;
    let spec = spec(provision, request, &document)?;
    let sealed_env = check_sealed_env(request.encrypted_env.as_deref(), spec.env_public_key.is_some())?
        .or_else(|| provision.sealed_env.clone());
    let cvm = insert(ctx, tx, caller, provision, spec, sealed_env).await?;
    let operation = ctx.operation_id();
    tx.open_operation(operation, cvm.id, OperationKind::Create, 1, caller.user.id, now).await?;
    if !tx.consume_provision(provision, cvm.id, now).await? {
        return Err(StoreError::Stale.into());
    }
    let place = Place { workspace: caller.workspace.id, cvm: cvm.id, operation: Some(operation) };
    let happenings = [Happening::Accepted(OperationKind::Create)];
    let news = events::write(tx, place, &happenings, now).await?;
    let cvm = reread(tx, &cvm).await?;
    let view = views::with_document(views::cvm(ctx, caller, &cvm), &document);
    crash::point(|| "accept.create.before_commit".to_owned());
    Ok(Committed { view, news: Some(news) })
}

async fn reread(tx: &mut Tx, cvm: &Cvm) -> Result<Cvm, Error> {
    tx.cvm(cvm.id).await?.ok_or_else(|| Error::Internal("a CVM vanished in its transaction".to_owned()))
}

fn refuse_chain_fields(request: &CommitRequest) -> Result<(), Error> {
    let on_chain = [
        ("contract_address", &request.contract_address),
        ("deployer_address", &request.deployer_address),
    ];
    for (field, given) in on_chain {
        if given.as_deref().is_some_and(|text| !text.is_empty()) {
            return Err(Error::field(
                ErrorCode::FieldNotServed,
                field,
                "is for a KMS governed by contracts, and there is none here",
            ));
        }
    }
    Ok(())
}

/// A live CVM of this app: the same configuration is the same CVM, another one is a conflict. With
/// an open provision of the same app and document beside it, that one is committed instead only if
/// its name is another one; names are never shared by two provisions of one app.
async fn existing(
    ctx: &Ctx,
    tx: &mut Tx,
    caller: &Caller,
    request: &CommitRequest,
    open: Option<&Provision>,
) -> Result<Option<Committed>, Error> {
    let app = match (request.app_id, open) {
        (Some(app), _) => app,
        (None, Some(provision)) => provision.spec.app_id,
        (None, None) => return Ok(None),
    };
    let live = tx.cvms_of_app(&app).await?;
    let own: Vec<_> = live.iter().filter(|cvm| cvm.workspace == caller.workspace.id).collect();
    let Some(first) = own.first() else { return Ok(None) };
    let same = own.iter().find(|cvm| cvm.spec.compose_hash == request.compose_hash);
    let Some(cvm) = same else {
        return Err(Error::code(ErrorCode::CvmAppIdConflict)
            .detail(ErrorDetail::value("app_id", app.to_string()))
            .detail(ErrorDetail::value("compose_hash", first.spec.compose_hash.to_string()))
            .suggest(format!("The app runs as {} ({}).", first.spec.name, first.reference)));
    };
    let document = provisions::document(&ctx.db, &request.compose_hash).await?.unwrap_or_default();
    let view = views::with_document(views::cvm(ctx, caller, cvm), &document);
    Ok(Some(Committed { view, news: None }))
}

/// Why no provision can be committed: expired, used up, of another app, or never made.
fn missing(
    found: &[Provision],
    request: &CommitRequest,
    now: casemate_core::time::Timestamp,
) -> Error {
    let hash = ErrorDetail::value("compose_hash", request.compose_hash.to_string());
    if found.iter().any(|provision| provision.cvm.is_none() && provision.expires_at <= now) {
        return Error::code(ErrorCode::ProvisionExpired).detail(hash);
    }
    if found.iter().any(|provision| provision.cvm.is_some()) {
        return Error::because(
            ErrorCode::ProvisionNotFound,
            "this provision was committed before and its CVM is deleted: provision again",
        )
        .detail(hash);
    }
    let error = Error::code(ErrorCode::ProvisionNotFound).detail(hash);
    match request.app_id {
        Some(app) => error
            .detail(ErrorDetail::message("app_id", format!("{app} was not provisioned with this hash"))),
        None => error,
    }
}

/// The spec of the provision with the names that commit brings.
fn spec(provision: &Provision, request: &CommitRequest, document: &str) -> Result<Spec, Error> {
    let mut spec = provision.spec.clone();
    if let Some(keys) = &request.env_keys {
        let allowed = AppCompose::parse(document)
            .map_err(|error| Error::Internal(format!("stored document: {error}")))?
            .allowed_envs;
        if let Some(key) = keys.iter().find(|key| !allowed.contains(key)) {
            return Err(Error::field(
                ErrorCode::EnvKeyNotAllowed,
                "env_keys",
                format!("holds {key}, which is not among the allowed ones: {}", allowed.join(", ")),
            )
            .suggest("Provision again with it in allowed_envs."));
        }
        spec.env_keys.clone_from(keys);
    }
    Ok(spec)
}

async fn insert(
    ctx: &Ctx,
    tx: &mut Tx,
    caller: &Caller,
    provision: &Provision,
    spec: Spec,
    sealed_env: Option<String>,
) -> Result<Cvm, Error> {
    let now = ctx.now();
    if let Some(taken) = tx.cvm_of_name(caller.workspace.id, &spec.name).await? {
        return Err(duplicate_name(&spec.name)
            .detail(ErrorDetail::value("name", spec.name.clone()))
            .detail(ErrorDetail::value("cvm_id", taken.0)));
    }
    let target = node(ctx, provision.node)?;
    let taken = fleet::amount(tx.lock_node_and_sum(provision.node).await?);
    let wanted = super::provision::amount(&spec.resources);
    admit(fleet::capacity(&target.seen().0), taken, wanted).map_err(|why| {
        let code = super::provision::refusal_code(&why);
        Error::because(code, format!("{} {why}", target.name))
            .suggest("Provision again: another node may take it.")
    })?;
    let stop = StopMode::Graceful { timeout_s: spec.shutdown_timeout_s, force: spec.allow_force_stop };
    let name = spec.name.clone();
    let new = NewCvm {
        reference: CvmRef::from_random(ctx.entropy.u64()),
        uuid: VmUuid::from_uuid(ctx.entropy.uuid_v4()),
        workspace: caller.workspace.id,
        created_by: caller.user.id,
        node: provision.node,
        kms: provision.kms.clone(),
        spec,
        sealed_env,
        stop,
    };
    let id = match tx.insert_cvm(&new, now).await {
        Err(StoreError::Conflict(_)) => return Err(duplicate_name(&name)),
        other => other?,
    };
    tx.cvm(id).await?.ok_or_else(|| Error::Internal("a CVM vanished in its transaction".to_owned()))
}

fn duplicate_name(name: &str) -> Error {
    Error::because(
        ErrorCode::DuplicateCvmName,
        format!("A CVM with name '{name}' already exists in this workspace"),
    )
    .suggest("Choose another name, or delete that CVM first.")
}
