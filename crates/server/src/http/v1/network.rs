//! What a CVM's configuration says of the network, and whether domains lead to it.

use axum::{
    Json,
    extract::{Path, State},
};
use casemate_api::{
    domain::DiagnoseRequest,
    error::ErrorBody,
    reply::{Diagnosis, FirewallStatus, HostPort, NetworkConfig},
};

use crate::{
    app::{Ctx, domains, network},
    http::{
        error::ApiError,
        extract::{Auth, Body},
        render,
    },
};

/// Host ports, and KMS and gateway addresses that the guest is told; empty lists are the node's own.
#[utoipa::path(
    get,
    path = "/cvms/{cvm_id}/network-config",
    operation_id = "get_cvm_network_config",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    responses(
        (status = 200, body = NetworkConfig),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
    ),
)]
pub async fn config(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(cvm): Path<String>,
) -> Result<Json<NetworkConfig>, ApiError> {
    Ok(Json(render::network_config(&network::config(&ctx, &caller, &cvm).await?)))
}

/// Host ports that lead straight to the CVM.
#[utoipa::path(
    get,
    path = "/cvms/{cvm_id}/ports",
    operation_id = "list_cvm_ports",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    responses(
        (status = 200, body = Vec<HostPort>),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
    ),
)]
pub async fn ports(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(cvm): Path<String>,
) -> Result<Json<Vec<HostPort>>, ApiError> {
    Ok(Json(render::ports(&network::config(&ctx, &caller, &cvm).await?.ports)))
}

/// Whether the CVM's node filters who may connect to host ports, and if not, why.
#[utoipa::path(
    get,
    path = "/cvms/{cvm_id}/firewall-status",
    operation_id = "get_cvm_firewall_status",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    responses(
        (status = 200, body = FirewallStatus),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
    ),
)]
pub async fn firewall_status(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(cvm): Path<String>,
) -> Result<Json<FirewallStatus>, ApiError> {
    Ok(Json(render::firewall_status(&network::firewall(&ctx, &caller, &cvm).await?)))
}

/// Looks up whether custom domains lead to the CVM: alias, app record, and for information CAA.
///
/// At most ten domains. A lookup that fails is told as such in `warning_message`.
#[utoipa::path(
    post,
    path = "/cvms/{cvm_id}/customize-domain-diagnose",
    operation_id = "diagnose_cvm_domains",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    request_body = DiagnoseRequest,
    responses(
        (status = 200, body = Diagnosis),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
        (status = 422, description = "Not a domain name, or not a port.", body = ErrorBody),
    ),
)]
pub async fn diagnose(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(cvm): Path<String>,
    request: Body<DiagnoseRequest>,
) -> Result<Json<Diagnosis>, ApiError> {
    let found = domains::diagnose(&ctx, &caller, &cvm, &request.value.domains).await?;
    Ok(Json(render::diagnosis(&found)))
}
