//! What there is to know of apps beside themselves.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use casemate_api::{
    allowed::IsAllowedRequest,
    error::{ErrorBody, ErrorCode, ValidationItem},
    page::query_number,
    reply::{
        AppEvents, AppKmsInfo, AppUsage, CvmsAllowed, DeviceAllowlist, FilterOptions, IsAllowed,
    },
};
use casemate_core::{time::Timestamp, usage::Span};

use crate::{
    app::{
        Ctx, Error,
        app_facts::{self, EventsAsked, UsageAsked},
        governance::status,
    },
    http::{
        error::ApiError,
        extract::{Auth, Body, Version},
        render,
    },
};

/// Events where the request does not say how many.
const EVENTS: u32 = 100;
/// Records of usage where the request does not say how many.
const RECORDS: u32 = 500;
/// Days of usage where the request does not say from when.
const DAYS: i64 = 7;
const DAY_MICROS: i64 = 86_400_000_000;

fn invalid(name: &str, why: &str, text: &str) -> Error {
    Error::Invalid(vec![ValidationItem::at(&["query", name], "value_error", why, text)])
}

/// A time, or a day that begins at midnight UTC.
fn time(name: &str, text: &str) -> Result<Timestamp, Error> {
    let day = || format!("{text}T00:00:00Z").parse();
    text.parse().or_else(|_| day()).map_err(|_| {
        invalid(
            name,
            "Input should be a time or day as in 2026-01-31T12:00:00Z or 2026-01-31",
            text,
        )
    })
}

fn number(name: &str, text: &str, min: u32, max: u32, default: u32) -> Result<u32, Error> {
    let read = query_number(name, Some(text), min, max);
    Ok(read.map_err(|item| Error::Invalid(vec![item]))?.unwrap_or(default))
}

/// The values that filters of the list of apps can have here.
#[utoipa::path(
    get,
    path = "/apps/filter-options",
    operation_id = "get_app_filter_options",
    tag = "Apps",
    responses((status = 200, body = FilterOptions)),
)]
pub async fn filter_options(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
) -> Result<Json<FilterOptions>, ApiError> {
    Ok(Json(app_facts::filter_options(&ctx, &caller).await?))
}

/// What happened to the CVMs of an app, also to those that are gone; newest first.
#[utoipa::path(
    get,
    path = "/apps/{app_id}/events",
    operation_id = "get_app_events",
    tag = "Apps",
    params(
        ("app_id" = String, Path),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "At most so many, 100 if left out."),
        ("event_type" = Option<String>, Query, description = "Only this kind, `cvm.phase`."),
        ("instance_id" = Option<String>, Query, description = "Only those of the CVM with this `vm_uuid`."),
        ("operation_type" = Option<String>, Query, description = "Only those in operations of this kind, `update`."),
        ("start_date" = Option<String>, Query, description = "Only those at or after this time or day."),
        ("end_date" = Option<String>, Query, description = "Only those before this time or day."),
    ),
    responses(
        (status = 200, body = AppEvents),
        (status = 404, description = "No such app in the workspace.", body = ErrorBody),
        (status = 422, description = "A parameter cannot be read.", body = ErrorBody),
    ),
)]
pub async fn events(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(app): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<AppEvents>, ApiError> {
    let mut wanted =
        EventsAsked { limit: u16::try_from(EVENTS).unwrap_or(u16::MAX), ..EventsAsked::default() };
    for (name, text) in pairs.iter().filter(|(_, text)| !text.is_empty()) {
        match name.as_str() {
            "limit" => {
                let limit = number(name, text, 1, 1000, EVENTS)?;
                wanted.limit = u16::try_from(limit).unwrap_or(u16::MAX);
            }
            "event_type" => wanted.asked.kind = Some(text.clone()),
            "operation_type" => wanted.asked.operation = Some(text.clone()),
            "instance_id" => {
                let why = "Input should be a vm_uuid";
                wanted.cvm = Some(text.parse().map_err(|_| invalid(name, why, text))?);
            }
            "start_date" => wanted.asked.from = Some(time(name, text)?),
            "end_date" => wanted.asked.until = Some(time(name, text)?),
            // As for every read: what nobody knows is no filter.
            _ => {}
        }
    }
    Ok(Json(app_facts::history(&ctx, &caller, &app, &wanted).await?))
}

/// How long the CVMs of an app were running, by the day, and what that would cost at today's prices.
///
/// The last seven days if no time is given. Nothing is billed here.
#[utoipa::path(
    get,
    path = "/apps/{app_id}/usage",
    operation_id = "get_app_usage",
    tag = "Apps",
    params(
        ("app_id" = String, Path),
        ("start_date" = Option<String>, Query, description = "From this time or day on; seven days before the end if left out."),
        ("end_date" = Option<String>, Query, description = "Until this time or day; now if left out."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 5000, description = "At most so many records, 500 if left out."),
        ("offset" = Option<u32>, Query, minimum = 0, description = "Without the first so many."),
    ),
    responses(
        (status = 200, body = AppUsage),
        (status = 400, description = "The end is before the start.", body = ErrorBody),
        (status = 404, description = "No such app in the workspace.", body = ErrorBody),
        (status = 422, description = "A parameter cannot be read.", body = ErrorBody),
    ),
)]
pub async fn usage(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(app): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<AppUsage>, ApiError> {
    let (mut from, mut until, mut limit, mut offset) = (None, None, RECORDS, 0);
    for (name, text) in pairs.iter().filter(|(_, text)| !text.is_empty()) {
        match name.as_str() {
            "start_date" => from = Some(time(name, text)?),
            "end_date" => until = Some(time(name, text)?),
            "limit" => limit = number(name, text, 1, 5000, RECORDS)?,
            "offset" => offset = number(name, text, 0, u32::MAX, 0)?,
            _ => {}
        }
    }
    let now = ctx.now();
    // What is to come cannot have been used.
    let until = until.unwrap_or(now).min(now);
    let from = from.unwrap_or_else(|| {
        Timestamp::from_micros(until.micros().saturating_sub(DAYS * DAY_MICROS))
    });
    if until < from {
        return Err(Error::field(ErrorCode::InvalidRequest, "end_date", "is before start_date")
            .suggest("Exchange them, or leave start_date out for the last seven days.")
            .into());
    }
    let wanted = UsageAsked {
        window: Span { from, until },
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
        offset: usize::try_from(offset).unwrap_or(usize::MAX),
    };
    Ok(Json(app_facts::usage(&ctx, &caller, &app, wanted).await?))
}

/// Who governs an app.
#[utoipa::path(
    get,
    path = "/apps/{app_id}/kms-info",
    operation_id = "get_app_kms_info",
    tag = "Apps",
    params(("app_id" = String, Path)),
    responses(
        (status = 200, body = AppKmsInfo),
        (status = 404, description = "No such app in the workspace.", body = ErrorBody),
    ),
)]
pub async fn kms_info(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(app): Path<String>,
) -> Result<Json<AppKmsInfo>, ApiError> {
    Ok(Json(status::kms_info(&ctx, &caller, &app).await?))
}

