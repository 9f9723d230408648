//! Claims and their three states.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::reason::{Missing, Reason};

/// What can be proven about a CVM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClaimId {
    /// Quote or report was signed by a TEE of the vendor.
    Hardware,
    /// The platform's firmware is at an accepted level.
    Tcb,
    /// The VM's memory is closed to its host.
    DebugOff,
    /// The evidence was made for your nonce.
    ReportData,
    /// The event log is what the registers were extended with.
    EventLog,
    /// Firmware, virtual hardware and kernel are the expected ones.
    Measurements,
    /// An accepted OS image runs.
    OsImage,
    /// The app-compose document was booted.
    ComposeHash,
    /// The guest has this app id.
    AppId,
    /// The guest has this instance id.
    InstanceId,
    /// It runs on this machine.
    DeviceId,
    /// The guest took its keys from this provider.
    KeyProvider,
    /// The KMS is an accepted one.
    KmsRoot,
    /// The KMS signed the app's key.
    AppKey,
    /// The KMS signed the app's key for environment variables.
    EnvKey,
    /// The GPUs are genuine and in confidential mode.
    Gpu,
    /// The contracts allow it.
    Contracts,
    /// Nobody can log in.
    NoLogin,
}

impl ClaimId {
    /// Every claim, in the order in which they rest on each other.
    pub const ALL: [Self; 18] = [
        Self::Hardware,
        Self::Tcb,
        Self::DebugOff,
        Self::ReportData,
        Self::EventLog,
        Self::Measurements,
        Self::OsImage,
        Self::ComposeHash,
        Self::AppId,
        Self::InstanceId,
        Self::DeviceId,
        Self::KeyProvider,
        Self::KmsRoot,
        Self::AppKey,
        Self::EnvKey,
        Self::Gpu,
        Self::Contracts,
        Self::NoLogin,
    ];

    /// The name in policies, tables and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hardware => "hardware",
            Self::Tcb => "tcb",
            Self::DebugOff => "debug-off",
            Self::ReportData => "report-data",
            Self::EventLog => "event-log",
            Self::Measurements => "measurements",
            Self::OsImage => "os-image",
            Self::ComposeHash => "compose-hash",
            Self::AppId => "app-id",
            Self::InstanceId => "instance-id",
            Self::DeviceId => "device-id",
            Self::KeyProvider => "key-provider",
            Self::KmsRoot => "kms-root",
            Self::AppKey => "app-key",
            Self::EnvKey => "env-key",
            Self::Gpu => "gpu",
            Self::Contracts => "contracts",
            Self::NoLogin => "no-login",
        }
    }
}

impl fmt::Display for ClaimId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a chain of proof ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Root {
    /// Intel's root certificate.
    Intel,
    /// AMD's root certificate of a processor generation.
    Amd {
        /// The generation.
        product: String,
    },
    /// A development root, given by name: simulated hardware.
    Development {
        /// The name that the caller gave it.
        name: String,
    },
    /// A KMS root key that the policy accepts.
    Kms {
        /// The policy's name for it.
        name: String,
    },
    /// A key set for GPU tokens.
    GpuKeys {
        /// The key's id.
        key_id: String,
    },
}

impl Root {
    /// Whether this proves nothing about hardware.
    pub fn simulated(&self) -> bool {
        matches!(self, Self::Development { .. })
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Intel => f.write_str("Intel's root"),
            Self::Amd { product } => write!(f, "AMD's {product} root"),
            Self::Development { name } => write!(f, "the development root {name} (simulated)"),
            Self::Kms { name } => write!(f, "the accepted KMS {name}"),
            Self::GpuKeys { key_id } => write!(f, "GPU key {key_id}"),
        }
    }
}

/// The evidence of a proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "evidence", rename_all = "kebab-case")]
pub enum Evidence {
    /// The signatures from the root to the quote or report.
    SignatureChain,
    /// The platform's level in signed collateral.
    TcbStatus {
        /// The vendor's word.
        status: String,
    },
    /// The firmware levels in report and chip certificate, and the policy's minimum.
    SnpTcb,
    /// The attributes in the quote or the policy in the report.
    Attributes,
    /// The report data and the caller's nonce.
    Nonce,
    /// The event log, replayed.
    Replay {
        /// How many events.
        events: usize,
    },
    /// An event in RTMR3.
    Event {
        /// Its name.
        event: String,
    },
    /// The configuration document that the report's host data commits to.
    HostData,
    /// The platform's certificate.
    PlatformCertificate,
    /// The chip id in the report.
    ChipId,
    /// Expected measurements.
    Measurements {
        /// Of which image.
        image: String,
        /// On which revision of a node.
        node: Option<String>,
    },
    /// The image that the guest reported, which the policy lets pass.
    ReportedImage {
        /// Which image.
        image: String,
    },
    /// A key that the policy lists.
    PinnedKey,
    /// A signature by the KMS root key.
    KmsSignature,
    /// A signed token. It does not name the VM that holds the GPU.
    GpuToken {
        /// How many devices it is about.
        devices: usize,
    },
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SignatureChain => f.write_str("signature chain"),
            Self::TcbStatus { status } => write!(f, "signed TCB info: {status}"),
            Self::SnpTcb => f.write_str("firmware levels in report and chip certificate"),
            Self::Attributes => f.write_str("signed VM attributes"),
            Self::Nonce => f.write_str("report data made of your nonce"),
            Self::Replay { events } => {
                write!(f, "replay of {events} events to the quoted registers")
            }
            Self::Event { event } => write!(f, "event {event} in RTMR3"),
            Self::HostData => f.write_str("configuration document in host data"),
            Self::PlatformCertificate => f.write_str("platform certificate"),
            Self::ChipId => f.write_str("chip id in the report"),
            Self::Measurements { image, node: Some(node) } => {
                write!(f, "measurements of image {image} on node revision {node}")
            }
            Self::Measurements { image, node: None } => write!(f, "measurements of image {image}"),
            Self::ReportedImage { image } => write!(f, "the guest's own report of image {image}"),
            Self::PinnedKey => f.write_str("key in the policy"),
            Self::KmsSignature => f.write_str("signature of the KMS root key"),
            Self::GpuToken { devices } => {
                write!(f, "token about {devices} devices; it does not name the VM")
            }
        }
    }
}

