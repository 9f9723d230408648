//! `POST /cvms`, the second of the two phases of a deployment.

use casemate_core::id::{AppId, ComposeHash};
use serde::{Deserialize, Serialize};

use crate::num;

/// Which provision becomes a CVM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CommitRequest {
    /// The app id of the provision, or the address of the app contract on chain; any spelling.
    #[serde(
        default,
        deserialize_with = "num::opt_app_id",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub app_id: Option<AppId>,
    /// The hash of the provision, with or without `0x`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub compose_hash: ComposeHash,
    /// Sealed environment as hex; goes before the one of the provision. Not checked here.
    #[serde(default, deserialize_with = "num::opt_name", skip_serializing_if = "Option::is_none")]
    pub encrypted_env: Option<String>,
    /// Names of the sealed variables, a part of the allowed ones; `null` is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_keys: Option<Vec<String>>,
    /// A KMS by id or slug.
    #[serde(default, deserialize_with = "num::opt_name", skip_serializing_if = "Option::is_none")]
    pub kms_id: Option<String>,
    /// Address of the app contract on chain.
    #[serde(default, deserialize_with = "num::opt_name", skip_serializing_if = "Option::is_none")]
    pub contract_address: Option<String>,
    /// Address that deployed it.
    #[serde(default, deserialize_with = "num::opt_name", skip_serializing_if = "Option::is_none")]
    pub deployer_address: Option<String>,
    /// Transaction that registered the hash, or `already-registered`.
    #[serde(default, deserialize_with = "num::opt_name", skip_serializing_if = "Option::is_none")]
    pub transaction_hash: Option<String>,
}
