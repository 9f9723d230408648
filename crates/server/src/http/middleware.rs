//! What is the same for every request: its id, its log line, its metrics, the limit of its body, and
//! the last words of an error.

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use casemate_api::error::ErrorCode;
use metrics::{Counter, Histogram};
use tower_http::{
    catch_panic::CatchPanicLayer, limit::RequestBodyLimitLayer, timeout::RequestBodyTimeoutLayer,
};
use tracing::Instrument;

use super::{
    client_address::client_address,
    error::{ApiError, Pending},
};
use crate::app::{Ctx, Error};

/// Bodies may be this large.
pub const MAX_BODY: usize = 1024 * 1024;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Puts every route behind the edge.
pub fn wrap(routes: Router, ctx: Ctx) -> Router {
    routes
        .layer(CatchPanicLayer::custom(|_| {
            ApiError::from(Error::Internal("a handler panicked".to_owned())).into_response()
        }))
        .layer(RequestBodyTimeoutLayer::new(Duration::from_secs(ctx.config.limits.body_timeout_s)))
        .layer(RequestBodyLimitLayer::new(MAX_BODY))
        .layer(middleware::from_fn_with_state((ctx, Arc::<Meters>::default()), edge))
}

/// The id of a request, as its reply has it.
#[derive(Debug, Clone)]
pub struct RequestId(pub Arc<str>);

async fn edge(
    State((ctx, meters)): State<(Ctx, Arc<Meters>)>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = request_id(&ctx, &request);
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let address = client_address(peer, request.headers(), &ctx.config.limits.trusted_proxies);
    if let Some(address) = address {
        request.extensions_mut().insert(address);
    }
    request.extensions_mut().insert(RequestId(id.as_str().into()));
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    let began = ctx.now();
    let route = Route(route);
    // Below info, because making it costs as much as the rest of a reply that is kept.
    let span = tracing::debug_span!("request", id = %id, method = %method, route = route.as_str());
    let mut response = next.run(request).instrument(span.clone()).await;
    if response.status() == StatusCode::PAYLOAD_TOO_LARGE && !has_body(&response) {
        response = ApiError::from(Error::code(ErrorCode::BodyTooLarge)).into_response();
    }
    let (mut response, cause) = say_last_words(response, &id);
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let took = ctx.now().since(began);
    let status = response.status().as_u16();
    let (micros, error) =
        (took.as_micros(), cause.as_deref().map(|cause| cause as &dyn std::error::Error));
    match status {
        500.. => {
            tracing::error!(id, %method, route = route.as_str(), status, micros, error, "request failed");
        }
        400.. => tracing::info!(id, %method, route = route.as_str(), status, micros, "refused"),
        _ => span.in_scope(|| tracing::debug!(status, micros, "answered")),
    }
    meters.count(method, route, status, took);
    response
}

/// The path of a request as the router has it; never one that a client made up.
#[derive(Debug, Clone)]
struct Route(Option<MatchedPath>);

impl Route {
    fn as_str(&self) -> &str {
        self.0.as_ref().map_or("unmatched", MatchedPath::as_str)
    }
}

impl PartialEq for Route {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Route {}

impl Hash for Route {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

const KNOWN: [Method; 7] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::HEAD,
    Method::OPTIONS,
];

/// The metrics of requests, so that naming them is done once for each kind of request. Their number is
/// bounded by routes, methods and statuses.
#[derive(Default)]
struct Meters(RwLock<HashMap<Kind, (Counter, Histogram)>>);

/// Method, route and status of a request.
type Kind = (Method, Route, u16);

impl Meters {
    fn count(&self, method: Method, route: Route, status: u16, took: Duration) {
        // A method of a client's own making is not a metric of its own.
        let method = if KNOWN.contains(&method) { method } else { Method::TRACE };
        let key = (method, route, status);
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((requests, seconds)) = known.get(&key) {
            requests.increment(1);
            seconds.record(took.as_secs_f64());
            return;
        }
        drop(known);
        let (method, route) = (key.0.to_string(), key.1.as_str().to_owned());
        let requests = metrics::counter!("casemate_http_requests_total", "method" => method,
            "route" => route.clone(), "status" => status.to_string());
        let seconds = metrics::histogram!("casemate_http_request_seconds", "route" => route);
        requests.increment(1);
        seconds.record(took.as_secs_f64());
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(key, (requests, seconds));
    }
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

/// Gives an error its body, with the request id in it; returns what the log is to say of it.
fn say_last_words(mut response: Response, id: &str) -> (Response, Option<Arc<Error>>) {
    let Some(Pending { body, cause }) = response.extensions_mut().remove::<Pending>() else {
        return (response, None);
    };
    let json = serde_json::to_vec(&body.with_request_id(id)).unwrap_or_default();
    let (mut parts, _) = response.into_parts();
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    parts.headers.remove(header::CONTENT_LENGTH);
    (Response::from_parts(parts, Body::from(json)), cause)
}
