//! NVIDIA's attestation token: a JWT signed with ES384, or a detached token that names one JWT per device.
//!
//! The token proves that a GPU was in order when NVIDIA's service judged it. It does not say which VM holds it; the
//! nonce is what ties it to a request.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use p384::ecdsa::{Signature, signature::Verifier};
use serde::{Deserialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use crate::{
    bundle::Gpu,
    claim::Unproven,
    hexes::HexBytes,
    reason::{Missing, Reason},
    roots::GpuKey,
};

/// What the token shows.
pub(crate) struct GpuFacts {
    pub key_id: String,
    pub devices: usize,
}

/// The claims that are judged.
#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    exp: Option<i64>,
    #[serde(default)]
    nbf: Option<i64>,
    #[serde(default)]
    eat_nonce: Option<String>,
    #[serde(default, rename = "x-nvidia-overall-att-result")]
    overall: Option<bool>,
    /// Device name to `["DIGEST", ["SHA256", hex]]`.
    #[serde(default)]
    submods: BTreeMap<String, (String, (String, String))>,
}

#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    alg: String,
    #[serde(default)]
    kid: String,
}

/// Checks the token and the tokens of its devices. `nonce` is the caller's; without it the bundle's is used.
pub(crate) fn judge(
    gpu: &Gpu,
    keys: &[GpuKey],
    nonce: Option<&[u8]>,
    now: Timestamp,
) -> Result<GpuFacts, Unproven> {
    let text = gpu.token.trim();
    let (overall, devices) = if text.starts_with('[') {
        let (named, devices): ((String, String), BTreeMap<String, String>) =
            serde_json::from_str(text).map_err(|_| Reason::GpuTokenMalformed)?;
        if named.0 != "JWT" {
            return Err(Reason::GpuTokenMalformed.into());
        }
        (named.1, devices)
    } else {
        (text.to_owned(), BTreeMap::new())
    };
    let (key_id, claims) = signed_claims(&overall, keys)?;
    in_force(&claims, now)?;
    if claims.overall != Some(true) {
        return Err(Reason::GpuResult.into());
    }
    let asked = nonce.or(gpu.nonce.as_ref().map(HexBytes::as_slice));
    if asked.is_some_and(|asked| {
        claims.eat_nonce.as_deref().and_then(|found| hex::decode(found).ok()).as_deref()
            != Some(asked)
    }) {
        return Err(Reason::GpuNonce.into());
    }
    for (device, token) in &devices {
        let wrong = || Reason::GpuDevice { device: device.chars().take(64).collect() };
        let (_, (algorithm, digest)) = claims.submods.get(device).ok_or_else(wrong)?;
        let found = hex::encode(Sha256::digest(token.as_bytes()));
        if !algorithm.eq_ignore_ascii_case("SHA256") || !digest.eq_ignore_ascii_case(&found) {
            return Err(wrong().into());
        }
        let (_, own) = signed_claims(token, keys)?;
        in_force(&own, now)?;
    }
    if let Some(device) = claims.submods.keys().find(|device| !devices.contains_key(*device)) {
        return Err(Reason::GpuDevice { device: device.chars().take(64).collect() }.into());
    }
    Ok(GpuFacts { key_id, devices: devices.len().max(1) })
}

fn in_force(claims: &Claims, now: Timestamp) -> Result<(), Unproven> {
    let time =
        |seconds: i64| Timestamp::from_second(seconds).map_err(|_| Reason::GpuTokenMalformed);
    let until = time(claims.exp.ok_or(Reason::GpuTokenMalformed)?)?;
    if now > until {
        return Err(Missing::GpuTokenExpired { until }.into());
    }
    if let Some(from) = claims.nbf.map(time).transpose()?
        && now < from
    {
        return Err(Reason::GpuTokenNotYetValid { from }.into());
    }
    Ok(())
}

fn signed_claims(token: &str, keys: &[GpuKey]) -> Result<(String, Claims), Reason> {
    let mut parts = token.splitn(3, '.');
    let (Some(header), Some(claims), Some(signature)) = (parts.next(), parts.next(), parts.next())
    else {
        return Err(Reason::GpuTokenMalformed);
    };
    let head: Header = json(header)?;
    if head.alg != "ES384" {
        return Err(Reason::GpuTokenMalformed);
    }
    let key = keys.iter().find(|key| key.id == head.kid);
    let key =
        key.ok_or_else(|| Reason::GpuKeyUnknown { key_id: head.kid.chars().take(64).collect() })?;
    let bytes = decode(signature).ok_or(Reason::GpuTokenMalformed)?;
    let signature = Signature::from_slice(&bytes).map_err(|_| Reason::GpuSignature)?;
    let message = &token[..header.len() + 1 + claims.len()];
    key.key.verify(message.as_bytes(), &signature).map_err(|_| Reason::GpuSignature)?;
    Ok((key.id.clone(), json(claims)?))
}

fn json<T: DeserializeOwned>(part: &str) -> Result<T, Reason> {
    let bytes = decode(part).ok_or(Reason::GpuTokenMalformed)?;
    serde_json::from_slice(&bytes).map_err(|_| Reason::GpuTokenMalformed)
}

/// Base64 as JSON Web Tokens and Keys have it.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
}
