//! Workspaces, their members, and invitations.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use casemate_api::{
    error::ErrorBody,
    members::{
        AcceptRequest, Accepted, CheckSlugReply, CheckSlugRequest, Done, InvitationInfo,
        InvitationLink, InvitationRequest, MemberInfo, RoleRequest, WorkspaceInfo,
    },
    page::{Cursor, CursorPage, Page, PageRequest, bad_cursor, query_number},
};
use casemate_core::id::WorkspaceId;
use serde::Deserialize;

use crate::{
    app::{Ctx, Error, audit, mutation::Written, workspaces},
    http::{
        error::ApiError,
        extract::{Auth, Body, MaybeAuth, Raw},
    },
};

fn done(message: &str) -> Done {
    Done { message: message.to_owned() }
}

/// Part of a list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CursorQuery {
    /// `next_cursor` of the part before.
    cursor: Option<String>,
    /// At most so many, 50 if left out.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    limit: Option<String>,
}

/// The workspaces of the user.
#[utoipa::path(
    get,
    path = "/workspaces",
    operation_id = "list_workspaces",
    tag = "Workspace",
    params(CursorQuery),
    responses((status = 200, body = CursorPage<WorkspaceInfo>)),
)]
pub async fn list(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Query(query): Query<CursorQuery>,
) -> Result<Json<CursorPage<WorkspaceInfo>>, ApiError> {
    let wrong = |item| Error::Invalid(vec![item]);
    let limit = query_number("limit", query.limit.as_deref(), 1, 100).map_err(wrong)?;
    let after = match query.cursor.as_deref().filter(|cursor| !cursor.is_empty()) {
        None => WorkspaceId(0),
        Some(cursor) => cursor.parse().map(WorkspaceId).map_err(|_| wrong(bad_cursor(cursor)))?,
    };
    let (data, last) = workspaces::list(&ctx, &caller, after, limit.unwrap_or(50)).await?;
    let pagination = Cursor {
        has_more: last.is_some(),
        next_cursor: last.map(|last| last.to_string()),
        total: None,
    };
    Ok(Json(CursorPage { data, pagination }))
}

/// A workspace of the user.
#[utoipa::path(
    get,
    path = "/workspaces/{slug}",
    operation_id = "get_workspace",
    tag = "Workspace",
    params(("slug" = String, Path)),
    responses(
        (status = 200, body = WorkspaceInfo),
        (status = 404, description = "No such workspace of the user.", body = ErrorBody),
    ),
)]
pub async fn detail(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(slug): Path<String>,
) -> Result<Json<WorkspaceInfo>, ApiError> {
    Ok(Json(workspaces::detail(&ctx, &caller, &slug).await?))
}

/// Whether a slug has the form of one. It may be taken.
#[utoipa::path(
    post,
    path = "/workspaces/check-slug",
    operation_id = "check_workspace_slug",
    tag = "Workspace",
    request_body = CheckSlugRequest,
    responses((status = 200, body = CheckSlugReply)),
)]
pub async fn check_slug(_: Auth, request: Body<CheckSlugRequest>) -> Json<CheckSlugReply> {
    Json(workspaces::check_slug(&request.value.slug))
}

/// Which page.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// From 1.
    #[param(value_type = Option<u32>, minimum = 1)]
    page: Option<String>,
    /// 30 if left out.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    page_size: Option<String>,
}

impl PageQuery {
    pub(super) fn request(&self) -> Result<PageRequest, Error> {
        PageRequest::from_query(self.page.as_deref(), self.page_size.as_deref(), 30, 100)
            .map_err(|item| Error::Invalid(vec![item]))
    }
}

