//! The outcome of a provision.

use casemate_core::id::{AppId, ComposeHash, DeviceId, NodeId};

use super::KmsView;

/// What was prepared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvisionView {
    /// The app id; `None` on chain, where a contract is deployed first: clients go that way exactly
    /// if this is missing and the KMS has a chain.
    pub app_id: Option<AppId>,
    /// X25519 key to seal the environment to, 64 hex digits; `None` on chain.
    pub env_public_key: Option<String>,
    /// SHA-256 of the app-compose bytes that the guest will read.
    pub compose_hash: ComposeHash,
    /// The KMS chosen.
    pub kms: Option<KmsView>,
    /// Of the node chosen.
    pub fmspc: Option<String>,
    /// Identity of the host chosen; on chain it must be allowed.
    pub device_id: Option<DeviceId>,
    /// Of the OS image chosen.
    pub os_image_hash: Option<String>,
    /// Name of the instance type chosen.
    pub instance_type: Option<String>,
    /// The node chosen.
    pub node_id: Option<NodeId>,
    /// Whether the chain already allows the hash.
    pub compose_hash_registered: bool,
    /// Until when it can be committed.
    pub expires_at: String,
    /// What was ignored or decided otherwise, a sentence each.
    pub warnings: Vec<String>,
}
