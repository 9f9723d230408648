//! What the caller's workspace says about its CVMs.

use axum::{Json, extract::State};
use casemate_api::{
    error::ErrorBody,
    workspace::{Policy, PolicyPatch},
};

use crate::{
    app::{Ctx, Error, account, mutation::Written},
    http::{
        error::ApiError,
        extract::{Auth, Body},
    },
};

/// The policy of the workspace.
#[utoipa::path(
    get,
    path = "/workspace/policy",
    operation_id = "get_workspace_policy",
    tag = "Workspace",
    responses((status = 200, body = Policy)),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn get(State(ctx): State<Ctx>, Auth(caller): Auth) -> Result<Json<Policy>, ApiError> {
    Ok(Json(account::policy(&ctx, &caller).await?))
}

/// Changes the policy of the workspace; it counts from the next request on.
#[utoipa::path(
    patch,
    path = "/workspace/policy",
    operation_id = "patch_workspace_policy",
    tag = "Workspace",
    request_body = PolicyPatch,
    responses(
        (status = 200, body = Policy),
        (status = 422, description = "A value is none of the allowed ones, or a field is unknown.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn patch(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    request: Body<PolicyPatch>,
) -> Result<Written<Policy>, ApiError> {
    // A policy that seems to be set and is not would be worse than none.
    if let Some(name) = request.unknown.first() {
        return Err(Error::invalid(name, "is unknown; leave it out").into());
    }
    let mut mutation = ctx.begin_mutation(&caller, request.key).await?;
    let policy = account::set_policy(&mut mutation, &caller, &request.value).await?;
    Ok(mutation.finish(&policy).await?)
}