/// The members of the workspace of the key.
#[utoipa::path(
    get,
    path = "/workspaces/{slug}/members",
    operation_id = "list_workspace_members",
    tag = "Workspace",
    params(("slug" = String, Path), PageQuery),
    responses(
        (status = 200, body = Page<MemberInfo>),
        (status = 404, description = "The key is not for this workspace.", body = ErrorBody),
    ),
)]
pub async fn members(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(slug): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<MemberInfo>>, ApiError> {
    Ok(Json(workspaces::members(&ctx, &caller, &slug, query.request()?).await?))
}

/// Gives a member another role. Admins manage those below them, owners everybody.
#[utoipa::path(
    patch,
    path = "/workspaces/{slug}/members/{user_id}",
    operation_id = "change_workspace_member",
    tag = "Workspace",
    params(("slug" = String, Path), ("user_id" = String, Path)),
    request_body = RoleRequest,
    responses(
        (status = 200, body = Done),
        (status = 403, description = "The role of the caller is too low.", body = ErrorBody),
        (status = 404, description = "No such member, or the key is not for this workspace.", body = ErrorBody),
        (status = 409, description = "The workspace would have no owner left.", body = ErrorBody),
        (status = 422, description = "No such role.", body = ErrorBody),
    ),
)]
pub async fn change_member(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path((slug, user)): Path<(String, String)>,
    request: Body<RoleRequest>,
) -> Result<Written<Done>, ApiError> {
    let mut mutation = ctx.begin_mutation(&caller, request.key).await?;
    let (member, role) = ((&*slug, &*user), &request.value.role);
    workspaces::change_member(&ctx, &mut mutation, &caller, member, role).await?;
    Ok(mutation.finish(&done("the role was changed")).await?)
}

/// Takes a member out of the workspace and revokes their keys for it.
#[utoipa::path(
    delete,
    path = "/workspaces/{slug}/members/{user_id}",
    operation_id = "remove_workspace_member",
    tag = "Workspace",
    params(("slug" = String, Path), ("user_id" = String, Path)),
    responses(
        (status = 200, body = Done),
        (status = 403, description = "The role of the caller is too low.", body = ErrorBody),
        (status = 404, description = "No such member, or the key is not for this workspace.", body = ErrorBody),
        (status = 409, description = "The workspace would have no owner left.", body = ErrorBody),
    ),
)]
pub async fn remove_member(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path((slug, user)): Path<(String, String)>,
    raw: Raw,
) -> Result<Written<Done>, ApiError> {
    let mut mutation = ctx.begin_mutation(&caller, raw.key).await?;
    workspaces::remove_member(&ctx, &mut mutation, &caller, (&slug, &user)).await?;
    Ok(mutation.finish(&done("the member was removed")).await?)
}

/// Takes the caller out of the workspace and revokes their keys for it.
#[utoipa::path(
    post,
    path = "/workspaces/{slug}/leave",
    operation_id = "leave_workspace",
    tag = "Workspace",
    params(("slug" = String, Path)),
    responses(
        (status = 200, body = Done),
        (status = 404, description = "The key is not for this workspace.", body = ErrorBody),
        (status = 409, description = "The workspace would have no owner left.", body = ErrorBody),
    ),
)]
pub async fn leave(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(slug): Path<String>,
    raw: Raw,
) -> Result<Written<Done>, ApiError> {
    let mut mutation = ctx.begin_mutation(&caller, raw.key).await?;
    workspaces::leave(&ctx, &mut mutation, &caller, &slug).await?;
    Ok(mutation.finish(&done("you left the workspace")).await?)
}

