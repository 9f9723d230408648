//! Whether an answer of a KMS is to be believed. Pure.

use std::fmt;

use casemate_core::{id::AppId, pubkey};
use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};

use crate::kms::{KmsError, SignedEnvKey};

/// How far the signed time may be from ours, in seconds: what clients accept.
pub const MAX_AGE_S: u64 = 300;

/// Number of a set of root keys of a KMS, counted from 0 with each rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RootEpoch(pub usize);

/// The root secp256k1 keys of a KMS that are trusted, by root epoch: the first is that of epoch 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedKeys(Vec<[u8; 33]>);

/// Why texts are no pinned keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPinnedKey {
    /// There is none.
    #[error("must name at least one key")]
    None,
    /// The text at this place, from 0, is no key.
    #[error(
        "[{0}] must be a compressed secp256k1 public key, 66 hex digits: k256_pubkey of GetMeta"
    )]
    NotAKey(usize),
    /// The text at this place, from 0, is there before.
    #[error("[{0}] is there twice")]
    Twice(usize),
}

impl PinnedKeys {
    /// Keys as hex, SEC1, compressed, with or without `0x`, by root epoch.
    pub fn from_hex<T: AsRef<str>>(texts: &[T]) -> Result<Self, InvalidPinnedKey> {
        let mut keys: Vec<[u8; 33]> = Vec::with_capacity(texts.len());
        for (at, text) in texts.iter().enumerate() {
            let key = parse(text.as_ref()).ok_or(InvalidPinnedKey::NotAKey(at))?;
            if keys.contains(&key) {
                return Err(InvalidPinnedKey::Twice(at));
            }
            keys.push(key);
        }
        if keys.is_empty() { Err(InvalidPinnedKey::None) } else { Ok(Self(keys)) }
    }

    /// The key of root epoch 0: it names the KMS through all rotations.
    pub fn first(&self) -> [u8; 33] {
        self.of_epoch(RootEpoch(0))
    }

    pub(super) fn newest(&self) -> RootEpoch {
        RootEpoch(self.0.len().saturating_sub(1))
    }

    /// The key of an epoch that [`PinnedKeys::epoch_of`] returned.
    pub(super) fn of_epoch(&self, epoch: RootEpoch) -> [u8; 33] {
        self.0.get(epoch.0).copied().unwrap_or([0; 33])
    }

    /// The epoch of a key; `None`: it is not pinned.
    pub(super) fn epoch_of(&self, key: &[u8]) -> Option<RootEpoch> {
        self.0.iter().position(|pinned| pinned == key).map(RootEpoch)
    }
}

impl fmt::Display for PinnedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<String> = self.0.iter().map(hex::encode).collect();
        f.write_str(&keys.join(", "))
    }
}

fn parse(text: &str) -> Option<[u8; 33]> {
    let mut bytes = [0; 33];
    hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(text), &mut bytes).ok()?;
    VerifyingKey::from_sec1_bytes(&bytes).ok().map(|_| bytes)
}

/// The pinned key that both signatures are by. They are over this app, this key and, the second one, a time
/// that is ours.
pub(super) fn verify(
    keys: &PinnedKeys,
    app: &AppId,
    key: &SignedEnvKey,
    now_secs: u64,
) -> Result<RootEpoch, KmsError> {
    let legacy = pubkey::env_pubkey_digest(app, &key.public_key, None);
    let timed = pubkey::env_pubkey_digest(app, &key.public_key, Some(key.timestamp));
    let of_legacy = signer(keys, "signature", &legacy, &key.signature)?;
    let of_timed = signer(keys, "signature_v1", &timed, &key.signature_v1)?;
    if of_legacy != of_timed {
        return Err(KmsError::MixedKeys);
    }
    if key.timestamp.abs_diff(now_secs) > MAX_AGE_S {
        let ahead = i128::from(key.timestamp) - i128::from(now_secs);
        let limit = if ahead < 0 { i64::MIN + 1 } else { i64::MAX };
        return Err(KmsError::Stale(i64::try_from(ahead).unwrap_or(limit)));
    }
    Ok(of_timed)
}

fn signer(
    keys: &PinnedKeys,
    field: &'static str,
    digest: &[u8; 32],
    signature: &[u8; 65],
) -> Result<RootEpoch, KmsError> {
    let invalid = || KmsError::InvalidSignature(field);
    let parsed = Signature::from_slice(&signature[..64]).map_err(|_| invalid())?;
    let recovery = RecoveryId::from_byte(signature[64]).ok_or_else(invalid)?;
    let key =
        VerifyingKey::recover_from_prehash(digest, &parsed, recovery).map_err(|_| invalid())?;
    let key = key.to_encoded_point(true);
    let unknown = || KmsError::UnknownKey { field, key: hex::encode(key.as_bytes()) };
    keys.epoch_of(key.as_bytes()).ok_or_else(unknown)
}
