//! A CVM as shown to clients.

use casemate_api::compose_file::StorageFs;
use casemate_core::{
    cvm::Phase,
    id::{AppId, ComposeHash, CvmId, CvmRef, InstanceId, OperationId, UserId, VmUuid, WorkspaceId},
    operation::OperationKind,
};
use serde_json::Value;

use super::{KmsView, NodeRefView};

#[derive(Debug, Clone, PartialEq)]
pub struct CvmView {
    pub id: CvmId,
    /// `cvm_…`.
    pub reference: CvmRef,
    /// Version 4.
    pub vm_uuid: VmUuid,
    /// Unique within the workspace.
    pub name: String,
    pub app_id: AppId,
    /// `None` until the guest has reported it.
    pub instance_id: Option<InstanceId>,

    pub phase: Phase,
    /// Whether an operation is open or queued.
    pub in_progress: bool,
    pub operation: Option<OperationView>,
    /// Boot progress in the guest's words; `done` when it is up.
    pub boot_progress: Option<String>,
    /// Why the guest did not boot.
    pub boot_error: Option<String>,
    /// Progress of a graceful shutdown.
    pub shutdown_progress: Option<String>,
    /// Time since it started, for people: `3h 12m`.
    pub uptime: Option<String>,
    /// When it last exited without an operation.
    pub exited_at: Option<String>,
    /// Why the last operation failed.
    pub failure: Option<FailureView>,
    /// What the open operation waits for.
    pub waiting_for: Option<WaitingView>,

    pub vcpu: u32,
    pub memory_mb: u32,
    pub disk_gb: u32,
    /// Number of GPUs.
    pub gpus: u32,
    pub instance_type: Option<String>,
    /// `None` without billing.
    pub price_per_hour: Option<String>,

    /// `None` before it is placed.
    pub node: Option<NodeRefView>,
    pub os: OsView,
    /// `None` for apps without a KMS.
    pub kms: Option<KmsView>,
    /// Its contracts, if the app is contract-governed.
    pub onchain: Option<OnchainView>,
    /// X25519 key that its environment is sealed to, 64 hex digits.
    pub env_public_key: Option<String>,

    /// SHA-256 of its app-compose document.
    pub compose_hash: ComposeHash,
    /// SHA-256 of its Docker Compose YAML, hex.
    pub docker_compose_hash: Option<String>,
    /// SHA-256 of its pre-launch script, hex; `None` without one.
    pub pre_launch_script_hash: Option<String>,
    /// Docker Compose YAML; only in the detail, commit and power replies.
    pub docker_compose_file: Option<String>,
    /// The whole app-compose document; only in the detail reply.
    pub compose_document: Option<Value>,
    /// Feature words of the document.
    pub features: Vec<String>,
    /// Version of the document.
    pub manifest_version: u32,
    /// Runner of the document, `docker-compose`.
    pub runner: String,
    /// Whether logs are readable without a key.
    pub public_logs: bool,
    /// Whether system information is readable without a key.
    pub public_sysinfo: bool,
    /// Whether TCB information is readable without a key.
    pub public_tcbinfo: bool,
    /// Whether it is reachable through the gateway.
    pub gateway_enabled: bool,
    /// Whether the guest waits for secure time.
    pub secure_time: bool,
    /// File system of the data disk; `None` if the document names none.
    pub storage_fs: Option<StorageFs>,

    /// Whether it is in the public directory.
    pub listed: bool,
    /// The first gateway; `None` if there is none or it is not enabled.
    pub gateway: Option<GatewayView>,
    /// URLs of its published ports, the first port first: one of each gateway that leads to it.
    pub public_urls: Vec<PublicUrl>,
    /// Signed URL of the serial log; must contain a `?`, because clients append `&ch=serial`.
    pub syslog_endpoint: Option<String>,
    /// Signed URLs of the logs.
    pub logs: Option<LogUrlsView>,

    pub workspace: TenantView,
    pub creator: Option<PersonView>,
    /// When it was committed.
    pub created_at: String,
    /// When its configuration or state last changed.
    pub updated_at: Option<String>,
    pub deleted_at: Option<String>,
    pub scheduled_delete_at: Option<String>,
}

/// The open operation of a CVM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationView {
    pub kind: OperationKind,
    pub correlation_id: OperationId,
    /// When it was accepted.
    pub started_at: String,
    /// The phase it ends in.
    pub target: Phase,
}

/// What an operation waits for. Only Casemate has it on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingView {
    /// Machine-readable, for example `node_unreachable`.
    pub code: &'static str,
    /// One line for people.
    pub cause: String,
    pub since: String,
}

/// Why the last operation failed. Only Casemate has it on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureView {
    /// Machine-readable, for example `boot_timeout`.
    pub code: String,
    /// One line for people.
    pub cause: String,
    pub at: String,
}

/// The OS image of a CVM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OsView {
    /// `dstack-0.5.4`.
    pub name: String,
    /// `0.5.4`, if known.
    pub version: Option<String>,
    /// Whether it has login tools, if known.
    pub is_dev: Option<bool>,
    /// SHA-256 of its checksum file, 64 hex digits, if known.
    pub os_image_hash: Option<String>,
}

/// The contracts of a contract-governed CVM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnchainView {
    /// Address of the app contract, `0x…`.
    pub app_contract: String,
    /// Address that deployed it, `0x…`.
    pub deployer: Option<String>,
    /// RPC endpoint for clients, if the operator configured one.
    pub rpc_endpoint: Option<String>,
}

/// The address of the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayView {
    /// Domain of the apps, with its port if it is not 443: `localhost:8091`.
    pub base_domain: String,
    /// CNAME target for custom domains.
    pub cname: Option<String>,
    /// `https`, or `http` in embedded mode.
    pub scheme: String,
}

impl GatewayView {
    /// URL of a published port of an app or instance.
    pub fn url(&self, id: impl std::fmt::Display, port: u16) -> String {
        format!("{}://{id}-{port}.{}", self.scheme, self.base_domain)
    }
}

/// URLs of one published port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    /// By app id: any of its instances.
    pub app: String,
    /// By instance id: this instance. The app's URL if there is no instance id yet.
    pub instance: String,
}

/// Signed URLs of a CVM's logs; each is readable without a key until it expires.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogUrlsView {
    /// Serial console.
    pub serial: Option<String>,
    /// Standard output of the VM process.
    pub stdout: Option<String>,
    /// Standard error of the VM process.
    pub stderr: Option<String>,
    /// Prefix of the containers' logs.
    pub container_log_base: Option<String>,
}

/// The workspace of a CVM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantView {
    pub id: WorkspaceId,
    pub name: String,
    /// Part of URLs.
    pub slug: Option<String>,
}

/// A user as shown in a CVM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonView {
    pub id: UserId,
    pub username: String,
}
