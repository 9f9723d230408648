//! Users, workspaces and keys as their operator sees them.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use casemate_api::{
    error::ErrorBody,
    keys::ApiKey,
    members::RoleRequest,
    people_admin::{
        AddKeyRequest, AddUserRequest, AddWorkspaceRequest, ChangeUserRequest, ManagedKeys,
        ManagedUser, ManagedUsers, ManagedWorkspace, ManagedWorkspaces, Membership,
    },
};
use serde::Deserialize;

use crate::{
    app::{Ctx, mutation::Written, people_admin},
    http::{
        error::ApiError,
        extract::{Auth, Body, Raw},
    },
};

/// Where a list goes on.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AfterQuery {
    /// `next` of the reply before.
    #[serde(default)]
    after: i64,
}

/// Which workspace.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct WorkspaceQuery {
    /// Its slug.
    workspace: String,
}

/// Users, by id.
#[utoipa::path(
    get,
    path = "/admin/users",
    operation_id = "admin_list_users",
    tag = "Account",
    params(AfterQuery),
    responses(
        (status = 200, body = ManagedUsers),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn users(
    State(ctx): State<Ctx>,
    _: Auth,
    Query(query): Query<AfterQuery>,
) -> Result<Json<ManagedUsers>, ApiError> {
    Ok(Json(people_admin::users(&ctx, query.after).await?))
}

/// Adds a user. They can do nothing before they are a member of a workspace.
#[utoipa::path(
    post,
    path = "/admin/users",
    operation_id = "admin_add_user",
    tag = "Account",
    request_body = AddUserRequest,
    responses(
        (status = 201, body = ManagedUser),
        (status = 409, description = "The name is taken.", body = ErrorBody),
        (status = 422, description = "The name or the address is not valid.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn add_user(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    request: Body<AddUserRequest>,
) -> Result<Written<ManagedUser, 201>, ApiError> {
    let mut mutation = ctx.begin_mutation(&caller, request.key).await?;
    let user = people_admin::add_user(&ctx, &mut mutation, &request.value).await?;
    Ok(mutation.finish(&user).await?)
}

/// Disables or enables a user; makes them an operator, or no longer.
#[utoipa::path(
    patch,
    path = "/admin/users/{username}",
    operation_id = "admin_change_user",
    tag = "Account",
    params(("username" = String, Path)),
    request_body = ChangeUserRequest,
    responses(
        (status = 200, body = ManagedUser),
        (status = 404, description = "No such user.", body = ErrorBody),
        (status = 409, description = "No operator would be left.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn change_user(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(username): Path<String>,
    request: Body<ChangeUserRequest>,
) -> Result<Written<ManagedUser>, ApiError> {
    let mut mutation = ctx.begin_mutation(&caller, request.key).await?;
    let user = people_admin::change_user(&ctx, &mut mutation, &username, &request.value).await?;
    Ok(mutation.finish(&user).await?)
}

/// Workspaces, by id.
#[utoipa::path(
    get,
    path = "/admin/workspaces",
    operation_id = "admin_list_workspaces",
    tag = "Account",
    params(AfterQuery),
    responses(
        (status = 200, body = ManagedWorkspaces),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn workspaces(
    State(ctx): State<Ctx>,
    _: Auth,
    Query(query): Query<AfterQuery>,
) -> Result<Json<ManagedWorkspaces>, ApiError> {
    Ok(Json(people_admin::workspaces(&ctx, query.after).await?))
}

/// Adds a workspace with an owner.
#[utoipa::path(
    post,
    path = "/admin/workspaces",
    operation_id = "admin_add_workspace",
    tag = "Account",
    request_body = AddWorkspaceRequest,
    responses(
        (status = 201, body = ManagedWorkspace),
        (status = 404, description = "No such user.", body = ErrorBody),
        (status = 409, description = "The slug is taken.", body = ErrorBody),
        (status = 422, description = "The slug or the name is not valid.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn add_workspace(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    request: Body<AddWorkspaceRequest>,
) -> Result<Written<ManagedWorkspace, 201>, ApiError> {
    let mut mutation = ctx.begin_mutation(&caller, request.key).await?;
    let workspace = people_admin::add_workspace(&ctx, &mut mutation, &request.value).await?;
    Ok(mutation.finish(&workspace).await?)
}

/// Makes a user a member of a workspace, or gives them another role.
#[utoipa::path(
    put,
    path = "/admin/workspaces/{slug}/members/{username}",
    operation_id = "admin_set_member",
    tag = "Account",
    params(("slug" = String, Path), ("username" = String, Path)),
    request_body = RoleRequest,
    responses(
        (status = 200, body = Membership),
        (status = 404, description = "No such workspace or user.", body = ErrorBody),
        (status = 409, description = "The workspace would have no owner left.", body = ErrorBody),
        (status = 422, description = "No such role.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn set_member(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path((slug, username)): Path<(String, String)>,
    request: Body<RoleRequest>,
) -> Result<Written<Membership>, ApiError> {
    let mut mutation = ctx.begin_mutation(&caller, request.key).await?;
    let (member, role) = ((&*slug, &*username), Some(&*request.value.role));
    let membership = people_admin::set_member(&ctx, &mut mutation, member, role).await?;
    Ok(mutation.finish(&membership).await?)
}

/// Takes a user out of a workspace and revokes their keys for it.
#[utoipa::path(
    delete,
    path = "/admin/workspaces/{slug}/members/{username}",
    operation_id = "admin_remove_member",
    tag = "Account",
    params(("slug" = String, Path), ("username" = String, Path)),
    responses(
        (status = 204, description = "They are no member."),
        (status = 404, description = "No such workspace or user.", body = ErrorBody),
        (status = 409, description = "The workspace would have no owner left.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn remove_member(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path((slug, username)): Path<(String, String)>,
    raw: Raw,
) -> Result<Written<(), 204>, ApiError> {
    let mut mutation = ctx.begin_mutation(&caller, raw.key).await?;
    people_admin::set_member(&ctx, &mut mutation, (&slug, &username), None).await?;
    Ok(mutation.finish_empty().await?)
}

/// The keys of a workspace that are not revoked.
#[utoipa::path(
    get,
    path = "/admin/keys",
    operation_id = "admin_list_keys",
    tag = "Account",
    params(WorkspaceQuery),
    responses(
        (status = 200, body = ManagedKeys),
        (status = 404, description = "No such workspace.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn keys(
    State(ctx): State<Ctx>,
    _: Auth,
    Query(query): Query<WorkspaceQuery>,
) -> Result<Json<ManagedKeys>, ApiError> {
    Ok(Json(people_admin::keys(&ctx, &query.workspace).await?))
}

/// Makes a key for a member of a workspace. Only this reply has its secret.
#[utoipa::path(
    post,
    path = "/admin/keys",
    operation_id = "admin_add_key",
    tag = "Account",
    request_body = AddKeyRequest,
    responses(
        (status = 200, body = ApiKey),
        (status = 404, description = "No such workspace or user.", body = ErrorBody),
        (status = 409, description = "The user is no member of the workspace.", body = ErrorBody),
        (status = 422, description = "The name, a scope or the expiry is not valid.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn add_key(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    request: Body<AddKeyRequest>,
) -> Result<Json<ApiKey>, ApiError> {
    let mut mutation = ctx.begin_mutation(&caller, None).await?;
    let key = people_admin::add_key(&ctx, &mut mutation, &request.value).await?;
    Ok(Json(mutation.finish_unkept(key).await?))
}

/// Revokes a key.
#[utoipa::path(
    delete,
    path = "/admin/keys/{key_id}",
    operation_id = "admin_revoke_key",
    tag = "Account",
    params(("key_id" = String, Path)),
    responses(
        (status = 204, description = "It is revoked."),
        (status = 404, description = "No such key.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn revoke_key(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    raw: Raw,
) -> Result<Written<(), 204>, ApiError> {
    let mut mutation = ctx.begin_mutation(&caller, raw.key).await?;
    people_admin::revoke_key(&ctx, &mut mutation.tx, &id).await?;
    Ok(mutation.finish_empty().await?)
}
