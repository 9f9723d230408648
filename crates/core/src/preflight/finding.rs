//! One line of a pre-flight.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A check of pre-flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// The node answers.
    Reachable,
    /// A call without a credential is refused.
    Credential,
    /// Its build is one that Casemate knows.
    Version,
    /// Its build has what Casemate uses.
    Features,
    /// Capacity and limits.
    Capacity,
    /// Its OS images, and their hashes.
    Images,
    /// The TEE of the host.
    Tee,
    /// Identity of the host.
    Device,
    /// The KMS of its guests.
    Kms,
    /// The gateway of its guests.
    Gateway,
    /// The clock of the host.
    Clock,
    /// The disk of the host.
    Disk,
    /// Minimum TCBs for SEV-SNP.
    SnpMinimums,
    /// Token for the API of guests.
    GuestToken,
}

impl Check {
    pub const ALL: [Self; 14] = [
        Self::Reachable,
        Self::Credential,
        Self::Version,
        Self::Features,
        Self::Capacity,
        Self::Images,
        Self::Tee,
        Self::Device,
        Self::Kms,
        Self::Gateway,
        Self::Clock,
        Self::Disk,
        Self::SnpMinimums,
        Self::GuestToken,
    ];

    /// The word on the wire and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reachable => "reachable",
            Self::Credential => "credential",
            Self::Version => "version",
            Self::Features => "features",
            Self::Capacity => "capacity",
            Self::Images => "images",
            Self::Tee => "tee",
            Self::Device => "device",
            Self::Kms => "kms",
            Self::Gateway => "gateway",
            Self::Clock => "clock",
            Self::Disk => "disk",
            Self::SnpMinimums => "snp_minimums",
            Self::GuestToken => "guest_token",
        }
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Ok,
    /// Something is limited, or could not be seen.
    Warning,
    /// CVMs cannot run there, or are not safe there.
    Problem,
}

impl Level {
    /// The word on the wire and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One line of a pre-flight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub check: Check,
    pub level: Level,
    pub message: String,
    /// The remedy; `None`: nothing to do.
    pub remedy: Option<String>,
}

impl Finding {
    pub(super) fn ok(check: Check, message: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, message: message.into(), remedy: None }
    }

    pub(super) fn warning(check: Check, message: impl Into<String>, remedy: &str) -> Self {
        let remedy = Some(remedy.to_owned());
        Self { check, level: Level::Warning, message: message.into(), remedy }
    }

    pub(super) fn problem(check: Check, message: impl Into<String>, remedy: &str) -> Self {
        Self { level: Level::Problem, ..Self::warning(check, message, remedy) }
    }
}
