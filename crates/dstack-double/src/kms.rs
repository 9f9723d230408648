//! A double of dstack-kms: the two methods that a control plane calls, with real keys and real signatures.
//!
//! Its keys and signatures are those of a real dstack-kms with the same root keys (the tests of
//! `casemate_engine::kms::builtin` hold them to figures of dstack's own code), so what is sealed to its key is
//! opened with [`KmsDouble::open`].
//!
//! Deliberately absent: protobuf bodies, attestation, and the methods of guests.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::{any, get, put},
};
use bytes::Bytes;
use casemate_core::{
    id::AppId,
    seal::{EnvVar, SealedEnv, unseal},
    time::Clock,
};
use casemate_engine::kms::{BuiltinKms, Kms as _, KmsError, RootKeys};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A certificate of the CA of a dstack-kms 0.6.0, for `GetMeta`. Its key is not that of the double.
const CA_CERT: &str = "-----BEGIN CERTIFICATE-----
MIIBmzCCAUCgAwIBAgIURmcif6PkxXHDfXhvsFQnqUaYfuQwCgYIKoZIzj0EAwIw
KTEPMA0GA1UECgwGRHN0YWNrMRYwFAYDVQQDDA1Ec3RhY2sgS01TIENBMB4XDTc1
MDEwMTAwMDAwMFoXDTM2MTExODAyNTc0N1owKTEPMA0GA1UECgwGRHN0YWNrMRYw
FAYDVQQDDA1Ec3RhY2sgS01TIENBMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE
TEoSkzQJrcxFST0X+x38OVRhQfIdEhtu5YEJaWlbLU1Kv00YZjMtffqATjt36lzL
b3yyNpZ/ny6MU1cAOFhO+qNGMEQwDwYDVR0PAQH/BAUDAweGADAdBgNVHQ4EFgQU
5qYYqlh6KRGVeuLvKefCy34j/54wEgYDVR0TAQH/BAgwBgEB/wIBATAKBggqhkjO
PQQDAgNJADBGAiEAkJSQmdKdvjP475+yddZ+UzS+YyEat8PkTrv7BgZJOk4CIQC+
vx0W+n5QoZPLad/krH6WfK5aZ9VmjlAfphrjrgiPMw==
-----END CERTIFICATE-----
";
/// Longer than any answer of a KMS.
const TOO_LONG: usize = 2 << 20;

/// What differs between the versions of dstack-kms on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KmsProfile {
    /// As in its `User-Agent`.
    pub version: &'static str,
    /// Status of an unknown method.
    pub unknown_method: u16,
    /// `GetMeta` says whether OS images are verified.
    pub os_image_verification: bool,
}

impl KmsProfile {
    /// Every version that the double knows, the oldest first.
    pub const ALL: [Self; 3] = [
        Self { version: "0.5.8", unknown_method: 400, os_image_verification: false },
        Self { version: "0.6.0", unknown_method: 404, os_image_verification: true },
        Self { version: "0.6.6", unknown_method: 404, os_image_verification: true },
    ];

    /// The one of this version.
    pub fn of(version: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.version == version)
    }

    /// The newest one.
    pub const fn newest() -> Self {
        let [_, _, newest] = Self::ALL;
        newest
    }
}

/// What is wrong with a KMS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KmsFault {
    /// Every call waits for ever.
    Hangs,
    /// Every call gets this status.
    Status(u16),
    /// Every call is refused in these words.
    Refuses(String),
    /// Another root key signs.
    OtherKey,
    /// The signatures are those for another app.
    OtherApp,
    /// Only `signature_v1` is by another root key.
    MixedKeys,
    /// The signatures are no signatures.
    NoSignature,
    /// The clock is off by so many seconds.
    ClockOff(i64),
    /// The answer has not this field.
    Without(String),
    /// The answer is too long.
    TooLong,
    /// The answer is no JSON.
    Garbage,
    /// `GetMeta` fails, as with a webhook that is down.
    NoWebhook,
}

/// A dstack-kms.
#[derive(Debug)]
pub struct KmsDouble {
    profile: KmsProfile,
    keys: Mutex<Keys>,
    clock: Arc<dyn Clock>,
    faults: Mutex<Vec<KmsFault>>,
    calls: AtomicUsize,
}

/// Root keys: the KMS's own, and with them another key that signs.
#[derive(Debug, Clone)]
struct Keys {
    own: BuiltinKms,
    other: BuiltinKms,
}

impl Keys {
    fn new(root: &[u8; 64]) -> Option<Self> {
        let made = |root: &[u8; 64]| RootKeys::from_bytes(root).ok().map(BuiltinKms::new);
        let mut other = *root;
        // The second half is the secp256k1 key.
        other[63] ^= 1;
        Some(Self { own: made(root)?, other: made(&other)? })
    }
}

impl KmsDouble {
    /// A KMS with these root keys, P-256 and secp256k1; its time is that of the clock. `None`: the bytes make
    /// no keys.
    pub fn new(profile: KmsProfile, root: &[u8; 64], clock: Arc<dyn Clock>) -> Option<Self> {
        let keys = Mutex::new(Keys::new(root)?);
        Some(Self { profile, keys, clock, faults: Mutex::default(), calls: AtomicUsize::new(0) })
    }

    /// Its root public key, secp256k1, compressed, hex.
    pub fn k256_public_key(&self) -> String {
        self.keys().own.k256_public().map(hex::encode).unwrap_or_default()
    }

    /// The key that signs with [`KmsFault::OtherKey`], in the same form.
    pub fn other_public_key(&self) -> String {
        self.keys().other.k256_public().map(hex::encode).unwrap_or_default()
    }

