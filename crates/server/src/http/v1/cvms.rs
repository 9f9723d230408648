//! Looking at CVMs.

use axum::{
    Json,
    extract::{Path, Query, State},
    http::header,
    response::{IntoResponse, Response},
};
use casemate_api::{
    compose_file::ComposeFile,
    error::{ErrorBody, ErrorCode},
    page::{Page, PageRequest, query_number},
    render,
    reply::{CvmDetail, CvmListItem, CvmStatus, StatusBatch},
    status_batch::StatusBatchRequest,
    view::CvmView,
};
use casemate_core::id::{NodeId, UserId};
use serde::Deserialize;

use crate::{
    app::{Caller, Ctx, Error, cvms},
    http::{
        error::ApiError,
        extract::{Auth, Json as Body, Version},
    },
};

/// The unpaged list ends here; longer ones are for `GET /cvms/paginated`.
const LIST_LIMIT: u64 = 1000;
/// More uuids in one batch are refused; clients send 100.
const BATCH_LIMIT: usize = 500;

/// Query of the lists.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Which page, from 1.
    #[param(value_type = Option<u32>, minimum = 1)]
    page: Option<String>,
    /// CVMs per page, 30 if left out.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    page_size: Option<String>,
    /// Only those on this node.
    #[param(value_type = Option<u32>)]
    node_id: Option<String>,
    /// The same as `node_id`.
    #[param(value_type = Option<u32>)]
    teepod_id: Option<String>,
    /// Only those this user made.
    #[param(value_type = Option<u32>)]
    user_id: Option<String>,
}

async fn part(
    ctx: &Ctx,
    caller: &Caller,
    query: &ListQuery,
    page: u64,
    size: u64,
) -> Result<cvms::Part<CvmView>, Error> {
    let number = |name: &str, text: &Option<String>| {
        query_number(name, text.as_deref(), 1, u32::MAX).map_err(|item| Error::Invalid(vec![item]))
    };
    let node = number("node_id", &query.node_id)?.or(number("teepod_id", &query.teepod_id)?);
    let user = number("user_id", &query.user_id)?;
    let filter = cvms::filter(node.map(|id| NodeId(id.into())), user.map(|id| UserId(id.into())));
    cvms::page(ctx, caller, filter, page, size).await
}

/// The newest CVMs as a plain array, at most 1000.
#[utoipa::path(
    get,
    path = "/cvms",
    operation_id = "list_cvms",
    tag = "CVMs",
    params(
        ("node_id" = Option<u32>, Query, description = "Only those on this node."),
        ("teepod_id" = Option<u32>, Query, description = "The same as `node_id`."),
        ("user_id" = Option<u32>, Query, description = "Only those this user made."),
    ),
    responses((status = 200, body = Vec<CvmListItem>)),
)]
pub async fn list(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
    Query(query): Query<ListQuery>,
) -> Result<Json<Vec<CvmListItem>>, ApiError> {
    let part = part(&ctx, &caller, &query, 1, LIST_LIMIT).await?;
    let items = part.items.iter().map(|view| render::cvm_list_item(view, version.version));
    Ok(Json(items.collect()))
}

/// A page of CVMs, newest first.
#[utoipa::path(
    get,
    path = "/cvms/paginated",
    operation_id = "list_cvms_paginated",
    tag = "CVMs",
    params(ListQuery),
    responses((status = 200, body = Page<CvmListItem>)),
)]
pub async fn page(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<CvmListItem>>, ApiError> {
    let request =
        PageRequest::from_query(query.page.as_deref(), query.page_size.as_deref(), 30, 100)
            .map_err(|item| Error::Invalid(vec![item]))?;
    let (page, size) = (request.page.into(), request.page_size.into());
    let part = part(&ctx, &caller, &query, page, size).await?;
    Ok(Json(render::cvm_list(Page::new(part.items, part.total, request), version.version)))
}

/// One CVM.
#[utoipa::path(
    get,
    path = "/cvms/{cvm_id}",
    operation_id = "get_cvm",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    responses(
        (status = 200, description = "Nested from 2026-01-21 on, flat before.", body = CvmDetail),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
    ),
)]
pub async fn detail(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
    Path(cvm): Path<String>,
) -> Result<Json<CvmDetail>, ApiError> {
    let view = cvms::detail(&ctx, &caller, &cvm).await?;
    Ok(Json(render::cvm_detail(&view, version.version)))
}

