//! To which workspace an app that a contract is belongs.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use casemate_api::{
    error::ErrorBody,
    ownership::{AppOwnership, OwnershipMessage, OwnershipProof},
};
use serde::Deserialize;

use crate::{
    app::{Ctx, Error, governance::ownership, mutation::Written},
    http::{
        error::ApiError,
        extract::{Auth, Body},
    },
};

/// Which KMS.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct OwnershipQuery {
    /// The KMS whose contract the app is registered with: id or slug.
    #[param(value_type = String, required = true)]
    kms_id: Option<String>,
}

/// The text that the owner of an app's contract signs, so that the workspace of the key has the app.
#[utoipa::path(
    get,
    path = "/casemate/apps/{app_id}/ownership",
    operation_id = "get_app_ownership_message",
    tag = "Apps",
    params(("app_id" = String, Path), OwnershipQuery),
    responses(
        (status = 200, body = OwnershipMessage),
        (status = 468, description = "The KMS knows no such app.", body = ErrorBody),
        (status = 503, description = "The chain does not answer.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn message(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(app): Path<String>,
    Query(query): Query<OwnershipQuery>,
) -> Result<Json<OwnershipMessage>, ApiError> {
    let kms = query.kms_id.ok_or_else(|| Error::invalid("kms_id", "is required"))?;
    Ok(Json(ownership::message(&ctx, &caller, &app, &kms).await?))
}

/// Gives an app to the workspace of the key, by a signature of its contract's owner. An app of another workspace is
/// transferred, unless it has live CVMs there.
#[utoipa::path(
    post,
    path = "/casemate/apps/{app_id}/ownership",
    operation_id = "prove_app_ownership",
    tag = "Apps",
    params(("app_id" = String, Path)),
    request_body = OwnershipProof,
    responses(
        (status = 200, body = AppOwnership),
        (status = 403, description = "The owner of the contract did not sign this.", body = ErrorBody),
        (status = 409, description = "It has live CVMs in another workspace.", body = ErrorBody),
        (status = 468, description = "The KMS knows no such app.", body = ErrorBody),
        (status = 503, description = "The chain does not answer.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn prove(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(app): Path<String>,
    request: Body<OwnershipProof>,
) -> Result<Written<AppOwnership>, ApiError> {
    let (mutation, owned) =
        ownership::claim(&ctx, &caller, request.key, &app, &request.value).await?;
    Ok(mutation.finish(&owned).await?)
}
