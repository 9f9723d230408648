//! A CVM as clients may see it.

use casemate_api::compose_file::StorageFs;
use casemate_core::{
    cvm::Phase,
    id::{AppId, ComposeHash, CvmId, CvmRef, InstanceId, OperationId, UserId, VmUuid, WorkspaceId},
    operation::OperationKind,
};
use serde_json::Value;

use super::{KmsView, NodeRefView};

/// A CVM.
#[derive(Debug, Clone, PartialEq)]
pub struct CvmView {
    /// Integer id.
    pub id: CvmId,
    /// Text id, `cvm_…`.
    pub reference: CvmRef,
    /// UUID, version 4.
    pub vm_uuid: VmUuid,
    /// Name within the workspace.
    pub name: String,
    /// Its app.
    pub app_id: AppId,
    /// Its instance id, once the guest has told it.
    pub instance_id: Option<InstanceId>,

    /// What it is doing.
    pub phase: Phase,
    /// Whether an operation is open or waiting.
    pub in_progress: bool,
    /// The open operation.
    pub operation: Option<OperationView>,
    /// How far the guest is, in its own words; `done` when it is up.
    pub boot_progress: Option<String>,
    /// Why the guest did not boot.
    pub boot_error: Option<String>,
    /// How far a graceful shutdown is.
    pub shutdown_progress: Option<String>,
    /// Since when it runs, for people: `3h 12m`.
    pub uptime: Option<String>,
    /// When it last exited by itself.
    pub exited_at: Option<String>,
    /// Why the last operation failed.
    pub failure: Option<FailureView>,
    /// What the open operation waits for.
    pub waiting_for: Option<WaitingView>,

    /// Virtual CPUs.
    pub vcpu: u32,
    /// Memory in MB.
    pub memory_mb: u32,
    /// Disk in GB.
    pub disk_gb: u32,
    /// Number of GPUs.
    pub gpus: u32,
    /// Instance type its size came from.
    pub instance_type: Option<String>,
    /// Price per hour; `None` where nothing is billed.
    pub price_per_hour: Option<String>,

    /// Where it runs; `None` before it is placed.
    pub node: Option<NodeRefView>,
    /// Its OS image.
    pub os: OsView,
    /// Its KMS; `None` for apps without one.
    pub kms: Option<KmsView>,
    /// Its contracts, if a chain governs it.
    pub onchain: Option<OnchainView>,
    /// X25519 key that its environment is sealed to, 64 hex digits.
    pub env_public_key: Option<String>,

    /// SHA-256 of its app-compose document.
    pub compose_hash: ComposeHash,
    /// SHA-256 of its Docker Compose YAML, hex.
    pub docker_compose_hash: Option<String>,
    /// SHA-256 of its pre-launch script, hex; `None` without one.
    pub pre_launch_script_hash: Option<String>,
    /// Docker Compose YAML; for the detail, commit and power replies.
    pub docker_compose_file: Option<String>,
    /// The whole app-compose document; for the detail reply.
    pub compose_document: Option<Value>,
    /// Feature words of the document.
    pub features: Vec<String>,
    /// Version of the document.
    pub manifest_version: u32,
    /// Runner of the document, `docker-compose`.
    pub runner: String,
    /// Logs readable without a key.
    pub public_logs: bool,
    /// System information readable without a key.
    pub public_sysinfo: bool,
    /// TCB information readable without a key.
    pub public_tcbinfo: bool,
    /// Reachable through the gateway.
    pub gateway_enabled: bool,
    /// The guest waits for secure time.
    pub secure_time: bool,
    /// File system of the data disk, `None` if the document names none.
    pub storage_fs: Option<StorageFs>,

    /// Shown in the public directory.
    pub listed: bool,
    /// Its gateway; `None` where there is none or it is not enabled.
    pub gateway: Option<GatewayView>,
    /// Addresses of its published ports, the first port first.
    pub public_urls: Vec<PublicUrl>,
    /// Signed address of the serial log; must contain a `?`, because clients append `&ch=serial`.
    pub syslog_endpoint: Option<String>,
    /// Signed addresses of the logs.
    pub logs: Option<LogUrlsView>,

    /// Whose it is.
    pub workspace: TenantView,
    /// Who made it.
    pub creator: Option<PersonView>,
    /// When it was committed.
    pub created_at: String,
    /// When its configuration or state last changed.
    pub updated_at: Option<String>,
    /// When it was deleted.
    pub deleted_at: Option<String>,
    /// When it will be deleted.
    pub scheduled_delete_at: Option<String>,
}

/// The open operation of a CVM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationView {
    /// What it does.
    pub kind: OperationKind,
    /// Its id.
    pub correlation_id: OperationId,
    /// When it was accepted.
    pub started_at: String,
    /// The phase it ends in.
    pub target: Phase,
}

/// What an operation waits for. On the wire only with Casemate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingView {
    /// For programs, `node_unreachable`.
    pub code: &'static str,
    /// For people, one line.
    pub cause: String,
    /// Since when.
    pub since: String,
}

/// Why the last operation failed. On the wire only with Casemate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureView {
    /// For programs, `boot_timeout`.
    pub code: String,
    /// For people, one line.
    pub cause: String,
    /// When.
    pub at: String,
}

/// An OS image as a CVM has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OsView {
    /// `dstack-0.5.4`.
    pub name: String,
    /// `0.5.4`, where known.
    pub version: Option<String>,
    /// With login tools, where known.
    pub is_dev: Option<bool>,
    /// SHA-256 over its checksum file, 64 hex digits, where known.
    pub os_image_hash: Option<String>,
}

/// The contracts of a CVM whose app a chain governs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnchainView {
    /// Address of the app contract, `0x…`.
    pub app_contract: String,
    /// Address that deployed it, `0x…`.
    pub deployer: Option<String>,
    /// RPC endpoint for clients, where the operator names one.
    pub rpc_endpoint: Option<String>,
}

/// Where the gateway is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayView {
    /// Domain below which apps are, with its port if it is not 443: `localhost:8091`.
    pub base_domain: String,
    /// Name that custom domains point at.
    pub cname: Option<String>,
    /// `https`, or `http` in embedded mode.
    pub scheme: String,
}

impl GatewayView {
    /// Address of a published port of an app or instance.
    pub fn url(&self, id: impl std::fmt::Display, port: u16) -> String {
        format!("{}://{id}-{port}.{}", self.scheme, self.base_domain)
    }
}

/// Addresses of one published port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    /// Through the app id: any of its instances.
    pub app: String,
    /// Through the instance id: this one. The app's address again while there is no instance id.
    pub instance: String,
}

/// Signed addresses of a CVM's logs; each readable without a key until it expires.
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

/// A workspace, as far as a CVM shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantView {
    /// Integer id.
    pub id: WorkspaceId,
    /// Name for people.
    pub name: String,
    /// Name in paths.
    pub slug: Option<String>,
}

/// A user, as far as a CVM shows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonView {
    /// Integer id.
    pub id: UserId,
    /// Login name.
    pub username: String,
}
