//! Whether something gets an app's keys: always, where no contract governs the app.

use casemate_core::id::{ComposeHash, CvmId, CvmRef, DeviceId};

/// What was asked about, and the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedView {
    /// The CVM, where one was asked about.
    pub cvm: Option<(CvmId, CvmRef)>,
    /// The document.
    pub compose_hash: ComposeHash,
    /// The host.
    pub device: Option<DeviceId>,
    /// What the contract says; `None`: no contract governs the app, so the answer is yes.
    pub contract: Option<ContractSays>,
}

/// What the contract of an app says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContractSays {
    /// Its address, `0x…`.
    pub contract: String,
    /// Whether it allows the document.
    pub hash: bool,
    /// Whether it allows every host.
    pub any_device: bool,
    /// Whether it lists the host; `None`: none was named.
    pub device: Option<bool>,
    /// All of it, and that the KMS knows the app.
    pub all: bool,
    /// Why that is not known, or what else is missing.
    pub error: Option<String>,
}

/// The CVMs of an app.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CvmsAllowedView {
    /// Whether a contract governs the app.
    pub is_onchain: bool,
    /// Those that were asked about.
    pub results: Vec<AllowedView>,
    /// Those without a contract to ask.
    pub skipped: Vec<(CvmId, CvmRef)>,
}

/// The hosts that an app may run on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllowlistView {
    /// Its contract, `0x…`, and the chain; `None`: no contract governs it.
    pub contract: Option<(u64, String)>,
    /// Whether every host will do; `None`: not known.
    pub any_device: Option<bool>,
    /// The hosts.
    pub devices: Vec<AllowlistDeviceView>,
}

/// A host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowlistDeviceView {
    /// Its identity.
    pub device: DeviceId,
    /// The node there.
    pub node: Option<String>,
    /// The app's CVMs there.
    pub cvms: Vec<(CvmId, CvmRef)>,
    /// Whether the contract lists it; `None`: not known.
    pub listed: Option<bool>,
}
