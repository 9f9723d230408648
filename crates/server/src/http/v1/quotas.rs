//! What workspaces may take.

use axum::{
    Json,
    extract::{Path, State},
};
use casemate_api::{
    error::ErrorBody,
    quota::{QuotaOverride, WorkspaceQuota, WorkspaceQuotas},
};

use crate::{
    app::{Ctx, Error, mutation::Written, quota},
    http::{
        error::ApiError,
        extract::{Auth, Body},
    },
};

/// What the workspace may take, and how much of that is left.
#[utoipa::path(
    get,
    path = "/workspaces/{slug}/quotas",
    operation_id = "get_workspace_quotas",
    tag = "Workspaces",
    params(("slug" = String, Path)),
    responses(
        (status = 200, body = WorkspaceQuotas),
        (status = 404, description = "Not the caller's workspace.", body = ErrorBody),
    ),
)]
pub async fn of_caller(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(slug): Path<String>,
) -> Result<Json<WorkspaceQuotas>, ApiError> {
    Ok(Json(quota::of_caller(&ctx, &caller, &slug).await?))
}

/// What a workspace takes and may take.
#[utoipa::path(
    get,
    path = "/admin/workspaces/{slug}/quota",
    operation_id = "admin_get_quota",
    tag = "Workspaces",
    params(("slug" = String, Path)),
    responses(
        (status = 200, body = WorkspaceQuota),
        (status = 404, description = "No such workspace.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn show(
    State(ctx): State<Ctx>,
    _: Auth,
    Path(slug): Path<String>,
) -> Result<Json<WorkspaceQuota>, ApiError> {
    Ok(Json(quota::show(&ctx, &slug).await?))
}

/// Sets what a workspace may take. What is left out or `null` is as configured for all.
///
/// What it has already stays.
#[utoipa::path(
    put,
    path = "/admin/workspaces/{slug}/quota",
    operation_id = "admin_set_quota",
    tag = "Workspaces",
    params(("slug" = String, Path)),
    request_body = QuotaOverride,
    responses(
        (status = 200, body = WorkspaceQuota),
        (status = 404, description = "No such workspace.", body = ErrorBody),
        (status = 422, description = "A limit is negative.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn set(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(slug): Path<String>,
    request: Body<QuotaOverride>,
) -> Result<Written<WorkspaceQuota>, ApiError> {
    if let Some(name) = request.unknown.first() {
        return Err(Error::invalid(name, "is unknown; leave it out").into());
    }
    let mut mutation = ctx.begin_mutation(&caller, request.key).await?;
    let shown = quota::set(&ctx, &mut mutation, &slug, &request.value).await?;
    Ok(mutation.finish(&shown).await?)
}
