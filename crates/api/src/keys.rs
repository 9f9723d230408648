//! API keys: `/tokens`. What the reference calls a token is a key here; a token is its secret.

use serde::{Deserialize, Serialize};

/// An API key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiKey {
    pub id: i64,
    /// For people.
    pub name: String,
    /// The secret; only in the reply that makes it.
    pub token: Option<String>,
    /// The first characters of the secret; `null` for a key made before they were kept.
    pub token_prefix: Option<String>,
    /// Not expired.
    pub is_active: bool,
    pub created_at: String,
    /// To the minute.
    pub last_used_at: Option<String>,
    /// `null`: never.
    pub expires_at: Option<String>,
    /// Always `null`: a request says its version itself.
    pub default_version: Option<String>,
    /// Integer id of the workspace.
    pub team_id: Option<i64>,
    /// Name of the workspace.
    pub team_name: Option<String>,
    /// Name of the workspace in paths.
    pub team_slug: Option<String>,
    /// Its scopes; `*` is all of them (Casemate only).
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Whose it is (Casemate only).
    #[serde(default)]
    pub username: String,
}

/// Makes a key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateKeyRequest {
    /// For people: 1 to 100 characters.
    pub name: String,
    /// 1 to 365; absent: it never expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_days: Option<u32>,
    /// At most those of the key that asks; absent: the same (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
}

/// Lets a key live on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RefreshKeyRequest {
    /// 1 to 365, from now; absent: as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_days: Option<u32>,
}

/// Replaces the secret of a key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RotateKeyRequest {
    /// For how long the old secret works on, 0 to 10080; absent: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_minutes: Option<u32>,
}
