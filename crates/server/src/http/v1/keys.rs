//! API keys: what the reference calls tokens.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use casemate_api::{
    error::ErrorBody,
    keys::{ApiKey, CreateKeyRequest, RefreshKeyRequest, RotateKeyRequest},
};
use serde::Deserialize;

use crate::{
    app::{Ctx, keys, mutation::Written},
    http::{
        error::ApiError,
        extract::{Auth, Body, Raw},
    },
};

/// Whose keys.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct KeysQuery {
    /// Those of everybody in the workspace, for its admins (Casemate only).
    #[serde(default)]
    everybody: bool,
}

/// The caller's keys for the workspace that are not revoked.
#[utoipa::path(
    get,
    path = "/tokens",
    operation_id = "list_tokens",
    tag = "Account",
    params(KeysQuery),
    responses(
        (status = 200, body = Vec<ApiKey>),
        (status = 403, description = "The scope or the role is missing.", body = ErrorBody),
    ),
)]
pub async fn list(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Query(query): Query<KeysQuery>,
) -> Result<Json<Vec<ApiKey>>, ApiError> {
    Ok(Json(keys::list(&ctx, &caller, query.everybody).await?))
}

/// Makes a key for the caller and the workspace. Only this reply has its secret.
#[utoipa::path(
    post,
    path = "/tokens",
    operation_id = "create_token",
    tag = "Account",
    request_body = CreateKeyRequest,
    responses(
        (status = 200, body = ApiKey),
        (status = 400, description = "The workspace has too many keys.", body = ErrorBody),
        (status = 403, description = "The scope is missing, or more scopes are asked for than the key has.", body = ErrorBody),
        (status = 422, description = "The name, a scope or the expiry is not valid.", body = ErrorBody),
    ),
)]
pub async fn create(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    request: Body<CreateKeyRequest>,
) -> Result<Json<ApiKey>, ApiError> {
    let mut mutation = ctx.begin_mutation(&caller, None).await?;
    let key = keys::create(&ctx, &mut mutation, &caller, &request.value).await?;
    Ok(Json(mutation.finish_unkept(key).await?))
}

/// Revokes a key.
#[utoipa::path(
    delete,
    path = "/tokens/{token_id}",
    operation_id = "revoke_token",
    tag = "Account",
    params(("token_id" = String, Path)),
    responses(
        (status = 204, description = "It is revoked."),
        (status = 403, description = "It is of an admin or owner.", body = ErrorBody),
        (status = 404, description = "No such key.", body = ErrorBody),
    ),
)]
pub async fn revoke(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    raw: Raw,
) -> Result<Written<(), 204>, ApiError> {
    let mut mutation = ctx.begin_mutation(&caller, raw.key).await?;
    keys::revoke(&ctx, &mut mutation, &caller, &id).await?;
    Ok(mutation.finish_empty().await?)
}

/// Lets a key live on. Its secret stays.
#[utoipa::path(
    post,
    path = "/tokens/{token_id}/refresh",
    operation_id = "refresh_token",
    tag = "Account",
    params(("token_id" = String, Path)),
    request_body = RefreshKeyRequest,
    responses(
        (status = 200, body = ApiKey),
        (status = 404, description = "No such key.", body = ErrorBody),
        (status = 422, description = "The expiry is out of its range.", body = ErrorBody),
    ),
)]
pub async fn refresh(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    request: Body<RefreshKeyRequest>,
) -> Result<Written<ApiKey>, ApiError> {
    let mut mutation = ctx.begin_mutation(&caller, request.key).await?;
    let days = request.value.expires_in_days;
    let key = keys::refresh(&ctx, &mut mutation, &caller, &id, days).await?;
    Ok(mutation.finish(&key).await?)
}

/// Makes a key like this one, and lets this one end. Only this reply has the new secret.
#[utoipa::path(
    post,
    path = "/casemate/tokens/{token_id}/rotate",
    operation_id = "rotate_token",
    tag = "Account",
    params(("token_id" = String, Path)),
    request_body = RotateKeyRequest,
    responses(
        (status = 200, body = ApiKey),
        (status = 403, description = "It is somebody else's, or may do more than the key that asks.", body = ErrorBody),
        (status = 404, description = "No such key.", body = ErrorBody),
        (status = 422, description = "The grace is out of its range.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn rotate(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    request: Body<RotateKeyRequest>,
) -> Result<Json<ApiKey>, ApiError> {
    let mut mutation = ctx.begin_mutation(&caller, None).await?;
    let grace = request.value.grace_minutes;
    let key = keys::rotate(&ctx, &mut mutation, &caller, &id, grace).await?;
    Ok(Json(mutation.finish_unkept(key).await?))
}
