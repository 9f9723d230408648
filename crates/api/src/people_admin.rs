//! Users, workspaces and keys as the operator of the installation sees them: `/api/v1/admin`. Casemate only.

use serde::{Deserialize, Serialize};

use crate::keys::ApiKey;

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ManagedUser {
    /// `usr_…`.
    pub id: String,
    pub username: String,
    pub email: String,
    /// A program, not a person.
    pub is_service: bool,
    /// Operates the installation.
    pub is_operator: bool,
    pub created_at: String,
    /// When it was disabled; its keys are refused since.
    pub disabled_at: Option<String>,
}

/// A part of all users, by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ManagedUsers {
    pub users: Vec<ManagedUser>,
    /// `after` of the next request; `null` at the end.
    pub next: Option<i64>,
}

/// Adds a user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AddUserRequest {
    /// Unique name: 1 to 40 characters of `a-z`, `0-9` and `-`.
    pub username: String,
    /// May be empty.
    #[serde(default)]
    pub email: String,
    #[serde(default)]
    pub is_service: bool,
    #[serde(default)]
    pub is_operator: bool,
}

/// Changes a user. Absent: as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ChangeUserRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_operator: Option<bool>,
    /// The keys of a disabled user are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_disabled: Option<bool>,
}

/// A workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ManagedWorkspace {
    /// `wks_…`.
    pub id: String,
    pub slug: String,
    pub name: String,
    pub created_at: String,
}

/// A part of all workspaces, by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ManagedWorkspaces {
    pub workspaces: Vec<ManagedWorkspace>,
    /// `after` of the next request; `null` at the end.
    pub next: Option<i64>,
}

/// Adds a workspace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AddWorkspaceRequest {
    /// Unique name in paths: 1 to 40 characters of `a-z`, `0-9` and `-`.
    pub slug: String,
    /// For people; empty: the slug.
    #[serde(default)]
    pub name: String,
    /// Name of the user who owns it.
    pub owner: String,
}

/// A user's role in a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Membership {
    pub workspace: String,
    pub username: String,
    pub role: String,
}

/// Keys of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ManagedKeys {
    pub keys: Vec<ApiKey>,
}

/// Makes a key for somebody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AddKeyRequest {
    /// A member of the workspace.
    pub username: String,
    /// Slug of the workspace.
    pub workspace: String,
    /// For people: 1 to 100 characters.
    pub name: String,
    /// Absent: all that the role of the user allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
    /// 1 to 365; absent: it never expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_days: Option<u32>,
}
