//! What became of a request for a change.

pub use casemate_core::change::{Effect, EnvReport};
use casemate_core::id::{AppId, ComposeHash, DeviceId, OperationId};

use super::KmsView;

/// A change that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateView {
    /// Its operation.
    pub correlation_id: OperationId,
    /// What happens now, one sentence.
    pub message: String,
    /// What has to be done for it; `None` while it waits, since that is known only when its turn comes.
    pub effect: Option<Effect>,
    /// How many changes go before it, where it waits.
    pub queue_position: Option<u32>,
    /// The waiting operation that carries it out together with others.
    pub joined_to: Option<OperationId>,
    /// How the names of the variables differ, where the request named some.
    pub env_report: Option<EnvReport>,
    /// Whether the document's `allowed_envs` are other ones after it.
    pub allowed_envs_changed: bool,
    /// What was ignored or decided otherwise, a sentence each.
    pub warnings: Vec<String>,
}

/// A compose update that was prepared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComposeProvisionView {
    /// The app.
    pub app_id: AppId,
    /// Identity of the CVM's host; on chain it must be allowed.
    pub device_id: Option<DeviceId>,
    /// SHA-256 of the app-compose bytes that the guest will read.
    pub compose_hash: ComposeHash,
    /// Its KMS; `None` for apps without one.
    pub kms: Option<KmsView>,
    /// Whether the chain already allows the hash.
    pub compose_hash_registered: bool,
    /// Whether the CVM has this document already.
    pub compose_unchanged: bool,
    /// Until when it can be committed.
    pub expires_at: String,
    /// How the names of the variables would differ, where the request named some.
    pub env_report: Option<EnvReport>,
    /// What was ignored or decided otherwise, a sentence each.
    pub warnings: Vec<String>,
}
