//! Looking at CVMs.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{Path, Query, State},
    http::header,
    response::{IntoResponse, Response},
};
use casemate_api::{
    compose_file::ComposeFile,
    error::{ErrorBody, ErrorCode, ValidationItem},
    page::{Page, PageRequest, SeekRequest, query_number},
    reply::{CvmDetail, CvmListItem, CvmStatus, CvmsPage, UserConfig},
    status_batch::StatusBatchRequest,
};
use casemate_core::id::{NodeId, UserId};
use serde::Deserialize;

use crate::{
    app::{
        Caller, Ctx, Error,
        cvms::{self, Rendered},
    },
    http::{
        error::ApiError,
        extract::{Auth, Body, Version},
        render,
    },
    view::CvmView,
};

/// The unpaged list ends here; longer ones are for `GET /cvms/paginated`.
const LIST_LIMIT: u32 = 1000;
/// More uuids in one batch are refused; clients send 100.
const BATCH_LIMIT: usize = 500;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Which page, from 1.
    #[param(value_type = Option<u32>, minimum = 1)]
    page: Option<String>,
    /// CVMs per page, 30 if left out.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    page_size: Option<String>,
    /// `next_cursor` of the page before, instead of `page`; with the same filters (Casemate only).
    #[param(value_type = Option<String>)]
    cursor: Option<String>,
    /// Only those on this node.
    #[param(value_type = Option<u32>)]
    node_id: Option<String>,
    /// The same as `node_id`.
    #[param(value_type = Option<u32>)]
    teepod_id: Option<String>,
    /// Only those this user made: a number, with or without `usr_` before it. `0`, which elsewhere asks
    /// for those of nobody, gives an empty list: every CVM has its user.
    user_id: Option<String>,
}

/// The node and the user whose CVMs are asked for.
fn whose(query: &ListQuery) -> Result<(Option<NodeId>, Option<UserId>), ValidationItem> {
    let number = |name: &str, min: u32, text: Option<&str>| query_number(name, text, min, u32::MAX);
    let node = number("node_id", 1, query.node_id.as_deref())?;
    let teepod = number("teepod_id", 1, query.teepod_id.as_deref())?;
    if let (Some(node), Some(teepod)) = (node, teepod)
        && node != teepod
    {
        let why = format!("Input should be left out or be node_id, which is {node}");
        let sent = teepod.to_string();
        return Err(ValidationItem::at(&["query", "teepod_id"], "value_error", &why, &sent));
    }
    let user = query.user_id.as_deref().map(|text| match text.strip_prefix("usr_") {
        Some(number) if !number.is_empty() => number,
        _ => text,
    });
    let user = number("user_id", 0, user)?;
    Ok((node.or(teepod).map(|id| NodeId(id.into())), user.map(|id| UserId(id.into()))))
}

async fn part(
    ctx: &Ctx,
    caller: &Caller,
    query: &ListQuery,
    request: &SeekRequest,
) -> Result<cvms::ListPage<CvmView>, Error> {
    let (node, user) = whose(query).map_err(|item| Error::Invalid(vec![item]))?;
    cvms::page(ctx, caller, cvms::filter(node, user), request).await
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
        ("user_id" = Option<String>, Query, description = "Only those this user made: a number, with or without `usr_` before it."),
    ),
    responses((status = 200, body = Vec<CvmListItem>)),
)]
pub async fn list(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
    Query(query): Query<ListQuery>,
) -> Result<Json<Vec<CvmListItem>>, ApiError> {
    let whole = PageRequest { page: 1, page_size: LIST_LIMIT };
    let request = SeekRequest { request: whole, after: None };
    let part = part(&ctx, &caller, &query, &request).await?;
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
    responses((status = 200, body = CvmsPage)),
)]
pub async fn page(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
    Query(query): Query<ListQuery>,
) -> Result<Json<CvmsPage>, ApiError> {
    let request = SeekRequest::from_query(
        query.page.as_deref(),
        query.page_size.as_deref(),
        query.cursor.as_deref(),
        30,
        100,
    )
    .map_err(|item| Error::Invalid(vec![item]))?;
    let part = part(&ctx, &caller, &query, &request).await?;
    let page = Page::new(part.items, part.total, request.request);
    Ok(Json(render::cvm_list(&page, part.next, version.version)))
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
) -> Result<Rendered<CvmDetail>, ApiError> {
    let render = |view: &CvmView| render::cvm_detail(view, version.version);
    Ok(cvms::reply(&ctx, &caller, &cvm, version.version, render).await?)
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
        return Ok(document.into_response());
    }
    Ok(([(header::CONTENT_TYPE, "application/json")], document).into_response())
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
) -> Result<String, ApiError> {
    let (_, compose) = cvms::compose(&ctx, &caller, &cvm).await?;
    Ok(compose.docker_compose_file.unwrap_or_default())
}

/// What the guest reads as its user config, SSH keys included.
#[utoipa::path(
    get,
    path = "/cvms/{cvm_id}/user_config",
    operation_id = "get_cvm_user_config",
    tag = "CVMs",
    params(("cvm_id" = String, Path)),
    responses(
        (status = 200, body = UserConfig),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
    ),
)]
pub async fn user_config(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(cvm): Path<String>,
) -> Result<Json<UserConfig>, ApiError> {
    let cvm = cvms::find(&ctx, &caller, &cvm).await?;
    Ok(Json(render::user_config(cvm.spec.user_config.as_deref())))
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
) -> Result<String, ApiError> {
    let (_, compose) = cvms::compose(&ctx, &caller, &cvm).await?;
    Ok(compose.pre_launch_script.unwrap_or_default())
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
) -> Result<Json<BTreeMap<String, CvmStatus>>, ApiError> {
    if request.value.vm_uuids.len() > BATCH_LIMIT {
        let why = format!("must hold at most {BATCH_LIMIT} ids");
        return Err(Error::field(ErrorCode::InvalidRequest, "vm_uuids", why).into());
    }
    let found = cvms::batch(&ctx, &caller, &request.value.vm_uuids).await?;
    let found = found.iter().map(|(sent, view)| (sent.clone(), view));
    Ok(Json(render::status_batch(found, version.version)))
}
