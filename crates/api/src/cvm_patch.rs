//! `PATCH /cvms/{id}`: everything of a CVM that can change, all of it or none of it.

use casemate_core::id::ComposeHash;
use serde::{Deserialize, Serialize};

use crate::{patch::Patch, provision::GpuRequest};

mod raw;

/// What should be different. What is left out stays as it is.
///
/// A [`Patch`] field can be taken away again: its `null` says so. The others always have a value, so
/// their `null` is the same as left out. `image` and `os_image_name` are read as one field, and refused
/// when they contradict each other.
///
/// `compose_hash` with `transaction_hash`, as Go sends them, confirms an earlier patch; other clients
/// say it in the headers `X-Compose-Hash` and `X-Transaction-Hash`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(try_from = "raw::RawCvmPatch")]
pub struct CvmPatch {
    /// Docker Compose YAML as it is; with the pre-launch script at most 200 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docker_compose_file: Option<String>,
    /// Shell script that runs before the containers start; `null` and `""` take it away.
    #[serde(skip_serializing_if = "Patch::is_absent")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub pre_launch_script: Patch<String>,
    /// Names of the variables that the sealed environment may set; `null` is none.
    #[serde(skip_serializing_if = "Patch::is_absent")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<String>>))]
    pub allowed_envs: Patch<Vec<String>>,
    /// Logs readable without a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_logs: Option<bool>,
    /// System information readable without a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_sysinfo: Option<bool>,
    /// TCB information readable without a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_tcbinfo: Option<bool>,
    /// Reachable through the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_enabled: Option<bool>,
    /// The guest waits for secure time before it goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secure_time: Option<bool>,
    /// Sealed environment as hex, which replaces the present one whole; `null` takes it away. Not
    /// checked here.
    #[serde(skip_serializing_if = "Patch::is_absent")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub encrypted_env: Patch<String>,
    /// Names of the sealed variables (Casemate only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env_keys: Option<Vec<String>>,
    /// Text that the guest reads; `null` takes it away.
    #[serde(skip_serializing_if = "Patch::is_absent")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub user_config: Patch<String>,
    /// GPUs, by slot or by number; `null` takes them away.
    #[serde(skip_serializing_if = "Patch::is_absent")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<GpuRequest>))]
    pub gpus: Patch<GpuRequest>,
    /// Name of an instance type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
    /// Virtual CPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vcpu: Option<u32>,
    /// Memory in MB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u32>,
    /// Disk in GB; it can only grow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_size: Option<u32>,
    /// OS image by name or slug.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Seconds that a graceful shutdown may take, 10–1200; `null` is the default.
    #[serde(skip_serializing_if = "Patch::is_absent")]
    #[cfg_attr(
        feature = "openapi",
        schema(value_type = Option<u32>, minimum = 10, maximum = 1200)
    )]
    pub shutdown_timeout: Patch<u32>,
    /// Whether a shutdown past its deadline is forced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_force_stop: Option<bool>,
    /// Shown in the public directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listed: Option<bool>,
    /// Whether the CVM may be restarted for this; a change that needs it is refused for `false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_restart: Option<bool>,
    /// Hash of the patch to confirm, with or without `0x`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub compose_hash: Option<ComposeHash>,
    /// Transaction that registered the hash, or `already-registered`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction_hash: Option<String>,
}
