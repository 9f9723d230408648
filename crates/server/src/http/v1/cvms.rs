//! Looking at CVMs.

use axum::{
    Json,
    extract::{Path, Query, State},
    http::header,
    response::{IntoResponse, Response},
};
use casemate_api::{
    error::ErrorCode,
    page::{Page, PageRequest, query_number},
    render,
    reply::{CvmDetail, CvmListItem, StatusBatch},
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
#[derive(Debug, Deserialize)]
pub struct ListQuery {
    page: Option<String>,
    page_size: Option<String>,
    node_id: Option<String>,
    teepod_id: Option<String>,
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

/// `GET /cvms`: the newest CVMs as a plain array, at most 1000.
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

/// `GET /cvms/paginated`.
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

/// `GET /cvms/{cvm}`.
pub async fn detail(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    version: Version,
    Path(cvm): Path<String>,
) -> Result<Json<CvmDetail>, ApiError> {
    let view = cvms::detail(&ctx, &caller, &cvm).await?;
    Ok(Json(render::cvm_detail(&view, version.version)))
}

/// `GET /cvms/{cvm}/compose_file`: the document exactly as the guest reads it, so that its hash is the
/// CVM's compose hash.
pub async fn compose_file(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(cvm): Path<String>,
) -> Result<Response, ApiError> {
    let (document, _) = cvms::compose(&ctx, &caller, &cvm).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], document).into_response())
}

fn text(text: Option<String>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text.unwrap_or_default()).into_response()
}

/// `GET /cvms/{cvm}/docker-compose.yml`; text, because `application/yaml` makes the JavaScript SDK
/// throw.
pub async fn docker_compose(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(cvm): Path<String>,
) -> Result<Response, ApiError> {
    let (_, compose) = cvms::compose(&ctx, &caller, &cvm).await?;
    Ok(text(compose.docker_compose_file))
}

/// `GET /cvms/{cvm}/pre-launch-script`.
pub async fn pre_launch_script(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(cvm): Path<String>,
) -> Result<Response, ApiError> {
    let (_, compose) = cvms::compose(&ctx, &caller, &cvm).await?;
    Ok(text(compose.pre_launch_script))
}

/// `POST /status/batch`.
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
