//! Nodes as their operator sees them.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use casemate_api::{
    error::ErrorBody,
    node_admin::{AddNodeRequest, ChangeNodeRequest, ManagedNode, ManagedNodes},
};
use casemate_core::node::NodeState;
use serde::Deserialize;

use crate::{
    app::{
        Ctx,
        mutation::{IdempotencyKey, Written},
        node_admin,
    },
    http::{
        error::ApiError,
        extract::{Auth, Body, Raw},
    },
};

/// Every node, with whether it answers and why not.
#[utoipa::path(
    get,
    path = "/admin/nodes",
    operation_id = "admin_list_nodes",
    tag = "Nodes",
    responses((status = 200, body = ManagedNodes)),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn list(State(ctx): State<Ctx>, _: Auth) -> Result<Json<ManagedNodes>, ApiError> {
    Ok(Json(ManagedNodes { nodes: node_admin::all(&ctx).await? }))
}

/// A node.
#[utoipa::path(
    get,
    path = "/admin/nodes/{name}",
    operation_id = "admin_get_node",
    tag = "Nodes",
    params(("name" = String, Path)),
    responses(
        (status = 200, body = ManagedNode),
        (status = 404, description = "No such node.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn show(
    State(ctx): State<Ctx>,
    _: Auth,
    Path(name): Path<String>,
) -> Result<Json<ManagedNode>, ApiError> {
    Ok(Json(node_admin::one(&ctx, &name).await?))
}

/// Has a node looked at now. The reply shows it as it was; its `looks` rise when it was looked at.
#[utoipa::path(
    post,
    path = "/admin/nodes/{name}/check",
    operation_id = "admin_check_node",
    tag = "Nodes",
    params(("name" = String, Path)),
    responses(
        (status = 200, body = ManagedNode),
        (status = 404, description = "No such node.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn check(
    State(ctx): State<Ctx>,
    _: Auth,
    Path(name): Path<String>,
) -> Result<Json<ManagedNode>, ApiError> {
    Ok(Json(node_admin::look_now(&ctx, &name).await?))
}

/// Adds a node. The process that answers serves it, and opens it after the reply.
#[utoipa::path(
    post,
    path = "/admin/nodes",
    operation_id = "admin_add_node",
    tag = "Nodes",
    request_body = AddNodeRequest,
    responses(
        (status = 201, body = ManagedNode),
        (status = 409, description = "The name is taken, or this process serves no nodes.", body = ErrorBody),
        (status = 422, description = "A field is not for this kind of node, or out of its range.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn add(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    request: Body<AddNodeRequest>,
) -> Result<Written<ManagedNode, 201>, ApiError> {
    let mut mutation = ctx.begin_mutation(&caller, request.key).await?;
    let node = node_admin::add(&ctx, &mut mutation, &request.value).await?;
    Ok(mutation.finish(&node).await?)
}

/// Changes labels, price and device id of a node. What it has stays where it is.
#[utoipa::path(
    patch,
    path = "/admin/nodes/{name}",
    operation_id = "admin_change_node",
    tag = "Nodes",
    params(("name" = String, Path)),
    request_body = ChangeNodeRequest,
    responses(
        (status = 200, body = ManagedNode),
        (status = 404, description = "No such node.", body = ErrorBody),
        (status = 409, description = "It has no settings of its own.", body = ErrorBody),
        (status = 422, description = "A label, the price or the device id is not valid.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn change(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(name): Path<String>,
    request: Body<ChangeNodeRequest>,
) -> Result<Written<ManagedNode>, ApiError> {
    let mut mutation = ctx.begin_mutation(&caller, request.key).await?;
    let node = node_admin::change(&ctx, &mut mutation, &name, &request.value).await?;
    Ok(mutation.finish(&node).await?)
}

async fn set_state(
    ctx: &Ctx,
    caller: &crate::app::Caller,
    name: &str,
    state: NodeState,
    key: Option<IdempotencyKey>,
) -> Result<Written<ManagedNode>, ApiError> {
    let mut mutation = ctx.begin_mutation(caller, key).await?;
    let node = node_admin::set_state(ctx, &mut mutation, name, state).await?;
    Ok(mutation.finish(&node).await?)
}

/// Lets a node take no new CVMs. Those it has stay.
#[utoipa::path(
    post,
    path = "/admin/nodes/{name}/cordon",
    operation_id = "admin_cordon_node",
    tag = "Nodes",
    params(("name" = String, Path)),
    responses(
        (status = 200, body = ManagedNode),
        (status = 404, description = "No such node.", body = ErrorBody),
        (status = 409, description = "It was given up.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn cordon(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(name): Path<String>,
    raw: Raw,
) -> Result<Written<ManagedNode>, ApiError> {
    set_state(&ctx, &caller, &name, NodeState::Cordoned, raw.key).await
}

/// Lets a node take new CVMs again.
#[utoipa::path(
    post,
    path = "/admin/nodes/{name}/uncordon",
    operation_id = "admin_uncordon_node",
    tag = "Nodes",
    params(("name" = String, Path)),
    responses(
        (status = 200, body = ManagedNode),
        (status = 404, description = "No such node.", body = ErrorBody),
        (status = 409, description = "It was given up.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn uncordon(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(name): Path<String>,
    raw: Raw,
) -> Result<Written<ManagedNode>, ApiError> {
    set_state(&ctx, &caller, &name, NodeState::Active, raw.key).await
}

/// How a node is removed.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RemoveQuery {
    /// Also a node that has CVMs: its host does not come back. Deletions of its CVMs are done, the
    /// others have failed.
    #[serde(default)]
    give_up: bool,
}

/// Takes a node out of the fleet.
#[utoipa::path(
    delete,
    path = "/admin/nodes/{name}",
    operation_id = "admin_remove_node",
    tag = "Nodes",
    params(("name" = String, Path), RemoveQuery),
    responses(
        (status = 204, description = "It is removed."),
        (status = 404, description = "No such node.", body = ErrorBody),
        (status = 409, description = "It has CVMs.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn remove(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(name): Path<String>,
    Query(query): Query<RemoveQuery>,
    raw: Raw,
) -> Result<Written<(), 204>, ApiError> {
    let mut mutation = ctx.begin_mutation(&caller, raw.key).await?;
    node_admin::remove(&ctx, &mut mutation, &name, query.give_up).await?;
    Ok(mutation.finish_empty().await?)
}