/// Whether a CVM gets its app's keys, with its document and host or with others.
#[utoipa::path(
    post,
    path = "/cvms/{cvm_id}/is-allowed",
    operation_id = "check_cvm_is_allowed",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    request_body(content = Option<IsAllowedRequest>),
    responses(
        (status = 200, body = IsAllowed),
        (status = 400, description = "There is no such node, or the chain is another one.", body = ErrorBody),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
        (status = 503, description = "The chain does not answer.", body = ErrorBody),
    ),
)]
pub async fn cvm_is_allowed(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
    Path(cvm): Path<String>,
    request: Body<IsAllowedRequest>,
) -> Result<Json<IsAllowed>, ApiError> {
    let view = status::cvm_is_allowed(&ctx, &caller, &cvm, &request.value).await?;
    Ok(Json(render::is_allowed(&view, version.version)))
}

/// Whether an app's keys are given for a document on a host.
#[utoipa::path(
    post,
    path = "/apps/{app_id}/is-allowed",
    operation_id = "check_app_is_allowed",
    tag = "Apps",
    params(("app_id" = String, Path)),
    request_body = IsAllowedRequest,
    responses(
        (status = 200, body = IsAllowed),
        (status = 400, description = "There is no such node, or the chain is another one.", body = ErrorBody),
        (status = 404, description = "No such app in the workspace.", body = ErrorBody),
        (status = 422, description = "It names no document.", body = ErrorBody),
        (status = 503, description = "The chain does not answer.", body = ErrorBody),
    ),
)]
pub async fn app_is_allowed(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
    Path(app): Path<String>,
    request: Body<IsAllowedRequest>,
) -> Result<Json<IsAllowed>, ApiError> {
    let view = status::app_is_allowed(&ctx, &caller, &app, &request.value).await?;
    Ok(Json(render::is_allowed(&view, version.version)))
}

/// Whether the CVMs of an app get its keys, each with its document and host.
#[utoipa::path(
    post,
    path = "/apps/{app_id}/cvms/is-allowed",
    operation_id = "check_app_cvms_are_allowed",
    tag = "Apps",
    params(("app_id" = String, Path)),
    responses(
        (status = 200, body = CvmsAllowed),
        (status = 404, description = "No such app in the workspace.", body = ErrorBody),
    ),
)]
pub async fn cvms_are_allowed(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
    Path(app): Path<String>,
) -> Result<Json<CvmsAllowed>, ApiError> {
    let view = status::cvms_are_allowed(&ctx, &caller, &app).await?;
    Ok(Json(render::cvms_allowed(&view, version.version)))
}

/// Which hosts the contract of an app allows: those of its CVMs, then those of the other nodes.
///
/// Where the chain does not answer the hosts are listed as `unknown`. What it said may be two seconds old.
#[utoipa::path(
    get,
    path = "/apps/{app_id}/device-allowlist",
    operation_id = "get_app_device_allowlist",
    tag = "Apps",
    params(("app_id" = String, Path)),
    responses(
        (status = 200, body = DeviceAllowlist),
        (status = 404, description = "No such app in the workspace.", body = ErrorBody),
    ),
)]
pub async fn device_allowlist(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
    Path(app): Path<String>,
) -> Result<Json<DeviceAllowlist>, ApiError> {
    let view = status::device_allowlist(&ctx, &caller, &app).await?;
    Ok(Json(render::device_allowlist(&view, version.version)))
}
