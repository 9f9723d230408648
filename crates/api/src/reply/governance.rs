//! Plans for contracts that govern apps. Addresses are `0x…` with their checksum.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `POST /governance/plan`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GovernancePlan {
    /// `allowed`; `transactions_missing`; `not_yours` (somebody else has to sign); `blocked` (the steps are
    /// not enough, see `obstacles`).
    pub standing: String,
    /// The chain.
    pub chain_id: u64,
    /// Height of the block at which it was read.
    pub block_number: u64,
    /// That block.
    pub block_hash: String,
    /// The contract of the KMS.
    pub kms_contract: String,
    /// The contract of the app; `null` for a new one.
    pub app_contract: Option<String>,
    /// The document, 64 hex digits.
    pub compose_hash: String,
    /// Who may change the lists of the app.
    pub owner: Option<PlanAccount>,
    /// To whom the app was offered and who has not accepted it.
    pub pending_owner: Option<String>,
    /// What is missing, in the order in which it is to be done.
    pub steps: Vec<PlanStep>,
    /// What an owner may want besides; nothing depends on it.
    pub optional: Vec<PlanStep>,
    /// Why the steps are not enough.
    pub obstacles: Vec<PlanObstacle>,
    /// What is good to know, a sentence each.
    pub notes: Vec<String>,
    /// What the KMS says to each host now.
    pub hosts: Vec<PlanHost>,
    /// The steps of the account that has to sign, as the Transaction Builder of a Safe imports them.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub safe_batch: Option<Value>,
    /// The same as calldata of `multiSend(bytes)`.
    pub multisend: Option<String>,
    /// Page of the app's contract for people.
    pub explorer_url: Option<String>,
    /// What was ignored, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// An account that signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlanAccount {
    /// Its address.
    pub address: String,
    /// `eoa` (a key), `safe`, `contract` (a timelock, a DAO).
    pub kind: String,
    /// How many owners of the Safe sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<u64>,
    /// The owners of the Safe.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owners: Vec<String>,
}

/// A transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlanStep {
    /// The contract.
    pub to: String,
    /// Which one that is: `app` or `kms`.
    pub contract: String,
    /// The function: `addComposeHash(bytes32)`.
    pub method: String,
    /// Its arguments.
    pub arguments: Vec<PlanArgument>,
    /// ABI calldata, `0x…`. It is sent without value.
    pub calldata: String,
    /// What it is good for: `deploy`, `register`, `accept_ownership`, `compose_hash`, `device`,
    /// `any_device`, `forget_compose_hash`, `accept_tcb`.
    pub purpose: String,
    /// The same for people.
    pub why: String,
    /// Who signs; `null`: anybody who pays.
    pub signer: Option<PlanAccount>,
    /// Place of the step that must be done before, from 0.
    pub after: Option<usize>,
    /// Whether it would succeed now: `succeeds`, `reverts`, `untried`.
    pub simulation: String,
    /// Why it would not.
    pub revert_reason: Option<String>,
}

/// An argument of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlanArgument {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its value.
    pub value: String,
}

/// Why the steps of a plan are not enough.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlanObstacle {
    /// `no_kms_contract`, `no_app_contract`, `owner_renounced`, `unknown_device`, `several_devices`,
    /// `os_image_refused`, `tcb_not_up_to_date`, `reverts`.
    pub code: String,
    /// The same for people, with the way out.
    pub message: String,
}

/// A host, as contracts see it now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlanHost {
    /// The node's name.
    pub node: String,
    /// Its device, 64 hex digits.
    pub device_id: String,
    /// Whether the app lists the device, or allows every one.
    pub device_allowed: bool,
    /// The OS image, 64 hex digits, where known.
    pub os_image_hash: Option<String>,
    /// Whether the KMS allows the image.
    pub os_image_allowed: Option<bool>,
    /// What the contract of the KMS says to a boot now; `null`: it was not asked.
    pub is_app_allowed: Option<bool>,
    /// Why not, in the contract's words.
    pub reason: Option<String>,
}
