//! Clusters of dstack-gateway as their operator sees them.

use axum::{
    Json,
    extract::{Path, State},
};
use casemate_api::{
    error::ErrorBody,
    gateway_admin::{ManagedGateway, ManagedGateways},
};

use crate::{
    app::{Ctx, gateways},
    http::{error::ApiError, extract::Auth},
};

/// Every configured cluster, as it was at the last look.
#[utoipa::path(
    get,
    path = "/admin/gateways",
    operation_id = "admin_list_gateways",
    tag = "Nodes",
    responses((status = 200, body = ManagedGateways)),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn list(State(ctx): State<Ctx>, _: Auth) -> Result<Json<ManagedGateways>, ApiError> {
    Ok(Json(ManagedGateways { gateways: gateways::all(&ctx) }))
}

/// A cluster with its instances, as it was at the last look.
#[utoipa::path(
    get,
    path = "/admin/gateways/{name}",
    operation_id = "admin_get_gateway",
    tag = "Nodes",
    params(("name" = String, Path)),
    responses(
        (status = 200, body = ManagedGateway),
        (status = 404, description = "No such cluster.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn show(
    State(ctx): State<Ctx>,
    _: Auth,
    Path(name): Path<String>,
) -> Result<Json<ManagedGateway>, ApiError> {
    Ok(Json(gateways::one(&ctx, &name)?))
}
