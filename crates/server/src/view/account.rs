//! User, workspace, credits and limits of the caller.

use casemate_api::reply::UserRole;
use casemate_core::id::WorkspaceId;

/// The user of an API key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserView {
    pub username: String,
    /// May be empty.
    pub email: String,
    /// Role on this installation.
    pub role: UserRole,
    /// URL of a picture; may be empty.
    pub avatar: String,
    /// Whether the address was confirmed.
    pub email_verified: bool,
    /// Whether a second factor is enabled.
    pub totp_enabled: bool,
    pub has_backup_codes: bool,
    /// Whether the user can log in with a password.
    pub has_password: bool,
}

/// The workspace of an API key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspaceView {
    pub id: WorkspaceId,
    pub name: String,
    /// Part of URLs; the CLI's `nodes list` fails without one.
    pub slug: Option<String>,
    /// `free`, `pro`, `enterprise`; not interpreted by clients.
    pub tier: String,
    /// The user's role in it: `owner`, `admin`, `member`.
    pub role: String,
    /// URL of a picture.
    pub avatar: Option<String>,
    /// Whether new keys belong to it.
    pub is_default: bool,
    pub created_at: String,
}

/// Credits of a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreditsView {
    /// Remaining credits.
    pub balance: String,
    /// The granted part of the balance.
    pub granted_balance: String,
    /// Whether it is billed afterwards.
    pub is_post_paid: bool,
    pub outstanding_amount: Option<String>,
}

impl CreditsView {
    /// For installations without billing.
    pub fn none() -> Self {
        Self {
            balance: "0".to_owned(),
            granted_balance: "0".to_owned(),
            is_post_paid: false,
            outstanding_amount: None,
        }
    }
}

/// Limits of a workspace; `None`: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CapacityView {
    pub max_instances: Option<i64>,
    pub max_vcpu: Option<i64>,
    pub max_memory_mb: Option<i64>,
    pub max_disk_gb: Option<i64>,
}
