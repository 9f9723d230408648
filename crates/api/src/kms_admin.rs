//! Each KMS as its operator sees it: `/api/v1/admin/kms`. Casemate only.

use serde::{Deserialize, Serialize};

/// Every KMS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ManagedKmsList {
    /// The built-in one first.
    pub kms: Vec<ManagedKms>,
}

/// A KMS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ManagedKms {
    /// Unique name.
    pub slug: String,
    /// `kms_…`.
    pub id: String,
    /// `builtin` (a part of this service) or `dstack` (a dstack-kms).
    pub kind: String,
    /// The word by which clients choose it: `phala`, `ethereum`, `base`.
    pub kms_type: String,
    /// Where this service reaches it.
    pub url: String,
    /// Where guests reach it; empty: their node knows.
    #[serde(default)]
    pub guest_urls: Vec<String>,
    /// The contract that says whose apps get its keys, `0x…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract: Option<String>,
    /// The root key that signs now, secp256k1, compressed, hex.
    pub k256_public_key: String,
    /// The root epoch of that key, as the KMS says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_epoch: Option<usize>,
    /// Whether it gave a key that can be trusted last time.
    pub reachable: bool,
    /// Since when it has not, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_since: Option<String>,
    /// Why it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// A hint for the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// How often this process has looked at it.
    pub looks: u64,
    /// Names of the nodes whose guests can take their keys from it.
    pub nodes: Vec<String>,
}
