//! KMS: machines up to 2026-05-22, contracts from 2026-06-23 on.

use serde::{Deserialize, Serialize};

use crate::page::Page;

/// A KMS machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KmsNode {
    /// `kms_…`.
    pub id: String,
    /// Name in paths.
    #[serde(default)]
    pub slug: Option<String>,
    /// Address of its API.
    pub url: String,
    /// Version of its software.
    pub version: String,
    /// Chain of its contract.
    #[serde(default)]
    pub chain_id: Option<u64>,
    /// Address of its contract.
    #[serde(default)]
    pub kms_contract_address: Option<String>,
    /// App id of its gateway.
    #[serde(default)]
    pub gateway_app_id: Option<String>,
}

/// A KMS contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KmsContract {
    /// `kc_…`.
    pub id: String,
    /// Name in paths.
    #[serde(default)]
    pub slug: Option<String>,
    /// Name for people.
    #[serde(default)]
    pub label: Option<String>,
    /// Address; `phala` for the KMS that no chain governs.
    pub contract_address: String,
    /// Chain; 0 without one.
    pub chain_id: u64,
    /// Root public key.
    #[serde(default)]
    pub k256_pubkey: Option<String>,
    /// CA public key.
    #[serde(default)]
    pub ca_pubkey: Option<String>,
    /// Number of its machines.
    pub node_count: u64,
}

/// `GET /kms`. Strict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum KmsList {
    /// Up to 2026-05-22.
    Nodes(Page<KmsNode>),
    /// From 2026-06-23 on.
    Contracts(Page<KmsContract>),
}

/// `GET /kms/{ref}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum KmsOne {
    /// Up to 2026-05-22.
    Node(KmsNode),
    /// From 2026-06-23 on.
    Contract(KmsContract),
}

/// `GET /kms/{slug}/nodes`, from 2026-06-23 on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KmsContractNodes {
    /// The machines.
    pub items: Vec<KmsContractNode>,
    /// How many.
    pub total: u64,
}

/// A machine of a contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KmsContractNode {
    /// `kms_…`.
    pub id: String,
    /// Name in paths.
    #[serde(default)]
    pub slug: Option<String>,
    /// Address of its API.
    pub url: String,
    /// Version of its software.
    pub version: String,
    /// Kind; text, because others know other kinds.
    pub kms_type: String,
}

/// `GET /kms/{ref}/pubkey/{app_id}`. Strict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KmsPubkey {
    /// X25519 key, 64 hex digits.
    pub public_key: String,
    /// The KMS's signature over it, 65 bytes as hex.
    pub signature: String,
}

/// `GET /kms/phala/next_app_id`. Strict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NextAppIds {
    /// The next ones, in order.
    pub app_ids: Vec<NextAppId>,
}

/// An app id that a nonce leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NextAppId {
    /// 40 hex digits.
    pub app_id: String,
    /// The nonce.
    pub nonce: u64,
}
