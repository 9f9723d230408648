//! Calldata of transactions that change what contracts allow, for wallets, Safe batches and timelocks.
//! Whether a call would succeed is checked elsewhere. The server never sends transactions.

use alloy_primitives::Bytes;
use alloy_sol_types::SolCall;

use super::{
    address, fixed,
    interface::{AppContract as App, KmsContract as Kms, SafeContract as Safe},
};
use crate::id::{Address, ComposeHash, DeviceId};

/// App contract: allows a document.
#[must_use]
pub fn add_compose_hash(hash: ComposeHash) -> Vec<u8> {
    App::addComposeHashCall { hash: fixed(hash.as_bytes()) }.abi_encode()
}

/// App contract: disallows a document.
#[must_use]
pub fn remove_compose_hash(hash: ComposeHash) -> Vec<u8> {
    App::removeComposeHashCall { hash: fixed(hash.as_bytes()) }.abi_encode()
}

/// App contract: lists a device.
#[must_use]
pub fn add_device(device: DeviceId) -> Vec<u8> {
    App::addDeviceCall { device: fixed(device.as_bytes()) }.abi_encode()
}

/// App contract: removes a device from the list.
#[must_use]
pub fn remove_device(device: DeviceId) -> Vec<u8> {
    App::removeDeviceCall { device: fixed(device.as_bytes()) }.abi_encode()
}

/// App contract: allows every device, or only listed ones.
#[must_use]
pub fn set_allow_any_device(allow: bool) -> Vec<u8> {
    App::setAllowAnyDeviceCall { allow }.abi_encode()
}

/// App contract: requires hosts with an up-to-date TCB, or not.
#[must_use]
pub fn set_require_tcb_up_to_date(require: bool) -> Vec<u8> {
    App::setRequireTcbUpToDateCall { require }.abi_encode()
}

/// App contract: disables upgrades permanently.
#[must_use]
pub fn disable_upgrades() -> Vec<u8> {
    App::disableUpgradesCall {}.abi_encode()
}

/// App contract: offers the ownership; contracts from before 2026-05-31 transfer it immediately.
#[must_use]
pub fn transfer_ownership(owner: Address) -> Vec<u8> {
    App::transferOwnershipCall { owner: address(owner) }.abi_encode()
}

/// App contract: the pending owner accepts the ownership.
#[must_use]
pub fn accept_ownership() -> Vec<u8> {
    App::acceptOwnershipCall {}.abi_encode()
}

/// Initial state of a new app contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewApp {
    pub owner: Address,
    /// Whether its code can never be replaced.
    pub disable_upgrades: bool,
    pub allow_any_device: bool,
    /// A device listed from the start.
    pub device: Option<DeviceId>,
    /// A document allowed from the start.
    pub hash: Option<ComposeHash>,
}

/// KMS contract: creates and registers an app. Its id is in the event `AppDeployedViaFactory` of the
/// transaction and is not known before.
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

/// KMS contract: registers an existing app.
#[must_use]
pub fn register_app(app: Address) -> Vec<u8> {
    Kms::registerAppCall { app: address(app) }.abi_encode()
}

/// A Safe transaction with the owners' signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SafeExecution {
    /// The called contract.
    pub to: Address,
    pub data: Vec<u8>,
    /// Whether it is a DELEGATECALL, as for batches through MultiSend.
    pub delegate: bool,
    /// Gas for the call. If above zero, the Safe's transaction succeeds even if the call fails.
    pub gas: u64,
    /// The owners' signatures in the Safe's format.
    pub signatures: Vec<u8>,
}

/// Safe: executes one call.
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
