//! The inputs of a plan.

use std::collections::BTreeMap;

use crate::{
    governance::{Account, Block, BootVerdict, Epochs},
    id::{Address, AppId, ComposeHash, DeviceId},
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalGoal {
    /// The document to boot.
    pub hash: ComposeHash,
    /// Whether the app should allow every device instead of the hosts' devices.
    pub any_device: bool,
    /// The account that would sign; `None`: any.
    pub signer: Option<Address>,
}

/// The state that a plan is based on, at one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub chain_id: u64,
    pub block: Block,
    pub kms: KmsFacts,
    pub app: Subject,
    /// The hosts to boot on.
    pub hosts: Vec<Host>,
    /// Kinds of the accounts that can sign.
    pub accounts: BTreeMap<Address, Account>,
}

/// A KMS contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KmsFacts {
    pub contract: Address,
    /// Whether it answers like one.
    pub exists: bool,
    pub owner: Option<Address>,
}

/// The app of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A new app, owned by this account.
    New(Address),
    App(AppFacts),
}

/// An app contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppFacts {
    /// App id and address.
    pub id: AppId,
    /// Whether it answers like one.
    pub exists: bool,
    /// Whether it has lists that its owner changes; otherwise it judges by rules of its own.
    pub has_lists: bool,
    /// Whether it approves by epoch.
    pub epochs: Epochs,
    /// Whether the KMS knows it.
    pub registered: bool,
    /// `None`: renounced.
    pub owner: Option<Address>,
    /// The account that ownership was offered to.
    pub pending_owner: Option<Address>,
    /// Whether it allows the document.
    pub hash_allowed: bool,
    /// Whether it allows every device.
    pub any_device: bool,
    /// Whether it requires hosts with an up-to-date TCB; `None`: unknown.
    pub tcb_required: Option<bool>,
    /// Whether its code can never be replaced; `None`: unknown.
    pub upgrades_disabled: Option<bool>,
    /// Earlier documents that it still allows, newest first.
    pub other_hashes: Vec<ComposeHash>,
}

/// A host as contracts know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Name of the node.
    pub name: String,
    /// All zeros: none.
    pub device: DeviceId,
    /// Whether the app lists the device.
    pub listed: bool,
    /// The hash of its image, and whether the KMS allows it; `None`: unknown.
    pub os_image: Option<([u8; 32], bool)>,
    /// TCB status, if known.
    pub tcb_status: Option<String>,
    /// The KMS contract's current answer to such a boot; `None`: not asked.
    pub boot: Option<BootVerdict>,
}
