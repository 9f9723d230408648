//! Sealed bytes as sent and stored.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::EpochEnvelope;

pub(super) const PUBLIC_KEY: usize = 32;
pub(super) const IV: usize = 12;
pub(super) const TAG: usize = 16;

/// Why bytes or a text are not a sealed environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSealedEnv {
    /// Not an even number of hex digits.
    #[error("sealed environment is not hex")]
    NotHex,
    /// Too short for key, iv and tag.
    #[error("sealed environment is shorter than {} bytes", SealedEnv::MIN)]
    TooShort,
    /// Longer than guests read.
    #[error("sealed environment is longer than {} bytes", SealedEnv::MAX)]
    TooLong,
    /// The other envelope.
    #[error(
        "it is a SealedEnv of dstack 0.6.4 (version {}, root epoch {}, app epoch {}), and how the key of one is \
         published is not known here",
        .0.version, .0.root_epoch, .0.app_epoch
    )]
    OfEpochs(EpochEnvelope),
}

/// A sealed environment: [`SealedEnv::MIN`] to [`SealedEnv::MAX`] bytes, layout in [`super`]. Whether a key
/// opens it is not checked. Text (`encrypted_env` on the wire): lower-case hex; a `0x` prefix and upper case
/// are accepted. `Debug` shows only the length.
///
/// Two are equal if they are the same bytes. The same variables are other bytes each time they are sealed, so this says
/// whether a client sent it before, and nothing about what a node has.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SealedEnv(Vec<u8>);

pub(super) struct Parts<'a> {
    pub ephemeral: &'a [u8; PUBLIC_KEY],
    pub iv: &'a [u8; IV],
    pub ciphertext: &'a [u8],
    pub tag: &'a [u8; TAG],
}

impl SealedEnv {
    /// Minimum length in bytes: public key, iv and tag around an empty text.
    pub const MIN: usize = PUBLIC_KEY + IV + TAG;
    /// Maximum length in bytes: what a guest copies of `.encrypted-env` (`HostShared::copy` in dstack-util).
    pub const MAX: usize = 256 * 1024;

    /// Checks the length, and that the bytes are not the other envelope.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, InvalidSealedEnv> {
        if let Some(other) = EpochEnvelope::recognise(&bytes) {
            return Err(InvalidSealedEnv::OfEpochs(other));
        }
        match bytes.len() {
            ..Self::MIN => Err(InvalidSealedEnv::TooShort),
            Self::MIN..=Self::MAX => Ok(Self(bytes)),
            _ => Err(InvalidSealedEnv::TooLong),
        }
    }
    /// The bytes, as a guest finds them in `.encrypted-env`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
    /// Always `Some`, because of [`SealedEnv::MIN`].
    pub(super) fn parts(&self) -> Option<Parts<'_>> {
        let (ephemeral, rest) = self.0.split_first_chunk()?;
        let (iv, rest) = rest.split_first_chunk()?;
        let (ciphertext, tag) = rest.split_last_chunk()?;
        Some(Parts { ephemeral, iv, ciphertext, tag })
    }
}

impl fmt::Display for SealedEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for SealedEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedEnv({} bytes)", self.0.len())
    }
}

impl FromStr for SealedEnv {
    type Err = InvalidSealedEnv;
    fn from_str(text: &str) -> Result<Self, InvalidSealedEnv> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        if digits.len() > 2 * Self::MAX {
            return Err(InvalidSealedEnv::TooLong);
        }
        Self::from_bytes(hex::decode(digits).map_err(|_| InvalidSealedEnv::NotHex)?)
    }
}

impl Serialize for SealedEnv {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SealedEnv {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