    /// Replaces the root keys, as after a rotation. `false`: the bytes make no keys.
    pub fn rotate(&self, root: &[u8; 64]) -> bool {
        let rotated = Keys::new(root);
        let is_made = rotated.is_some();
        if let Some(rotated) = rotated {
            *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = rotated;
        }
        is_made
    }

    /// Replaces all faults.
    pub fn set_faults(&self, faults: Vec<KmsFault>) {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    /// How many calls have come so far, with those that have no answer.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// Opens what was sealed to the key of an app, as a guest with the keys of this KMS does. `None`: it was
    /// sealed to another key.
    pub fn open(&self, app: &AppId, sealed: &SealedEnv) -> Option<Vec<EnvVar>> {
        let key = self.keys().own.env_secret_key(app).ok()?;
        unseal(sealed, &key).ok()
    }

    fn keys(&self) -> Keys {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn faults(&self) -> Vec<KmsFault> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn env_key(&self, app: &AppId) -> Result<Value, KmsError> {
        let Keys { own, other } = self.keys();
        let faults = self.faults();
        let has = |fault: &KmsFault| faults.contains(fault);
        let off = faults.iter().find_map(|fault| match fault {
            KmsFault::ClockOff(seconds) => Some(*seconds),
            _ => None,
        });
        let now = self.clock.now().unix_seconds().saturating_add_signed(off.unwrap_or(0));
        let signer = if has(&KmsFault::OtherKey) { &other } else { &own };
        let mut key = signer.env_public_key(app, now).await?;
        if has(&KmsFault::MixedKeys) {
            key.signature_v1 = other.env_public_key(app, now).await?.signature_v1;
        }
        if has(&KmsFault::OtherApp) {
            let foreign = AppId::from_bytes([0xee; 20]);
            let of_other = own.env_public_key(&foreign, now).await?;
            (key.signature, key.signature_v1) = (of_other.signature, of_other.signature_v1);
        }
        if has(&KmsFault::NoSignature) {
            (key.signature, key.signature_v1) = ([0xff; 65], [0xff; 65]);
        }
        Ok(json!({
            "public_key": key.public_key.to_string(),
            "signature": hex::encode(key.signature),
            "timestamp": key.timestamp,
            "signature_v1": hex::encode(key.signature_v1),
        }))
    }

    fn meta(&self) -> Value {
        let mut meta = json!({
            "ca_cert": CA_CERT,
            "allow_any_upgrade": false,
            "k256_pubkey": self.k256_public_key(),
            "bootstrap_info": null,
            "is_dev": false,
            "gateway_app_id": "any",
            "kms_contract_address": "",
            "chain_id": 0,
            "app_auth_implementation": "",
        });
        if self.profile.os_image_verification {
            meta["os_image_verification"] = json!(true);
        }
        meta
    }
}

/// The API of one KMS, without a prefix, and `PUT /double/faults`, which replaces its faults: a JSON list of
/// [`KmsFault`].
pub fn kms_router(kms: Arc<KmsDouble>) -> Router {
    async fn set(State(kms): State<Arc<KmsDouble>>, axum::Json(faults): axum::Json<Vec<KmsFault>>) {
        kms.set_faults(faults);
    }
    Router::new()
        .route("/prpc/{method}", any(prpc))
        .route("/health", get(|| async { StatusCode::OK }))
        .route("/double/faults", put(set))
        .with_state(kms)
}

async fn prpc(
    State(kms): State<Arc<KmsDouble>>,
    Path(method): Path<String>,
    body: Bytes,
) -> Response {
    let refusal = |status: u16, text: &str| {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
        (status, axum::Json(json!({ "error": text }))).into_response()
    };
    kms.calls.fetch_add(1, Ordering::Relaxed);
    for fault in kms.faults() {
        match fault {
            KmsFault::Hangs => std::future::pending::<()>().await,
            KmsFault::Status(status) => return refusal(status, "the double fails"),
            KmsFault::Refuses(why) => return refusal(400, &why),
            KmsFault::TooLong => return vec![b' '; TOO_LONG].into_response(),
            KmsFault::Garbage => return "<html>".into_response(),
            KmsFault::OtherKey
            | KmsFault::OtherApp
            | KmsFault::MixedKeys
            | KmsFault::NoSignature
            | KmsFault::ClockOff(_)
            | KmsFault::Without(_)
            | KmsFault::NoWebhook => {}
        }
    }
    let mut answer = match method.strip_prefix("KMS.").unwrap_or(&method) {
        "GetMeta" if kms.faults().contains(&KmsFault::NoWebhook) => {
            return refusal(400, "failed to get KMS info from the auth api: connection refused");
        }
        "GetMeta" => kms.meta(),
        "GetAppEnvEncryptPubKey" => {
            let request: Value = serde_json::from_slice(&body).unwrap_or_default();
            let app = request["app_id"].as_str().unwrap_or_default();
            let Ok(app) = app.strip_prefix("0x").unwrap_or(app).parse::<AppId>() else {
                return refusal(400, "app_id must be 20 bytes");
            };
            match kms.env_key(&app).await {
                Ok(answer) => answer,
                Err(error) => return refusal(400, &error.to_string()),
            }
        }
        _ => {
            let text = format!("Service not found: {method}");
            return refusal(kms.profile.unknown_method, &text);
        }
    };
    for fault in kms.faults() {
        if let (KmsFault::Without(field), Some(fields)) = (fault, answer.as_object_mut()) {
            fields.remove(&field);
        }
    }
    axum::Json(answer).into_response()
}
