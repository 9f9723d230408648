//! What a change would come to.

use casemate_core::{change::Effect, id::ComposeHash};
use serde::{Deserialize, Serialize};

use super::{EnvReport, HostPort};

/// `POST /cvms/{id}/preview`. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChangePreview {
    /// What a node has to be told: `nothing`, `record`, `next_start` or `restart`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub effect: Effect,
    /// Whether the guest would go down for it now.
    pub restart: bool,
    /// The configuration that it would be applied to: the present one with all changes that wait.
    pub before: PreviewedConfiguration,
    /// The configuration after it.
    pub after: PreviewedConfiguration,
    /// What happens to the names of variables; `null`: the change names none.
    #[serde(default)]
    pub env_report: Option<EnvReport>,
    /// Variables that the compose file uses then, that nobody gives and that have no default.
    #[serde(default)]
    pub unset_variables: Vec<String>,
}

/// A configuration, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PreviewedConfiguration {
    /// Hash of the document.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub compose_hash: ComposeHash,
    /// Docker Compose YAML.
    #[serde(default)]
    pub docker_compose_file: Option<String>,
    /// Shell script that runs before the containers start.
    #[serde(default)]
    pub pre_launch_script: Option<String>,
    /// Names of the variables that the sealed environment may set.
    pub allowed_envs: Vec<String>,
    /// Logs readable without a key.
    pub public_logs: bool,
    /// System information readable without a key.
    pub public_sysinfo: bool,
    /// TCB information readable without a key.
    pub public_tcbinfo: bool,
    /// Reachable through the gateway.
    pub gateway_enabled: bool,
    /// The guest waits for secure time before it goes on.
    pub secure_time: bool,
    /// Text that the guest reads.
    #[serde(default)]
    pub user_config: Option<String>,
    /// Instance type; `null`: custom.
    #[serde(default)]
    pub instance_type: Option<String>,
    /// Virtual CPUs.
    pub vcpu: u32,
    /// Memory in MB.
    pub memory: u32,
    /// Disk in GB.
    pub disk_size: u32,
    /// OS image.
    pub image: String,
    /// Host ports.
    pub ports: Vec<HostPort>,
    /// Shown in the public directory.
    pub listed: bool,
    /// Seconds a graceful shutdown may take.
    pub shutdown_timeout: u32,
    /// Whether a shutdown past its deadline is forced.
    pub allow_force_stop: bool,
}
