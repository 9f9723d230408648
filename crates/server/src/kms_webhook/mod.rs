//! The authorisation webhook of dstack-kms, on a listener of its own: `GET /`, `POST /bootAuth/app`,
//! `POST /bootAuth/kms`. `GET /totals` is for the operator: answers about no known CVM.
//!
//! **Every request of a KMS with the token is answered 200 with all fields**, also one that cannot be read or decided.
//! dstack-kms quotes the URL of its webhook, with the token in it, in the error that it gives the guest when
//! the status is another one.
//!
//! The KMS can be configured with a URL and nothing else: no header, no client certificate. So the token is
//! the password of that URL (`http://casemate:TOKEN@host:port`), which its client sends as basic
//! authentication. A proxy in front may send it as a bearer token.

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
use base64::{Engine, prelude::BASE64_STANDARD};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::app::boot_auth::{Answer, BootAuth, Question, Subject};

/// Maximum length of a question. Real ones have about 1 KB.
const BODY: usize = 64 * 1024;
/// Time for a question to come in.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// Length of a KMS's own name in events.
const AGENT: usize = 64;
/// Minimum length of a token.
const TOKEN: usize = 32;
/// For no contract. dstack-kms requires the fields.
const NO_CONTRACT: &str = "0x0000000000000000000000000000000000000000";

/// The token that a KMS must send, as its SHA-256.
#[derive(Debug, Clone)]
pub struct Token([u8; 32]);

impl Token {
    /// `None`: it is too short to be safe.
    pub fn new(token: &SecretString) -> Option<Self> {
        let token = token.expose_secret().trim();
        (token.len() >= TOKEN).then(|| Self(Sha256::digest(token).into()))
    }

    fn is(&self, given: &str) -> bool {
        let given: [u8; 32] = Sha256::digest(given).into();
        given.ct_eq(&self.0).into()
    }

    /// Whether the request has it, as a bearer token or as the password of basic authentication.
    fn is_in(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some((scheme, credential)) = given.and_then(|value| value.split_once(' ')) else {
            return false;
        };
        if scheme.eq_ignore_ascii_case("bearer") {
            return self.is(credential.trim());
        }
        let password = || {
            let pair = String::from_utf8(BASE64_STANDARD.decode(credential.trim()).ok()?).ok()?;
            Some(pair.split_once(':')?.1.to_owned())
        };
        scheme.eq_ignore_ascii_case("basic") && password().is_some_and(|given| self.is(&given))
    }
}

/// The routes of the webhook.
pub fn router(auth: BootAuth, token: Token) -> Router {
    Router::new()
        .route("/", get(info))
        .route("/totals", get(totals))
        .route("/bootAuth/app", post(app))
        .route("/bootAuth/kms", post(kms))
        .with_state(auth)
        .layer(from_fn_with_state(token, with_token))
}

async fn with_token(State(token): State<Token>, request: Request, next: Next) -> Response {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(authorization: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
        headers
    }

    #[test]
    fn a_token_is_a_bearer_token_or_a_password() {
        let secret = "s".repeat(TOKEN);
        let token = Token::new(&SecretString::from(format!("{secret}\n"))).unwrap();
        let basic = |pair: String| format!("Basic {}", BASE64_STANDARD.encode(pair));
        assert!(token.is_in(&headers(&format!("Bearer {secret}"))));
        assert!(token.is_in(&headers(&basic(format!("casemate:{secret}")))));
        assert!(token.is_in(&headers(&basic(format!(":{secret}")))));
        for wrong in [
            basic(secret.clone()),
            basic(format!("{secret}:")),
            basic(format!("casemate:{secret}x")),
            format!("Bearer {secret}x"),
            format!("Token {secret}"),
            "Basic ???".to_owned(),
            secret.clone(),
        ] {
            assert!(!token.is_in(&headers(&wrong)), "{wrong}");
        }
        assert!(!token.is_in(&HeaderMap::new()));
        assert!(Token::new(&SecretString::from("short")).is_none());
    }
}
