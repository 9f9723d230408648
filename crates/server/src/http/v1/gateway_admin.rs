//! Clusters of dstack-gateway as their operator sees them.

use axum::{
    Json,
    extract::{Path, State},
};
use casemate_api::{
    error::ErrorBody,
    gateway_admin::{
        GatewayDomain, GatewayInstanceDetail, GatewayPortPolicy, ManagedGateway, ManagedGateways,
        NewGatewayDomain,
    },
};

use crate::{
    app::{Ctx, gateway_admin, gateways},
    http::{
        error::ApiError,
        extract::{Auth, Body},
    },
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

/// Has a cluster serve another domain, and issue its certificate.
#[utoipa::path(
    post,
    path = "/admin/gateways/{name}/domains",
    operation_id = "admin_add_gateway_domain",
    tag = "Nodes",
    params(("name" = String, Path)),
    request_body = NewGatewayDomain,
    responses(
        (status = 200, body = GatewayDomain),
        (status = 404, description = "No such cluster.", body = ErrorBody),
        (status = 409, description = "The cluster refuses it.", body = ErrorBody),
        (status = 503, description = "The cluster does not answer.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn add_domain(
    State(ctx): State<Ctx>,
    _: Auth,
    Path(name): Path<String>,
    request: Body<NewGatewayDomain>,
) -> Result<Json<GatewayDomain>, ApiError> {
    Ok(Json(gateway_admin::add_domain(&ctx, &name, request.value).await?))
}

/// Has a cluster serve a domain no longer.
#[utoipa::path(
    delete,
    path = "/admin/gateways/{name}/domains/{domain}",
    operation_id = "admin_delete_gateway_domain",
    tag = "Nodes",
    params(("name" = String, Path), ("domain" = String, Path)),
    responses(
        (status = 200, body = ManagedGateway, description = "It is not served any more. The cluster as it was at the last look."),
        (status = 404, description = "No such cluster.", body = ErrorBody),
        (status = 409, description = "URLs of apps have it, or the cluster refuses.", body = ErrorBody),
        (status = 503, description = "The cluster does not answer.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn delete_domain(
    State(ctx): State<Ctx>,
    _: Auth,
    Path((name, domain)): Path<(String, String)>,
) -> Result<Json<ManagedGateway>, ApiError> {
    gateway_admin::delete_domain(&ctx, &name, &domain).await?;
    Ok(Json(gateways::one(&ctx, &name)?))
}

/// What a cluster tells of an instance now: its handshakes, and who may reach its ports.
#[utoipa::path(
    get,
    path = "/admin/gateways/{name}/instances/{instance_id}",
    operation_id = "admin_get_gateway_instance",
    tag = "Nodes",
    params(("name" = String, Path), ("instance_id" = String, Path)),
    responses(
        (status = 200, body = GatewayInstanceDetail),
        (status = 404, description = "No such cluster.", body = ErrorBody),
        (status = 503, description = "The cluster does not answer.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn instance(
    State(ctx): State<Ctx>,
    _: Auth,
    Path((name, id)): Path<(String, String)>,
) -> Result<Json<GatewayInstanceDetail>, ApiError> {
    Ok(Json(gateway_admin::instance(&ctx, &name, &id).await?))
}

/// Overrides the port policy that an instance reports. It survives updates of the instance.
#[utoipa::path(
    post,
    path = "/admin/gateways/{name}/instances/{instance_id}/port-policy",
    operation_id = "admin_set_gateway_port_policy",
    tag = "Nodes",
    params(("name" = String, Path), ("instance_id" = String, Path)),
    request_body = GatewayPortPolicy,
    responses(
        (status = 200, body = GatewayInstanceDetail),
        (status = 404, description = "No such cluster.", body = ErrorBody),
        (status = 409, description = "The cluster refuses it: the instance is not registered.", body = ErrorBody),
        (status = 501, description = "This build of dstack-gateway has no port policies.", body = ErrorBody),
        (status = 503, description = "The cluster does not answer.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn set_port_policy(
    State(ctx): State<Ctx>,
    _: Auth,
    Path((name, id)): Path<(String, String)>,
    request: Body<GatewayPortPolicy>,
) -> Result<Json<GatewayInstanceDetail>, ApiError> {
    gateway_admin::set_port_policy(&ctx, &name, &id, Some(&request.value)).await?;
    Ok(Json(gateway_admin::instance(&ctx, &name, &id).await?))
}

/// Ends the override of a port policy.
#[utoipa::path(
    delete,
    path = "/admin/gateways/{name}/instances/{instance_id}/port-policy",
    operation_id = "admin_clear_gateway_port_policy",
    tag = "Nodes",
    params(("name" = String, Path), ("instance_id" = String, Path)),
    responses(
        (status = 200, body = GatewayInstanceDetail),
        (status = 404, description = "No such cluster.", body = ErrorBody),
        (status = 501, description = "This build of dstack-gateway has no port policies.", body = ErrorBody),
        (status = 503, description = "The cluster does not answer.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn clear_port_policy(
    State(ctx): State<Ctx>,
    _: Auth,
    Path((name, id)): Path<(String, String)>,
) -> Result<Json<GatewayInstanceDetail>, ApiError> {
    gateway_admin::set_port_policy(&ctx, &name, &id, None).await?;
    Ok(Json(gateway_admin::instance(&ctx, &name, &id).await?))
}
