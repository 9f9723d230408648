//! Profiles of users and workspaces.

use crate::app::profiles::ProfileOf;
use axum::{
    Json,
    extract::{Path, State},
};
use casemate_api::{
    error::ErrorBody,
    members::{Done, ProfileInfo, ProfileRequest},
};

use crate::{
    app::{Ctx, mutation::Written, profiles},
    http::{
        error::ApiError,
        extract::{Auth, Body, Raw},
    },
};

/// The caller's own profile; `null` if there is none.
#[utoipa::path(
    get,
    path = "/profiles/me",
    operation_id = "get_my_profile",
    tag = "Account",
    responses((status = 200, body = Option<ProfileInfo>)),
)]
pub async fn mine(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
) -> Result<Json<Option<ProfileInfo>>, ApiError> {
    Ok(Json(profiles::get(&ctx, ProfileOf::User(caller.user.id)).await?))
}

/// Changes the caller's own profile.
#[utoipa::path(
    put,
    path = "/profiles/me",
    operation_id = "set_my_profile",
    tag = "Account",
    request_body = ProfileRequest,
    responses(
        (status = 200, body = ProfileInfo),
        (status = 422, description = "A text is too long.", body = ErrorBody),
    ),
)]
pub async fn set_mine(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    request: Body<ProfileRequest>,
) -> Result<Written<ProfileInfo>, ApiError> {
    let mut mutation = ctx.begin_mutation(&caller, request.key).await?;
    let of = ProfileOf::User(caller.user.id);
    let profile = profiles::set(&mut mutation, &caller, of, &request.value).await?;
    Ok(mutation.finish(&profile).await?)
}

/// The profile of the caller's user or workspace; `null` if there is none.
#[utoipa::path(
    get,
    path = "/profiles/{entity_type}/{entity_id}",
    operation_id = "get_profile",
    tag = "Account",
    params(("entity_type" = String, Path), ("entity_id" = String, Path)),
    responses(
        (status = 200, body = Option<ProfileInfo>),
        (status = 404, description = "It is somebody else's.", body = ErrorBody),
    ),
)]
pub async fn get(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path((kind, id)): Path<(String, String)>,
) -> Result<Json<Option<ProfileInfo>>, ApiError> {
    Ok(Json(profiles::get(&ctx, profiles::named(&caller, &kind, &id)?).await?))
}

/// Changes the profile of the caller's user or workspace.
#[utoipa::path(
    put,
    path = "/profiles/{entity_type}/{entity_id}",
    operation_id = "set_profile",
    tag = "Account",
    params(("entity_type" = String, Path), ("entity_id" = String, Path)),
    request_body = ProfileRequest,
    responses(
        (status = 200, body = ProfileInfo),
        (status = 403, description = "Only admins change the profile of a workspace.", body = ErrorBody),
        (status = 404, description = "It is somebody else's.", body = ErrorBody),
        (status = 422, description = "A text is too long.", body = ErrorBody),
    ),
)]
pub async fn set(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path((kind, id)): Path<(String, String)>,
    request: Body<ProfileRequest>,
) -> Result<Written<ProfileInfo>, ApiError> {
    let of = profiles::named(&caller, &kind, &id)?;
    let mut mutation = ctx.begin_mutation(&caller, request.key).await?;
    let profile = profiles::set(&mut mutation, &caller, of, &request.value).await?;
    Ok(mutation.finish(&profile).await?)
}

/// Deletes the profile of the caller's user or workspace.
#[utoipa::path(
    delete,
    path = "/profiles/{entity_type}/{entity_id}",
    operation_id = "delete_profile",
    tag = "Account",
    params(("entity_type" = String, Path), ("entity_id" = String, Path)),
    responses(
        (status = 200, body = Done),
        (status = 403, description = "Only admins change the profile of a workspace.", body = ErrorBody),
        (status = 404, description = "There is none, or it is somebody else's.", body = ErrorBody),
    ),
)]
pub async fn delete(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path((kind, id)): Path<(String, String)>,
    raw: Raw,
) -> Result<Written<Done>, ApiError> {
    let of = profiles::named(&caller, &kind, &id)?;
    let mut mutation = ctx.begin_mutation(&caller, raw.key).await?;
    profiles::delete(&mut mutation, &caller, of).await?;
    let done = Done { message: "the profile was deleted".to_owned() };
    Ok(mutation.finish(&done).await?)
}
