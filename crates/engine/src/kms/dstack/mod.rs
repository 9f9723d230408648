//! A dstack-kms: the KMS of real dstack hosts, asked over its pRPC (`kms/rpc/proto/kms_rpc.proto`). It is
//! asked for two things: the key that environments of an app are sealed to, and what it is.
//!
//! Nothing that it answers is believed because of who answers: a key counts only if both signatures over it
//! are by a pinned root key and the signed time is ours ([`verify`]). TLS keeps the conversation private; the
//! certificate is one of the KMS's own CA, so that CA is the only one trusted where it is configured.
//!
//! Guests ask the KMS for their secret keys themselves; those never pass here.
//!
//! Deliberately absent: SealedEnv (dstack 0.6.4 and later). How its key is delivered and signed is not
//! published; a legacy envelope is accepted by every guest, and is what clients make from this key.

#[cfg(test)]
mod tests;
mod verify;
mod wire;

use std::{
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use casemate_core::id::AppId;
use serde::{Serialize, de::DeserializeOwned};

pub use self::verify::{InvalidPinnedKey, MAX_AGE_S, PinnedKeys, RootEpoch};
use self::wire::{AppIdMessage, Meta, Nothing, PublicKeyResponse};
use super::{Kms, KmsError, SignedEnvKey};
use crate::node::dstack::client::{Credential, PrpcClient, PrpcError, Trust, VmmAddress};

/// The longest answer that is read. `GetMeta` has an attestation in it.
pub const LONGEST_ANSWER: usize = 1 << 20;
/// The longest text of a refusal that is shown.
const LONGEST_TEXT: usize = 300;

/// Settings of a [`DstackKms`].
#[derive(Debug, Clone)]
pub struct DstackKmsConfig {
    /// `https://kms.example:8000` or `http://…`, without `/prpc`.
    pub url: String,
    /// Its root secp256k1 keys.
    pub keys: PinnedKeys,
    /// Certificates, PEM, that are trusted for it and no others: that of its CA, or its own. `None`: those of
    /// the system.
    pub ca_file: Option<PathBuf>,
    /// How long one call may take.
    pub timeout: Duration,
}

/// Why a KMS cannot be opened: a setting, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct OpenError {
    /// `url` or `ca_file`.
    pub field: &'static str,
    pub why: String,
}

/// A dstack-kms.
#[derive(Debug)]
pub struct DstackKms {
    client: PrpcClient,
    keys: PinnedKeys,
    /// The root epoch that signed last.
    epoch: AtomicUsize,
}

/// Properties that a dstack-kms reports. They are not signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KmsMeta {
    /// Public key of its root CA, `SubjectPublicKeyInfo` in DER; `None`: its certificate cannot be read.
    pub ca_public_spki: Option<Vec<u8>>,
    /// The root epoch of its secp256k1 key.
    pub epoch: RootEpoch,
    /// It was built for development.
    pub is_dev: bool,
    /// App id of the gateway that its guests trust, or `any`.
    pub gateway_app_id: Option<String>,
    /// The contract that its authorisation asks, `0x…`.
    pub contract: Option<String>,
    /// The chain of that contract.
    pub chain_id: Option<u64>,
}

/// Whether a text is an address of a KMS.
pub fn check_url(url: &str) -> Result<(), String> {
    match url.parse::<VmmAddress>() {
        Ok(VmmAddress::Url(_)) => Ok(()),
        Ok(VmmAddress::Unix(_)) | Err(_) => {
            Err("must be https://HOST:PORT or http://HOST:PORT, without credentials".to_owned())
        }
    }
}

impl DstackKms {
    /// Reads the file that the settings name. Nothing is asked of the KMS yet.
    pub fn open(config: &DstackKmsConfig) -> Result<Self, OpenError> {
        let wrong = |field, why| OpenError { field, why };
        check_url(&config.url).map_err(|why| wrong("url", why))?;
        let address = config.url.parse().map_err(|why| wrong("url", why))?;
        let ca = match &config.ca_file {
            None => None,
            Some(path) => Some(std::fs::read(path).map_err(|error| {
                wrong("ca_file", format!("{} cannot be read: {error}", path.display()))
            })?),
        };
        let trust = ca.as_deref().map_or(Trust::System, Trust::Only);
        let client = PrpcClient::new(address, Credential::None, trust, config.timeout)
            .map_err(|why| wrong(if ca.is_some() { "ca_file" } else { "url" }, why))?
            .with_longest_answer(LONGEST_ANSWER);
        let newest = config.keys.newest().0;
        Ok(Self { client, keys: config.keys.clone(), epoch: AtomicUsize::new(newest) })
    }

    /// The key that environments of `app` are sealed to, with the root epoch that signed it.
    pub async fn signed_env_key(
        &self,
        app: &AppId,
        now_secs: u64,
    ) -> Result<(SignedEnvKey, RootEpoch), KmsError> {
        let request = AppIdMessage { app_id: app.to_string() };
        let answer: PublicKeyResponse = self.call("GetAppEnvEncryptPubKey", &request).await?;
        let key = answer.read()?;
        let epoch = verify::verify(&self.keys, app, &key, now_secs)?;
        self.epoch.store(epoch.0, Ordering::Relaxed);
        Ok((key, epoch))
    }

    /// The reported properties. The KMS asks its authorisation webhook for them.
    pub async fn meta(&self) -> Result<KmsMeta, KmsError> {
        self.call::<_, Meta>("GetMeta", &Nothing {}).await?.read(&self.keys)
    }

    /// The root key that signed last, SEC1, compressed; the newest one before anything was signed.
    pub fn k256_public(&self) -> [u8; 33] {
        self.keys.of_epoch(RootEpoch(self.epoch.load(Ordering::Relaxed)))
    }

    async fn call<Q: Serialize + Sync, R: DeserializeOwned>(
        &self,
        method: &str,
        request: &Q,
    ) -> Result<R, KmsError> {
        self.client.post(&format!("prpc/{method}"), request).await.map_err(kms_error)
    }
}

#[async_trait]
impl Kms for DstackKms {
    async fn env_public_key(&self, app: &AppId, now_secs: u64) -> Result<SignedEnvKey, KmsError> {
        Ok(self.signed_env_key(app, now_secs).await?.0)
    }

    fn is_remote(&self) -> bool {
        true
    }
}

fn kms_error(error: PrpcError) -> KmsError {
    let short = |text: String| text.chars().take(LONGEST_TEXT).collect();
    match error {
        PrpcError::NoConnection(why) | PrpcError::Unavailable(why) => {
            KmsError::Unreachable(short(why))
        }
        PrpcError::Unauthorized(status) => KmsError::Unauthorized(status.as_u16()),
        PrpcError::Refused(why) => KmsError::Rejected(short(why)),
        PrpcError::Failed(status, why) => {
            KmsError::Failed { status: status.as_u16(), why: short(why) }
        }
        PrpcError::Silent(seconds) => KmsError::Silent(seconds),
        PrpcError::Broken => KmsError::Broken,
        PrpcError::TooLong(bytes) => KmsError::TooLong(bytes),
        PrpcError::Unreadable { why, .. } => KmsError::Unreadable(why),
    }
}
