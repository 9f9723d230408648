//! What a running guest tells of itself, in the units of dstack's guest agent
//! (`guest-agent/rpc/proto/agent_rpc.proto`: `SystemInfo`, `NetworkInformation`, `Container`).

use serde::{Deserialize, Serialize};

/// One container of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GuestContainer {
    /// Id of the container engine in the guest, hex.
    pub id: String,
    /// Names, each with a leading `/`.
    pub names: Vec<String>,
    /// Image as it was asked for.
    pub image: String,
    /// Digest of the image, `sha256:…`.
    pub image_id: String,
    /// What it runs, where the guest tells it.
    pub command: Option<String>,
    /// When it was created, in seconds since 1970.
    pub created: i64,
    /// `created`, `running`, `exited` and so on, as the container engine says.
    pub state: String,
    /// The same for people: `Up 2 hours`.
    pub status: String,
}

/// The system of a guest. Sizes are bytes, times are seconds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GuestSystem {
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
    /// Since the guest booted.
    pub uptime: u64,
    /// Load over 1, 5 and 15 minutes, in hundredths.
    pub loadavg_one: u32,
    pub loadavg_five: u32,
    pub loadavg_fifteen: u32,
    pub disks: Vec<GuestDisk>,
}

/// One file system of a guest. Sizes are bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GuestDisk {
    pub name: String,
    pub mount_point: String,
    pub total_size: u64,
    pub free_size: u64,
}

/// The network of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GuestNetwork {
    /// Its address in the network of the gateway.
    pub internal_ip: Option<String>,
    /// Time since the gateway last heard of it, as WireGuard says it: `1 minute, 5 seconds ago`.
    pub latest_handshake: Option<String>,
}
