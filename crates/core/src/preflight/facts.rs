//! The facts about a node that pre-flight judges.

use serde::{Deserialize, Serialize};

use crate::{id::DeviceId, place::Amount};

/// The word of the TEE for which a KMS wants minimum TCBs.
pub const MEMORY_TEE_SNP: &str = "sev-snp";

/// A version of three numbers; what follows them is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl Version {
    /// Reads `0.6.3`, `v0.6.3`, `0.6.0-rc5`.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = |text: &str| {
            let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            text[..end].parse::<u32>().ok()
        };
        let mut parts = text.trim_start_matches('v').splitn(3, '.').map(digits);
        Some(Self(parts.next()??, parts.next()??, parts.next()??))
    }
}

/// Facts about a node, gathered outside of any transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Why it does not answer; `None`: it does.
    pub silence: Option<String>,
    /// Of the software that runs VMs.
    pub version: String,
    /// `none`, `simulated`, `tdx`, `sev-snp`.
    pub tee: String,
    /// `None`: not known yet.
    pub device_id: Option<DeviceId>,
    pub images: Vec<ImageFact>,
    /// The smaller of what it reports and its limits.
    pub capacity: Amount,
    /// Base domain and port of the gateway as the node tells them.
    pub gateway: (String, u16),
    /// `None`: its kind has nothing to probe.
    pub probe: Option<Probe>,
}

/// An OS image of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFact {
    pub name: String,
    pub version: String,
    /// 64 hex digits; `None`: no guest has told it yet.
    pub os_image_hash: Option<String>,
}

/// Facts about a dstack host that its inventory does not have. They are kept with the inventory, in the node's row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The answer to a call without a credential.
    pub anonymous: Anonymous,
    /// The build serves a document of its fields.
    pub document: bool,
    /// Fields and methods that Casemate would use and the build does not have.
    pub missing: Vec<String>,
    pub kms: KmsProbe,
    pub gateway: GatewayProbe,
    /// Seconds by which the clock of the host is ahead; `None`: it did not tell its time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_skew_s: Option<i64>,
    /// There is a token for the API of guests.
    pub guest_token: bool,
}

/// How a VMM answers a call without a credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Anonymous {
    Refused,
    Answered,
    /// It answered on a unix socket, which file modes protect.
    SocketOnly,
    Unknown {
        why: String,
    },
}

/// The KMS of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum KmsProbe {
    NotConfigured,
    /// It gave a key to the VMM.
    Answers {
        /// The one that the VMM asks.
        host: String,
        /// Those that guests ask.
        guests: Vec<String>,
    },
    Silent {
        why: String,
    },
    NotAsked {
        why: String,
    },
}

/// The gateway of a host, as this server reaches it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum GatewayProbe {
    NotConfigured,
    Answers { url: String, base_domain: String, external_port: u16, version: String },
    Silent { url: String, why: String },
}
