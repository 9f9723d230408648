//! `compose_file`: the app-compose document as clients propose it, at provision and for an update.
//!
//! Casemate normalises it before it is hashed; nothing here is the guest's document yet.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{num, patch::Patch};

/// The compose file of `POST /cvms/provision`, and the body of `POST /cvms/{id}/compose_file/provision`.
///
/// Everything may be left out or `null`; the defaults below are the reference's and are filled in by
/// the server. The sources are the reference's `AppComposeV2` and the Go SDK's `ComposeFile`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ComposeFile {
    /// Name inside the document; SDKs send `""`, which means the CVM's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Docker Compose YAML as it is; with the pre-launch script at most 200 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docker_compose_file: Option<String>,
    /// Shell script that runs before the containers start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_launch_script: Option<String>,
    /// Shell script that runs earlier still, before the disk is mounted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_script: Option<String>,
    /// Script of the runner `bash`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bash_script: Option<String>,
    /// Names of the variables that the sealed environment may set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_envs: Option<Vec<String>>,
    /// Feature words of the document, `["kms", "tproxy-net"]` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<Vec<String>>,
    /// Keys from a KMS; `true` if left out.
    #[serde(default, deserialize_with = "num::opt_bool", skip_serializing_if = "Option::is_none")]
    pub kms_enabled: Option<bool>,
    /// Reachable through the gateway; `true` if left out, together with `tproxy_enabled`.
    #[serde(default, deserialize_with = "num::opt_bool", skip_serializing_if = "Option::is_none")]
    pub gateway_enabled: Option<bool>,
    /// Older name of `gateway_enabled`.
    #[serde(default, deserialize_with = "num::opt_bool", skip_serializing_if = "Option::is_none")]
    pub tproxy_enabled: Option<bool>,
    /// Keys from a key provider on the host instead of a KMS; `false` if left out.
    #[serde(default, deserialize_with = "num::opt_bool", skip_serializing_if = "Option::is_none")]
    pub local_key_provider_enabled: Option<bool>,
    /// Which key provider: `none`, `kms`, `local`, `tpm` (newest Go).
    #[serde(default, deserialize_with = "num::opt_name", skip_serializing_if = "Option::is_none")]
    pub key_provider: Option<String>,
    /// No instance id, so no disk of its own; `false` if left out.
    #[serde(default, deserialize_with = "num::opt_bool", skip_serializing_if = "Option::is_none")]
    pub no_instance_id: Option<bool>,
    /// Logs readable without a key; `true` if left out.
    #[serde(default, deserialize_with = "num::opt_bool", skip_serializing_if = "Option::is_none")]
    pub public_logs: Option<bool>,
    /// System information readable without a key; `true` if left out.
    #[serde(default, deserialize_with = "num::opt_bool", skip_serializing_if = "Option::is_none")]
    pub public_sysinfo: Option<bool>,
    /// TCB information readable without a key; `true` if left out.
    #[serde(default, deserialize_with = "num::opt_bool", skip_serializing_if = "Option::is_none")]
    pub public_tcbinfo: Option<bool>,
    /// `docker-compose` (if left out) or `bash`.
    #[serde(default, deserialize_with = "num::opt_name", skip_serializing_if = "Option::is_none")]
    pub runner: Option<String>,
    /// Version of the document, 2 if left out; a number, or text of digits.
    #[serde(
        default,
        deserialize_with = "num::opt_int_or_digits",
        skip_serializing_if = "Option::is_none"
    )]
    pub manifest_version: Option<u32>,
    /// Any text; makes the hash another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
    /// The guest waits for secure time before it goes on; `false` if left out.
    #[serde(default, deserialize_with = "num::opt_bool", skip_serializing_if = "Option::is_none")]
    pub secure_time: Option<bool>,
    /// File system of the data disk: left out means `zfs`, `null` none named.
    #[serde(default, skip_serializing_if = "Patch::is_absent")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<StorageFs>))]
    pub storage_fs: Patch<StorageFs>,
    /// Domain of the gateway that the guest should know.
    #[serde(default, deserialize_with = "num::opt_name", skip_serializing_if = "Option::is_none")]
    pub default_gateway_domain: Option<String>,
    /// Sealed environment as lower-case hex; Go sends it here.
    #[serde(default, deserialize_with = "num::opt_name", skip_serializing_if = "Option::is_none")]
    pub encrypted_env: Option<String>,
    /// For an update: whether `allowed_envs` are replaced as well; `false` if left out.
    #[serde(default, deserialize_with = "num::opt_bool", skip_serializing_if = "Option::is_none")]
    pub update_env_vars: Option<bool>,
}

impl ComposeFile {
    /// Whether the gateway is asked for, under either name; `None` if neither is given.
    pub const fn gateway(&self) -> Option<bool> {
        match self.gateway_enabled {
            Some(enabled) => Some(enabled),
            None => self.tproxy_enabled,
        }
    }
}

/// File system of the data disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum StorageFs {
    /// ext4.
    Ext4,
    /// ZFS.
    Zfs,
}

/// The word is no file system of the data disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Input should be 'ext4' or 'zfs'")]
pub struct UnknownStorageFs;

impl StorageFs {
    /// The word in the document and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Zfs => "zfs",
        }
    }
}

impl FromStr for StorageFs {
    type Err = UnknownStorageFs;
    fn from_str(text: &str) -> Result<Self, UnknownStorageFs> {
        match text.to_ascii_lowercase().as_str() {
            "ext4" => Ok(Self::Ext4),
            "zfs" => Ok(Self::Zfs),
            _ => Err(UnknownStorageFs),
        }
    }
}

impl<'de> Deserialize<'de> for StorageFs {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        num::opt_word(deserializer)?
            .ok_or_else(|| serde::de::Error::custom(format_args!("enum|{UnknownStorageFs}")))
    }
}
