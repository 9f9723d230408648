//! The fleet as its operator sees it.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use casemate_api::{
    error::ErrorBody,
    fleet::{
        DriftReport, MoveReply, MoveRequest, NodeCvms, PlacedCvm, SimulationReply,
        SimulationRequest,
    },
};
use serde::Deserialize;

use crate::{
    app::{Ctx, fleet_admin, moving, mutation::Written},
    http::{
        error::ApiError,
        extract::{Auth, Body, Raw},
    },
};

/// Which drift.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DriftQuery {
    /// Name of a node; absent: all.
    node: Option<String>,
}

/// What nodes show and nobody wanted.
#[utoipa::path(
    get,
    path = "/admin/drift",
    operation_id = "admin_list_drift",
    tag = "Nodes",
    params(DriftQuery),
    responses(
        (status = 200, body = DriftReport),
        (status = 404, description = "No such node.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn drift(
    State(ctx): State<Ctx>,
    _: Auth,
    Query(query): Query<DriftQuery>,
) -> Result<Json<DriftReport>, ApiError> {
    Ok(Json(fleet_admin::drift(&ctx, query.node.as_deref()).await?))
}

/// Accepts that another host answers under the address of a node.
#[utoipa::path(
    post,
    path = "/admin/nodes/{name}/accept-host",
    operation_id = "admin_accept_host",
    tag = "Nodes",
    params(("name" = String, Path)),
    responses(
        (status = 204, description = "It is accepted."),
        (status = 404, description = "No such node.", body = ErrorBody),
        (status = 409, description = "The host is the one it always was.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn accept_host(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(name): Path<String>,
    raw: Raw,
) -> Result<Written<(), 204>, ApiError> {
    let mut mutation = ctx.begin_mutation(&caller, raw.key).await?;
    fleet_admin::accept_host(&ctx, &mut mutation, &name).await?;
    Ok(mutation.finish_empty().await?)
}

/// Which page of CVMs.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CvmsQuery {
    /// `next` of the page before; absent: the first one.
    #[serde(default)]
    after: i64,
}

/// CVMs of a node, of all workspaces; also of a node that was given up.
#[utoipa::path(
    get,
    path = "/admin/nodes/{name}/cvms",
    operation_id = "admin_list_node_cvms",
    tag = "Nodes",
    params(("name" = String, Path), CvmsQuery),
    responses(
        (status = 200, body = NodeCvms),
        (status = 404, description = "No such node.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn cvms(
    State(ctx): State<Ctx>,
    _: Auth,
    Path(name): Path<String>,
    Query(query): Query<CvmsQuery>,
) -> Result<Json<NodeCvms>, ApiError> {
    Ok(Json(fleet_admin::cvms_of(&ctx, &name, query.after).await?))
}

/// How many CVMs of a kind would fit, and where. Nothing is reserved or changed.
#[utoipa::path(
    post,
    path = "/admin/placement/simulate",
    operation_id = "admin_simulate_placement",
    tag = "Nodes",
    request_body = SimulationRequest,
    responses(
        (status = 200, body = SimulationReply),
        (status = 422, description = "A field is out of its range, or names nothing.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn simulate(
    State(ctx): State<Ctx>,
    _: Auth,
    request: Body<SimulationRequest>,
) -> Result<Json<SimulationReply>, ApiError> {
    Ok(Json(fleet_admin::simulation(&ctx, &request.value).await?))
}

/// A CVM of any workspace, with its node.
#[utoipa::path(
    get,
    path = "/admin/cvms/{cvm}",
    operation_id = "admin_get_cvm",
    tag = "Nodes",
    params(("cvm" = String, Path, description = "Its number, reference or `vm_uuid`.")),
    responses(
        (status = 200, body = PlacedCvm),
        (status = 404, description = "No such CVM.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn cvm(
    State(ctx): State<Ctx>,
    _: Auth,
    Path(cvm): Path<String>,
) -> Result<Json<PlacedCvm>, ApiError> {
    Ok(Json(moving::show(&ctx, &cvm).await?))
}

/// Moves a CVM to another node, with a new VM and an empty disk.
#[utoipa::path(
    post,
    path = "/admin/cvms/{cvm}/move",
    operation_id = "admin_move_cvm",
    tag = "Nodes",
    params(("cvm" = String, Path, description = "Its number, reference or `vm_uuid`.")),
    request_body = MoveRequest,
    responses(
        (status = 200, body = MoveReply),
        (status = 404, description = "No such CVM, or no such node.", body = ErrorBody),
        (status = 409, description = "It cannot leave its node, no node takes it, or its data may not be lost.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn move_cvm(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(cvm): Path<String>,
    request: Body<MoveRequest>,
) -> Result<Written<MoveReply>, ApiError> {
    if request.value.dry_run {
        let reply = moving::dry_run(&ctx, &cvm, &request.value).await?;
        let mutation = ctx.begin_mutation(&caller, request.key).await?;
        return Ok(mutation.finish(&reply).await?);
    }
    let done = moving::move_cvm(&ctx, &caller, request.key, &cvm, &request.value).await;
    let (mutation, reply) = done?;
    Ok(mutation.finish(&reply).await?)
}
