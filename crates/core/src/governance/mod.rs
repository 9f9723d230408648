//! Contract-governed apps: questions to contracts, their answers, and verdicts.
//!
//! The KMS contract knows which apps exist. The app contract, whose address is the app id, knows which
//! compose hashes and devices get its keys. The KMS enforces both at every boot. The checks here come
//! earlier, so that no guest is stopped for a configuration that cannot boot.
//!
//! The current state decides. A given transaction is only evidence: it must be what the client claims, and
//! its effect may have been undone since. A chain that does not answer gives no verdict.

pub mod calldata;
mod epochs;
mod gate;
pub mod interface;
pub mod judge;
mod messages;
pub mod ownership;
pub mod plan;
pub mod returned;
pub mod rules;
pub mod view;

#[cfg(test)]
mod tests;

use alloy_primitives::B256;
use serde::{Deserialize, Serialize};

pub use epochs::{EPOCH_AUTH, Epochs, OLD_EPOCH_AUTH};
pub use gate::{Gate, gate};

use crate::id::{Address, AppId, BlockHash, ComposeHash, DeviceId, TxHash};

/// What must be allowed, and the transaction that allegedly allowed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Question {
    /// KMS contract.
    pub kms: Address,
    /// The app; its contract has this address.
    pub app: AppId,
    pub hash: ComposeHash,
    /// The host to boot on.
    pub device: DeviceId,
    /// SHA-256 of the OS image to boot; `None`: not known, as of nodes that do not tell it.
    pub os_image: Option<[u8; 32]>,
    /// The transaction that allegedly added the hash. `None`: only the state is checked.
    pub transaction: Option<TxHash>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Block {
    pub number: u64,
    pub hash: BlockHash,
}

/// The contracts' state at one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    pub block: Block,
    /// Whether the KMS contract answers like one.
    pub kms_exists: bool,
    /// Whether the KMS knows the app.
    pub registered: bool,
    /// Whether the app contract answers like one.
    pub app_exists: bool,
    /// Whether the app has lists of documents and devices. A contract that has only `isAppAllowed` judges
    /// document and device together: then `hash_allowed` and `any_device` are both what that says.
    pub has_lists: bool,
    /// Whether the app allows the document.
    pub hash_allowed: bool,
    /// Whether the app allows every device.
    pub any_device: bool,
    /// Whether the app lists the device.
    pub device_listed: bool,
    /// Owner of the app contract; `None`: renounced, or unknown.
    pub owner: Option<Address>,
    /// The account that ownership was offered to and that has not accepted. Contracts from before 2026-05-31
    /// have none.
    pub pending_owner: Option<Address>,
}

impl State {
    /// Whether the device gets the keys.
    #[must_use]
    pub const fn device_allowed(&self) -> bool {
        self.any_device || self.device_listed
    }

    /// Whether document and device get the keys.
    #[must_use]
    pub const fn allowed(&self) -> bool {
        self.kms_exists
            && self.registered
            && self.app_exists
            && self.hash_allowed
            && self.device_allowed()
    }
}

/// An approval with its block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    pub chain_id: u64,
    /// The block at which it was read.
    pub block: Block,
    /// Owner of the app contract at that block.
    pub owner: Option<Address>,
    /// The transaction that was given and found valid.
    pub transaction: Option<TxHash>,
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Allowed(Proof),
    /// Not allowed, or not by this transaction.
    Refused(Refusal),
}

/// Why contracts do not allow something. `Display` is for the user and names the contract, the chain and the
/// next step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The transaction is not valid evidence: `ERR-01-007`.
    #[error("{0}")]
    Transaction(String),
    /// The app's contract does not allow it: `ERR-01-008`.
    #[error("{0}")]
    State(String),
    /// The app allows document and device, and the KMS contract would refuse the boot all the same, for
    /// example for its OS image: `ERR-01-008`.
    #[error("{0}")]
    Boot(String),
}

/// The question of a KMS to its contract at a boot. Unknown fields are zero; app contracts do not use them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BootInfo {
    /// KMS contract.
    pub kms: Address,
    pub app: AppId,
    pub hash: ComposeHash,
    /// The guest's instance id; 20 zero bytes before its first boot.
    pub instance: [u8; 20],
    pub device: DeviceId,
    /// SHA-256 of the OS image.
    pub os_image_hash: [u8; 32],
    /// `UpToDate`, `OutOfDate`, …
    pub tcb_status: String,
}

impl BootInfo {
    /// A boot of what a question is about, with this OS image, on a host that is up to date.
    #[must_use]
    pub fn new(question: &Question, os_image_hash: [u8; 32]) -> Self {
        Self {
            kms: question.kms,
            app: question.app,
            hash: question.hash,
            instance: [0; 20],
            device: question.device,
            os_image_hash,
            tcb_status: "UpToDate".to_owned(),
        }
    }
}

/// The settings of a KMS contract.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KmsSettings {
    /// `None`: renounced, or the contract is the implementation behind a proxy.
    pub owner: Option<Address>,
    /// The contract that new apps are proxies of; `None`: not set, so that no app can be deployed.
    pub app_implementation: Option<Address>,
    /// App id of the gateway; `None`: not set.
    pub gateway_app_id: Option<String>,
    /// Public keys of the KMS; `None`: not set.
    pub keys: Option<KmsKeys>,
}

/// Public keys of a KMS as its contract has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KmsKeys {
    /// SEC1, compressed or not.
    pub k256: Vec<u8>,
    /// DER.
    pub ca: Vec<u8>,
}

/// The KMS contract's answer to a boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootVerdict {
    Allowed(Block),
    /// The contract's own reason.
    Denied(Block, String),
}

/// The kind of account that owns an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Account {
    /// A key, including one that delegates to code (EIP-7702), because it still signs.
    Eoa,
    /// A contract that is not a Safe: a timelock, a DAO, …
    Contract,
    Safe {
        /// Number of owners that must sign.
        threshold: u64,
        owners: Vec<Address>,
    },
}

fn address(address: Address) -> alloy_primitives::Address {
    alloy_primitives::Address::from(*address.as_bytes())
}

fn fixed(bytes: &[u8; 32]) -> B256 {
    B256::from(*bytes)
}
