//! Login by device code (RFC 8628).

use axum::{
    Extension, Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use casemate_api::{
    device_login::{
        DecideLoginRequest, DecidedLogin, DeviceCode, DeviceCodeRequest, DeviceError,
        DeviceErrorDetail, DeviceToken, DeviceTokenRequest,
    },
    error::ErrorBody,
};

use crate::{
    app::{Ctx, device_login, mutation::Written},
    http::{
        client_address::ClientAddress,
        error::ApiError,
        extract::{Auth, Body},
    },
};

/// Begins a login: the client shows the user code, and asks for its key with the device code.
#[utoipa::path(
    post,
    path = "/auth/device/code",
    operation_id = "create_device_code",
    tag = "Account",
    request_body = DeviceCodeRequest,
    responses(
        (status = 200, body = DeviceCode),
        (status = 429, description = "Too many logins are under way.", body = ErrorBody),
    ),
    security(()),
)]
pub async fn code(
    State(ctx): State<Ctx>,
    address: Option<Extension<ClientAddress>>,
    request: Body<DeviceCodeRequest>,
) -> Result<Json<DeviceCode>, ApiError> {
    let address = address.map(|Extension(ClientAddress(address))| address);
    Ok(Json(device_login::begin(&ctx, &request.value, address).await?))
}

/// The key of a login, once it is approved; 400 with an error of RFC 8628 until then.
#[utoipa::path(
    post,
    path = "/auth/device/token",
    operation_id = "create_device_token",
    tag = "Account",
    request_body = DeviceTokenRequest,
    responses(
        (status = 200, body = DeviceToken),
        (status = 400, description = "Not approved, denied, expired, or asked too often.", body = DeviceError),
    ),
    security(()),
)]
pub async fn token(
    State(ctx): State<Ctx>,
    request: Body<DeviceTokenRequest>,
) -> Result<Response, ApiError> {
    match device_login::poll(&ctx, &request.value).await? {
        Ok(token) => Ok(Json(token).into_response()),
        Err(no) => {
            let (error, description) = no.words();
            let detail = DeviceErrorDetail {
                error: error.to_owned(),
                error_description: description.to_owned(),
            };
            Ok((StatusCode::BAD_REQUEST, Json(DeviceError { detail })).into_response())
        }
    }
}

/// Approves or denies a login. The client gets a key of the caller, or, from an operator, of somebody else.
#[utoipa::path(
    post,
    path = "/casemate/auth/device/decide",
    operation_id = "decide_device_login",
    tag = "Account",
    request_body = DecideLoginRequest,
    responses(
        (status = 200, body = DecidedLogin),
        (status = 403, description = "Only an operator approves for somebody else.", body = ErrorBody),
        (status = 404, description = "No such login waits.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn decide(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    request: Body<DecideLoginRequest>,
) -> Result<Written<DecidedLogin>, ApiError> {
    let mut mutation = ctx.begin_mutation(&caller, request.key).await?;
    let decided = device_login::decide(&ctx, &mut mutation.tx, &caller, &request.value).await?;
    Ok(mutation.finish(&decided).await?)
}
