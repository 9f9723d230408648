//! The authorisation webhook of dstack-kms, on a listener of its own: `GET /`, `POST /bootAuth/app`,
//! `POST /bootAuth/kms`. `GET /totals` is for the operator: answers about no known CVM.
//!
//! **Every request of a KMS with the token is answered 200 with all fields**, also one that cannot be read or decided.
//! dstack-kms quotes the URL of its webhook, with the token in it, in the error that it gives the guest when
//! the status is another one.
//!
//! The token is in the URL that the KMS is configured with ([`ListenerToken`]).

use std::time::Duration;

use axum::{
    Json, Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};

use crate::{
    app::boot_auth::{Answer, BootAuth, Question, Subject},
    listener_token::ListenerToken,
};

/// Maximum length of a question. Real ones have about 1 KB.
const BODY: usize = 64 * 1024;
/// Time for a question to come in.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// Length of a KMS's own name in events.
const AGENT: usize = 64;
/// For no contract. dstack-kms requires the fields.
const NO_CONTRACT: &str = "0x0000000000000000000000000000000000000000";

/// The routes of the webhook.
pub fn router(auth: BootAuth, token: ListenerToken) -> Router {
    Router::new()
        .route("/", get(info))
        .route("/totals", get(totals))
        .route("/bootAuth/app", post(app))
        .route("/bootAuth/kms", post(kms))
        .with_state(auth)
        .layer(from_fn_with_state(token, with_token))
}

async fn with_token(State(token): State<ListenerToken>, request: Request, next: Next) -> Response {
    if token.is_in(request.headers()) {
        return next.run(request).await;
    }
    metrics::counter!("casemate_kms_webhook_unauthorized_total").increment(1);
    let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"casemate kms webhook\"")];
    let why = json!({ "error": "the token of kms_webhook is missing or wrong" });
    (StatusCode::UNAUTHORIZED, challenge, Json(why)).into_response()
}

/// What the KMS tells its clients about itself. It is there without the database.
async fn info(State(auth): State<BootAuth>) -> Json<Value> {
    Json(json!({
        "status": "ok",
        "kmsContractAddr": NO_CONTRACT,
        "ethRpcUrl": "",
        "gatewayAppId": auth.gateway_app_id(),
        "chainId": 0,
        "appImplementation": NO_CONTRACT,
        // An older name of it.
        "appAuthImplementation": NO_CONTRACT,
    }))
}

async fn totals(State(auth): State<BootAuth>) -> Response {
    match auth.totals().await {
        Ok(totals) => Json(totals).into_response(),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "no totals");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

async fn app(State(auth): State<BootAuth>, headers: HeaderMap, body: Body) -> Json<Value> {
    answer(&auth, Subject::App, &headers, body).await
}

async fn kms(State(auth): State<BootAuth>, headers: HeaderMap, body: Body) -> Json<Value> {
    answer(&auth, Subject::Kms, &headers, body).await
}

async fn answer(auth: &BootAuth, subject: Subject, headers: &HeaderMap, body: Body) -> Json<Value> {
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    let agent = agent.map(|agent| agent.get(..AGENT).unwrap_or(agent));
    let Answer { allowed, reason } = match read(body).await {
        Ok(body) => auth.answer(Question { subject, body: &body, agent }).await,
        Err(why) => Answer::unavailable(why),
    };
    Json(json!({
        "isAllowed": allowed,
        "reason": reason,
        "gatewayAppId": auth.gateway_app_id(),
    }))
}

/// The body, if it comes in time and is no longer than a question can be.
async fn read(body: Body) -> Result<Bytes, &'static str> {
    match tokio::time::timeout(BODY_WITHIN, to_bytes(body, BODY)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err("the question is too long or broke off"),
        Err(_) => Err("the question took too long"),
    }
}
