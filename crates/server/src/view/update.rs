//! The result of an update.

pub use casemate_core::change::{Effect, EnvReport};
use casemate_core::id::{AppId, ComposeHash, DeviceId, OperationId};

use super::KmsView;

/// An accepted change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateView {
    pub correlation_id: OperationId,
    /// What happens now, one sentence.
    pub message: String,
    /// What the change needs; `None` while it is queued, because it is decided when it starts.
    pub effect: Option<Effect>,
    /// Number of changes before it in the queue.
    pub queue_position: Option<u32>,
    /// The queued operation that carries out this one in a batch.
    pub joined_to: Option<OperationId>,
    /// Changes of variable names, if the request named some.
    pub env_report: Option<EnvReport>,
    /// Whether the document's `allowed_envs` change.
    pub allowed_envs_changed: bool,
    /// What was ignored or adjusted, one sentence each.
    pub warnings: Vec<String>,
}

/// A prepared compose update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComposeProvisionView {
    pub app_id: AppId,
    /// Device id of the CVM's host; a contract must allow it if the app is governed.
    pub device_id: Option<DeviceId>,
    /// SHA-256 of the app-compose bytes that the guest will read.
    pub compose_hash: ComposeHash,
    /// `None` for apps without a KMS.
    pub kms: Option<KmsView>,
    /// Whether the contract already allows the hash.
    pub compose_hash_registered: bool,
    /// Whether the CVM already has this document.
    pub compose_unchanged: bool,
    pub expires_at: String,
    /// Changes of variable names, if the request named some.
    pub env_report: Option<EnvReport>,
    /// What was ignored or adjusted, one sentence each.
    pub warnings: Vec<String>,
}
