//! Revisions: what was in force on an app's CVMs, kept for ever, and the way back to one of them.
//!
//! A revision is written in the transaction that closes an operation as succeeded ([`record`]), if what is
//! in force then differs from the CVM's newest revision. So a client that sees a CVM run with a hash
//! finds the hash among the revisions, and what failed is never among them.
//!
//! To put one in force again ([`redeploy`]) is an ordinary change that names its document: it waits, is
//! taken back and cancelled as every other.

pub mod diff;
mod redeploy;

use casemate_api::{
    error::{ErrorCode, ErrorDetail},
    page::{Page, PageRequest},
};
use casemate_core::{
    change::brings_in_force,
    compose::AppCompose,
    cvm::Status,
    id::{AppId, ComposeHash, OperationId, RevisionRef},
    operation::OperationKind,
};
use casemate_store::{
    Error as StoreError, Tx,
    cvms::Cvm,
    prepared::{self, Pending},
    provisions,
    revisions::{self, Revision, RevisionContent},
};

use crate::view::{
    Origin, PendingPreviewView, PendingView, PersonView, RevisionDetailView, RevisionDiffView,
    RevisionView, TenantView,
};

pub use redeploy::{AppRedeploy, change_request, on_cvm};

use super::{Caller, Ctx, Error, cvms};

/// Prepared documents that are listed at most.
const MAX_PENDING: i64 = 1000;

/// Keeps what is in force on a CVM as a revision, if this operation, which succeeds, has brought
/// something else in force than its newest revision has. `status` is what is recorded with its end.
pub async fn record(
    ctx: &Ctx,
    tx: &mut Tx,
    cvm: &Cvm,
    status: &Status,
    (operation, kind): (OperationId, OperationKind),
) -> Result<(), StoreError> {
    if !brings_in_force(kind, &cvm.desired, &cvm.spec, status) {
        return Ok(());
    }
    let id = RevisionRef::from_random(ctx.entropy.u64());
    tx.note_revision(&id, cvm.id, operation, &cvm.spec.env_keys, ctx.now()).await.map(drop)
}

/// An app of the caller, also one whose CVMs are all gone.
async fn app(ctx: &Ctx, caller: &Caller, text: &str) -> Result<AppId, Error> {
    let id = cvms::app_id(text).ok_or_else(|| cvms::app_not_found(text))?;
    if revisions::has_app(&ctx.db, caller.workspace.id, &id).await? {
        Ok(id)
    } else {
        Err(cvms::app_not_found(text))
    }
}

async fn find(ctx: &Ctx, app: &AppId, text: &str) -> Result<RevisionContent, Error> {
    let missing = || {
        Error::because(ErrorCode::NotFound, "The requested revision was not found")
            .detail(ErrorDetail::value("revision_id", text))
            .suggest(format!("List them with GET /api/v1/apps/{app}/revisions."))
    };
    let id: RevisionRef = text.parse().map_err(|_| missing())?;
    revisions::get(&ctx.db, app, &id).await?.ok_or_else(missing)
}

/// A page of the revisions of an app, newest first.
pub async fn page(
    ctx: &Ctx,
    caller: &Caller,
    text: &str,
    request: PageRequest,
) -> Result<Page<RevisionView>, Error> {
    let app = app(ctx, caller, text).await?;
    let skip = i64::try_from(request.offset()).unwrap_or(i64::MAX);
    let limit = i64::from(request.page_size);
    let found = revisions::of_app(&ctx.db, &app, skip, limit).await?;
    let total = revisions::count(&ctx.db, &app).await?;
    let items = found.iter().map(|one| view(caller, one)).collect();
    Ok(Page::new(items, u64::try_from(total).unwrap_or(0), request))
}

/// One revision with its document.
pub async fn detail(
    ctx: &Ctx,
    caller: &Caller,
    text: &str,
    revision: &str,
) -> Result<RevisionDetailView, Error> {
    let app = app(ctx, caller, text).await?;
    let whole = find(ctx, &app, revision).await?;
    Ok(RevisionDetailView {
        revision: view(caller, &whole.revision),
        document: document(ctx, &whole.revision.compose_hash).await?,
        encrypted_env: whole.sealed_env,
        user_config: whole.user_config,
        env_keys: whole.env_keys,
    })
}

