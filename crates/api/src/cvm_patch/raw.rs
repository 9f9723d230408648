//! The patch under all its spellings.

use casemate_core::id::ComposeHash;
use serde::Deserialize;

use super::CvmPatch;
use crate::{
    num,
    patch::{Patch, read},
    provision::GpuRequest,
    spelling::{Contradiction, one},
};

/// Every field that some client or document knows, as it is spelt there.
#[derive(Deserialize)]
pub(super) struct RawCvmPatch {
    #[serde(default)]
    docker_compose_file: Option<String>,
    #[serde(default)]
    pre_launch_script: Patch<String>,
    #[serde(default)]
    allowed_envs: Patch<Vec<String>>,
    #[serde(default, deserialize_with = "num::opt_bool")]
    public_logs: Option<bool>,
    #[serde(default, deserialize_with = "num::opt_bool")]
    public_sysinfo: Option<bool>,
    #[serde(default, deserialize_with = "num::opt_bool")]
    public_tcbinfo: Option<bool>,
    #[serde(default, deserialize_with = "num::opt_bool")]
    gateway_enabled: Option<bool>,
    #[serde(default, deserialize_with = "num::opt_bool")]
    secure_time: Option<bool>,
    #[serde(default)]
    encrypted_env: Patch<String>,
    #[serde(default)]
    env_keys: Option<Vec<String>>,
    #[serde(default)]
    user_config: Patch<String>,
    #[serde(default, deserialize_with = "read::object")]
    gpus: Patch<GpuRequest>,
    #[serde(default, deserialize_with = "num::opt_name")]
    instance_type: Option<String>,
    #[serde(default, deserialize_with = "num::opt_int")]
    vcpu: Option<u32>,
    #[serde(default, deserialize_with = "num::opt_int")]
    memory: Option<u32>,
    #[serde(default, deserialize_with = "num::opt_int")]
    disk_size: Option<u32>,
    #[serde(default, deserialize_with = "num::opt_name")]
    image: Option<String>,
    #[serde(default, deserialize_with = "num::opt_name")]
    os_image_name: Option<String>,
    #[serde(default, deserialize_with = "read::between::<10, 1200, _>")]
    shutdown_timeout: Patch<u32>,
    #[serde(default, deserialize_with = "num::opt_bool")]
    allow_force_stop: Option<bool>,
    #[serde(default, deserialize_with = "num::opt_bool")]
    listed: Option<bool>,
    #[serde(default, deserialize_with = "num::opt_bool")]
    allow_restart: Option<bool>,
    #[serde(default, deserialize_with = "num::opt_compose_hash")]
    compose_hash: Option<ComposeHash>,
    #[serde(default, deserialize_with = "num::opt_name")]
    transaction_hash: Option<String>,
}

impl TryFrom<RawCvmPatch> for CvmPatch {
    type Error = Contradiction;

    fn try_from(raw: RawCvmPatch) -> Result<Self, Contradiction> {
        Ok(Self {
            docker_compose_file: raw.docker_compose_file,
            pre_launch_script: raw.pre_launch_script,
            allowed_envs: raw.allowed_envs,
            public_logs: raw.public_logs,
            public_sysinfo: raw.public_sysinfo,
            public_tcbinfo: raw.public_tcbinfo,
            gateway_enabled: raw.gateway_enabled,
            secure_time: raw.secure_time,
            encrypted_env: raw.encrypted_env,
            env_keys: raw.env_keys,
            user_config: raw.user_config,
            gpus: raw.gpus,
            instance_type: raw.instance_type,
            vcpu: raw.vcpu,
            memory: raw.memory,
            disk_size: raw.disk_size,
            image: one([("image", raw.image), ("os_image_name", raw.os_image_name)])?,
            shutdown_timeout: raw.shutdown_timeout,
            allow_force_stop: raw.allow_force_stop,
            listed: raw.listed,
            allow_restart: raw.allow_restart,
            compose_hash: raw.compose_hash,
            transaction_hash: raw.transaction_hash,
        })
    }
}
