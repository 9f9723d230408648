//! The result of a provision.

use casemate_core::id::{AppId, ComposeHash, DeviceId, NodeId};

use super::KmsView;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvisionView {
    /// `None` for contract-governed apps, whose contract is deployed first. Clients take that path exactly if
    /// this is missing and the KMS has a chain.
    pub app_id: Option<AppId>,
    /// X25519 key to seal the environment to, 64 hex digits; `None` for contract-governed apps.
    pub env_public_key: Option<String>,
    /// SHA-256 of the app-compose bytes that the guest will read.
    pub compose_hash: ComposeHash,
    /// The selected KMS.
    pub kms: Option<KmsView>,
    /// FMSPC of the selected node.
    pub fmspc: Option<String>,
    /// Device id of the selected host; a contract must allow it if the app is governed.
    pub device_id: Option<DeviceId>,
    /// Hash of the selected OS image.
    pub os_image_hash: Option<String>,
    /// The selected instance type.
    pub instance_type: Option<String>,
    /// The selected node.
    pub node_id: Option<NodeId>,
    /// Whether the contract already allows the hash.
    pub compose_hash_registered: bool,
    pub expires_at: String,
    /// What was ignored or adjusted, one sentence each.
    pub warnings: Vec<String>,
}
