//! What the agent answers. Bytes are hex, errors are `{"error": …}`, as in dstack.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use casemate_core::attestation::ReportData;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Agent, Answers, Identity, Service};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GetKey {
    path: String,
    purpose: String,
    algorithm: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GetQuote {
    report_data: String,
}

/// Answers one call.
pub(super) fn reply(agent: &Agent, service: Service, method: &str, body: &[u8]) -> Response {
    match bare(method) {
        "Info" => Json(info(&agent.identity)).into_response(),
        "Version" => Json(version(&agent.identity)).into_response(),
        "GetQuote" if service == Service::DstackGuest => get_quote(&agent.identity, body),
        "RawQuote" if service == Service::Tappd => get_quote(&agent.identity, body),
        "GetKey" if service == Service::DstackGuest => {
            get_key(agent, body, ["key", "signature_chain"])
        }
        "DeriveK256Key" if service == Service::Tappd => {
            get_key(agent, body, ["k256_key", "k256_signature_chain"])
        }
        other => not_served(other),
    }
}

/// The answers that are the same every time.
pub(super) fn answers(identity: &Identity) -> Answers {
    Answers { info: info(identity).to_string(), version: version(identity).to_string() }
}

/// Clients write `Info`, `DstackGuest.Info`, `Tappd.Info`.
fn bare(method: &str) -> &str {
    ["DstackGuest.", "Tappd.", "Worker."]
        .iter()
        .find_map(|prefix| method.strip_prefix(prefix))
        .unwrap_or(method)
}

/// `AppInfo`. Only RTMR3 is measured, from what the boot logged.
fn info(identity: &Identity) -> Value {
    let guest = &identity.guest;
    let tcb = guest.tcb_info();
    json!({
        "app_id": guest.app_id,
        "instance_id": guest.instance_id.map(|id| id.to_string()).unwrap_or_default(),
        "app_cert": "",
        "tcb_info": serde_json::to_string(&tcb).unwrap_or_default(),
        "app_name": identity.app_name,
        "device_id": tcb.device_id,
        "mr_aggregated": tcb.mr_aggregated,
        "os_image_hash": guest.os_image_hash,
        "key_provider_info": json!({ "name": guest.key_provider, "id": "" }).to_string(),
        "compose_hash": guest.compose_hash,
        "vm_config": guest.vm_config(),
        "cloud_vendor": "",
        "cloud_product": "",
    })
}

fn version(guest: &Identity) -> Value {
    let version = guest.guest.image.rsplit('-').next().unwrap_or_default();
    json!({"version": version, "rev": concat!("casemate-", env!("CARGO_PKG_VERSION"))})
}

/// `GetQuoteResponse`: the quote with the caller's data, and what is needed to replay RTMR3.
fn get_quote(identity: &Identity, body: &[u8]) -> Response {
    let asked: GetQuote = match read(body) {
        Ok(asked) => asked,
        Err(error) => return refused(StatusCode::BAD_REQUEST, &error),
    };
    let Some(report_data) = padded(&asked.report_data) else {
        let text = "report_data must be hex of at most 64 bytes";
        return refused(StatusCode::BAD_REQUEST, text);
    };
    let guest = &identity.guest;
    match guest.quote(&identity.root, report_data) {
        Ok(quote) => Json(json!({
            "quote": hex::encode(quote),
            "event_log": serde_json::to_string(&guest.event_log()).unwrap_or_default(),
            "report_data": hex::encode(report_data),
            "vm_config": guest.vm_config(),
        }))
        .into_response(),
        Err(error) => refused(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// Hex of at most 64 bytes, with zeros at the end.
fn padded(text: &str) -> Option<ReportData> {
    let bytes = hex::decode(text.strip_prefix("0x").unwrap_or(text)).ok()?;
    let mut padded = [0; 64];
    padded.get_mut(..bytes.len())?.copy_from_slice(&bytes);
    Some(padded)
}

fn get_key(agent: &Agent, body: &[u8], [key, chain]: [&str; 2]) -> Response {
    let asked: GetKey = match read(body) {
        Ok(asked) => asked,
        Err(error) => return refused(StatusCode::BAD_REQUEST, &error),
    };
    match asked.algorithm.as_str() {
        "" | "k256" | "secp256k1" => {}
        "ed25519" => return not_served("GetKey with algorithm ed25519"),
        _ => return refused(StatusCode::BAD_REQUEST, "Unsupported algorithm"),
    }
    if !agent.identity.has_kms {
        let text = "this app has no KMS, so there is no key: set kms_enabled (or key_provider: kms) \
                    in its app-compose document";
        return refused(StatusCode::BAD_REQUEST, text);
    }
    match agent.keys.get_key(&agent.identity.key_owner(), &asked.path, &asked.purpose) {
        Ok(found) => {
            use secrecy::ExposeSecret;
            let signatures: Vec<String> = found.signature_chain.iter().map(hex::encode).collect();
            Json(json!({ key: hex::encode(found.key.expose_secret()), chain: signatures }))
                .into_response()
        }
        Err(error) => refused(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

/// An empty body is an empty message.
fn read<T: Default + for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, String> {
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body)
        .map_err(|_| "the request is not JSON, and nothing else is read here".to_owned())
}

fn not_served(method: &str) -> Response {
    let text = format!(
        "{method} is not served: this CVM runs on a docker node, which has no TEE; served are Info, \
         Version, GetQuote and GetKey"
    );
    refused(StatusCode::NOT_IMPLEMENTED, &text)
}

/// Answers a request whose body does not arrive, and ends its connection.
pub(super) fn too_slow() -> Response {
    let text = "the body of the request did not arrive in time";
    let mut response = refused(StatusCode::REQUEST_TIMEOUT, text);
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn refused(status: StatusCode, text: &str) -> Response {
    (status, Json(json!({ "error": text }))).into_response()
}
