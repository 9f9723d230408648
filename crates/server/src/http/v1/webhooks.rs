//! Webhooks of a workspace.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use casemate_api::{
    error::ErrorBody,
    page::query_number,
    webhook::{
        WebhookCreateRequest, WebhookDeliveryResponse, WebhookResponse, WebhookStatsResponse,
        WebhookUpdateRequest,
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::{Ctx, Error, mutation::Written, webhooks},
    http::{
        error::ApiError,
        extract::{Auth, Body, Raw},
    },
};

pub fn router() -> OpenApiRouter<Ctx> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, update, delete))
        .routes(routes!(test))
        .routes(routes!(reveal_secret))
        .routes(routes!(rotate_secret))
        .routes(routes!(deliveries))
        .routes(routes!(resend))
        .routes(routes!(stats))
}

/// The webhooks of the workspace, oldest first.
#[utoipa::path(
    get,
    path = "/workspace/webhooks",
    operation_id = "list_webhooks",
    tag = "Webhooks",
    responses((status = 200, body = Vec<WebhookResponse>)),
)]
pub async fn list(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
) -> Result<Json<Vec<WebhookResponse>>, ApiError> {
    Ok(Json(webhooks::list(&ctx, &caller).await?))
}

/// Creates a webhook. The reply has its secret, later ones only its end.
///
/// A repetition under the same `Idempotency-Key` gets the reply without the secret.
#[utoipa::path(
    post,
    path = "/workspace/webhooks",
    operation_id = "create_webhook",
    tag = "Webhooks",
    request_body = WebhookCreateRequest,
    responses(
        (status = 201, body = WebhookResponse),
        (status = 400, description = "The URL is not allowed, or there are too many webhooks.", body = ErrorBody),
        (status = 422, description = "A value is not allowed.", body = ErrorBody),
    ),
)]
pub async fn create(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    request: Body<WebhookCreateRequest>,
) -> Result<Written<WebhookResponse, 201>, ApiError> {
    let new = webhooks::check_create(&ctx, request.value).await?;
    let mut mutation = ctx.begin_mutation(&caller, request.key).await?;
    let (whole, masked) = webhooks::create(&ctx, &mut mutation, &caller, &new).await?;
    Ok(mutation.finish_secret(&whole, &masked).await?)
}

/// A webhook.
#[utoipa::path(
    get,
    path = "/workspace/webhooks/{webhook_id}",
    operation_id = "get_webhook",
    tag = "Webhooks",
    params(("webhook_id" = String, Path)),
    responses(
        (status = 200, body = WebhookResponse),
        (status = 404, description = "No such webhook in the workspace.", body = ErrorBody),
    ),
)]
pub async fn get(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(id): Path<String>,
) -> Result<Json<WebhookResponse>, ApiError> {
    Ok(Json(webhooks::get(&ctx, &caller, &id).await?))
}

/// Changes what is given of a webhook.
#[utoipa::path(
    put,
    path = "/workspace/webhooks/{webhook_id}",
    operation_id = "update_webhook",
    tag = "Webhooks",
    params(("webhook_id" = String, Path)),
    request_body = WebhookUpdateRequest,
    responses(
        (status = 200, body = WebhookResponse),
        (status = 400, description = "The URL is not allowed.", body = ErrorBody),
        (status = 404, description = "No such webhook in the workspace.", body = ErrorBody),
        (status = 422, description = "A value is not allowed.", body = ErrorBody),
    ),
)]
pub async fn update(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    request: Body<WebhookUpdateRequest>,
) -> Result<Written<WebhookResponse>, ApiError> {
    let change = webhooks::check_update(&ctx, request.value).await?;
    let mut mutation = ctx.begin_mutation(&caller, request.key).await?;
    let reply = webhooks::update(&ctx, &mut mutation, &caller, &id, &change).await?;
    Ok(mutation.finish(&reply).await?)
}

/// Deletes a webhook with its deliveries.
#[utoipa::path(
    delete,
    path = "/workspace/webhooks/{webhook_id}",
    operation_id = "delete_webhook",
    tag = "Webhooks",
    params(("webhook_id" = String, Path)),
    responses(
        (status = 204),
        (status = 404, description = "No such webhook in the workspace.", body = ErrorBody),
    ),
)]
pub async fn delete(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    raw: Raw,
) -> Result<Written<(), 204>, ApiError> {
    let mut mutation = ctx.begin_mutation(&caller, raw.key).await?;
    webhooks::delete(&ctx, &mut mutation, &caller, &id).await?;
    Ok(mutation.finish_empty().await?)
}

/// Sends an event `webhook.test`, once. The reply is the delivery; the list of them says what became of it.
#[utoipa::path(
    post,
    path = "/workspace/webhooks/{webhook_id}/test",
    operation_id = "test_webhook",
    tag = "Webhooks",
    params(("webhook_id" = String, Path)),
    responses(
        (status = 200, body = WebhookDeliveryResponse),
        (status = 404, description = "No such webhook in the workspace.", body = ErrorBody),
        (status = 409, description = "The webhook is disabled.", body = ErrorBody),
    ),
)]
pub async fn test(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    raw: Raw,
) -> Result<Written<WebhookDeliveryResponse>, ApiError> {
    let mut mutation = ctx.begin_mutation(&caller, raw.key).await?;
    let reply = webhooks::test(&ctx, &mut mutation, &caller, &id).await?;
    Ok(mutation.finish(&reply).await?)
}

