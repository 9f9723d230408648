//! SSH public keys of a user.

use axum::{
    Json,
    extract::{Path, State},
};
use casemate_api::{
    error::ErrorBody,
    ssh_key::{
        GithubProfileImportRequest, GithubProfileImportResponse, GithubSyncResponse,
        SshKeyCreateRequest, SshKeyResponse,
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::{Ctx, mutation::Written, ssh_keys},
    http::{
        error::ApiError,
        extract::{Auth, Body, Raw},
    },
};

pub fn router() -> OpenApiRouter<Ctx> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(delete))
        .routes(routes!(import))
        .routes(routes!(sync))
}

/// The keys of the user, oldest first.
#[utoipa::path(
    get,
    path = "/user/ssh-keys",
    operation_id = "list_ssh_keys",
    tag = "SSH Keys",
    responses((status = 200, body = Vec<SshKeyResponse>)),
)]
pub async fn list(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
) -> Result<Json<Vec<SshKeyResponse>>, ApiError> {
    Ok(Json(ssh_keys::list(&ctx, &caller).await?))
}

/// Stores a key: Ed25519, ECDSA, a security key, or RSA of 2,048 bits or more.
#[utoipa::path(
    post,
    path = "/user/ssh-keys",
    operation_id = "create_ssh_key",
    tag = "SSH Keys",
    request_body = SshKeyCreateRequest,
    responses(
        (status = 201, body = SshKeyResponse),
        (status = 400, description = "The key is not accepted, or there are too many.", body = ErrorBody),
        (status = 409, description = "The user has this key.", body = ErrorBody),
        (status = 422, description = "The name is empty or too long.", body = ErrorBody),
    ),
)]
pub async fn create(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    request: Body<SshKeyCreateRequest>,
) -> Result<Written<SshKeyResponse, 201>, ApiError> {
    let mut mutation = ctx.begin_mutation(&caller, request.key).await?;
    let reply = ssh_keys::create(&ctx, &mut mutation, &caller, &request.value).await?;
    Ok(mutation.finish(&reply).await?)
}

/// Deletes a key. Guests that have it keep it.
#[utoipa::path(
    delete,
    path = "/user/ssh-keys/{key_id}",
    operation_id = "delete_ssh_key",
    tag = "SSH Keys",
    params(("key_id" = String, Path)),
    responses(
        (status = 204),
        (status = 404, description = "The user has no such key.", body = ErrorBody),
    ),
)]
pub async fn delete(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    raw: Raw,
) -> Result<Written<(), 204>, ApiError> {
    let mut mutation = ctx.begin_mutation(&caller, raw.key).await?;
    ssh_keys::delete(&mut mutation, &caller, &id).await?;
    Ok(mutation.finish_empty().await?)
}

/// Stores the public keys of a GitHub user that the user does not have.
#[utoipa::path(
    post,
    path = "/user/ssh-keys/github-profile",
    operation_id = "import_github_profile_ssh_keys",
    tag = "SSH Keys",
    request_body = GithubProfileImportRequest,
    responses(
        (status = 200, body = GithubProfileImportResponse),
        (status = 400, description = "GitHub has no such user, or does not answer.", body = ErrorBody),
        (status = 422, description = "Not a user name of GitHub.", body = ErrorBody),
    ),
)]
pub async fn import(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    request: Body<GithubProfileImportRequest>,
) -> Result<Written<GithubProfileImportResponse>, ApiError> {
    let account = ssh_keys::read_account(&ctx, &request.value.github_username).await?;
    let mut mutation = ctx.begin_mutation(&caller, request.key).await?;
    let reply = ssh_keys::import(&ctx, &mut mutation, &caller, account).await?;
    Ok(mutation.finish(&reply).await?)
}

/// Reads the GitHub accounts again that keys were imported from: adds new keys, removes those that are gone.
#[utoipa::path(
    post,
    path = "/user/ssh-keys/github-sync",
    operation_id = "sync_github_ssh_keys",
    tag = "SSH Keys",
    responses(
        (status = 200, body = GithubSyncResponse),
        (status = 400, description = "No keys were imported from GitHub.", body = ErrorBody),
    ),
)]
pub async fn sync(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    raw: Raw,
) -> Result<Written<GithubSyncResponse>, ApiError> {
    let accounts = ssh_keys::read_linked(&ctx, &caller).await?;
    let mut mutation = ctx.begin_mutation(&caller, raw.key).await?;
    let reply = ssh_keys::sync(&ctx, &mut mutation, &caller, accounts).await?;
    Ok(mutation.finish(&reply).await?)
}