/// What is different between two revisions of an app.
pub async fn compare(
    ctx: &Ctx,
    caller: &Caller,
    text: &str,
    (from, to): (&str, &str),
) -> Result<RevisionDiffView, Error> {
    let app = app(ctx, caller, text).await?;
    let (from, to) = (find(ctx, &app, from).await?, find(ctx, &app, to).await?);
    let texts = (
        document(ctx, &from.revision.compose_hash).await?,
        document(ctx, &to.revision.compose_hash).await?,
    );
    let views = (view(caller, &from.revision), view(caller, &to.revision));
    diff::diff((&from, &texts.0), (&to, &texts.1), views)
}

/// What is prepared for the app's CVMs and neither applied nor expired, newest first.
pub async fn pending(ctx: &Ctx, caller: &Caller, text: &str) -> Result<Vec<PendingView>, Error> {
    let app = app(ctx, caller, text).await?;
    let found = prepared::pending(&ctx.db, &app, ctx.now(), MAX_PENDING).await?;
    let item = |one: Pending| PendingView {
        vm_uuid: one.vm_uuid,
        cvm_name: one.cvm_name,
        compose_hash: one.compose_hash,
        on_chain: ctx.fleet.kms_of(&one.kms).is_some_and(|kms| kms.governed.is_some()),
    };
    Ok(found.into_iter().map(item).collect())
}

/// The texts of the document that a CVM has and of one that is prepared for it.
pub async fn preview(
    ctx: &Ctx,
    caller: &Caller,
    text: &str,
    (vm_uuid, compose_hash): (&str, &str),
) -> Result<PendingPreviewView, Error> {
    let app = app(ctx, caller, text).await?;
    let wanted = vm_uuid.parse().ok().zip(compose_hash.parse().ok());
    let found = prepared::pending(&ctx.db, &app, ctx.now(), MAX_PENDING).await?;
    let is_it = |one: &Pending| wanted == Some((one.vm_uuid, one.compose_hash));
    let Some(one) = found.into_iter().find(is_it) else {
        return Err(Error::because(ErrorCode::NotFound, "The requested update was not found")
            .detail(ErrorDetail::value("vm_uuid", vm_uuid))
            .detail(ErrorDetail::value("compose_hash", compose_hash))
            .suggest(format!("List them with GET /api/v1/apps/{app}/pending-updates.")));
    };
    let present = parse(&document(ctx, &one.present).await?)?;
    let pending = parse(&document(ctx, &one.compose_hash).await?)?;
    Ok(PendingPreviewView {
        current_docker_compose: present.docker_compose_file,
        pending_docker_compose: pending.docker_compose_file,
        current_pre_launch_script: present.pre_launch_script,
        pending_pre_launch_script: pending.pre_launch_script,
    })
}

async fn document(ctx: &Ctx, hash: &ComposeHash) -> Result<String, Error> {
    let text = provisions::document(&ctx.db, hash).await?;
    text.ok_or_else(|| Error::Internal(format!("document {hash} is missing")))
}

fn parse(document: &str) -> Result<AppCompose, Error> {
    AppCompose::parse(document)
        .map_err(|error| Error::Internal(format!("stored document: {error}")))
}

fn view(caller: &Caller, one: &Revision) -> RevisionView {
    let origin = if one.fields.iter().any(|name| name == "revision") {
        Origin::Redeploy
    } else {
        Origin::Operation(one.kind)
    };
    RevisionView {
        id: one.id.clone(),
        app_id: one.app,
        vm_uuid: one.vm_uuid,
        cvm: one.cvm_reference.clone(),
        cvm_name: one.cvm_name.clone(),
        compose_hash: one.compose_hash,
        created_at: one.created_at.to_string(),
        correlation_id: one.operation,
        origin,
        triggered_by: PersonView { id: one.created_by, username: one.username.clone() },
        workspace: TenantView {
            id: caller.workspace.id,
            name: caller.workspace.name.clone(),
            slug: Some(caller.workspace.slug.clone()),
        },
    }
}
