//! `GET /auth/me`, and workspaces.

use serde::{Deserialize, Serialize};

use super::WorkspaceMark;
use crate::num;

/// A user's role on this installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum UserRole {
    /// Runs the installation.
    Admin,
    /// Everybody else.
    User,
}

/// `GET /auth/me`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum AuthMe {
    /// From 2026-01-21 on.
    Nested(AuthMeNested),
    /// 2025-10-28.
    Flat(AuthMeFlat),
}

/// User, workspace and money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuthMeNested {
    /// Whose key it is.
    pub user: User,
    /// Where it works.
    pub workspace: Workspace,
    /// What is left.
    pub credits: Credits,
}

/// The user behind a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct User {
    /// Login name.
    pub username: String,
    /// E-mail address.
    pub email: String,
    /// `admin` or `user`.
    pub role: UserRole,
    /// Picture; may be empty, never `null`.
    pub avatar: String,
    /// The address was confirmed.
    pub email_verified: bool,
    /// Second factor switched on.
    pub totp_enabled: bool,
    /// Backup codes made.
    pub has_backup_codes: bool,
    /// Can log in with a password.
    pub flag_has_password: bool,
}

/// The workspace of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Workspace {
    /// `wks_…`.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Name in paths.
    pub slug: Option<String>,
    /// Tier.
    pub tier: String,
    /// The user's role in it.
    pub role: String,
    /// Picture.
    #[serde(default)]
    pub avatar: Option<String>,
}

/// Money of a workspace. Amounts are text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Credits {
    /// What is left.
    pub balance: String,
    /// What of it was given.
    pub granted_balance: String,
    /// Billed afterwards.
    pub is_post_paid: bool,
    /// What is owed.
    pub outstanding_amount: Option<String>,
}

/// `GET /auth/me` of 2025-10-28. Amounts are numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuthMeFlat {
    /// Login name.
    pub username: String,
    /// E-mail address.
    pub email: String,
    /// What is left.
    #[serde(serialize_with = "num::shortest")]
    pub credits: f64,
    /// What of it was given.
    #[serde(serialize_with = "num::shortest")]
    pub granted_credits: f64,
    /// Picture.
    pub avatar: String,
    /// Name of the workspace.
    pub team_name: String,
    /// Tier of the workspace.
    pub team_tier: String,
}

/// A workspace, as far as a CVM shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkspaceRef {
    /// `workspace`.
    #[serde(default)]
    pub object_type: WorkspaceMark,
    /// `wks_…`.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Name in paths.
    #[serde(default)]
    pub slug: Option<String>,
    /// Picture.
    #[serde(default)]
    pub avatar_url: Option<String>,
}
