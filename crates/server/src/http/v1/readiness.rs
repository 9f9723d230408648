//! When instances of an app take requests.

use axum::{
    Json,
    extract::{Path, State},
};
use casemate_api::{error::ErrorBody, readiness::ReadinessRequest, reply::Readiness};
use casemate_core::ready::Check;

use crate::{
    app::{
        Caller, Ctx,
        mutation::{IdempotencyKey, Written},
        readiness,
    },
    http::{
        error::ApiError,
        extract::{Auth, Body, Raw},
    },
};

/// When an instance takes requests of the gateway, and who says so.
///
/// Without a check an instance takes requests as long as it is up.
#[utoipa::path(
    get,
    path = "/apps/{app_id}/readiness",
    operation_id = "get_app_readiness",
    tag = "Apps",
    params(("app_id" = String, Path)),
    responses(
        (status = 200, body = Readiness),
        (status = 404, description = "No such app in the workspace.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn get(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(app): Path<String>,
) -> Result<Json<Readiness>, ApiError> {
    Ok(Json(readiness::get(&ctx, &caller, &app).await?))
}

/// Declares a check for all instances of the app, whatever their compose files say.
///
/// It counts from the next request of the gateway on; nothing is restarted.
#[utoipa::path(
    put,
    path = "/apps/{app_id}/readiness",
    operation_id = "set_app_readiness",
    tag = "Apps",
    params(("app_id" = String, Path)),
    request_body = ReadinessRequest,
    responses(
        (status = 200, body = Readiness),
        (status = 400, description = "No instance publishes the port.", body = ErrorBody),
        (status = 404, description = "No such app in the workspace.", body = ErrorBody),
        (status = 422, description = "A value is out of its range, or a field is unknown.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn set(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(app): Path<String>,
    request: Body<ReadinessRequest>,
) -> Result<Written<Readiness>, ApiError> {
    let check = readiness::check(request.value, &request.unknown)?;
    declare(&ctx, &caller, &app, Some(check), request.key).await
}

/// Takes the declared check back: what the labels of the compose file say counts again.
#[utoipa::path(
    delete,
    path = "/apps/{app_id}/readiness",
    operation_id = "clear_app_readiness",
    tag = "Apps",
    params(("app_id" = String, Path)),
    responses(
        (status = 200, body = Readiness),
        (status = 404, description = "No such app in the workspace.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn clear(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(app): Path<String>,
    raw: Raw,
) -> Result<Written<Readiness>, ApiError> {
    declare(&ctx, &caller, &app, None, raw.key).await
}

async fn declare(
    ctx: &Ctx,
    caller: &Caller,
    app: &str,
    check: Option<Check>,
    key: Option<IdempotencyKey>,
) -> Result<Written<Readiness>, ApiError> {
    let mut mutation = ctx.begin_mutation(caller, key).await?;
    let reply = readiness::declare(ctx, &mut mutation, caller, app, check).await?;
    Ok(mutation.finish(&reply).await?)
}
