//! Container output of a CVM, ours.

use axum::{
    body::Body,
    extract::{Path, Query, State},
    http::header,
    response::{IntoResponse, Response},
};
use casemate_api::{error::ErrorBody, page::query_number};
use serde::Deserialize;

use crate::{
    app::{Ctx, Error, logs},
    http::{error::ApiError, extract::Auth},
};

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LogsQuery {
    /// Go on with what is written from now on.
    follow: Option<bool>,
    /// Begin so many lines back, 100 if left out.
    #[param(value_type = Option<u32>, maximum = 10_000)]
    tail: Option<String>,
}

/// What the containers of a CVM write: text lines `service | text`.
#[utoipa::path(
    get,
    path = "/casemate/cvms/{cvm_id}/logs",
    operation_id = "get_cvm_logs",
    tag = "CVMs",
    params(("cvm_id" = String, Path), LogsQuery),
    responses(
        (status = 200, body = String, content_type = "text/plain"),
        (status = 404, description = "No such CVM in the workspace.", body = ErrorBody),
    ),
    extensions(("x-casemate" = json!(true))),
)]
pub async fn follow(
    State(ctx): State<Ctx>,
    Auth(caller): Auth,
    Path(cvm): Path<String>,
    Query(query): Query<LogsQuery>,
) -> Result<Response, ApiError> {
    let tail = query_number("tail", query.tail.as_deref(), 0, 10_000)
        .map_err(|item| Error::Invalid(vec![item]))?
        .unwrap_or(100);
    let lines = logs::read(&ctx, &caller, &cvm, query.follow.unwrap_or(false), tail).await?;
    let text = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    Ok((text, Body::from_stream(lines)).into_response())
}
