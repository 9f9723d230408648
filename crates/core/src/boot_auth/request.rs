//! The question of a KMS: the body of `POST /bootAuth/app` and `POST /bootAuth/kms`.
//!
//! dstack-kms 0.5 and 0.6 send camelCase and hex without `0x`; other clients of the same interface write `0x`.
//! Fields that are not known here are kept, because a newer KMS may put facts into them that an operator wants to see.
//! A field about an epoch is policy input of dstack 0.6.4 and later, whatever its exact name.

use std::{fmt, str::FromStr};

use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::id::{AppId, ComposeHash, DeviceId, InstanceId, InvalidId};

/// Maximum length of a status, a variant or a ticket hash.
const WORD: usize = 128;
/// Maximum number of advisories, and the length of each.
const ADVISORIES: (usize, usize) = (128, 256);
/// Maximum depth at which epochs are looked for.
const DEPTH: usize = 8;

/// A SHA-256 measurement of an OS image or of a whole guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Measurement([u8; 32]);

impl Measurement {
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for Measurement {
    type Err = InvalidId;

    /// Hex in any case, with an optional `0x`.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits(text), &mut bytes)
            .map_err(|_| InvalidId { kind: "hash", expected: "64 hex digits" })?;
        Ok(Self(bytes))
    }
}

/// The hash of a launch ticket, lower-case hex. The ticket itself is a secret that the webhook never sees.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaunchTicketHash(String);

impl FromStr for LaunchTicketHash {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let bytes = hex::decode(digits(text)).ok().filter(|bytes| !bytes.is_empty());
        let bytes = bytes.filter(|bytes| bytes.len() * 2 <= WORD);
        let invalid = InvalidId { kind: "launch ticket hash", expected: "hex digits" };
        Ok(Self(hex::encode(bytes.ok_or(invalid)?)))
    }
}

/// The facts that a KMS sends about a guest that asks for keys.
#[derive(Debug, Clone, PartialEq)]
pub struct BootRequest {
    /// For example `dstack-tdx`; empty from KMS that do not send it.
    pub tee_variant: String,
    pub app_id: AppId,
    pub compose_hash: ComposeHash,
    /// `None` for apps without instance ids.
    pub instance_id: Option<InstanceId>,
    /// A raw chip id of SEV-SNP is replaced by its SHA-256, as newer KMS send it.
    pub device_id: DeviceId,
    pub mr_aggregated: Measurement,
    /// `None`: the attestation has none.
    pub os_image_hash: Option<Measurement>,
    pub tcb_status: String,
    pub advisory_ids: Vec<String>,
    /// dstack 0.6.5 and later.
    pub launch_ticket_hash: Option<LaunchTicketHash>,
    /// Fields about epochs with their paths; `None`: the value is no number. dstack 0.6.4 and later.
    pub epochs: Vec<(String, Option<u64>)>,
    /// Fields that are not known here, those about epochs included.
    pub other: Map<String, Value>,
}

/// Why a request cannot be read; names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidBootRequest(String);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    #[serde(default)]
    tee_variant: String,
    mr_aggregated: String,
    os_image_hash: String,
    app_id: String,
    compose_hash: String,
    instance_id: String,
    device_id: String,
    #[serde(default)]
    tcb_status: String,
    #[serde(default)]
    advisory_ids: Vec<String>,
    #[serde(default)]
    launch_ticket_hash: Option<String>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// Known fields that no decision uses.
const UNUSED: [&str; 2] = ["mrSystem", "keyProviderInfo"];

impl BootRequest {
    /// Reads the body of a request.
    pub fn parse(body: &[u8]) -> Result<Self, InvalidBootRequest> {
        let mut body: Body =
            serde_json::from_slice(body).map_err(|error| InvalidBootRequest(error.to_string()))?;
        for name in UNUSED {
            body.other.remove(name);
        }
        short("teeVariant", &body.tee_variant, WORD)?;
        short("tcbStatus", &body.tcb_status, WORD)?;
        if body.advisory_ids.len() > ADVISORIES.0 {
            return Err(InvalidBootRequest("advisoryIds: too many".to_owned()));
        }
        for id in &body.advisory_ids {
            short("advisoryIds", id, ADVISORIES.1)?;
        }
        let mut epochs = Vec::new();
        find_epochs(&body.other, "", DEPTH, &mut epochs);
        let ticket = body.launch_ticket_hash.as_deref().filter(|hash| !hash.is_empty());
        Ok(Self {
            app_id: field("appId", &body.app_id)?,
            compose_hash: field("composeHash", &body.compose_hash)?,
            instance_id: optional("instanceId", &body.instance_id)?,
            device_id: device("deviceId", &body.device_id)?,
            mr_aggregated: field("mrAggregated", &body.mr_aggregated)?,
            os_image_hash: optional("osImageHash", &body.os_image_hash)?,
            launch_ticket_hash: ticket.map(|hash| field("launchTicketHash", hash)).transpose()?,
            tee_variant: body.tee_variant,
            tcb_status: body.tcb_status,
            advisory_ids: body.advisory_ids,
            epochs,
            other: body.other,
        })
    }
}

fn digits(text: &str) -> &str {
    text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text)
}

fn short(name: &str, text: &str, most: usize) -> Result<(), InvalidBootRequest> {
    if text.len() > most {
        return Err(InvalidBootRequest(format!("{name}: longer than {most} bytes")));
    }
    Ok(())
}

fn field<T: FromStr<Err = InvalidId>>(name: &str, text: &str) -> Result<T, InvalidBootRequest> {
    digits(text).parse().map_err(|why| InvalidBootRequest(format!("{name}: {why}")))
}

fn optional<T: FromStr<Err = InvalidId>>(
    name: &str,
    text: &str,
) -> Result<Option<T>, InvalidBootRequest> {
    if digits(text).is_empty() { Ok(None) } else { field(name, text).map(Some) }
}

/// 32 bytes, or the 64 bytes of a raw chip id.
fn device(name: &str, text: &str) -> Result<DeviceId, InvalidBootRequest> {
    let mut chip = [0; 64];
    match hex::decode_to_slice(digits(text), &mut chip) {
        Ok(()) => Ok(DeviceId::from_bytes(Sha256::digest(chip).into())),
        Err(_) => field(name, text),
    }
}

/// Collects the leaves of every field with "epoch" in its name. `null` counts as absent.
fn find_epochs(
    fields: &Map<String, Value>,
    path: &str,
    depth: usize,
    found: &mut Vec<(String, Option<u64>)>,
) {
    for (name, value) in fields {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        if path.to_ascii_lowercase().contains("epoch") {
            leaves(value, path, depth, found);
        } else if let (Value::Object(inner), true) = (value, depth > 0) {
            find_epochs(inner, &path, depth - 1, found);
        }
    }
}

fn leaves(value: &Value, path: String, depth: usize, found: &mut Vec<(String, Option<u64>)>) {
    match value {
        Value::Null => {}
        Value::Object(inner) if depth > 0 => {
            for (name, value) in inner {
                leaves(value, format!("{path}.{name}"), depth - 1, found);
            }
        }
        Value::Number(number) => found.push((path, number.as_u64())),
        Value::String(text) => found.push((path, text.parse().ok())),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => found.push((path, None)),
    }
}
