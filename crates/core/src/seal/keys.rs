//! The X25519 keys that environments are sealed to, one pair per app.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use x25519_dalek::{PublicKey, StaticSecret};

use crate::id::InvalidId;

/// X25519 public key of an app, 32 bytes. Text: 64 lower-case hex digits; a `0x` prefix and upper case are
/// accepted. `env_pubkey`, `app_env_encrypt_pubkey`, `encrypted_env_pubkey` on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EnvPublicKey([u8; 32]);

impl EnvPublicKey {
    /// Any 32 bytes are a key, some unusable: see [`super::SealError::WeakKey`].
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for EnvPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for EnvPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EnvPublicKey({self})")
    }
}

impl FromStr for EnvPublicKey {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(text), &mut bytes)
            .map_err(|_| InvalidId { kind: "env public key", expected: "64 hex digits" })?;
        Ok(Self(bytes))
    }
}

impl Serialize for EnvPublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EnvPublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// X25519 secret key of an app: opens what was sealed to [`EnvSecretKey::public`]. Wiped when dropped;
/// `Debug` does not show it.
#[derive(Clone)]
pub struct EnvSecretKey(StaticSecret);

impl EnvSecretKey {
    /// Not clamped (clamping happens in the multiplication).
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(StaticSecret::from(bytes))
    }
    /// The bytes that a KMS releases to a guest as `env_crypt_key`.
    pub fn expose_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
    /// The key that clients seal to.
    pub fn public(&self) -> EnvPublicKey {
        EnvPublicKey(PublicKey::from(&self.0).to_bytes())
    }
    pub(super) fn secret(&self) -> &StaticSecret {
        &self.0
    }
}

impl fmt::Debug for EnvSecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnvSecretKey(..)")
    }
}
