//! What a plan is made from.

use std::collections::BTreeMap;

use crate::{
    governance::{Account, Block, BootVerdict},
    id::{Address, AppId, ComposeHash, DeviceId},
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The document that is to boot.
    pub hash: ComposeHash,
    /// Whether the app is to allow every device, instead of the hosts' own.
    pub any_device: bool,
    /// Who would sign; `None`: whoever can.
    pub signer: Option<Address>,
}

/// What is so, at one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub chain_id: u64,
    pub block: Block,
    /// The contract of the KMS.
    pub kms: KmsFacts,
    pub app: Subject,
    /// Where the document is to boot.
    pub hosts: Vec<Host>,
    /// What is known of accounts that can sign.
    pub accounts: BTreeMap<Address, Account>,
}

/// The contract of a KMS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KmsFacts {
    /// Its address.
    pub contract: Address,
    /// Whether it answers as one does.
    pub exists: bool,
    /// Who may change its lists.
    pub owner: Option<Address>,
}

/// Whose lists are in question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// An app that there is not yet; this account is to own it.
    New(Address),
    App(AppFacts),
}

/// The contract of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppFacts {
    /// Its id and address.
    pub id: AppId,
    /// Whether it answers as one does.
    pub exists: bool,
    /// Whether the KMS knows it.
    pub registered: bool,
    /// Who may change its lists; `None`: given up.
    pub owner: Option<Address>,
    /// To whom it was offered.
    pub pending_owner: Option<Address>,
    /// Whether it allows the document.
    pub hash_allowed: bool,
    /// Whether it allows every device.
    pub any_device: bool,
    /// Whether it demands that the TCB of hosts is up to date; `None`: it does not say.
    pub tcb_required: Option<bool>,
    /// Whether its code can never be replaced; `None`: not known.
    pub upgrades_disabled: Option<bool>,
    /// Other documents that were in force and that it still allows, newest first.
    pub other_hashes: Vec<ComposeHash>,
}

/// A host, as the contracts know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its name with us.
    pub name: String,
    /// Its device id; all zeros: it has none.
    pub device: DeviceId,
    /// Whether the app lists the device.
    pub listed: bool,
    /// The image it would boot, by its hash, and whether the KMS allows that; `None`: not known.
    pub os_image: Option<([u8; 32], bool)>,
    /// What is known of its TCB.
    pub tcb_status: Option<String>,
    /// What the contract of the KMS says to such a boot now; `None`: it was not asked.
    pub boot: Option<BootVerdict>,
}
