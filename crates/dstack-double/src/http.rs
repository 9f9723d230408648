//! Routes, authentication and the forms of answers.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, Path, RawQuery, State},
    http::{HeaderMap, Method, Request, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{any, get},
};
use bytes::Bytes;
use casemate_core::id::EngineVmId;
use casemate_engine::node::{CallError, LogQuery, Node as _};
use futures_util::StreamExt as _;
use serde_json::{Map, Value, json};

use crate::{
    Fault, Host,
    methods::{self, Failure},
};

/// The largest body, as in dstack.
const LARGEST_BODY: usize = 10 << 20;

/// The API of one host, without a prefix.
pub fn router(host: Arc<Host>) -> Router {
    Router::new()
        .route("/prpc/{method}", any(prpc))
        .route("/guest/{method}", any(guest))
        .route("/logs", get(logs))
        .route("/api-docs/openapi.json", get(document))
        .layer(middleware::from_fn_with_state(host.clone(), admit))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(host)
}

/// `PUT /double/faults` replaces the faults of the host: a JSON list of [`Fault`]. Not a part of dstack-vmm.
pub fn control(host: Arc<Host>) -> Router {
    async fn set(State(host): State<Arc<Host>>, axum::Json(faults): axum::Json<Vec<Fault>>) {
        host.set_faults(faults);
    }
    Router::new().route("/double/faults", axum::routing::put(set)).with_state(host)
}

/// Faults of the host, then its `[auth]`.
async fn admit(State(host): State<Arc<Host>>, request: Request<Body>, next: Next) -> Response {
    if host.has_fault(&Fault::Hangs) {
        std::future::pending::<()>().await;
    }
    if host.has_fault(&Fault::Away) {
        return (StatusCode::SERVICE_UNAVAILABLE, "no VMM").into_response();
    }
    if !is_allowed(host.token.as_deref(), &request) {
        let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"dstack-vmm API\"")];
        return (StatusCode::UNAUTHORIZED, challenge).into_response();
    }
    let version = format!("v{} (git:{})", host.profile.version, host.profile.rev);
    let mut response = next.run(request).await;
    if let Ok(version) = version.parse() {
        response.headers_mut().insert("x-app-version", version);
    }
    response
}

/// Whether a request has the token; `None`: everybody may call.
pub(crate) fn is_allowed(token: Option<&str>, request: &Request<Body>) -> bool {
    let Some(token) = token else { return true };
    let headers = request.headers();
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let authorization = text("authorization").unwrap_or_default();
    let bearer = authorization.strip_prefix("Bearer ") == Some(token);
    let admin = text("x-admin-token") == Some(token);
    let basic = authorization.strip_prefix("Basic ").is_some_and(|sent| {
        // `any:<token>` and `<token>:`
        let expected = [format!("casemate:{token}"), format!("{token}:")];
        expected.iter().any(|pair| sent == base64(pair.as_bytes()))
    });
    let query = request.uri().query().unwrap_or_default();
    let asked = query.split('&').any(|pair| pair.strip_prefix("token=") == Some(token));
    bearer || admin || basic || (request.method() == Method::GET && asked)
}

/// Standard base64 with padding, for one header: no library of the workspace has it.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let value = usize::try_from(bits >> (18 - 6 * digit) & 63).unwrap_or(0);
            out.push(if digit <= chunk.len() { char::from(DIGITS[value]) } else { '=' });
        }
    }
    out
}

async fn document(State(host): State<Arc<Host>>) -> Response {
    if !host.profile.document {
        return StatusCode::NOT_FOUND.into_response();
    }
    let methods: Vec<&str> = methods::ALL.to_vec();
    axum::Json(host.profile.openapi(&methods)).into_response()
}