/// What proves a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// The evidence.
    #[serde(flatten)]
    pub evidence: Evidence,
    /// Where its chain ends.
    pub root: Root,
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, under {}", self.evidence, self.root)
    }
}

/// Three states, never two: what cannot be shown is neither proven nor refuted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum State {
    /// The evidence shows it.
    Proven {
        /// What shows it.
        by: Proof,
    },
    /// The evidence contradicts it, or is itself wrong.
    Failed {
        /// Why.
        reason: Reason,
    },
    /// The evidence says nothing about it.
    NotShown {
        /// What is missing.
        why: Missing,
    },
}

impl State {
    /// Whether the claim is proven.
    pub fn is_proven(&self) -> bool {
        matches!(self, Self::Proven { .. })
    }

    /// Whether the claim failed.
    pub fn is_failed(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }

    /// `proven`, `simulated`, `failed` or `not shown`: a proof under a development root is never called proven.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Proven { by } if by.root.simulated() => "simulated",
            Self::Proven { .. } => "proven",
            Self::Failed { .. } => "failed",
            Self::NotShown { .. } => "not shown",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proven { by } => write!(f, "{by}"),
            Self::Failed { reason } => write!(f, "{reason}"),
            Self::NotShown { why } => write!(f, "{why}"),
        }
    }
}

impl From<Result<Proof, Unproven>> for State {
    fn from(result: Result<Proof, Unproven>) -> Self {
        match result {
            Ok(by) => Self::Proven { by },
            Err(Unproven::Failed(reason)) => Self::Failed { reason },
            Err(Unproven::Missing(why)) => Self::NotShown { why },
        }
    }
}

/// The two ways not to be proven, for `?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unproven {
    Failed(Reason),
    Missing(Missing),
}

impl From<Reason> for Unproven {
    fn from(reason: Reason) -> Self {
        Self::Failed(reason)
    }
}

impl From<Missing> for Unproven {
    fn from(why: Missing) -> Self {
        Self::Missing(why)
    }
}

/// One claim and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claim {
    /// Which claim.
    pub claim: ClaimId,
    /// How it ended.
    #[serde(flatten)]
    pub state: State,
    /// Proven under a development root only, which shows nothing about hardware.
    pub simulated: bool,
    /// Whether the policy requires it.
    pub required: bool,
    /// `state` in plain words.
    pub text: String,
}

/// What a verification comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every required claim is proven and none failed.
    Proven,
    /// The same, but under a development root: nothing is proven about hardware.
    Simulated,
    /// A claim failed.
    Failed,
    /// No claim failed, but a required one is not shown.
    Missing,
}

/// The result of a verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// What it comes to.
    pub outcome: Outcome,
    /// Every claim, in the order of [`ClaimId::ALL`].
    pub claims: Vec<Claim>,
    /// What the guest recorded about itself before it handed over to the app: events of the replayed log, as hex.
    /// Empty unless the log is proven.
    pub recorded: Vec<Recorded>,
}

/// One event of the replayed log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recorded {
    /// Its name.
    pub event: String,
    /// Its payload.
    pub payload: crate::hexes::HexBytes,
}

impl Verdict {
    /// The state of one claim.
    pub fn state(&self, id: ClaimId) -> Option<&State> {
        self.claims.iter().find(|claim| claim.claim == id).map(|claim| &claim.state)
    }

    /// Whether one claim is proven.
    pub fn proves(&self, id: ClaimId) -> bool {
        self.state(id).is_some_and(State::is_proven)
    }

    /// The reasons of failed claims.
    pub fn reasons(&self) -> impl Iterator<Item = (ClaimId, &Reason)> {
        self.claims.iter().filter_map(|claim| match &claim.state {
            State::Failed { reason } => Some((claim.claim, reason)),
            _ => None,
        })
    }
}
