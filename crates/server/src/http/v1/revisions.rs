//! Revisions of apps, what is prepared, and the way back to an earlier revision.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use casemate_api::{
    error::ErrorBody,
    page::{PageRequest, query_flag},
    reply::{
        AppRedeployed, PendingPreview, PendingUpdates, Redeployed, RevisionDetail, RevisionDiff,
        RevisionsPage,
    },
    revision::{AppRedeployRequest, RedeployRequest},
};

use crate::{
    app::{
        Ctx, Error,
        approval::change_flow::{Asked, ChangeFlow, ChangeOptions},
        mutation::Written,
        revisions::{self, AppRedeploy},
    },
    http::{
        error::ApiError,
        extract::{Auth, Body},
        render,
    },
};

/// The last value of a name in a query; names that nobody asks for are no filter.
fn value<'q>(pairs: &'q [(String, String)], wanted: &str) -> Option<&'q str> {
    pairs.iter().rev().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
}

/// The revisions of an app, newest first, also of CVMs that are gone.
///
/// A revision is what was in force on a CVM: it is there as soon as the CVM is seen to run with it, and
/// what failed is never among them.
#[utoipa::path(
    get,
    path = "/apps/{app_id}/revisions",
    operation_id = "list_app_revisions",
    tag = "Apps",
    params(
        ("app_id" = String, Path),
        ("page" = Option<u32>, Query, minimum = 1, description = "Which page, from 1."),
        ("page_size" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "Revisions per page, 50 if left out."),
    ),
    responses(
        (status = 200, body = RevisionsPage),
        (status = 404, description = "No such app in the workspace.", body = ErrorBody),
    ),
)]
pub async fn list(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(app): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<RevisionsPage>, ApiError> {
    let request =
        PageRequest::from_query(value(&pairs, "page"), value(&pairs, "page_size"), 50, 1000)
            .map_err(|item| Error::Invalid(vec![item]))?;
    Ok(Json(render::revisions(&revisions::page(&ctx, &caller, &app, request).await?)))
}

/// One revision with its document and its sealed environment.
#[utoipa::path(
    get,
    path = "/apps/{app_id}/revisions/{revision_id}",
    operation_id = "get_app_revision",
    tag = "Apps",
    params(
        ("app_id" = String, Path),
        ("revision_id" = String, Path),
        ("raw_compose_file" = Option<bool>, Query, description = "`compose_file` as the text that was hashed, byte for byte."),
    ),
    responses(
        (status = 200, body = RevisionDetail),
        (status = 404, description = "No such app in the workspace, or no such revision of it.", body = ErrorBody),
    ),
)]
pub async fn one(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path((app, revision)): Path<(String, String)>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<RevisionDetail>, ApiError> {
    let raw = query_flag("raw_compose_file", value(&pairs, "raw_compose_file"))
        .map_err(|item| Error::Invalid(vec![item]))?;
    let view = revisions::detail(&ctx, &caller, &app, &revision).await?;
    Ok(Json(render::revision_detail(&view, raw == Some(true))))
}

/// What is different between two revisions of an app.
///
/// Values of variables are sealed: only their names are compared.
#[utoipa::path(
    get,
    path = "/apps/{app_id}/revisions/{revision_id}/diff/{other_id}",
    operation_id = "diff_app_revisions",
    tag = "Apps",
    params(("app_id" = String, Path), ("revision_id" = String, Path), ("other_id" = String, Path)),
    responses(
        (status = 200, body = RevisionDiff),
        (status = 404, description = "No such app in the workspace, or no such revision of it.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn diff(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path((app, from, to)): Path<(String, String, String)>,
) -> Result<Json<RevisionDiff>, ApiError> {
    let view = revisions::compare(&ctx, &caller, &app, (&from, &to)).await?;
    Ok(Json(render::revision_diff(&view)))
}

/// Puts an earlier revision of its app in force on a CVM.
///
/// The CVM gets the revision's document and keeps its resources, its user config and, unless another
/// one is given, its sealed environment. It is an update as any other: it waits for its turn, and is
/// taken back if it fails. Where the revision is in force already nothing is restarted.
#[utoipa::path(
    post,
    path = "/cvms/{cvm_id}/revisions/{revision_id}/redeploy",
    operation_id = "redeploy_cvm_revision",
    tag = "CVMs",
    params(
        ("cvm_id" = String, Path),
        ("revision_id" = String, Path),
        ("transaction_hash" = Option<String>, Query, description = "Of an app that a contract governs: the transaction that registered the revision's compose hash, or `already-registered`."),
    ),
    request_body(content = Option<RedeployRequest>),
    responses(
        (status = 202, description = "Accepted; the operation tells how it goes on.", body = Redeployed),
        (status = 400, description = "Something does not fit; nothing is changed.", body = ErrorBody),
        (status = 404, description = "No such CVM in the workspace, or no such revision of its app.", body = ErrorBody),
        (status = 409, description = "Too many changes wait: try again.", body = ErrorBody),
    ),
)]
pub async fn redeploy(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path((cvm, revision)): Path<(String, String)>,
    Query(pairs): Query<Vec<(String, String)>>,
    headers: ChangeOptions,
    body: Body<RedeployRequest>,
) -> Result<Written<Redeployed, 202>, ApiError> {
    let Body { value: request, unknown, key } = body;
    let headers = headers.or(None, value(&pairs, "transaction_hash"));
    let flow = ChangeFlow { ctx: &ctx, caller: &caller, options: headers, cvm: &cvm, key, unknown };
    let turn = flow.accept(Asked::Revision(&revision, &request)).await?;
    let reply = render::redeployed(&turn.view());
    Ok(turn.mutation.finish(&reply).await?)
}

