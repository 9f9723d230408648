//! Messages of dstack-vmm. Names and units are those of its proto (`vmm_rpc.proto`, `guest_api.proto`);
//! bytes are hex. In answers every field may be absent: builds differ.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One VM.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Id {
    pub id: String,
}

/// No arguments.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Nothing {}

/// `google.protobuf.Empty`: the literal `null`, or `{}`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ignored;

impl<'de> Deserialize<'de> for Ignored {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct VersionResponse {
    pub version: String,
    /// Hash of the commit, or `unknown`.
    pub rev: String,
}

impl Default for VersionResponse {
    fn default() -> Self {
        Self { version: "unknown".to_owned(), rev: "unknown".to_owned() }
    }
}

/// `VmConfiguration`, for requests. `None` is not sent.
#[derive(Debug, Clone, Serialize)]
pub(super) struct NewVm<'a> {
    pub name: String,
    pub image: &'a str,
    pub compose_file: &'a str,
    pub vcpu: u32,
    /// MB.
    pub memory: u32,
    /// GB.
    pub disk_size: u32,
    pub ports: Vec<Port>,
    pub encrypted_env: String,
    pub app_id: String,
    pub user_config: &'a str,
    pub hugepages: bool,
    pub pin_numa: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpus: Option<GpuConfig>,
    pub kms_urls: &'a [String],
    pub gateway_urls: &'a [String],
    pub stopped: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_tee: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub simulated_tee: Option<&'static str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<&'static str, String>,
}

/// `UpdateVmRequest`. What is absent stays as it is; so does an empty document, environment or user config.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct UpdateVm {
    pub id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub compose_file: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub encrypted_env: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user_config: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub update_ports: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub update_kms_urls: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kms_urls: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub update_gateway_urls: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gateway_urls: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpus: Option<GpuConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vcpu: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_size: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "names of the proto")]
pub(super) struct Port {
    #[serde(default = "tcp")]
    pub protocol: String,
    pub host_port: u16,
    pub vm_port: u16,
    #[serde(default)]
    pub host_address: String,
}

fn tcp() -> String {
    "tcp".to_owned()
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct GpuConfig {
    pub gpus: Vec<GpuSlot>,
    /// `listed` or `all`.
    pub attach_mode: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GpuSlot {
    pub slot: String,
}

/// `VmConfiguration`, in answers.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub(super) struct Configuration {
    pub image: String,
    pub compose_file: String,
    pub vcpu: u32,
    pub memory: u32,
    pub disk_size: u32,
    pub ports: Vec<Port>,
    pub encrypted_env: String,
    pub user_config: String,
    pub hugepages: bool,
    pub pin_numa: bool,
    pub gpus: Option<GpuConfig>,
    pub kms_urls: Vec<String>,
    pub gateway_urls: Vec<String>,
    pub no_tee: bool,
    pub simulated_tee: Option<String>,
    pub annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct StatusRequest {
    pub ids: Vec<String>,
    /// Without `configuration`.
    pub brief: bool,
    /// A part of the name, the id, the app id or the image.
    pub keyword: String,
    /// From 1 on; 0: everything.
    pub page: u32,
    pub page_size: u32,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct StatusResponse {
    pub vms: Vec<VmInfo>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct GetInfoResponse {
    pub found: bool,
    pub info: Option<VmInfo>,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub(super) struct VmInfo {
    pub id: String,
    pub name: String,
    /// `running`, `exited`, `stopping`, `stopped`, `removing`.
    pub status: String,
    /// Since the last start, `2m 28s` or `never`; goes on after the end.
    pub uptime: String,
    pub instance_id: Option<String>,
    pub configuration: Option<Configuration>,
    pub boot_progress: String,
    /// The last one; stays until the next start.
    pub boot_error: String,
    pub shutdown_progress: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct ImageList {
    pub images: Vec<ImageInfo>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct ImageInfo {
    pub name: String,
    pub version: String,
    pub is_dev: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Meta {
    pub kms: Urls,
    pub gateway: GatewayMeta,
    pub resources: Resources,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Urls {
    pub url: String,
    pub urls: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct GatewayMeta {
    pub urls: Vec<String>,
    pub base_domain: String,
    pub port: u16,
    pub agent_port: u16,
}

/// From the node's configuration; the VMM enforces none of them but the number of VMs.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_field_names, reason = "names of the proto")]
pub(super) struct Resources {
    pub max_cvm_number: u32,
    pub max_allocable_vcpu: u32,
    pub max_allocable_memory_in_mb: u32,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct GpuList {
    pub gpus: Vec<GpuInfo>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct GpuInfo {
    pub slot: String,
    pub product_id: String,
    pub description: String,
    pub is_free: bool,
}

/// `GuestInfo` of the guest agent.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct GuestInfo {
    pub version: String,
    pub device_id: String,
    /// The certificate of the app, PEM, with the quote in an extension.
    pub app_cert: String,
    /// JSON of [`TcbInfo`]; empty where the app does not show it.
    pub tcb_info: String,
}

/// What a guest tells of what it measured.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct TcbInfo {
    pub os_image_hash: String,
}

/// Of the KMS, through the VMM.
#[derive(Debug, Clone, Serialize)]
pub(super) struct AppId {
    /// Hex.
    pub app_id: String,
}

/// `Info` of a gateway.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct GatewayInfo {
    pub base_domain: String,
    pub external_port: u16,
    pub version: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Containers {
    pub containers: Vec<crate::node::GuestContainer>,
}

/// `NetworkInformation` of the guest agent.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct NetworkInfo {
    pub interfaces: Vec<Interface>,
    /// What `wg show` prints.
    pub wg_info: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Interface {
    pub name: String,
    pub addresses: Vec<InterfaceAddress>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct InterfaceAddress {
    pub address: String,
}