async fn prpc(
    State(host): State<Arc<Host>>,
    Path(method): Path<String>,
    query: RawQuery,
    (verb, headers): (Method, HeaderMap),
    body: Bytes,
) -> Response {
    // The prefix of an earlier name of the program is dropped.
    let method = method.strip_prefix("Teepod.").unwrap_or(&method).to_owned();
    match arguments(&verb, query.0.as_deref(), &headers, &body) {
        Ok(arguments) => {
            answer(host.profile.unknown_method, methods::vmm(&host, &method, arguments).await)
        }
        Err(failure) => answer(host.profile.unknown_method, Err(failure)),
    }
}

async fn guest(
    State(host): State<Arc<Host>>,
    Path(method): Path<String>,
    query: RawQuery,
    (verb, headers): (Method, HeaderMap),
    body: Bytes,
) -> Response {
    match arguments(&verb, query.0.as_deref(), &headers, &body) {
        Ok(arguments) => {
            let answered = methods::guest(&host, &method, &arguments).await;
            answer(host.profile.unknown_method, answered)
        }
        Err(failure) => answer(host.profile.unknown_method, Err(failure)),
    }
}

/// The arguments of a call: of GET the query, else a JSON body.
pub(crate) fn arguments(
    verb: &Method,
    query: Option<&str>,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Map<String, Value>, Failure> {
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let pairs: Vec<(&str, &str)> =
        pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect();
    if verb == Method::GET {
        return Ok(pairs
            .into_iter()
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect());
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let json =
        pairs.iter().any(|(name, value)| *name == "json" && matches!(*value, "" | "1" | "true"));
    if !json && !kind.is_some_and(|kind| kind.starts_with("application/json")) {
        return Err(Failure::refused("failed to decode Protobuf message: this double takes JSON"));
    }
    if body.is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_slice(body).map_err(|error| Failure::refused(&error.to_string()))
}

/// The answer; `unknown_method`: its status where there is no such method.
pub(crate) fn answer(unknown_method: u16, outcome: Result<Value, Failure>) -> Response {
    let error = |status: u16, text: &str| {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
        (status, axum::Json(json!({ "error": text }))).into_response()
    };
    match outcome {
        Ok(value) => axum::Json(value).into_response(),
        Err(Failure::Refused(text)) => error(400, &text),
        Err(Failure::NoMethod(name)) => {
            error(unknown_method, &format!("Service not found: {name}"))
        }
        Err(Failure::Away) => (StatusCode::SERVICE_UNAVAILABLE, "away").into_response(),
        // The caller sees a connection that breaks.
        Err(Failure::Lost) => {
            let broken =
                futures_util::stream::iter([Err::<Bytes, _>(std::io::Error::other("lost"))]);
            Body::from_stream(broken).into_response()
        }
    }
}

/// `GET /logs?id=&follow=&lines=`: the serial log.
async fn logs(State(host): State<Arc<Host>>, query: RawQuery) -> Response {
    let query = query.0.unwrap_or_default();
    let wanted = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).next()
    };
    let id = EngineVmId(wanted("id").unwrap_or_default());
    let query = LogQuery {
        follow: wanted("follow").as_deref() == Some("true"),
        tail: wanted("lines").and_then(|lines| lines.parse().ok()).unwrap_or(10_000),
    };
    match host.sim.logs(&id, query).await {
        Ok(_) if wanted("ch").as_deref() == Some("stderr") => {
            "===== boot @ 2026-11-30T13:45:03Z =====\n\nqemu-system-x86_64: the double's guest ended\n"
                .into_response()
        }
        Ok(stream) => {
            let bytes =
                stream.map(|item| item.map_err(|error| std::io::Error::other(error.to_string())));
            Body::from_stream(bytes).into_response()
        }
        Err(CallError::Rejected(_)) => (StatusCode::NOT_FOUND, "VM not found").into_response(),
        Err(CallError::Unreachable(_) | CallError::Unknown(_)) => {
            answer(host.profile.unknown_method, Err(Failure::Away))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads() {
        let cases =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (plain, encoded) in cases {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }
}