/// Puts an earlier revision in force on CVMs of its app: all that are named, or nothing is changed.
///
/// An app with one CVM needs no names. See `POST /cvms/{cvm_id}/revisions/{revision_id}/redeploy`.
#[utoipa::path(
    post,
    path = "/apps/{app_id}/revisions/{revision_id}/redeploy",
    operation_id = "redeploy_app_revision",
    tag = "Apps",
    params(
        ("app_id" = String, Path),
        ("revision_id" = String, Path),
        ("transaction_hash" = Option<String>, Query, description = "Of an app that a contract governs: the transaction that registered the revision's compose hash, or `already-registered`."),
    ),
    request_body(content = Option<AppRedeployRequest>),
    responses(
        (status = 202, description = "Accepted; the operations tell how it goes on.", body = AppRedeployed),
        (status = 400, description = "Something does not fit; nothing is changed.", body = ErrorBody),
        (status = 404, description = "No such app in the workspace, or no such revision or CVM of it.", body = ErrorBody),
        (status = 409, description = "Too many changes wait: try again.", body = ErrorBody),
    ),
)]
pub async fn redeploy_app(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path((app, revision)): Path<(String, String)>,
    Query(pairs): Query<Vec<(String, String)>>,
    headers: ChangeOptions,
    body: Body<AppRedeployRequest>,
) -> Result<Written<AppRedeployed, 202>, ApiError> {
    let Body { value: request, unknown, key } = body;
    let ChangeOptions { guard, approval } = headers.or(None, value(&pairs, "transaction_hash"));
    let redeploy = AppRedeploy { path: (&app, &revision), request: &request, guard };
    let (mutation, mut views) = Box::pin(redeploy.run(&ctx, &caller, &approval, key)).await?;
    for view in &mut views {
        view.update.warnings.extend(ignored(&unknown));
    }
    Ok(mutation.finish(&render::app_redeployed(&views)).await?)
}

fn ignored(unknown: &[String]) -> Option<String> {
    (!unknown.is_empty()).then(|| format!("ignored, because unknown: {}", unknown.join(", ")))
}

/// What is prepared for an app's CVMs and was not put in force, newest first; at most 1000.
#[utoipa::path(
    get,
    path = "/apps/{app_id}/pending-updates",
    operation_id = "list_pending_updates",
    tag = "Apps",
    params(("app_id" = String, Path)),
    responses(
        (status = 200, body = PendingUpdates),
        (status = 404, description = "No such app in the workspace.", body = ErrorBody),
    ),
)]
pub async fn pending(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(app): Path<String>,
) -> Result<Json<PendingUpdates>, ApiError> {
    Ok(Json(render::pending_updates(&revisions::pending(&ctx, &caller, &app).await?)))
}

/// The compose file and script that a CVM has, and those that are prepared for it.
#[utoipa::path(
    get,
    path = "/apps/{app_id}/pending-updates/{vm_uuid}/{compose_hash}/preview",
    operation_id = "preview_pending_update",
    tag = "Apps",
    params(("app_id" = String, Path), ("vm_uuid" = String, Path), ("compose_hash" = String, Path)),
    responses(
        (status = 200, body = PendingPreview),
        (status = 404, description = "No such app in the workspace, or nothing prepared under this hash.", body = ErrorBody),
    ),
)]
pub async fn preview(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path((app, vm_uuid, hash)): Path<(String, String, String)>,
) -> Result<Json<PendingPreview>, ApiError> {
    let view = revisions::preview(&ctx, &caller, &app, (&vm_uuid, &hash)).await?;
    Ok(Json(render::pending_preview(&view)))
}
