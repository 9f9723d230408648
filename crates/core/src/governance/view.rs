//! Calldata of read-only calls; [`super::returned`] decodes the results.

use alloy_sol_types::SolCall;

use super::{
    BootInfo, address, fixed,
    interface::{AppBootInfo, AppContract as App, KmsContract as Kms, SafeContract as Safe},
};
use crate::id::{Address, ComposeHash, DeviceId};

/// KMS contract: whether it knows an app.
#[must_use]
pub fn registered_app(app: Address) -> Vec<u8> {
    Kms::registeredAppsCall { app: address(app) }.abi_encode()
}

/// KMS contract: whether a KMS may run on a device.
#[must_use]
pub fn kms_device(device: DeviceId) -> Vec<u8> {
    Kms::kmsAllowedDeviceIdsCall { device: fixed(device.as_bytes()) }.abi_encode()
}

/// KMS contract: whether apps may run on an OS image.
#[must_use]
pub fn os_image(hash: [u8; 32]) -> Vec<u8> {
    Kms::allowedOsImagesCall { hash: fixed(&hash) }.abi_encode()
}

/// KMS or app contract: whether a boot is allowed.
#[must_use]
pub fn boot(boot: &BootInfo) -> Vec<u8> {
    let info = AppBootInfo {
        appId: address(boot.app.into()),
        composeHash: fixed(boot.hash.as_bytes()),
        instanceId: alloy_primitives::Address::from(boot.instance),
        deviceId: fixed(boot.device.as_bytes()),
        mrAggregated: fixed(&[0; 32]),
        mrSystem: fixed(&[0; 32]),
        osImageHash: fixed(&boot.os_image_hash),
        tcbStatus: boot.tcb_status.clone(),
        advisoryIds: Vec::new(),
    };
    Kms::isAppAllowedCall { boot: info }.abi_encode()
}

/// App contract: whether it allows a document.
#[must_use]
pub fn compose_hash(hash: ComposeHash) -> Vec<u8> {
    App::allowedComposeHashesCall { hash: fixed(hash.as_bytes()) }.abi_encode()
}

/// App contract: whether it lists a device.
#[must_use]
pub fn device(device: DeviceId) -> Vec<u8> {
    App::allowedDeviceIdsCall { device: fixed(device.as_bytes()) }.abi_encode()
}

/// App contract: whether it allows every device.
#[must_use]
pub fn any_device() -> Vec<u8> {
    App::allowAnyDeviceCall {}.abi_encode()
}

/// KMS or app contract: whether it has an interface, by ERC-165.
#[must_use]
pub fn supports_interface(id: [u8; 4]) -> Vec<u8> {
    App::supportsInterfaceCall { id: id.into() }.abi_encode()
}

/// KMS contract: the contract that new apps are proxies of.
#[must_use]
pub fn app_implementation() -> Vec<u8> {
    Kms::appImplementationCall {}.abi_encode()
}

/// KMS contract: app id of the gateway.
#[must_use]
pub fn gateway_app_id() -> Vec<u8> {
    Kms::gatewayAppIdCall {}.abi_encode()
}

/// KMS contract: public keys of the KMS.
#[must_use]
pub fn kms_info() -> Vec<u8> {
    Kms::kmsInfoCall {}.abi_encode()
}

/// KMS or app contract: its owner.
#[must_use]
pub fn owner() -> Vec<u8> {
    App::ownerCall {}.abi_encode()
}

/// App contract: its pending owner. Contracts from before 2026-05-31 have no such function.
#[must_use]
pub fn pending_owner() -> Vec<u8> {
    App::pendingOwnerCall {}.abi_encode()
}

/// Safe: number of owners that must sign.
#[must_use]
pub fn safe_threshold() -> Vec<u8> {
    Safe::getThresholdCall {}.abi_encode()
}

/// Safe: its owners.
#[must_use]
pub fn safe_owners() -> Vec<u8> {
    Safe::getOwnersCall {}.abi_encode()
}
