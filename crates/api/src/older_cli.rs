//! Bodies of the routes that only older command-line clients call.

use serde::{Deserialize, Serialize};

use crate::{body::object, compose_file::ComposeFile, num, patch::Patch, provision::PortMapping};

/// `PUT /cvms/{id}/compose`: the document of a running CVM, all at once.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ComposeUpgradeRequest {
    /// The document. Its `name`, `manifest_version`, `version`, `runner` and `features` are filled in by the client
    /// whatever the CVM has, and stay as they are.
    #[serde(deserialize_with = "object::required")]
    pub compose_manifest: ComposeFile,
    /// Sealed environment as hex. Without it the environment and the names of its variables stay.
    #[serde(default, deserialize_with = "num::opt_name", skip_serializing_if = "Option::is_none")]
    pub encrypted_env: Option<String>,
    /// Names of the sealed variables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_keys: Option<Vec<String>>,
    /// Text that the guest reads.
    #[serde(default, skip_serializing_if = "Patch::is_absent")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub user_config: Patch<String>,
    /// Whether the CVM may be restarted for this; `true` if left out.
    #[serde(default, deserialize_with = "num::opt_bool", skip_serializing_if = "Option::is_none")]
    pub allow_restart: Option<bool>,
    /// Whether `ports` replace the host ports; only `false` is served.
    #[serde(default, deserialize_with = "num::opt_bool", skip_serializing_if = "Option::is_none")]
    pub update_ports: Option<bool>,
    /// Read with `update_ports` only.
    #[serde(
        default,
        deserialize_with = "object::opt_list",
        skip_serializing_if = "Option::is_none"
    )]
    pub ports: Option<Vec<PortMapping>>,
}

/// The answer to `PUT /cvms/{id}/compose`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ComposeUpgraded {
    /// For people; the client prints it.
    pub detail: String,
}

/// `GET /cvms/{id}/pre-launch-script/upgrade-status`.
///
/// Casemate issues no pre-launch script of its own: the script of a CVM is its owner's, part of the measured document.
/// So there is nothing to upgrade to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ScriptUpgradeStatus {
    /// SHA-256 of the CVM's script, 64 hex digits; `null` without one.
    pub current_hash: Option<String>,
    /// SHA-256 of the newest official script; empty, because there is none.
    pub latest_official_hash: String,
    /// Whether the CVM's script is an official one; `false`.
    pub is_official: bool,
    /// Whether it is the newest official one; `false`.
    pub is_latest: bool,
    /// Whether there is one to upgrade to; `false`.
    pub can_upgrade: bool,
}