/// Invitations that can still be accepted. Their secrets are not shown again.
#[utoipa::path(
    get,
    path = "/workspaces/{slug}/invitations",
    operation_id = "list_workspace_invitations",
    tag = "Workspace",
    params(("slug" = String, Path), PageQuery),
    responses(
        (status = 200, body = Page<InvitationInfo>),
        (status = 404, description = "The key is not for this workspace.", body = ErrorBody),
    ),
)]
pub async fn invitations(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(slug): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<InvitationInfo>>, ApiError> {
    Ok(Json(workspaces::invitations(&ctx, &caller, &slug, query.request()?).await?))
}

/// Invites somebody. No mail is sent: only this reply has the secret.
#[utoipa::path(
    post,
    path = "/workspaces/{slug}/invitations",
    operation_id = "create_workspace_invitation",
    tag = "Workspace",
    params(("slug" = String, Path)),
    request_body = InvitationRequest,
    responses(
        (status = 200, body = InvitationInfo),
        (status = 403, description = "The role of the caller is too low for the role of the invitation.", body = ErrorBody),
        (status = 404, description = "The key is not for this workspace.", body = ErrorBody),
        (status = 422, description = "The address or the role is not valid.", body = ErrorBody),
    ),
)]
pub async fn invite(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(slug): Path<String>,
    request: Body<InvitationRequest>,
) -> Result<Json<InvitationInfo>, ApiError> {
    let mut mutation = ctx.begin_mutation(&caller, None).await?;
    let made = workspaces::invite(&ctx, &mut mutation, &caller, &slug, &request.value).await?;
    Ok(Json(mutation.finish_unkept(made).await?))
}

/// Makes a link that makes whoever has it a member.
#[utoipa::path(
    post,
    path = "/workspaces/{slug}/invitations/shareable",
    operation_id = "create_shareable_invitation",
    tag = "Workspace",
    params(("slug" = String, Path)),
    responses(
        (status = 200, body = InvitationLink),
        (status = 403, description = "The role of the caller is too low.", body = ErrorBody),
        (status = 404, description = "The key is not for this workspace.", body = ErrorBody),
    ),
)]
pub async fn share(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(slug): Path<String>,
) -> Result<Json<InvitationLink>, ApiError> {
    let mut mutation = ctx.begin_mutation(&caller, None).await?;
    let made = workspaces::share(&ctx, &mut mutation, &caller, &slug).await?;
    Ok(Json(mutation.finish_unkept(made).await?))
}

/// Revokes an invitation.
#[utoipa::path(
    delete,
    path = "/workspaces/{slug}/invitations/{invitation_id}",
    operation_id = "revoke_workspace_invitation",
    tag = "Workspace",
    params(("slug" = String, Path), ("invitation_id" = String, Path)),
    responses(
        (status = 200, body = Done),
        (status = 404, description = "No such open invitation, or the key is not for this workspace.", body = ErrorBody),
    ),
)]
pub async fn revoke_invitation(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path((slug, id)): Path<(String, String)>,
    raw: Raw,
) -> Result<Written<Done>, ApiError> {
    let mut mutation = ctx.begin_mutation(&caller, raw.key).await?;
    workspaces::revoke_invitation(&ctx, &mut mutation, &caller, (&slug, &id)).await?;
    Ok(mutation.finish(&done("the invitation was revoked")).await?)
}

/// Accepts an invitation: the user of the key, or without a key a new user, becomes a member and gets a key.
#[utoipa::path(
    post,
    path = "/casemate/invitations/accept",
    operation_id = "accept_invitation",
    tag = "Workspace",
    request_body = AcceptRequest,
    responses(
        (status = 200, body = Accepted),
        (status = 404, description = "The invitation is unknown, used, revoked or expired.", body = ErrorBody),
        (status = 409, description = "The name is taken.", body = ErrorBody),
        (status = 422, description = "The name is missing or not valid.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
    security(()),
)]
pub async fn accept(
    State(ctx): State<Ctx>,
    MaybeAuth(caller): MaybeAuth,
    request: Body<AcceptRequest>,
) -> Result<Json<Accepted>, ApiError> {
    let mut tx = ctx.begin().await?;
    let accepted = workspaces::accept(&ctx, &mut tx, caller.as_deref(), &request.value).await?;
    audit::write(&ctx, &mut tx, 200, serde_json::to_value(&accepted).ok().as_ref()).await?;
    ctx.commit(tx).await?;
    audit::written();
    Ok(Json(accepted))
}
