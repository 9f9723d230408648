//! What a CVM's guest reads as its user config.

use serde::{Deserialize, Serialize};

/// `GET /cvms/{id}/user_config`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserConfig {
    /// Name of the host in the guest.
    pub hostname: Option<String>,
    /// Who may log in, one line of an `authorized_keys` file each.
    pub ssh_authorized_keys: Vec<String>,
    /// Domain the guest hands to its apps.
    pub default_gateway_domain: Option<String>,
    /// The whole text as the guest reads it; absent where there is none (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_config: Option<String>,
}
