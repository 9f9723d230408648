//! The nested CVM object, from 2026-01-21 on.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CvmFlat, CvmPhase, HostedCvm, Tee, WorkspaceRef};

/// An id whose type depends on the version.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum AnyId {
    /// Up to 2026-01-21.
    Number(i64),
    /// From 2026-05-22 on.
    Text(String),
}

impl std::fmt::Display for AnyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

/// `GET /cvms/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum CvmDetail {
    /// From 2026-01-21 on.
    Nested(Box<CvmInfo>),
    /// 2025-10-28.
    Flat(Box<CvmFlat>),
}

/// An item of `GET /cvms/paginated` and, up to 2025-10-28, of `GET /apps/{id}/cvms`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum CvmListItem {
    /// From 2026-01-21 on.
    Nested(Box<CvmInfo>),
    /// 2025-10-28.
    Hosted(Box<HostedCvm>),
}

/// `GET /cvms/paginated`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CvmsPage {
    /// The CVMs of this page.
    pub items: Vec<CvmListItem>,
    /// CVMs of all pages.
    pub total: u64,
    /// This page, from 1.
    pub page: u32,
    /// CVMs per page as asked for.
    pub page_size: u32,
    /// Number of pages.
    pub pages: u64,
    /// `cursor` of the next page, which costs the same however far into the list it is; `null` on the
    /// last (Casemate only).
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// A CVM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CvmInfo {
    /// `cvm_…`.
    pub id: String,
    /// Name.
    pub name: String,
    /// 40 hex digits, no prefix: clients put `app_` in front.
    pub app_id: Option<String>,
    /// UUID with dashes.
    pub vm_uuid: Option<String>,
    /// 40 hex digits, once known.
    pub instance_id: Option<String>,
    /// Size and price.
    pub resource: Resource,
    /// Where it runs.
    pub node_info: Option<NodeInfo>,
    /// OS image.
    pub os: Option<CvmOs>,
    /// Kind of KMS; text, because others know other kinds.
    pub kms_type: Option<String>,
    /// Keys and contracts.
    pub kms_info: Option<CvmKms>,
    /// The phase of the CVM.
    pub status: CvmPhase,
    /// Whether an operation is open or waiting.
    #[serde(default)]
    pub in_progress: bool,
    /// The open operation.
    #[serde(default)]
    pub progress: Option<Progress>,
    /// 64 hex digits.
    #[serde(default)]
    pub compose_hash: Option<String>,
    /// SHA-256 of the Docker Compose YAML.
    #[serde(default)]
    pub docker_compose_hash: Option<String>,
    /// SHA-256 of the pre-launch script.
    #[serde(default)]
    pub pre_launch_script_hash: Option<String>,
    /// The gateway.
    #[serde(default)]
    pub gateway: Gateway,
    /// Addresses of logs; absent, never `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<LogUrls>,
    /// Always empty.
    #[serde(default)]
    pub services: Vec<Value>,
    /// Addresses of the published ports.
    #[serde(default)]
    pub endpoints: Option<Vec<Endpoint>>,
    /// The same again, where Go and Terraform look.
    #[serde(default)]
    pub public_urls: Option<Vec<Endpoint>>,
    /// Logs readable without a key.
    #[serde(default)]
    pub public_logs: bool,
    /// System information readable without a key.
    #[serde(default)]
    pub public_sysinfo: bool,
    /// TCB information readable without a key.
    #[serde(default)]
    pub public_tcbinfo: bool,
    /// Reachable through the gateway.
    #[serde(default)]
    pub gateway_enabled: bool,
    /// Waits for secure time.
    #[serde(default)]
    pub secure_time: bool,
    /// Shown in the public directory.
    #[serde(default)]
    pub listed: bool,
    /// `zfs` or `ext4`; absent, never `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_fs: Option<String>,
    /// Whose it is.
    pub workspace: Option<WorkspaceRef>,
    /// Who made it.
    pub creator: Option<UserRef>,
    /// RFC 3339.
    #[serde(default)]
    pub created_at: Option<String>,
    /// RFC 3339; absent, never `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<String>,
    /// RFC 3339.
    #[serde(default)]
    pub deleted_at: Option<String>,
    /// Address of the first published port, for Go and Python.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_url: Option<String>,
    /// OS image by name, for Go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_image: Option<String>,
    /// Runner of the document, for Go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner: Option<String>,
    /// Version of the document, for Go: text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_version: Option<String>,
    /// Feature words of the document, for Go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<Vec<String>>,
    /// Disk in GB, for Terraform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_size: Option<u32>,
    /// Key to seal the environment to, for Terraform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypted_env_pubkey: Option<String>,
    /// Always `null`.
    #[serde(default)]
    pub project_type: Option<String>,
    /// The app-compose document; in the detail only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compose_file: Option<Value>,
    /// Why the last operation failed (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What the open operation waits for (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<Waiting>,
}

