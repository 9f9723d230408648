//! Routes for operators and orchestrators, and the API's description; no API key. The former are
//! there in every process, whatever its roles.

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use serde_json::json;

use super::openapi;
use crate::{
    app::{
        Ctx,
        disk::{self, DiskFull},
    },
    telemetry::Metrics,
};

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

/// Why a process is not ready. Migrations have run before the listener opened.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum NotReady {
    /// It does not answer.
    Database,
    /// Less is free than `limits.free_disk_mb`.
    Disk,
}

async fn ready(State(ctx): State<Ctx>) -> Response {
    let unavailable = |reason: NotReady| {
        let body = Json(json!({ "status": "unavailable", "reason": reason }));
        (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
    };
    if let Err(error) = ctx.db.ping().await {
        tracing::warn!(error = &error as &dyn std::error::Error, "not ready");
        return unavailable(NotReady::Database);
    }
    if let Err(DiskFull { free_mb, wanted_mb }) = disk::check(&ctx.config) {
        tracing::warn!(free_mb, wanted_mb, "not ready: the disk is nearly full");
        return unavailable(NotReady::Disk);
    }
    Json(json!({ "status": "ready" })).into_response()
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
