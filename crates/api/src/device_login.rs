//! Login by device code (RFC 8628): `/auth/device`.

use serde::{Deserialize, Serialize};

/// Begins a login.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceCodeRequest {
    /// The client's name of itself.
    #[serde(default)]
    pub client_id: String,
    /// Not interpreted: every login gets the same scopes.
    #[serde(default)]
    pub scope: Option<String>,
}

/// A login that waits for approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceCode {
    /// The secret that the client asks with.
    pub device_code: String,
    /// What people type: `BCDF-GHJK`.
    pub user_code: String,
    pub verification_uri: String,
    /// The same with the user code in it.
    pub verification_uri_complete: String,
    /// Seconds between two questions.
    pub interval: u32,
    /// Seconds.
    pub expires_in: u32,
}

/// Asks whether a login is approved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceTokenRequest {
    pub device_code: String,
    /// `urn:ietf:params:oauth:grant-type:device_code`.
    #[serde(default)]
    pub grant_type: Option<String>,
}

/// The key of an approved login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceToken {
    /// The secret of an API key.
    pub access_token: String,
    /// `bearer`.
    pub token_type: String,
}

/// Why there is no key (yet): 400.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceError {
    /// Within, because clients look for it there.
    pub detail: DeviceErrorDetail,
}

/// An error of RFC 8628 §3.5.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeviceErrorDetail {
    /// `authorization_pending`, `slow_down`, `expired_token`, `access_denied`, `unsupported_grant_type`.
    pub error: String,
    pub error_description: String,
}

/// Approves or denies a login (Casemate only).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DecideLoginRequest {
    /// What the client shows, with or without the dash, any case.
    pub user_code: String,
    /// Whom the client gets a key of; absent: the caller. Another one needs an operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Slug of the workspace that the key is for; absent: the caller's. Another one needs an operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// Deny it instead.
    #[serde(default)]
    pub deny: bool,
}

/// A login that was approved or denied (Casemate only).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DecidedLogin {
    /// The client's name of itself; empty for a denied one.
    pub client: String,
    pub username: String,
    pub workspace: String,
    /// What the key may do.
    pub scopes: Vec<String>,
}
