//! What was prepared for contracts to allow.

use casemate_api::reply::OnchainStatus;
use casemate_core::id::{AppId, ComposeHash, CvmId, CvmRef, DeviceId};

use super::{EnvReportView, FieldDiffView, KmsView};

/// How something that was prepared stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreparationState {
    /// It can be committed.
    Pending,
    /// It was.
    Used,
    /// A newer one took its place.
    Superseded,
    /// What it was prepared on has changed since.
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

/// A call that an owner has to make.
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
    /// Whether the contract says that it was made; `None`: it was not asked.
    pub done: Option<bool>,
}

/// What a document that was prepared makes different. Values of variables are nowhere.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentChangeView {
    /// The compose file as a unified diff; `None`: the same.
    pub docker_compose_file: Option<String>,
    /// The pre-launch script, as above.
    pub pre_launch_script: Option<String>,
    /// The other fields of the document that differ, by name.
    pub fields: Vec<FieldDiffView>,
    /// How the names of variables differ.
    pub env: EnvReportView,
    /// Whether another sealed environment comes with it.
    pub encrypted_env_changed: bool,
    /// Everything that the request changes, by the names of its fields.
    pub asked: Vec<String>,
}

/// Something that was prepared, without any secret.
#[derive(Debug, Clone, PartialEq)]
pub struct PreparationView {
    /// `update`, `replica`, `instance`.
    pub kind: &'static str,
    /// How it stands.
    pub state: PreparationState,
    /// The CVM that changes, or the one that the new machine is like.
    pub cvm: Option<(CvmId, CvmRef, String)>,
    /// Its app, and the address of the app's contract.
    pub app_id: AppId,
    /// The document to register.
    pub compose_hash: ComposeHash,
    /// The device it is to run on, where it is known.
    pub device_id: Option<DeviceId>,
    /// The node with that.
    pub node: Option<String>,
    /// The KMS with its contract.
    pub kms: Option<KmsView>,
    /// The chain.
    pub chain_id: u64,
    /// Page about the contract of the app.
    pub explorer_url: Option<String>,
    /// Who owns the contract of the app, where the chain says it.
    pub owner: Option<String>,
    /// To whom it was offered and who has not accepted.
    pub pending_owner: Option<String>,
    /// What contracts say: hash, device, both and all else.
    pub onchain: Option<(bool, bool, bool)>,
    /// What has to be called, the ones that are done among it.
    pub calls: Vec<CallView>,
    /// What would be different.
    pub change: Option<DocumentChangeView>,
    /// Who prepared it.
    pub prepared_by: Option<String>,
    /// When.
    pub created_at: String,
    /// Until when it can be committed.
    pub expires_at: String,
}

/// What contracts say of hash, device, and of both and all else.
pub const fn onchain_status((hash, device, all): (bool, bool, bool)) -> OnchainStatus {
    OnchainStatus { compose_hash_allowed: hash, device_id_allowed: device, is_allowed: all }
}
