//! Routes for operators and orchestrators; no API key.

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;

use crate::{app::Ctx, telemetry::Metrics};

/// `/healthz`, `/readyz`, `/metrics`.
pub fn router(ctx: Ctx, metrics: Metrics) -> Router {
    Router::new()
        .route("/healthz", get(async || Json(json!({ "status": "ok" }))))
        .route("/readyz", get(ready).with_state(ctx))
        .route("/metrics", get(move || async move { metrics.render() }))
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
