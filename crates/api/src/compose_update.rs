//! The two phases of a compose update, and the one that skips the first.
//!
//! The body of the first phase, `POST /cvms/{id}/compose_file/provision`, is a
//! [`crate::compose_file::ComposeFile`] itself.

use casemate_core::id::ComposeHash;
use serde::{Deserialize, Serialize};

use crate::{body::object, compose_file::ComposeFile, num};

/// The second phase: `PATCH /cvms/{id}/compose_file`, documented as
/// `POST /cvms/{id}/compose_file/commit`. `null` is the same as left out; Python sends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ComposeCommitRequest {
    /// The hash of the first phase, with or without `0x`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub compose_hash: ComposeHash,
    /// Sealed environment as hex, which replaces the present one whole. Not checked here.
    #[serde(default, deserialize_with = "num::opt_name", skip_serializing_if = "Option::is_none")]
    pub encrypted_env: Option<String>,
    /// Names of the sealed variables, a part of the allowed ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_keys: Option<Vec<String>>,
    /// Whether `allowed_envs` are replaced as well; as the first phase said if left out.
    #[serde(default, deserialize_with = "num::opt_bool", skip_serializing_if = "Option::is_none")]
    pub update_env_vars: Option<bool>,
    /// Transaction that registered the hash, or `already-registered`.
    #[serde(default, deserialize_with = "num::opt_name", skip_serializing_if = "Option::is_none")]
    pub transaction_hash: Option<String>,
}

/// `POST /cvms/{id}/compose_file`: a document whose hash the client has computed already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ComposeReplaceRequest {
    /// The document.
    #[serde(deserialize_with = "object::required")]
    pub compose_file: ComposeFile,
    /// SHA-256 of the document as the guest will read it, with or without `0x`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub compose_hash: ComposeHash,
    /// Sealed environment as hex, which replaces the present one whole. Not checked here.
    #[serde(default, deserialize_with = "num::opt_name", skip_serializing_if = "Option::is_none")]
    pub encrypted_env: Option<String>,
    /// Names of the sealed variables, a part of the allowed ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_keys: Option<Vec<String>>,
}
