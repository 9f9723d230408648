//! The provision request under all its spellings.

use casemate_core::id::{AppId, NodeId};
use serde::Deserialize;

use super::{GpuRequest, PortMapping, ProvisionRequest};
use crate::{
    body::object,
    compose_file::{ComposeFile, StorageFs},
    kms_type::KmsType,
    num,
    patch::Patch,
    spelling::{Contradiction, one},
};

/// Every field that some client or document knows, as it is spelt there.
#[derive(Deserialize)]
pub(super) struct RawProvisionRequest {
    name: String,
    #[serde(default, deserialize_with = "object::opt")]
    compose_file: Option<ComposeFile>,
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
    #[serde(default, deserialize_with = "num::opt_bool")]
    prefer_dev: Option<bool>,
    #[serde(default, deserialize_with = "num::opt_node_id")]
    teepod_id: Option<NodeId>,
    #[serde(default, rename = "TeepodID", deserialize_with = "num::opt_node_id")]
    go_teepod_id: Option<NodeId>,
    #[serde(default, deserialize_with = "num::opt_node_id")]
    node_id: Option<NodeId>,
    #[serde(default, deserialize_with = "num::opt_name")]
    region: Option<String>,
    #[serde(default, deserialize_with = "num::opt_bool")]
    listed: Option<bool>,
    #[serde(default, deserialize_with = "num::opt_word")]
    kms: Option<KmsType>,
    #[serde(default, deserialize_with = "num::opt_word")]
    kms_type: Option<KmsType>,
    #[serde(default, rename = "KMSType", deserialize_with = "num::opt_word")]
    go_kms_type: Option<KmsType>,
    #[serde(default, deserialize_with = "num::opt_name")]
    kms_id: Option<String>,
    #[serde(default, deserialize_with = "num::opt_name")]
    kms_contract: Option<String>,
    #[serde(default, deserialize_with = "num::opt_name")]
    kms_contract_id: Option<String>,
    #[serde(default, deserialize_with = "num::opt_int")]
    nonce: Option<u64>,
    #[serde(default, deserialize_with = "num::opt_app_id")]
    app_id: Option<AppId>,
    #[serde(default, deserialize_with = "num::opt_app_id")]
    custom_app_id: Option<AppId>,
    #[serde(default)]
    env_keys: Option<Vec<String>>,
    #[serde(default, deserialize_with = "num::opt_name")]
    encrypted_env: Option<String>,
    #[serde(default)]
    user_config: Option<String>,
    #[serde(default)]
    ssh_authorized_keys: Option<Vec<String>>,
    #[serde(default, rename = "SSHAuthorizedKeys")]
    go_ssh_authorized_keys: Option<Vec<String>>,
    #[serde(default, deserialize_with = "object::opt_list")]
    ports: Option<Vec<PortMapping>>,
    #[serde(default, deserialize_with = "object::opt")]
    gpus: Option<GpuRequest>,
    #[serde(default, deserialize_with = "num::opt_bool")]
    hugepages: Option<bool>,
    #[serde(default, deserialize_with = "num::opt_bool")]
    pin_numa: Option<bool>,
    #[serde(default)]
    kms_urls: Option<Vec<String>>,
    #[serde(default)]
    gateway_urls: Option<Vec<String>>,
    #[serde(default, deserialize_with = "num::opt_name")]
    experimental_vpc_server_app_id: Option<String>,
    #[serde(default, deserialize_with = "num::opt_bool")]
    secure_time: Option<bool>,
    #[serde(default, rename = "SecureTime", deserialize_with = "num::opt_bool")]
    go_secure_time: Option<bool>,
    #[serde(default)]
    storage_fs: Patch<StorageFs>,
    #[serde(default, deserialize_with = "num::opt_name")]
    key_provider_mode: Option<String>,
    #[serde(default, deserialize_with = "num::opt_bool")]
    skip_gateway: Option<bool>,
    #[serde(default, deserialize_with = "num::opt_bool")]
    encrypted: Option<bool>,
}

impl TryFrom<RawProvisionRequest> for ProvisionRequest {
    type Error = Contradiction;

    fn try_from(raw: RawProvisionRequest) -> Result<Self, Contradiction> {
        Ok(Self {
            name: raw.name,
            compose_file: raw.compose_file,
            instance_type: raw.instance_type,
            vcpu: raw.vcpu,
            memory: raw.memory,
            disk_size: raw.disk_size,
            image: one([("image", raw.image), ("os_image_name", raw.os_image_name)])?,
            prefer_dev: raw.prefer_dev,
            node_id: one([
                ("teepod_id", raw.teepod_id),
                ("node_id", raw.node_id),
                ("TeepodID", raw.go_teepod_id),
            ])?,
            region: raw.region,
            listed: raw.listed,
            kms: one([("kms", raw.kms), ("kms_type", raw.kms_type), ("KMSType", raw.go_kms_type)])?,
            kms_id: raw.kms_id,
            kms_contract: raw.kms_contract,
            kms_contract_id: raw.kms_contract_id,
            nonce: raw.nonce,
            app_id: one([("app_id", raw.app_id), ("custom_app_id", raw.custom_app_id)])?,
            env_keys: raw.env_keys,
            encrypted_env: raw.encrypted_env,
            user_config: raw.user_config,
            ssh_authorized_keys: one([
                ("ssh_authorized_keys", raw.ssh_authorized_keys),
                ("SSHAuthorizedKeys", raw.go_ssh_authorized_keys),
            ])?,
            ports: raw.ports,
            gpus: raw.gpus,
            hugepages: raw.hugepages,
            pin_numa: raw.pin_numa,
            kms_urls: raw.kms_urls,
            gateway_urls: raw.gateway_urls,
            experimental_vpc_server_app_id: raw.experimental_vpc_server_app_id,
            secure_time: one([
                ("secure_time", raw.secure_time),
                ("SecureTime", raw.go_secure_time),
            ])?,
            storage_fs: raw.storage_fs,
            key_provider_mode: raw.key_provider_mode,
            skip_gateway: raw.skip_gateway,
            encrypted: raw.encrypted,
        })
    }
}
