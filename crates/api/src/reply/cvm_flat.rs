//! The flat CVM objects: detail and list of 2025-10-28, and the power and commit replies of every
//! version.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AnyId, CvmInfo, CvmPhase, Endpoint, Failure, KmsNode, Tee, Waiting};

/// `GET /cvms/{id}` of 2025-10-28, and `PATCH /cvms/{id}/visibility` of every version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CvmFlat {
    /// Integer up to 2026-01-21, `cvm_…` later (only visibility is asked for later).
    pub id: AnyId,
    /// Name.
    pub name: String,
    /// As in [`CvmInfo::status`].
    pub status: CvmPhase,
    /// Whether an operation is open or waiting.
    #[serde(default)]
    pub in_progress: bool,
    /// Node.
    pub teepod_id: Option<i64>,
    /// Node.
    #[serde(default)]
    pub teepod: Option<Teepod>,
    /// 40 hex digits, no prefix.
    pub app_id: String,
    /// UUID with dashes.
    pub vm_uuid: Option<String>,
    /// 40 hex digits, once known.
    pub instance_id: Option<String>,
    /// Virtual CPUs.
    pub vcpu: u32,
    /// Memory in MB.
    pub memory: u32,
    /// Disk in GB.
    pub disk_size: u32,
    /// OS image by name.
    pub base_image: Option<String>,
    /// Key to seal the environment to, 64 hex digits.
    pub encrypted_env_pubkey: Option<String>,
    /// Shown in the public directory.
    #[serde(default)]
    pub listed: bool,
    /// Always `null`.
    #[serde(default)]
    pub project_id: Option<String>,
    /// Always `null`.
    #[serde(default)]
    pub project_type: Option<String>,
    /// `tdx.small`.
    #[serde(default)]
    pub instance_type: Option<String>,
    /// System information readable without a key.
    #[serde(default)]
    pub public_sysinfo: bool,
    /// Logs readable without a key.
    #[serde(default)]
    pub public_logs: bool,
    /// TCB information readable without a key.
    #[serde(default)]
    pub public_tcbinfo: bool,
    /// Always `null`.
    #[serde(default)]
    pub dapp_dashboard_url: Option<String>,
    /// Signed address of the serial log, with a `?` in it.
    #[serde(default)]
    pub syslog_endpoint: Option<String>,
    /// The KMS.
    #[serde(default)]
    pub kms_info: Option<KmsNode>,
    /// App contract.
    #[serde(default)]
    pub contract_address: Option<String>,
    /// Who deployed it.
    #[serde(default)]
    pub deployer_address: Option<String>,
    /// RFC 3339.
    #[serde(default)]
    pub scheduled_delete_at: Option<String>,
    /// Addresses of the published ports.
    #[serde(default)]
    pub public_urls: Vec<Endpoint>,
    /// Domain of the gateway.
    #[serde(default)]
    pub gateway_domain: Option<String>,
    /// Always `null`.
    #[serde(default)]
    pub machine_info: Option<Value>,
    /// RFC 3339.
    #[serde(default)]
    pub created_at: Option<String>,
    /// RFC 3339.
    #[serde(default)]
    pub updated_at: Option<String>,
    /// Why the last operation failed (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What the open operation waits for (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<Waiting>,
}

/// A node, as far as a flat CVM shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Teepod {
    /// Integer id in every version.
    pub id: i64,
    /// Name.
    pub name: String,
    /// Region.
    #[serde(default)]
    pub region_identifier: Option<String>,
    /// What protects its VMs (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tee: Option<Tee>,
}

