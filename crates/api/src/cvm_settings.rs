//! The routes that change one thing of a CVM. On all of them `null` means: leave it alone. The two
//! exceptions have one field each, and its `null` is the request: [`ScheduledDeleteRequest`] and
//! [`UserConfigRequest`].
//!
//! `docker-compose` and `pre-launch-script` are not here: their bodies are the text itself.

use casemate_core::{id::ComposeHash, time::Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    num,
    patch::{Patch, read},
    spelling::{Contradiction, one},
};

/// `PATCH /cvms/{id}/resources`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResourcesRequest {
    /// Name of an instance type.
    #[serde(default, deserialize_with = "num::opt_name", skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
    /// Virtual CPUs.
    #[serde(default, deserialize_with = "num::opt_int", skip_serializing_if = "Option::is_none")]
    pub vcpu: Option<u32>,
    /// Memory in MB.
    #[serde(default, deserialize_with = "num::opt_int", skip_serializing_if = "Option::is_none")]
    pub memory: Option<u32>,
    /// Disk in GB; it can only grow.
    #[serde(default, deserialize_with = "num::opt_int", skip_serializing_if = "Option::is_none")]
    pub disk_size: Option<u32>,
    /// Whether the CVM may be restarted for this; the CLI sends 0 or 1.
    #[serde(default, deserialize_with = "num::opt_bool", skip_serializing_if = "Option::is_none")]
    pub allow_restart: Option<bool>,
}

/// `PATCH /cvms/{id}/visibility`. Documented with `listed`, sent with the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VisibilityRequest {
    /// System information readable without a key.
    #[serde(default, deserialize_with = "num::opt_bool", skip_serializing_if = "Option::is_none")]
    pub public_sysinfo: Option<bool>,
    /// Logs readable without a key.
    #[serde(default, deserialize_with = "num::opt_bool", skip_serializing_if = "Option::is_none")]
    pub public_logs: Option<bool>,
    /// TCB information readable without a key.
    #[serde(default, deserialize_with = "num::opt_bool", skip_serializing_if = "Option::is_none")]
    pub public_tcbinfo: Option<bool>,
    /// Shown in the public directory.
    #[serde(default, deserialize_with = "num::opt_bool", skip_serializing_if = "Option::is_none")]
    pub listed: Option<bool>,
}

/// `PATCH /cvms/{id}/listed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ListedRequest {
    /// Shown in the public directory.
    #[serde(default, deserialize_with = "num::opt_bool", skip_serializing_if = "Option::is_none")]
    pub listed: Option<bool>,
}

/// `PATCH /cvms/{id}/name`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NameRequest {
    /// The new name, 5–63 characters; not checked here.
    pub name: String,
}

/// `PATCH /cvms/{id}/os-image`. Documented with `image`, sent with `os_image_name`: read under both,
/// and refused when they contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(try_from = "RawOsImageRequest")]
pub struct OsImageRequest {
    /// OS image by name or slug.
    pub os_image_name: String,
}

#[derive(Deserialize)]
struct RawOsImageRequest {
    #[serde(default, deserialize_with = "num::opt_name")]
    os_image_name: Option<String>,
    #[serde(default, deserialize_with = "num::opt_name")]
    image: Option<String>,
}

#[derive(Debug, thiserror::Error)]
enum WrongOsImageRequest {
    #[error(transparent)]
    Contradiction(#[from] Contradiction),
    #[error("missing field `os_image_name`")]
    Missing,
}

impl TryFrom<RawOsImageRequest> for OsImageRequest {
    type Error = WrongOsImageRequest;

    fn try_from(raw: RawOsImageRequest) -> Result<Self, WrongOsImageRequest> {
        let image = one([("os_image_name", raw.os_image_name), ("image", raw.image)])?;
        Ok(Self { os_image_name: image.ok_or(WrongOsImageRequest::Missing)? })
    }
}

/// `PATCH /cvms/{id}/envs`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnvsRequest {
    /// Sealed environment as hex, which replaces the present one whole. Not checked here.
    pub encrypted_env: String,
    /// Names of the sealed variables; they become the allowed ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_keys: Option<Vec<String>>,
    /// On chain, the second time: the hash that was registered, with or without `0x`.
    #[serde(
        default,
        deserialize_with = "num::opt_compose_hash",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub compose_hash: Option<ComposeHash>,
    /// Transaction that registered it, or `already-registered`.
    #[serde(default, deserialize_with = "num::opt_name", skip_serializing_if = "Option::is_none")]
    pub transaction_hash: Option<String>,
}

/// `PATCH /cvms/{id}/user_config`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserConfigRequest {
    /// Text that the guest reads; `null` takes it away. Left out, nothing changes.
    #[serde(default, skip_serializing_if = "Patch::is_absent")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub user_config: Patch<String>,
}

/// `PATCH /cvms/{id}/scheduled-delete`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ScheduledDeleteRequest {
    /// When the CVM is deleted, RFC 3339; `null` is never. Left out, nothing changes.
    #[serde(
        default,
        deserialize_with = "read::time",
        serialize_with = "read::write_time",
        skip_serializing_if = "Patch::is_absent"
    )]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub scheduled_delete_at: Patch<Timestamp>,
}
