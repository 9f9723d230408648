//! Plans for contracts that govern apps.

use axum::{Json, extract::State};
use casemate_api::{error::ErrorBody, governance::GovernancePlanRequest, reply::GovernancePlan};

use crate::{
    app::{Ctx, governance::plan},
    http::{
        error::ApiError,
        extract::{Auth, Body},
    },
};

/// Which transactions are missing before something boots, who signs them, or why none will help.
///
/// It is about a CVM or app there is, or one that is only thought of. Nothing is changed, prepared or sent;
/// each transaction is tried on the chain first.
#[utoipa::path(
    post,
    path = "/governance/plan",
    operation_id = "plan_governance",
    tag = "KMS",
    extensions(("x-casemate" = json!(true))),
    request_body = GovernancePlanRequest,
    responses(
        (status = 200, body = GovernancePlan),
        (status = 400, description = "No contract governs it, or a field is refused.", body = ErrorBody),
        (status = 404, description = "No such CVM or app in the workspace.", body = ErrorBody),
        (status = 422, description = "A field is missing or cannot be read.", body = ErrorBody),
        (status = 503, description = "The chain does not answer.", body = ErrorBody),
    ),
)]
pub async fn plan(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    body: Body<GovernancePlanRequest>,
) -> Result<Json<GovernancePlan>, ApiError> {
    let Body { value, unknown, .. } = body;
    Ok(Json(Box::pin(plan::make(&ctx, &caller, value, &unknown)).await?))
}
