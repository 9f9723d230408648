//! What a running guest tells of itself. A CVM that is not up is no error: `is_online` is false and the rest `null`.

use serde::{Deserialize, Serialize};

use super::{Endpoint, words::CvmPhase};

/// `GET /cvms/{id}/stats`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CvmStats {
    /// Whether the guest answered.
    pub is_online: bool,
    /// Whether this is readable without a key.
    #[serde(default)]
    pub is_public: bool,
    /// Why there is no `sysinfo`.
    pub error: Option<String>,
    pub sysinfo: Option<SystemInfo>,
    /// State of the CVM.
    pub status: Option<CvmPhase>,
    /// Whether an operation is open or queued.
    #[serde(default)]
    pub in_progress: bool,
    /// Progress of the boot in the guest's words; `done` when it is up.
    pub boot_progress: Option<String>,
    /// Why the guest did not boot.
    pub boot_error: Option<String>,
}

/// The system of a guest. Sizes are bytes, `uptime` is seconds, loads are in hundredths.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SystemInfo {
    pub os_name: String,
    pub os_version: String,
    pub kernel_version: String,
    pub cpu_model: String,
    pub num_cpus: u32,
    pub total_memory: u64,
    pub available_memory: u64,
    pub used_memory: u64,
    pub free_memory: u64,
    pub total_swap: u64,
    pub used_swap: u64,
    pub free_swap: u64,
    pub uptime: u64,
    pub loadavg_one: u32,
    pub loadavg_five: u32,
    pub loadavg_fifteen: u32,
    pub disks: Vec<Disk>,
}

/// A file system of a guest; sizes are bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Disk {
    pub name: String,
    pub mount_point: String,
    pub total_size: u64,
    pub free_size: u64,
}

/// `GET /cvms/{id}/network`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CvmNetwork {
    /// Whether the guest answered.
    pub is_online: bool,
    /// Whether this is readable without a key.
    #[serde(default)]
    pub is_public: bool,
    /// Why the rest is missing.
    pub error: Option<String>,
    /// Address of the guest in the network of its gateway.
    pub internal_ip: Option<String>,
    /// Time since the gateway last heard of the guest, for people.
    pub latest_handshake: Option<String>,
    /// URLs of the published ports.
    pub public_urls: Option<Vec<Endpoint>>,
}

/// `GET /cvms/{id}/composition`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CvmComposition {
    /// Whether the guest answered.
    pub is_online: bool,
    /// Whether this is readable without a key.
    #[serde(default)]
    pub is_public: bool,
    /// Why there are no `containers`.
    pub error: Option<String>,
    /// Docker Compose YAML.
    pub docker_compose_file: Option<String>,
    pub manifest_version: Option<u32>,
    /// Version of the OS image.
    pub version: Option<String>,
    /// `docker-compose`.
    pub runner: Option<String>,
    /// Feature words of the app-compose document.
    pub features: Option<Vec<String>>,
    pub containers: Option<Vec<Container>>,
}

/// A container of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Container {
    /// Id of the container engine, hex.
    pub id: String,
    /// Names, each with a leading `/`.
    pub names: Vec<String>,
    pub image: String,
    /// Digest of the image, `sha256:…`.
    pub image_id: String,
    /// What it runs, where the guest tells it.
    #[serde(default)]
    pub command: Option<String>,
    /// When it was created, in seconds since 1970.
    pub created: i64,
    /// As the container engine says: `running`, `exited` and so on.
    pub state: String,
    /// The same for people: `Up 2 hours`.
    pub status: String,
    /// URL of its log; `null` where logs have none.
    pub log_endpoint: Option<String>,
}
