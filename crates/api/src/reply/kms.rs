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

/// `GET /kms/on-chain/{chain}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OnchainKms {
    /// `base`, `ethereum`.
    pub chain_name: String,
    /// Its id.
    pub chain_id: u64,
    /// Contracts of KMS there.
    pub contracts: Vec<OnchainContract>,
}

/// What the contract of a KMS allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OnchainContract {
    /// `0x…`.
    pub contract_address: String,
    /// Its chain.
    pub chain_id: u64,
    /// `base`, `ethereum`.
    pub chain_name: String,
    /// Hosts of the nodes here.
    pub devices: Vec<OnchainDevice>,
    /// OS images of the nodes here.
    pub os_images: Vec<OnchainOsImage>,
}

/// A host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OnchainDevice {
    /// 64 hex digits.
    pub device_id: String,
    /// The node there.
    pub node_name: Option<String>,
    /// Whether a KMS may run there; `null`: the chain does not answer.
    pub on_chain_allowed: Option<bool>,
}

/// An OS image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OnchainOsImage {
    /// `dstack-0.5.4`.
    pub name: String,
    /// `0.5.4`.
    pub version: String,
    /// 64 hex digits, where known.
    pub os_image_hash: Option<String>,
    /// Whether apps may boot it; `null`: it has no hash, or the chain does not answer.
    pub on_chain_allowed: Option<bool>,
}

/// `GET /kms/{ref}/info`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KmsInspection {
    /// `kms_…`.
    pub id: String,
    /// Name in paths.
    pub slug: Option<String>,
    /// Address of its API.
    pub endpoint: String,
    /// `phala`, `base`, `ethereum`.
    pub kms_type: String,
    /// Version that is recorded of it.
    pub db_version: String,
    /// What it says of itself.
    pub rpc: Option<KmsSelf>,
    /// Why it does not.
    pub rpc_error: Option<String>,
    /// Always `null`: the KMS here runs in no guest.
    pub guest_agent: Option<String>,
    /// Why that is.
    pub guest_agent_error: Option<String>,
    /// The nodes whose guests it serves.
    pub teepods: Vec<KmsTeepod>,
    /// What its contract says, if it has one.
    pub on_chain: Option<KmsOnchain>,
}

/// What a KMS says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KmsSelf {
    /// Version of its software.
    pub version: String,
    /// Whether it runs without a TEE.
    pub is_dev: bool,
    /// Chain of its contract.
    pub chain_id: Option<u64>,
    /// Address of its contract.
    pub kms_contract_address: Option<String>,
    /// App id of its gateway.
    pub gateway_app_id: Option<String>,
    /// Its root keys.
    pub bootstrap_info: KmsKeys,
    /// Whether the version is the recorded one.
    pub version_synced: bool,
}

/// The public root keys of a KMS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KmsKeys {
    /// secp256k1, hex.
    pub k256_pubkey: String,
    /// Of its CA, hex.
    pub ca_pubkey: String,
    /// Length of the quote over them in bytes; 0: there is none.
    pub quote_length: u64,
    /// Length of its event log.
    pub eventlog_length: u64,
}

/// A node whose guests a KMS serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KmsTeepod {
    /// Integer id.
    pub id: i64,
    /// Name.
    pub name: String,
    /// Version of its software that is recorded.
    pub teepod_version_db: Option<String>,
    /// Version that it told last.
    pub teepod_version_real: Option<String>,
    /// Address that its guests use.
    pub kms_url: Option<String>,
    /// All of them.
    pub kms_urls: Vec<String>,
    /// Its OS images.
    pub available_os_images: Vec<KmsTeepodImage>,
    /// Why it does not answer.
    pub error: Option<String>,
}

/// An OS image of such a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KmsTeepodImage {
    /// `dstack-0.5.4`.
    pub name: String,
    /// `0.5.4`.
    pub version: String,
    /// With login tools.
    pub is_dev: bool,
}

/// What the contract of a KMS says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KmsOnchain {
    /// Whether it answers as the contract of a KMS (Casemate only); `null`: not known.
    pub exists: Option<bool>,
    /// The block at which it was asked (Casemate only).
    pub block_number: Option<u64>,
    /// What of it agrees with what the KMS says of itself.
    pub verification: KmsVerification,
    /// Why it is not known.
    pub error: Option<String>,
}

/// What agrees; `null`: not known, or nothing to compare.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KmsVerification {
    /// Its root key.
    pub k256_pubkey_match: Option<bool>,
    /// The key of its CA.
    pub ca_pubkey_match: Option<bool>,
    /// Its gateway.
    pub gateway_app_id_match: Option<bool>,
    /// Whether the KMS may run on every host of the nodes here.
    pub device_id_allowed: Option<bool>,
    /// Whether apps may boot every OS image of the nodes here that has a hash.
    pub os_image_allowed: Option<bool>,
    /// Its measurement.
    pub mr_aggregated_allowed: Option<bool>,
}
