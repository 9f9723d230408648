//! GPU tokens as NVIDIA's service makes them, under a key of ours, and the claim that rests on them.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use casemate_verify::{ClaimId, Missing, State};
use p384::ecdsa::{Signature, SigningKey, signature::Signer};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::world::{NONCE, good, now};

/// What a token says.
#[derive(Clone)]
pub struct Says {
    pub overall: bool,
    pub expires: i64,
    pub from: i64,
    pub nonce: Vec<u8>,
    pub key_id: &'static str,
    pub signer: u8,
}

impl Says {
    pub fn good() -> Self {
        let now = now().as_second();
        Self {
            overall: true,
            expires: now + 3600,
            from: now - 60,
            nonce: NONCE.to_vec(),
            key_id: "nv-1",
            signer: 9,
        }
    }
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_slice(&[seed; 48]).unwrap()
}

/// The key set that the verifier gets.
pub fn key_set() -> String {
    let point = key(9).verifying_key().to_encoded_point(false);
    let x = URL_SAFE_NO_PAD.encode(point.x().unwrap());
    let y = URL_SAFE_NO_PAD.encode(point.y().unwrap());
    let other = json!({"kty": "RSA", "kid": "nv-0", "n": "AQAB", "e": "AQAB"});
    let ours = json!({"kty": "EC", "crv": "P-384", "kid": "nv-1", "x": x, "y": y});
    json!({ "keys": [other, ours] }).to_string()
}

/// One signed token.
pub fn token(says: &Says, devices: &serde_json::Value) -> String {
    let header = json!({"alg": "ES384", "kid": says.key_id, "typ": "JWT"});
    let claims = json!({
        "iss": "https://nras.attestation.nvidia.com",
        "exp": says.expires,
        "nbf": says.from,
        "eat_nonce": hex::encode(&says.nonce),
        "x-nvidia-overall-att-result": says.overall,
        "submods": devices,
    });
    let encode = |part: &serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let message = format!("{}.{}", encode(&header), encode(&claims));
    let signature: Signature = key(says.signer).sign(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
}

/// An overall token and the token of one GPU.
pub fn detached(says: &Says) -> String {
    let device = token(says, &json!({}));
    let digest = hex::encode(Sha256::digest(device.as_bytes()));
    let overall = token(says, &json!({"GPU-0": ["DIGEST", ["SHA256", digest]]}));
    json!([["JWT", overall], {"GPU-0": device}]).to_string()
}

#[test]
fn a_single_token_counts_too_and_without_keys_nothing_is_shown() {
    let mut case = good();
    case.bundle.gpu.as_mut().unwrap().token = token(&Says::good(), &json!({}));
    assert!(case.verify().proves(ClaimId::Gpu));
    case.roots = casemate_verify::Roots::vendors();
    let state = case.verify().state(ClaimId::Gpu).cloned();
    assert_eq!(state, Some(State::NotShown { why: Missing::NoGpuKeys }));
}

#[test]
fn another_algorithm_is_no_way_around_the_signature() {
    let mut case = good();
    let claims = json!({"exp": i64::MAX, "x-nvidia-overall-att-result": true}).to_string();
    let header = json!({"alg": "none", "kid": "nv-1"}).to_string();
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    case.bundle.gpu.as_mut().unwrap().token = format!("{}.{}.", encode(&header), encode(&claims));
    assert!(case.verify().state(ClaimId::Gpu).is_some_and(State::is_failed));
}

#[test]
fn an_old_token_shows_nothing_and_refutes_nothing() {
    let mut case = good();
    let old = Says { expires: now().as_second() - 1, ..Says::good() };
    case.bundle.gpu.as_mut().unwrap().token = detached(&old);
    let state = case.verify().state(ClaimId::Gpu).cloned();
    assert!(matches!(state, Some(State::NotShown { why: Missing::GpuTokenExpired { .. } })));
}
