//! Routes for operators and orchestrators, and the API's description; no API key. The former are
//! there in every process, whatever its roles.

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;

use super::openapi;
use crate::{app::Ctx, telemetry::Metrics};

/// `/healthz`, `/readyz`, `/metrics`.
pub fn router(ctx: Ctx, metrics: Metrics) -> Router {
    Router::new()
        .route("/healthz", get(async || Json(json!({ "status": "ok" }))))
        .route("/readyz", get(ready).with_state(ctx))
        .route("/metrics", get(move || async move { metrics.render() }))
}

/// `/openapi.json`, `/docs`.
pub fn about_the_api() -> Router {
    Router::new()
        .route("/openapi.json", get(async || asset("application/json", &openapi::JSON)))
        .route(
            "/docs",
            get(async || asset("text/html; charset=utf-8", include_str!("docs/page.html"))),
        )
        .route("/docs/page.css", get(async || asset("text/css", include_str!("docs/page.css"))))
        .route(
            "/docs/page.js",
            get(async || asset("text/javascript", include_str!("docs/page.js"))),
        )
}

/// Migrations have run before the listener opened; what can still be missing is the database.
async fn ready(State(ctx): State<Ctx>) -> Response {
    match ctx.db.ping().await {
        Ok(()) => Json(json!({ "status": "ready" })).into_response(),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "not ready");
            let body = Json(json!({ "status": "unavailable", "reason": "database" }));
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}

/// The page loads nothing that this server does not have.
const ONLY_OURS: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

fn asset(content_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, ONLY_OURS),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}
