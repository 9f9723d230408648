//! Apps that contracts govern: what is asked of them, what they say, and what follows from it.
//!
//! The contract of a KMS knows which apps there are; the contract of an app, whose address is the app
//! id, which compose hashes and devices get its keys. The gate is the KMS, which asks them at every
//! boot. What is decided here comes before that, so that nothing is stopped for what would not boot.
//!
//! State decides. A transaction that is named is evidence: it has to be what it is said to be, and what
//! it did may have been undone since. A chain that does not answer is no verdict.

pub mod calldata;
mod gate;
pub mod interface;
pub mod judge;
mod messages;
pub mod plan;
pub mod returned;
pub mod rules;
pub mod view;

#[cfg(test)]
mod tests;

use alloy_primitives::B256;
use serde::{Deserialize, Serialize};

pub use gate::{Gate, gate};

use crate::id::{Address, AppId, BlockHash, ComposeHash, DeviceId, TxHash};

/// What is to be allowed, and what is said to have allowed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Question {
    /// The contract of the KMS.
    pub kms: Address,
    /// The app; its contract has this address.
    pub app: AppId,
    /// The document.
    pub hash: ComposeHash,
    /// The host it is to boot on.
    pub device: DeviceId,
    /// The transaction that is said to have added the hash. `None`: state alone decides.
    pub transaction: Option<TxHash>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Block {
    /// Its height.
    pub number: u64,
    pub hash: BlockHash,
}

/// What contracts say, all at one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    pub block: Block,
    /// Whether the contract of the KMS answers as one does.
    pub kms_exists: bool,
    /// Whether the KMS knows the app.
    pub registered: bool,
    /// Whether the contract of the app answers as one does.
    pub app_exists: bool,
    /// Whether the app allows the document.
    pub hash_allowed: bool,
    /// Whether the app allows every device.
    pub any_device: bool,
    /// Whether the app lists the device.
    pub device_listed: bool,
    /// Who may change the lists; `None`: given up, or it does not say.
    pub owner: Option<Address>,
    /// To whom the app was offered and who has not accepted yet; contracts from before 2026-05-31
    /// know no such thing.
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

/// That contracts allow something, and at which block they did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    pub chain_id: u64,
    /// The block at which it was read.
    pub block: Block,
    /// Who owned the contract of the app then.
    pub owner: Option<Address>,
    /// The transaction that was given and found to be as said.
    pub transaction: Option<TxHash>,
}

/// What a question comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Allowed(Proof),
    /// Not allowed, or not by this transaction.
    Refused(Refusal),
}

/// Why contracts do not allow something. `Display` is for the user: it names the contract, the chain and
/// the way out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The transaction is not evidence of what it is said to be: `ERR-01-007`.
    #[error("{0}")]
    Transaction(String),
    /// Contracts do not allow it: `ERR-01-008`.
    #[error("{0}")]
    State(String),
}

/// What a KMS asks its contract at a boot. Figures that are not known on our side are zero, as the
/// contracts of apps do not look at them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BootInfo {
    /// The contract of the KMS.
    pub kms: Address,
    pub app: AppId,
    /// The document.
    pub hash: ComposeHash,
    /// The instance as its guest knows it; 20 zero bytes before its first boot.
    pub instance: [u8; 20],
    /// The host.
    pub device: DeviceId,
    /// SHA-256 that names the OS image.
    pub os_image_hash: [u8; 32],
    /// `UpToDate`, `OutOfDate`, …
    pub tcb_status: String,
}

/// What the contract of the KMS says to a boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootVerdict {
    /// It gets its keys.
    Allowed(Block),
    /// It does not, for this reason, word for word as the contract gives it.
    Denied(Block, String),
}

/// What is behind an address that owns an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Account {
    /// Somebody's key. Also one that lends itself code (EIP-7702): it signs as before.
    Eoa,
    /// A contract that is no Safe: a timelock, a DAO, something else.
    Contract,
    Safe {
        /// How many owners have to sign.
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