/// Size and price of a CVM.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Resource {
    /// `tdx.small`.
    pub instance_type: Option<String>,
    /// Virtual CPUs.
    pub vcpu: Option<u32>,
    /// Memory in GB, may be a fraction.
    pub memory_in_gb: Option<f64>,
    /// Disk in GB.
    pub disk_in_gb: Option<u32>,
    /// Number of GPUs.
    pub gpus: Option<u32>,
    /// Price per hour as text.
    pub compute_billing_price: Option<String>,
    /// `hourly`, `monthly` or `skip`.
    pub billing_period: Option<String>,
}

macro_rules! mark {
    ($(#[$doc:meta])* $name:ident, $word:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[serde(rename_all = "lowercase")]
        pub enum $name {
            /// The only word, in lower case.
            #[default]
            $word,
        }
    };
}
mark!(
    /// `object_type` of a node.
    NodeMark, Node
);
mark!(
    /// `object_type` of a workspace.
    WorkspaceMark, Workspace
);
mark!(
    /// `object_type` of a user.
    UserMark, User
);
mark!(
    /// `object_type` of a CVM.
    CvmMark, Cvm
);

/// A node, as far as a CVM shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeInfo {
    /// `node`.
    #[serde(default)]
    pub object_type: NodeMark,
    /// Integer id in every version.
    pub id: Option<i64>,
    /// Name.
    pub name: Option<String>,
    /// Region.
    pub region: Option<String>,
    /// 64 hex digits.
    pub device_id: Option<String>,
    /// Platform id.
    pub ppid: Option<String>,
    /// `ONLINE`, …
    pub status: Option<String>,
    /// Version of its software.
    pub version: Option<String>,
    /// What protects its VMs (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tee: Option<Tee>,
}

/// OS image of a CVM.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CvmOs {
    /// `dstack-0.5.4`.
    pub name: Option<String>,
    /// `0.5.4`.
    pub version: Option<String>,
    /// With login tools.
    pub is_dev: Option<bool>,
    /// 64 hex digits.
    pub os_image_hash: Option<String>,
}

/// Keys and contracts of a CVM.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CvmKms {
    /// Chain of the contracts.
    pub chain_id: Option<u64>,
    /// KMS contract.
    pub dstack_kms_address: Option<String>,
    /// App contract.
    pub dstack_app_address: Option<String>,
    /// Who deployed it.
    pub deployer_address: Option<String>,
    /// RPC endpoint.
    pub rpc_endpoint: Option<String>,
    /// Key to seal the environment to, 64 hex digits.
    pub encrypted_env_pubkey: Option<String>,
    /// Root public key of the KMS; absent, never `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k256_pubkey: Option<String>,
}

/// The open operation of a CVM.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Progress {
    /// The status it ends in; clients wait while this is set.
    pub target: Option<String>,
    /// RFC 3339.
    pub started_at: Option<String>,
    /// Id of the operation.
    pub correlation_id: Option<String>,
}

/// The gateway of a CVM.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Gateway {
    /// Domain, with its port where that is not 443.
    pub base_domain: Option<String>,
    /// Name that custom domains point at.
    pub cname: Option<String>,
    /// `http` or `https` (Casemate only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
}

/// Addresses of a CVM's logs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogUrls {
    /// Serial console.
    pub serial: Option<String>,
    /// Standard output of the VM process.
    pub stdout: Option<String>,
    /// Standard error of the VM process.
    pub stderr: Option<String>,
    /// Prefix of the containers' logs.
    pub container_log_base: Option<String>,
}

/// Addresses of one published port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Endpoint {
    /// Through the app id.
    pub app: String,
    /// Through the instance id.
    pub instance: String,
}

/// A user, as far as a CVM shows them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserRef {
    /// `user`.
    #[serde(default)]
    pub object_type: UserMark,
    /// `usr_…`.
    pub id: Option<String>,
    /// Login name.
    pub username: Option<String>,
    /// Picture.
    pub avatar_url: Option<String>,
}

/// What an operation waits for: it goes on by itself when that is over (Casemate only).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Waiting {
    /// For programs: `node_unreachable`.
    pub code: String,
    /// For people.
    pub cause: String,
    /// RFC 3339.
    pub since: String,
}

/// Why the last operation of a CVM failed (Casemate only).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Failure {
    /// For programs.
    pub code: String,
    /// For people.
    pub cause: String,
    /// RFC 3339.
    pub at: String,
}
