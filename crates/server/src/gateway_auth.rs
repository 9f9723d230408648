//! The listener that clusters of dstack-gateway ask before they accept a guest: `core.auth.url` in their configuration.
//!
//! The gateway posts the `AppInfo` of the guest, which it has verified, and takes any status but 2xx as a refusal. Its
//! URL has the token: `http://casemate:TOKEN@ADDRESS/app-auth` ([`ListenerToken`]).
//!
//! | status | meaning |
//! |---|---|
//! | 200 | accept the guest |
//! | 400, 413, 422 | the body is no `AppInfo` |
//! | 401 | no token, or another one |
//! | 403 | refused, with the [`Denial`](casemate_core::registration::Denial) |
//! | 503 | no decision: the database does not answer, or too many ask at once |
//!
//! Bounded: body, time, and the number of decisions at once. A guest asks again by itself, so nothing is queued.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use casemate_core::{
    id::{AppId, ComposeHash, DeviceId, InstanceId},
    instance::named_device,
    registration::Registration,
};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::{
    app::{Ctx, gateway_auth::authorise},
    listener_token::ListenerToken,
};

/// An `AppInfo` is about a kilobyte.
const LONGEST_BODY: usize = 64 << 10;
/// Below the five seconds that the gateway waits by default.
const PATIENCE: Duration = Duration::from_secs(4);
/// Decisions at once.
const AT_ONCE: usize = 32;

#[derive(Debug, Clone)]
struct Listener {
    ctx: Ctx,
    token: Option<ListenerToken>,
    permits: Arc<Semaphore>,
}

/// What the gateway knows of a guest. Hex without `0x`; it has more fields, and later builds may add some.
#[derive(Debug, Deserialize)]
struct AppInfo {
    app_id: AppId,
    instance_id: InstanceId,
    compose_hash: ComposeHash,
    #[serde(default)]
    device_id: String,
}

impl AppInfo {
    fn registration(&self) -> Registration {
        Registration {
            app: self.app_id,
            instance: self.instance_id,
            compose_hash: self.compose_hash,
            device: device(&self.device_id),
        }
    }
}

/// The identity of a host: 32 bytes, or the 64 bytes of an AMD chip id, of which it is the hash. A gateway does not
/// verify the quote of a TDX guest for this, so it names none.
fn device(text: &str) -> Option<DeviceId> {
    let bytes = hex::decode(text).ok()?;
    match bytes.len() {
        32 => text.parse().ok().and_then(named_device),
        64 => Some(DeviceId::from_bytes(Sha256::digest(bytes).into())),
        _ => None,
    }
}

/// Its only route. Without a token everybody who reaches it may ask.
pub fn router(ctx: Ctx, token: Option<ListenerToken>) -> Router {
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let listener = Listener { ctx, token, permits };
    Router::new()
        .route("/app-auth", post(ask))
        .layer(DefaultBodyLimit::max(LONGEST_BODY))
        .with_state(listener)
}

async fn ask(
    State(listener): State<Listener>,
    headers: HeaderMap,
    body: axum::body::Bytes,
) -> Response {
    let response = answer(&listener, &headers, &body).await;
    let status = response.status().as_str().to_owned();
    metrics::counter!("casemate_gateway_auth_total", "status" => status).increment(1);
    response
}

async fn answer(listener: &Listener, headers: &HeaderMap, body: &[u8]) -> Response {
    if listener.token.as_ref().is_some_and(|token| !token.is_in(headers)) {
        let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"casemate gateway_auth\"")];
        return (StatusCode::UNAUTHORIZED, challenge).into_response();
    }
    let info: AppInfo = match serde_json::from_slice(body) {
        Ok(info) => info,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, "malformed", &error.to_string()),
    };
    let busy = || refuse(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many ask at once");
    let Ok(_permit) = listener.permits.try_acquire() else { return busy() };
    let registration = info.registration();
    let (app, instance) = (registration.app, registration.instance);
    let decided = authorise(&listener.ctx, &registration);
    match tokio::time::timeout(PATIENCE, decided).await {
        Ok(Ok(Ok(()))) => {
            tracing::debug!(%app, %instance, "a gateway may accept the guest");
            Json(json!({ "allowed": true })).into_response()
        }
        Ok(Ok(Err(denial))) => {
            tracing::info!(%app, %instance, code = denial.code(), "a gateway must refuse the guest");
            refuse(StatusCode::FORBIDDEN, denial.code(), &denial.to_string())
        }
        Ok(Err(error)) => {
            tracing::warn!(%app, %instance, error = &error as &dyn std::error::Error,
                "no decision on a guest, so the gateway refuses it");
            refuse(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "no decision now")
        }
        Err(_) => refuse(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "no decision in time"),
    }
}

fn refuse(status: StatusCode, code: &str, message: &str) -> Response {
    (status, Json(json!({ "allowed": false, "code": code, "message": message }))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chip_id_becomes_the_identity_of_its_host() {
        assert_eq!(device(&"ab".repeat(32)), Some(DeviceId::from_bytes([0xab; 32])));
        let hashed: [u8; 32] = Sha256::digest([0xab; 64]).into();
        assert_eq!(device(&"ab".repeat(64)), Some(DeviceId::from_bytes(hashed)));
        let of_nothing = Sha256::digest([]);
        for text in ["", "ab", "zz", &hex::encode(of_nothing)] {
            assert_eq!(device(text), None, "{text}");
        }
    }
}
