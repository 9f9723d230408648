//! To which workspace an app that a contract is belongs. Casemate only.

use serde::{Deserialize, Serialize};

/// `GET /casemate/apps/{app_id}/ownership`: the text that the owner of the contract signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OwnershipMessage {
    /// Bare lower-case hex.
    pub app_id: String,
    pub kms_id: String,
    pub chain_id: u64,
    /// Owner of the contract, `0x…`; `null`: it has none.
    pub owner: Option<String>,
    /// To be sent with the signature; RFC 3339, whole seconds. The signature counts for 15 minutes.
    pub issued_at: String,
    /// To be signed as an EIP-191 personal message.
    pub message: String,
}

/// `POST /casemate/apps/{app_id}/ownership`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OwnershipProof {
    /// The KMS whose contract the app is registered with: id or slug.
    pub kms_id: String,
    /// Of the signed message.
    pub issued_at: String,
    /// 65 bytes in hex.
    pub signature: String,
}

/// The workspace of an app, proven by the owner of its contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AppOwnership {
    /// Bare lower-case hex.
    pub app_id: String,
    pub kms_id: String,
    /// Slug of the workspace.
    pub workspace: String,
    /// Whether it was another workspace's before.
    pub transferred: bool,
    /// Time of the proof, RFC 3339.
    pub proven_at: String,
}
