//! Calls that change what contracts allow, ready to be signed: by a wallet, in a Safe batch, in a
//! timelock. Whether they would succeed is another question; nothing here is ever sent by us.

use alloy_primitives::Bytes;
use alloy_sol_types::SolCall;

use super::{
    address, fixed,
    interface::{AppContract as App, KmsContract as Kms, SafeContract as Safe},
};
use crate::id::{Address, ComposeHash, DeviceId};

/// On the app: allows a document.
#[must_use]
pub fn add_compose_hash(hash: ComposeHash) -> Vec<u8> {
    App::addComposeHashCall { hash: fixed(hash.as_bytes()) }.abi_encode()
}

/// On the app: allows a document no more.
#[must_use]
pub fn remove_compose_hash(hash: ComposeHash) -> Vec<u8> {
    App::removeComposeHashCall { hash: fixed(hash.as_bytes()) }.abi_encode()
}

/// On the app: lists a device.
#[must_use]
pub fn add_device(device: DeviceId) -> Vec<u8> {
    App::addDeviceCall { device: fixed(device.as_bytes()) }.abi_encode()
}

/// On the app: strikes a device off its list.
#[must_use]
pub fn remove_device(device: DeviceId) -> Vec<u8> {
    App::removeDeviceCall { device: fixed(device.as_bytes()) }.abi_encode()
}

/// On the app: allows every device, or only those on its list.
#[must_use]
pub fn set_allow_any_device(allow: bool) -> Vec<u8> {
    App::setAllowAnyDeviceCall { allow }.abi_encode()
}

/// On the app: demands that the TCB of its hosts is up to date, or not.
#[must_use]
pub fn set_require_tcb_up_to_date(require: bool) -> Vec<u8> {
    App::setRequireTcbUpToDateCall { require }.abi_encode()
}

/// On the app: its code can never be replaced again.
#[must_use]
pub fn disable_upgrades() -> Vec<u8> {
    App::disableUpgradesCall {}.abi_encode()
}

/// On the app: offers it to somebody; contracts from before 2026-05-31 hand it over at once.
#[must_use]
pub fn transfer_ownership(owner: Address) -> Vec<u8> {
    App::transferOwnershipCall { owner: address(owner) }.abi_encode()
}

/// On the app, by whom it was offered to: takes it.
#[must_use]
pub fn accept_ownership() -> Vec<u8> {
    App::acceptOwnershipCall {}.abi_encode()
}

/// What an app starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewApp {
    /// Who may change its lists.
    pub owner: Address,
    /// Whether its code can never be replaced.
    pub disable_upgrades: bool,
    /// Whether it allows every device.
    pub allow_any_device: bool,
    /// A device it lists from the start.
    pub device: Option<DeviceId>,
    /// A document it allows from the start.
    pub hash: Option<ComposeHash>,
}

/// On the contract of a KMS: makes an app and registers it. Its id is in the event
/// `AppDeployedViaFactory` of the transaction; it cannot be known before.
#[must_use]
pub fn deploy_and_register_app(app: &NewApp) -> Vec<u8> {
    Kms::deployAndRegisterAppCall {
        owner: address(app.owner),
        disableUpgrades: app.disable_upgrades,
        allowAnyDevice: app.allow_any_device,
        deviceId: fixed(&app.device.map_or([0; 32], |device| *device.as_bytes())),
        composeHash: fixed(&app.hash.map_or([0; 32], |hash| *hash.as_bytes())),
    }
    .abi_encode()
}

/// On the contract of a KMS: registers an app that exists.
#[must_use]
pub fn register_app(app: Address) -> Vec<u8> {
    Kms::registerAppCall { app: address(app) }.abi_encode()
}

/// How a Safe carries out what its owners signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SafeExecution {
    /// The contract that is called.
    pub to: Address,
    pub data: Vec<u8>,
    /// Whether the code of `to` runs as the Safe itself: batches through MultiSend do.
    pub delegate: bool,
    /// Gas for the call. Above zero the transaction of the Safe succeeds even if the call fails.
    pub gas: u64,
    /// What the owners signed, as the Safe wants it.
    pub signatures: Vec<u8>,
}

/// On a Safe: carries out one call.
#[must_use]
pub fn safe_execution(execution: SafeExecution) -> Vec<u8> {
    Safe::execTransactionCall {
        to: address(execution.to),
        data: Bytes::from(execution.data),
        operation: u8::from(execution.delegate),
        safeTxGas: alloy_primitives::U256::from(execution.gas),
        signatures: Bytes::from(execution.signatures),
        value: alloy_primitives::U256::ZERO,
        baseGas: alloy_primitives::U256::ZERO,
        gasPrice: alloy_primitives::U256::ZERO,
        gasToken: alloy_primitives::Address::ZERO,
        refundReceiver: alloy_primitives::Address::ZERO,
    }
    .abi_encode()
}
