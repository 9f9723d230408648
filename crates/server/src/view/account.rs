//! Who asks: user, workspace, money, limits.

use casemate_api::reply::UserRole;
use casemate_core::id::WorkspaceId;

/// The user behind an API key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserView {
    /// Login name.
    pub username: String,
    /// E-mail address; may be empty.
    pub email: String,
    /// Role on this installation.
    pub role: UserRole,
    /// URL of a picture; may be empty.
    pub avatar: String,
    /// The address was confirmed.
    pub email_verified: bool,
    /// Second factor switched on.
    pub totp_enabled: bool,
    /// Backup codes made.
    pub has_backup_codes: bool,
    /// Can log in with a password.
    pub has_password: bool,
}

/// The workspace that an API key belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspaceView {
    /// Integer id.
    pub id: WorkspaceId,
    /// Name for people.
    pub name: String,
    /// Name in paths; the CLI's `nodes list` fails without one.
    pub slug: Option<String>,
    /// `free`, `pro`, `enterprise`: free text to clients.
    pub tier: String,
    /// The user's role in it: `owner`, `admin`, `member`.
    pub role: String,
    /// URL of a picture.
    pub avatar: Option<String>,
    /// The one a new key belongs to.
    pub is_default: bool,
    /// When it was made.
    pub created_at: String,
}

/// Money of a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreditsView {
    /// What is left.
    pub balance: String,
    /// What of it was given.
    pub granted_balance: String,
    /// Billed afterwards.
    pub is_post_paid: bool,
    /// What is owed.
    pub outstanding_amount: Option<String>,
}

impl CreditsView {
    /// For installations that bill nothing.
    pub fn none() -> Self {
        Self {
            balance: "0".to_owned(),
            granted_balance: "0".to_owned(),
            is_post_paid: false,
            outstanding_amount: None,
        }
    }
}

/// What a workspace may use in all; `None` is without limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CapacityView {
    /// CVMs.
    pub max_instances: Option<i64>,
    /// Virtual CPUs.
    pub max_vcpu: Option<i64>,
    /// Memory in MB.
    pub max_memory_mb: Option<i64>,
    /// Disk in GB.
    pub max_disk_gb: Option<i64>,
}
