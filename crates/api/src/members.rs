//! Workspaces, their members, and invitations: `/workspaces`.

use serde::{Deserialize, Serialize};

/// A workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkspaceInfo {
    /// `wks_…`.
    pub id: String,
    /// For people.
    pub name: String,
    /// Name in paths.
    pub slug: Option<String>,
    pub tier: String,
    /// The caller's role in it: `viewer`, `member`, `admin`, `owner`.
    pub role: String,
    /// The key that asks belongs to it.
    pub is_default: bool,
    pub created_at: String,
    /// Always `false`.
    #[serde(default)]
    pub confidential_models_enabled: bool,
}

/// Asks whether a slug could be one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CheckSlugRequest {
    /// 1 to 50 characters.
    pub slug: String,
}

/// Whether a slug could be one. It may be taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CheckSlugReply {
    pub is_valid: bool,
    /// `invalid_format`.
    pub error_code: Option<String>,
    pub message: Option<String>,
}

/// A member of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MemberInfo {
    /// `usr_…`.
    pub user_id: String,
    pub username: String,
    pub email: Option<String>,
    /// `VIEWER`, `MEMBER`, `ADMIN`, `OWNER`.
    pub role: String,
    pub joined_at: String,
    /// Always `false`: owners are equal.
    pub is_creator: bool,
}

/// Gives a member another role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RoleRequest {
    /// `viewer`, `member`, `admin`, `owner`, any case.
    pub role: String,
}

/// Invites somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InvitationRequest {
    /// Whom; Casemate sends no mail.
    pub email: String,
    /// `viewer`, `member`, `admin`, any case.
    pub role: String,
}

/// An invitation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InvitationInfo {
    pub id: i64,
    /// `null` for a link.
    pub email: Option<String>,
    /// `VIEWER`, `MEMBER`, `ADMIN`.
    pub role: String,
    /// `PENDING`.
    pub status: String,
    /// The secret; empty but in the reply that makes it.
    pub token: String,
    pub inviter_name: String,
    pub inviter_email: String,
    pub created_at: String,
    pub expires_at: String,
}

/// A link that makes whoever has it a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InvitationLink {
    /// A page that says how to accept it.
    pub invitation_url: String,
    pub token: String,
    /// `MEMBER`.
    pub role: String,
    pub expires_at: String,
    /// To be sent along.
    pub invitation_message: String,
}

/// Accepts an invitation (Casemate only).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AcceptRequest {
    /// The secret of the invitation.
    pub token: String,
    /// Name of the user to make; without an API key, and only then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Address of that user; absent: that of the invitation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

/// An accepted invitation (Casemate only).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Accepted {
    pub message: String,
    pub workspace_slug: String,
    pub workspace_name: String,
    /// The secret of a new API key for the workspace.
    pub api_key: String,
}

/// Something that has no reply of its own was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Done {
    pub message: String,
}

/// How a user or workspace presents itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProfileInfo {
    pub display_name: Option<String>,
    /// Always `null`.
    pub avatar_url: Option<String>,
    pub description: Option<String>,
    /// Always `null`.
    pub custom_domain: Option<String>,
}

/// What is to be different in a profile. Absent or `null`: as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProfileRequest {
    /// 1 to 100 characters.
    #[serde(default)]
    pub display_name: Option<String>,
    /// At most 500 characters.
    #[serde(default)]
    pub description: Option<String>,
}