/// A webhook with its secret.
#[utoipa::path(
    post,
    path = "/workspace/webhooks/{webhook_id}/reveal-secret",
    operation_id = "reveal_webhook_secret",
    tag = "Webhooks",
    params(("webhook_id" = String, Path)),
    responses(
        (status = 200, body = WebhookResponse),
        (status = 404, description = "No such webhook in the workspace.", body = ErrorBody),
    ),
)]
pub async fn reveal_secret(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(id): Path<String>,
) -> Result<Json<WebhookResponse>, ApiError> {
    Ok(Json(webhooks::reveal(&ctx, &caller, &id).await?))
}

/// Gives a webhook a new random secret, which the reply has. What is sent from now on is signed with it.
#[utoipa::path(
    post,
    path = "/workspace/webhooks/{webhook_id}/rotate-secret",
    operation_id = "rotate_webhook_secret",
    tag = "Webhooks",
    params(("webhook_id" = String, Path)),
    responses(
        (status = 200, body = WebhookResponse),
        (status = 404, description = "No such webhook in the workspace.", body = ErrorBody),
    ),
)]
pub async fn rotate_secret(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    raw: Raw,
) -> Result<Written<WebhookResponse>, ApiError> {
    let mut mutation = ctx.begin_mutation(&caller, raw.key).await?;
    let (whole, masked) = webhooks::rotate(&ctx, &mut mutation, &caller, &id).await?;
    Ok(mutation.finish_secret(&whole, &masked).await?)
}

/// Deliveries of a webhook, newest first.
#[utoipa::path(
    get,
    path = "/workspace/webhooks/{webhook_id}/deliveries",
    operation_id = "list_webhook_deliveries",
    tag = "Webhooks",
    params(
        ("webhook_id" = String, Path),
        ("limit" = Option<u16>, Query, description = "1 to 100; 50 if left out."),
        ("offset" = Option<u16>, Query, description = "Deliveries to skip, at most 10000."),
    ),
    responses(
        (status = 200, body = Vec<WebhookDeliveryResponse>),
        (status = 404, description = "No such webhook in the workspace.", body = ErrorBody),
    ),
)]
pub async fn deliveries(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(id): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<Vec<WebhookDeliveryResponse>>, ApiError> {
    let number = |name: &'static str, least, most, default: u16| {
        let text = pairs.iter().rev().find(|(key, _)| key == name).map(|(_, text)| text.as_str());
        let text = text.filter(|text| !text.is_empty());
        let found = query_number(name, text, least, most);
        let found = found.map_err(|item| Error::Invalid(vec![item]))?;
        Ok::<_, Error>(found.and_then(|number| u16::try_from(number).ok()).unwrap_or(default))
    };
    let page = (number("limit", 1, 100, 50)?, number("offset", 0, 10_000, 0)?);
    Ok(Json(webhooks::deliveries(&ctx, &caller, &id, page).await?))
}

/// Sends again what a delivery that has ended sent. It is a delivery of its own, with the same `X-Webhook-Id`.
#[utoipa::path(
    post,
    path = "/workspace/webhooks/{webhook_id}/deliveries/{event_id}/resend",
    operation_id = "resend_webhook_delivery",
    tag = "Webhooks",
    params(("webhook_id" = String, Path), ("event_id" = String, Path)),
    responses(
        (status = 200, body = WebhookDeliveryResponse),
        (status = 404, description = "No such webhook or delivery.", body = ErrorBody),
        (status = 409, description = "The delivery has not ended, or the webhook is disabled.", body = ErrorBody),
    ),
)]
pub async fn resend(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path((id, event_id)): Path<(String, String)>,
    raw: Raw,
) -> Result<Written<WebhookDeliveryResponse>, ApiError> {
    let mut mutation = ctx.begin_mutation(&caller, raw.key).await?;
    let reply = webhooks::resend(&ctx, &mut mutation, &caller, &id, &event_id).await?;
    Ok(mutation.finish(&reply).await?)
}

/// What became of the deliveries of a webhook since it was created.
#[utoipa::path(
    get,
    path = "/workspace/webhooks/{webhook_id}/stats",
    operation_id = "webhook_stats",
    tag = "Webhooks",
    params(("webhook_id" = String, Path)),
    responses(
        (status = 200, body = WebhookStatsResponse),
        (status = 404, description = "No such webhook in the workspace.", body = ErrorBody),
    ),
)]
pub async fn stats(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(id): Path<String>,
) -> Result<Json<WebhookStatsResponse>, ApiError> {
    Ok(Json(webhooks::stats(&ctx, &caller, &id).await?))
}
