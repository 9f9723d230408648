//! Whether an app's keys are released: always for apps that are not contract-governed.

use casemate_core::id::{ComposeHash, CvmId, CvmRef, DeviceId};

/// A question and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedView {
    /// The CVM, if the question names one.
    pub cvm: Option<(CvmId, CvmRef)>,
    pub compose_hash: ComposeHash,
    pub device: Option<DeviceId>,
    /// The contract's answer; `None`: the app is not contract-governed, so the answer is yes.
    pub contract: Option<ContractSays>,
}

/// The answer of an app contract.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContractSays {
    /// Its address, `0x…`.
    pub contract: String,
    /// Whether it allows the document.
    pub hash: bool,
    /// Whether it allows every device.
    pub any_device: bool,
    /// Whether it lists the device; `None`: none was given.
    pub device: Option<bool>,
    /// Whether everything is allowed, and the KMS knows the app.
    pub all: bool,
    /// Why that is unknown, or what else is missing.
    pub error: Option<String>,
}

/// The answers for CVMs of an app.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CvmsAllowedView {
    /// Whether the app is contract-governed.
    pub is_onchain: bool,
    pub results: Vec<AllowedView>,
    /// CVMs without a contract.
    pub skipped: Vec<(CvmId, CvmRef)>,
}

/// The devices that an app may run on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllowlistView {
    /// Chain id and contract address `0x…`; `None`: the app is not contract-governed.
    pub contract: Option<(u64, String)>,
    /// Whether every device is allowed; `None`: unknown.
    pub any_device: Option<bool>,
    pub devices: Vec<AllowlistDeviceView>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowlistDeviceView {
    pub device: DeviceId,
    /// The node with this device.
    pub node: Option<String>,
    /// The app's CVMs on it.
    pub cvms: Vec<(CvmId, CvmRef)>,
    /// Whether the contract lists it; `None`: unknown.
    pub listed: Option<bool>,
}
