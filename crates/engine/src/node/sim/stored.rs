//! How a [`VmConfig`] is written in the host's files. The fields stand twice on purpose: a new field
//! of `VmConfig` does not compile until it stands here too.

use std::sync::Arc;

use casemate_core::{
    cvm::{Gpus, PortMap},
    id::{AppId, ComposeHash, KmsId},
    instance::InstanceSeed,
    seal::SealedEnv,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::node::{Mark, VmConfig};

#[derive(Serialize, Deserialize)]
#[serde(remote = "VmConfig")]
struct Form {
    #[serde(with = "mark")]
    mark: Mark,
    app_id: AppId,
    #[serde(default)]
    kms: Option<KmsId>,
    compose: String,
    compose_hash: ComposeHash,
    image: String,
    vcpu: u32,
    memory_mb: u32,
    disk_gb: u32,
    ports: Vec<PortMap>,
    sealed_env: Option<SealedEnv>,
    // About a push, not about a VM.
    #[serde(skip)]
    env_is_new: bool,
    user_config: Option<String>,
    hugepages: bool,
    pin_numa: bool,
    gpus: Option<Gpus>,
    kms_urls: Vec<String>,
    gateway_urls: Vec<String>,
    #[serde(default)]
    gateway_domain: Option<String>,
    #[serde(default)]
    instance_seed: Option<InstanceSeed>,
}

pub(super) fn serialize<S: Serializer>(config: &Arc<VmConfig>, to: S) -> Result<S::Ok, S::Error> {
    Form::serialize(config, to)
}

pub(super) fn deserialize<'de, D>(from: D) -> Result<Arc<VmConfig>, D::Error>
where
    D: Deserializer<'de>,
{
    Form::deserialize(from).map(Arc::new)
}

/// A mark as the VM's name.
mod mark {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::Mark;

    pub(super) fn serialize<S: Serializer>(mark: &Mark, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(mark)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Mark, D::Error> {
        let name = String::deserialize(from)?;
        Mark::parse(&name).ok_or_else(|| D::Error::custom("a VM name without a mark"))
    }
}
