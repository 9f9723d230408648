//! The operations of a CVM, and stopping many CVMs at once.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use casemate_api::{
    error::{ErrorBody, ErrorCode, ValidationItem},
    operation::{BatchStopRequest, CancelRequest, MAX_BATCH},
    page::query_number,
    reply::{BatchStop, Cancelled, OperationStatus, OperationsPage},
};
use casemate_core::{operation::OperationKind, time::Timestamp};

use crate::{
    app::{
        Ctx, Error, cvms,
        mutation::Written,
        operations::{self, OperationFilter},
        update,
    },
    http::{
        error::ApiError,
        extract::{Auth, Body, Version},
        render,
    },
};

/// The filter and the limit of a query.
fn read_query(pairs: &[(String, String)]) -> Result<(OperationFilter, u16), Error> {
    let mut filter = OperationFilter::default();
    let mut limit = 20;
    for (name, text) in pairs.iter().filter(|(_, text)| !text.is_empty()) {
        match name.as_str() {
            "cursor" => filter.before = Some(operations::cursor(text)?),
            "limit" => {
                let number = query_number("limit", Some(text), 1, 100)
                    .map_err(|item| Error::Invalid(vec![item]))?;
                limit = number.and_then(|number| u16::try_from(number).ok()).unwrap_or(limit);
            }
            "start_time" => filter.from = Some(time(name, text)?),
            "end_time" => filter.until = Some(time(name, text)?),
            "operation_types" => {
                for word in text.split(',') {
                    filter.kinds.push(kind(word)?);
                }
            }
            // As for every read, unknown parameters are ignored.
            _ => {}
        }
    }
    Ok((filter, limit))
}

fn invalid(name: &str, why: &str, text: &str) -> Error {
    Error::Invalid(vec![ValidationItem::at(&["query", name], "value_error", why, text)])
}

fn time(name: &str, text: &str) -> Result<Timestamp, Error> {
    text.parse()
        .map_err(|_| invalid(name, "Input should be a time as in 2026-01-31T12:00:00Z", text))
}

fn kind(word: &str) -> Result<OperationKind, Error> {
    OperationKind::parse(word).ok_or_else(|| {
        let known: Vec<&str> = OperationKind::ALL.iter().map(|kind| kind.as_str()).collect();
        invalid("operation_types", &format!("Input should be one of {}", known.join(", ")), word)
    })
}

/// The operations of a CVM, newest first, each with its steps.
#[utoipa::path(
    get,
    path = "/cvms/{cvm_id}/operations",
    operation_id = "list_cvm_operations",
    tag = "CVMs",
    params(
        ("cvm_id" = String, Path),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of an earlier page."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100, description = "Operations per page, 20 if left out."),
        ("start_time" = Option<String>, Query, description = "Only those accepted at or after this time, RFC 3339."),
        ("end_time" = Option<String>, Query, description = "Only those accepted before this time, RFC 3339."),
        ("operation_types" = Option<Vec<String>>, Query, description = "Only these kinds; may be repeated."),
    ),
    responses(
        (status = 200, body = OperationsPage),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
        (status = 422, description = "A parameter cannot be read.", body = ErrorBody),
    ),
)]
pub async fn list(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
    Path(cvm): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<OperationsPage>, ApiError> {
    let (filter, limit) = read_query(&pairs)?;
    let cvm = cvms::find(&ctx, &caller, &cvm).await?;
    let page = operations::page(&ctx, &cvm, &filter, limit).await?;
    let next = page.next.map(|place| place.to_string());
    Ok(Json(render::operations(&page.items, next, page.total, version.version)))
}

/// What a CVM is busy with, and how many changes wait.
#[utoipa::path(
    get,
    path = "/cvms/{cvm_id}/operation-status",
    operation_id = "get_cvm_operation_status",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    responses(
        (status = 200, body = OperationStatus),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
    ),
)]
pub async fn status(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(cvm): Path<String>,
) -> Result<Json<OperationStatus>, ApiError> {
    let cvm = cvms::find(&ctx, &caller, &cvm).await?;
    Ok(Json(render::operation_status(&operations::status(&ctx, &cvm).await?)))
}

/// Calls off the update under way, or the named one, also one that waits.
///
/// What the node was told already is taken back in an operation of its own.
#[utoipa::path(
    post,
    path = "/cvms/{cvm_id}/operations/cancel",
    operation_id = "cancel_cvm_operation",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    request_body(content = Option<CancelRequest>),
    responses(
        (status = 200, body = Cancelled),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
        (status = 409, description = "This operation cannot be cancelled.", body = ErrorBody),
    ),
)]
pub async fn cancel(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(cvm): Path<String>,
    request: Body<CancelRequest>,
) -> Result<Written<Cancelled>, ApiError> {
    let mut mutation = ctx.begin_mutation(&caller, request.key).await?;
    let id = cvms::find(&ctx, &caller, &cvm).await?.id;
    let which = request.value.correlation_id;
    let reply = update::cancel(&ctx, &mut mutation.tx, &caller, id, which).await?;
    Ok(mutation.finish(&reply).await?)
}

/// Powers many CVMs off at once, at most 50.
#[utoipa::path(
    post,
    path = "/cvms/batch-stop",
    operation_id = "batch_stop_cvms",
    tag = "CVMs",
    request_body = BatchStopRequest,
    responses(
        (status = 200, body = BatchStop),
        (status = 400, description = "Too many CVMs.", body = ErrorBody),
    ),
)]
pub async fn batch_stop(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    request: Body<BatchStopRequest>,
) -> Result<Written<BatchStop>, ApiError> {
    let ids = &request.value.cvm_ids;
    if ids.len() > MAX_BATCH {
        let why = format!("names {} CVMs, and the limit is {MAX_BATCH}", ids.len());
        return Err(Error::field(ErrorCode::InvalidRequest, "cvm_ids", why)
            .suggest("Send several requests.")
            .into());
    }
    let mut mutation = ctx.begin_mutation(&caller, request.key).await?;
    let reply = operations::batch_stop(&ctx, &mut mutation.tx, &caller, ids).await?;
    Ok(mutation.finish(&reply).await?)
}
