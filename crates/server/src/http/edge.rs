//! What is the same for every request: its id, its log line, its metrics, the limit of its body, and
//! the last words of an error.

use axum::{
    Router,
    body::Body,
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use casemate_api::error::ErrorCode;
use tower_http::{catch_panic::CatchPanicLayer, limit::RequestBodyLimitLayer};
use tracing::Instrument;

use super::error::{ApiError, Pending};
use crate::app::{Ctx, Error};

/// Bodies may be this large.
pub const MAX_BODY: usize = 1024 * 1024;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Puts every route behind the edge.
pub fn wrap(routes: Router, ctx: Ctx) -> Router {
    routes
        .layer(CatchPanicLayer::custom(|_| {
            ApiError(Error::Internal("a handler panicked".to_owned())).into_response()
        }))
        .layer(RequestBodyLimitLayer::new(MAX_BODY))
        .layer(middleware::from_fn_with_state(ctx, edge))
}

async fn edge(State(ctx): State<Ctx>, request: Request, next: Next) -> Response {
    let id = request_id(&ctx, &request);
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    let method = request.method().clone();
    let began = ctx.now();
    let span = tracing::info_span!("request", id = %id, method = %method, route);
    let mut response = next.run(request).instrument(span.clone()).await;
    if response.status() == StatusCode::PAYLOAD_TOO_LARGE && !has_body(&response) {
        response = ApiError(Error::code(ErrorCode::BodyTooLarge)).into_response();
    }
    let mut response = say_last_words(response, &id);
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let took = ctx.now().since(began);
    let status = response.status().as_u16();
    metrics::counter!("casemate_http_requests_total", "method" => method.to_string(), "route" => route.clone(), "status" => status.to_string()).increment(1);
    metrics::histogram!("casemate_http_request_seconds", "route" => route)
        .record(took.as_secs_f64());
    span.in_scope(|| tracing::info!(status, micros = took.as_micros(), "answered"));
    response
}

fn has_body(response: &Response) -> bool {
    response.extensions().get::<Pending>().is_some()
}

/// The caller's id, if it is one, else a new one.
fn request_id(ctx: &Ctx, request: &Request) -> String {
    let given = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let fit = |id: &&str| {
        (1..=128).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    given
        .filter(fit)
        .map_or_else(|| format!("req-{}", ctx.entropy.uuid_v7(ctx.now()).simple()), str::to_owned)
}

/// Gives an error its body, with the request id in it.
fn say_last_words(mut response: Response, id: &str) -> Response {
    let Some(Pending(body)) = response.extensions_mut().remove::<Pending>() else {
        return response;
    };
    let json = serde_json::to_vec(&body.with_request_id(id)).unwrap_or_default();
    let (mut parts, _) = response.into_parts();
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(json))
}
