//! What a running guest tells of itself.

use axum::{
    Json,
    extract::{Path, State},
};
use casemate_api::{
    error::ErrorBody,
    reply::{CvmComposition, CvmNetwork, CvmStats},
};

use crate::{
    app::{Ctx, guest_facts},
    http::{error::ApiError, extract::Auth},
};

/// Memory, processors, load and disks of the guest.
#[utoipa::path(
    get,
    path = "/cvms/{cvm_id}/stats",
    operation_id = "get_cvm_stats",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    responses(
        (status = 200, description = "`error` says why the guest did not answer.", body = CvmStats),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
    ),
)]
pub async fn stats(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(cvm): Path<String>,
) -> Result<Json<CvmStats>, ApiError> {
    Ok(Json(guest_facts::stats(&ctx, &caller, &cvm).await?))
}

/// Address of the guest in the network of its gateway, and the URLs of its published ports.
#[utoipa::path(
    get,
    path = "/cvms/{cvm_id}/network",
    operation_id = "get_cvm_network",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    responses(
        (status = 200, description = "`error` says why the guest did not answer.", body = CvmNetwork),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
    ),
)]
pub async fn network(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(cvm): Path<String>,
) -> Result<Json<CvmNetwork>, ApiError> {
    Ok(Json(guest_facts::network(&ctx, &caller, &cvm).await?))
}

/// The compose file with the containers that run of it.
#[utoipa::path(
    get,
    path = "/cvms/{cvm_id}/composition",
    operation_id = "get_cvm_composition",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    responses(
        (status = 200, description = "`error` says why the guest did not answer.", body = CvmComposition),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
    ),
)]
pub async fn composition(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(cvm): Path<String>,
) -> Result<Json<CvmComposition>, ApiError> {
    Ok(Json(guest_facts::composition(&ctx, &caller, &cvm).await?))
}