/// Query of `GET /cvms/{cvm_id}/compose_file`.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ComposeFileQuery {
    /// The same bytes as plain text. Without a value it means yes.
    #[param(value_type = Option<bool>, allow_reserved)]
    raw: Option<String>,
}

/// The app-compose document, byte for byte as the guest reads it.
///
/// The SHA-256 of the body is the CVM's compose hash.
#[utoipa::path(
    get,
    path = "/cvms/{cvm_id}/compose_file",
    operation_id = "get_cvm_compose_file",
    tag = "CVMs",
    params(("cvm_id" = String, Path), ComposeFileQuery),
    responses(
        (status = 200, content((ComposeFile = "application/json"), (String = "text/plain"))),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
    ),
)]
pub async fn compose_file(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(cvm): Path<String>,
    Query(query): Query<ComposeFileQuery>,
) -> Result<Response, ApiError> {
    let (document, _) = cvms::compose(&ctx, &caller, &cvm).await?;
    if query.raw.is_some_and(|word| !matches!(word.as_str(), "false" | "0")) {
        return Ok(text(Some(document)));
    }
    Ok(([(header::CONTENT_TYPE, "application/json")], document).into_response())
}

fn text(text: Option<String>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text.unwrap_or_default())
        .into_response()
}

/// The Docker Compose file as it was sent.
///
/// As plain text: `application/yaml` makes the JavaScript SDK throw.
#[utoipa::path(
    get,
    path = "/cvms/{cvm_id}/docker-compose.yml",
    operation_id = "get_cvm_docker_compose",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    responses(
        (status = 200, body = String, content_type = "text/plain"),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
    ),
)]
pub async fn docker_compose(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(cvm): Path<String>,
) -> Result<Response, ApiError> {
    let (_, compose) = cvms::compose(&ctx, &caller, &cvm).await?;
    Ok(text(compose.docker_compose_file))
}

/// The pre-launch script; empty without one.
#[utoipa::path(
    get,
    path = "/cvms/{cvm_id}/pre-launch-script",
    operation_id = "get_cvm_pre_launch_script",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    responses(
        (status = 200, body = String, content_type = "text/plain"),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
    ),
)]
pub async fn pre_launch_script(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(cvm): Path<String>,
) -> Result<Response, ApiError> {
    let (_, compose) = cvms::compose(&ctx, &caller, &cvm).await?;
    Ok(text(compose.pre_launch_script))
}

/// The state of many CVMs, by `vm_uuid` as sent. Those the key may not see are left out.
#[utoipa::path(
    post,
    path = "/status/batch",
    operation_id = "batch_cvm_status",
    tag = "CVMs",
    request_body = StatusBatchRequest,
    responses((status = 200, body = BTreeMap<String, CvmStatus>)),
)]
pub async fn status_batch(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
    request: Body<StatusBatchRequest>,
) -> Result<Json<StatusBatch>, ApiError> {
    if request.value.vm_uuids.len() > BATCH_LIMIT {
        let why = format!("must hold at most {BATCH_LIMIT} ids");
        return Err(Error::field(ErrorCode::InvalidRequest, "vm_uuids", why).into());
    }
    let found = cvms::batch(&ctx, &caller, &request.value.vm_uuids).await?;
    let found = found.iter().map(|(sent, view)| (sent.clone(), view));
    Ok(Json(render::status_batch(found, version.version)))
}
