//! Container output of a CVM, ours.

use axum::{
    body::Body,
    extract::{Path, Query, State},
    http::header,
    response::{IntoResponse, Response},
};
use casemate_api::page::query_number;
use serde::Deserialize;

use crate::{
    app::{Ctx, Error, logs},
    http::{error::ApiError, extract::Auth},
};

/// Query of the logs.
#[derive(Debug, Deserialize)]
pub struct LogsQuery {
    follow: Option<bool>,
    tail: Option<String>,
}

/// `GET /casemate/cvms/{cvm}/logs?follow=true&tail=100`: text lines `service | text`.
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
