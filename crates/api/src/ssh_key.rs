//! `/user/ssh-keys`: public keys of a user.

use serde::{Deserialize, Serialize};

/// `POST /user/ssh-keys`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SshKeyCreateRequest {
    /// 1 to 100 characters.
    pub name: String,
    /// In OpenSSH's format: `ssh-ed25519 AAAA… comment`.
    pub public_key: String,
}

/// A key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SshKeyResponse {
    /// `sshkey_…`.
    pub id: String,
    /// The user whose key it is.
    pub user_id: String,
    pub name: String,
    /// As it was given, without white space around it.
    pub public_key: String,
    /// `SHA256:…`.
    pub fingerprint: String,
    /// For example `ssh-ed25519`.
    pub key_type: String,
    /// `manual` or `github`.
    pub source: SshKeySource,
    /// Bits of an RSA key, and the GitHub account it is from.
    pub key_metadata: Option<SshKeyMetadata>,
    /// When it was last read from GitHub, RFC 3339.
    pub last_synced_at: Option<String>,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
}

/// Where a key is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum SshKeySource {
    Manual,
    Github,
}

impl SshKeySource {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Github => "github",
        }
    }
}

/// What else is known of a key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SshKeyMetadata {
    /// Length of an RSA key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits: Option<i64>,
    /// The account there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub github_username: Option<String>,
}

/// `POST /user/ssh-keys/github-profile`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GithubProfileImportRequest {
    /// 1 to 39 letters, digits and dashes.
    pub github_username: String,
}

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GithubProfileImportResponse {
    pub github_username: String,
    pub keys_added: u32,
    /// The user has them already.
    pub keys_skipped: u32,
    /// Keys that are not accepted, with the reason.
    #[serde(default)]
    pub errors: Vec<String>,
}

/// What a sync did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GithubSyncResponse {
    /// Keys that were read.
    pub synced_count: u32,
    pub keys_added: u32,
    pub keys_updated: u32,
    /// Keys that GitHub no longer has.
    pub keys_removed: u32,
    /// Accounts that were not read, and keys that are not accepted.
    #[serde(default)]
    pub errors: Vec<String>,
}