/// An item of `GET /cvms/paginated` of 2025-10-28.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HostedCvm {
    /// The VM.
    pub hosted: Hosted,
    /// Name.
    pub name: String,
    /// Who made it.
    pub managed_user: Option<ManagedUser>,
    /// Where it runs.
    pub node: Option<Teepod>,
    /// Shown in the public directory.
    #[serde(default)]
    pub listed: bool,
    /// As in [`CvmInfo::status`].
    pub status: CvmPhase,
    /// Whether an operation is open or waiting.
    #[serde(default)]
    pub in_progress: bool,
    /// Always `null`.
    pub dapp_dashboard_url: Option<String>,
    /// Signed address of the serial log, with a `?` in it.
    pub syslog_endpoint: Option<String>,
    /// Whether its configuration can be changed.
    #[serde(default)]
    pub allow_upgrade: bool,
    /// Always `null`.
    pub project_id: Option<String>,
    /// Always `null`.
    pub project_type: Option<String>,
    /// `hourly`, `monthly` or `skip`.
    pub billing_period: Option<String>,
    /// The KMS.
    pub kms_info: Option<KmsNode>,
    /// App contract.
    #[serde(default)]
    pub contract_address: Option<String>,
    /// Who deployed it.
    #[serde(default)]
    pub deployer_address: Option<String>,
    /// Virtual CPUs.
    pub vcpu: Option<u32>,
    /// Memory in MB.
    pub memory: Option<u32>,
    /// Disk in GB.
    pub disk_size: Option<u32>,
    /// Domain of the gateway.
    pub gateway_domain: Option<String>,
    /// Addresses of the published ports.
    pub public_urls: Vec<Endpoint>,
    /// Always `null`.
    #[serde(default)]
    pub machine_info: Option<Value>,
    /// RFC 3339.
    #[serde(default)]
    pub updated_at: Option<String>,
}

/// The VM of a CVM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Hosted {
    /// The `vm_uuid`.
    pub id: String,
    /// Name.
    pub name: String,
    /// As in [`CvmInfo::status`].
    pub status: CvmPhase,
    /// For people; empty if it does not run.
    pub uptime: String,
    /// Address of the first published port.
    pub app_url: Option<String>,
    /// 40 hex digits, no prefix.
    pub app_id: String,
    /// 40 hex digits, once known.
    pub instance_id: Option<String>,
    /// Always `null`.
    #[serde(default)]
    pub configuration: Option<Value>,
    /// RFC 3339.
    pub exited_at: Option<String>,
    /// How far the guest is.
    pub boot_progress: Option<String>,
    /// Why it did not boot.
    pub boot_error: Option<String>,
    /// How far a shutdown is.
    pub shutdown_progress: Option<String>,
    /// Version of the OS image.
    pub image_version: Option<String>,
}

/// A user, as far as an item of the list shows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ManagedUser {
    /// Integer id.
    pub id: i64,
    /// Login name.
    pub username: String,
}

/// Commit, power verbs and replicas, in every version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Vm {
    /// Integer up to 2026-01-21, `cvm_…` later.
    pub id: AnyId,
    /// Name.
    pub name: String,
    /// As in [`CvmInfo::status`]: the state on the way.
    pub status: CvmPhase,
    /// Node, 0 while it has none: clients want a number.
    #[serde(default)]
    pub teepod_id: i64,
    /// Node.
    #[serde(default)]
    pub teepod: Option<Teepod>,
    /// Who made it: integer up to 2026-01-21, `usr_…` later.
    #[serde(default)]
    pub user_id: Option<AnyId>,
    /// 40 hex digits, no prefix.
    #[serde(default)]
    pub app_id: Option<String>,
    /// UUID with dashes.
    #[serde(default)]
    pub vm_uuid: Option<String>,
    /// 40 hex digits, once known.
    #[serde(default)]
    pub instance_id: Option<String>,
    /// Address of the first published port.
    #[serde(default)]
    pub app_url: Option<String>,
    /// OS image by name.
    #[serde(default)]
    pub base_image: Option<String>,
    /// Virtual CPUs.
    #[serde(default)]
    pub vcpu: u32,
    /// Memory in MB.
    #[serde(default)]
    pub memory: u32,
    /// Disk in GB.
    #[serde(default)]
    pub disk_size: u32,
    /// Version of the document: a number here.
    #[serde(default)]
    pub manifest_version: Option<u32>,
    /// Always `null`.
    #[serde(default)]
    pub version: Option<String>,
    /// Runner of the document.
    #[serde(default)]
    pub runner: Option<String>,
    /// Docker Compose YAML.
    #[serde(default)]
    pub docker_compose_file: Option<String>,
    /// Feature words of the document.
    #[serde(default)]
    pub features: Option<Vec<String>>,
    /// RFC 3339.
    #[serde(default)]
    pub created_at: String,
    /// Key to seal the environment to.
    #[serde(default)]
    pub encrypted_env_pubkey: Option<String>,
    /// App contract.
    #[serde(default)]
    pub app_auth_contract_address: Option<String>,
    /// Who deployed it.
    #[serde(default)]
    pub deployer_address: Option<String>,
    /// Id of the operation under way (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
}

/// `POST /apps/{id}/instances`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum NewInstance {
    /// From 2026-05-22 on.
    Nested(Box<CvmInfo>),
    /// Before.
    Flat(Box<Vm>),
}
