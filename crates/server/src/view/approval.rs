//! Changes prepared for approval by contracts.

use casemate_api::reply::OnchainStatus;
use casemate_core::id::{AppId, ComposeHash, CvmId, CvmRef, DeviceId};

use super::{EnvReportView, FieldDiffView, KmsView};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreparationState {
    /// It can be committed.
    Pending,
    /// It was committed.
    Used,
    /// A newer preparation replaced it.
    Superseded,
    /// Its base configuration has changed.
    Outdated,
    /// Its CVM is deleted.
    Deleted,
}

impl PreparationState {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Used => "used",
            Self::Superseded => "superseded",
            Self::Outdated => "outdated",
            Self::Deleted => "deleted",
        }
    }
}

/// A contract call that an owner has to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallView {
    /// `addComposeHash(bytes32)`, `addDevice(bytes32)`.
    pub method: &'static str,
    /// Its argument, `0x…`.
    pub argument: String,
    /// The contract, `0x…`.
    pub to: String,
    /// Selector and argument, `0x…`, as a Safe takes it.
    pub calldata: String,
    /// Whether the contract already reflects the call; `None`: unknown.
    pub done: Option<bool>,
}

/// The changes that a prepared document makes. It has no values of variables.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentChangeView {
    /// The compose file as a unified diff; `None`: unchanged.
    pub docker_compose_file: Option<String>,
    /// The pre-launch script as a unified diff; `None`: unchanged.
    pub pre_launch_script: Option<String>,
    /// The other changed fields of the document.
    pub fields: Vec<FieldDiffView>,
    /// Changes of variable names.
    pub env: EnvReportView,
    /// Whether it comes with another sealed environment.
    pub encrypted_env_changed: bool,
    /// Names of all changed request fields.
    pub asked: Vec<String>,
}

/// A preparation without secrets.
#[derive(Debug, Clone, PartialEq)]
pub struct PreparationView {
    /// `update`, `replica`, `instance`.
    pub kind: &'static str,
    pub state: PreparationState,
    /// The CVM that changes, or the template of the replica.
    pub cvm: Option<(CvmId, CvmRef, String)>,
    /// The app; its id is the address of its contract.
    pub app_id: AppId,
    /// The document to register.
    pub compose_hash: ComposeHash,
    /// The device it will run on, if known.
    pub device_id: Option<DeviceId>,
    /// The node with that device.
    pub node: Option<String>,
    pub kms: Option<KmsView>,
    pub chain_id: u64,
    /// Block explorer page of the app contract.
    pub explorer_url: Option<String>,
    /// The owner of the app contract, if the chain answers.
    pub owner: Option<String>,
    /// The account that ownership was offered to and that has not accepted.
    pub pending_owner: Option<String>,
    /// The contracts' verdict: hash, device, everything.
    pub onchain: Option<(bool, bool, bool)>,
    /// All calls needed, including those already made.
    pub calls: Vec<CallView>,
    /// The changes.
    pub change: Option<DocumentChangeView>,
    /// The user who prepared it.
    pub prepared_by: Option<String>,
    pub created_at: String,
    pub expires_at: String,
}

/// The contracts' verdict on the hash, the device, and everything.
pub const fn onchain_status((hash, device, all): (bool, bool, bool)) -> OnchainStatus {
    OnchainStatus { compose_hash_allowed: hash, device_id_allowed: device, is_allowed: all }
}
