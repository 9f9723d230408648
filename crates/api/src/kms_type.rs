//! Kinds of KMS.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Who answers for the keys. Any case in (`PHALA` of the SDKs, `phala` of the reference), lower case
/// out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(rename_all = "lowercase"))]
pub enum KmsType {
    /// The operator's own: ours or a dstack-kms, no chain.
    Phala,
    /// Governed by contracts on Ethereum.
    Ethereum,
    /// Governed by contracts on Base.
    Base,
    /// From before there were kinds.
    Legacy,
}

/// The word is no kind of KMS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Input should be 'phala', 'ethereum', 'base' or 'legacy'")]
pub struct UnknownKmsType;

impl KmsType {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Phala, Self::Ethereum, Self::Base, Self::Legacy];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Phala => "phala",
            Self::Ethereum => "ethereum",
            Self::Base => "base",
            Self::Legacy => "legacy",
        }
    }

    /// Whether contracts on a chain decide.
    pub const fn is_onchain(self) -> bool {
        match self {
            Self::Ethereum | Self::Base => true,
            Self::Phala | Self::Legacy => false,
        }
    }
}

impl fmt::Display for KmsType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for KmsType {
    type Err = UnknownKmsType;
    fn from_str(text: &str) -> Result<Self, UnknownKmsType> {
        let same = |kind: &Self| kind.as_str().eq_ignore_ascii_case(text.trim());
        Self::ALL.into_iter().find(same).ok_or(UnknownKmsType)
    }
}

impl Serialize for KmsType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for KmsType {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
