//! The Solidity interfaces of the contracts. Selectors and topics are derived from them; the tests in this
//! file check the values.
//!
//! The public API of this crate uses its own types: [`super::calldata`] and [`super::view`] encode,
//! [`super::returned`] and [`super::judge`] decode. Only the fake chain decodes calls.

use alloy_sol_types::sol;

sol! {
    /// The question of a KMS at a boot.
    #[derive(Debug)]
    struct AppBootInfo {
        address appId;
        bytes32 composeHash;
        address instanceId;
        bytes32 deviceId;
        bytes32 mrAggregated;
        bytes32 mrSystem;
        bytes32 osImageHash;
        string tcbStatus;
        string[] advisoryIds;
    }

    /// KMS contract, one per chain and KMS.
    #[derive(Debug)]
    interface KmsContract {
        event AppDeployedViaFactory(address indexed appId, address indexed deployer);
        event AppRegistered(address appId);

        function deployAndRegisterApp(address owner, bool disableUpgrades, bool allowAnyDevice, bytes32 deviceId, bytes32 composeHash) external returns (address);
        function registerApp(address app) external;
        function registeredApps(address app) external view returns (bool);
        function allowedOsImages(bytes32 hash) external view returns (bool);
        function kmsAllowedDeviceIds(bytes32 device) external view returns (bool);
        function isAppAllowed(AppBootInfo boot) external view returns (bool, string);
        function owner() external view returns (address);
        function appImplementation() external view returns (address);
        function gatewayAppId() external view returns (string);
        function kmsInfo() external view returns (bytes k256Pubkey, bytes caPubkey, bytes quote, bytes eventlog);
        function supportsInterface(bytes4 id) external view returns (bool);
        function addKmsDevice(bytes32 device) external;
        function addOsImageHash(bytes32 hash) external;
        function removeOsImageHash(bytes32 hash) external;
    }

    /// App contract, at the address of the app id.
    #[derive(Debug)]
    interface AppContract {
        event ComposeHashAdded(bytes32 hash);
        event ComposeHashRemoved(bytes32 hash);
        event DeviceAdded(bytes32 device);
        event DeviceRemoved(bytes32 device);
        event AllowAnyDeviceSet(bool allow);

        error OwnableUnauthorizedAccount(address account);
        error OwnableInvalidOwner(address owner);
        error UUPSUnauthorizedCallContext();
        error InvalidInitialization();
        error NotInitializing();
        error FailedCall();
        error AddressEmptyCode(address target);

        function addComposeHash(bytes32 hash) external;
        function removeComposeHash(bytes32 hash) external;
        function addDevice(bytes32 device) external;
        function removeDevice(bytes32 device) external;
        function setAllowAnyDevice(bool allow) external;
        function setRequireTcbUpToDate(bool require) external;
        function disableUpgrades() external;
        function transferOwnership(address owner) external;
        function acceptOwnership() external;
        function renounceOwnership() external;
        function allowedComposeHashes(bytes32 hash) external view returns (bool);
        function allowedDeviceIds(bytes32 device) external view returns (bool);
        function allowAnyDevice() external view returns (bool);
        function requireTcbUpToDate() external view returns (bool);
        function version() external view returns (uint256);
        function owner() external view returns (address);
        function pendingOwner() external view returns (address);
        function isAppAllowed(AppBootInfo boot) external view returns (bool, string);
        function supportsInterface(bytes4 id) external view returns (bool);
    }

    /// The parts of a Safe used here.
    #[derive(Debug)]
    interface SafeContract {
        event ExecutionSuccess(bytes32 txHash, uint256 payment);
        event ExecutionFailure(bytes32 txHash, uint256 payment);

        function getThreshold() external view returns (uint256);
        function getOwners() external view returns (address[]);
        function execTransaction(address to, uint256 value, bytes data, uint8 operation, uint256 safeTxGas, uint256 baseGas, uint256 gasPrice, address gasToken, address refundReceiver, bytes signatures) external returns (bool);
    }
}

#[cfg(test)]
mod tests {
    use alloy_sol_types::{SolCall, SolError, SolEvent};

    use super::{AppContract as App, KmsContract as Kms, SafeContract as Safe};

    /// From a compilation of the contracts (clients send 0xdfc77223 and the others).
    #[test]
    fn selectors_are_those_of_the_contracts() {
        let known: [([u8; 4], u32); 31] = [
            (Kms::deployAndRegisterAppCall::SELECTOR, 0x8618_169d),
            (Kms::registerAppCall::SELECTOR, 0x17a1_d80f),
            (Kms::registeredAppsCall::SELECTOR, 0xa6c4_cce9),
            (Kms::allowedOsImagesCall::SELECTOR, 0x9a4e_1d18),
            (Kms::kmsAllowedDeviceIdsCall::SELECTOR, 0x13eb_9770),
            (Kms::isAppAllowedCall::SELECTOR, 0x1e07_9198),
            (Kms::appImplementationCall::SELECTOR, 0x25a9_92da),
            (Kms::gatewayAppIdCall::SELECTOR, 0x95f5_1931),
            (Kms::kmsInfoCall::SELECTOR, 0x0917_7063),
            (App::supportsInterfaceCall::SELECTOR, 0x01ff_c9a7),
            (Kms::addKmsDeviceCall::SELECTOR, 0x4d59_22a1),
            (Kms::addOsImageHashCall::SELECTOR, 0x06a3_ae96),
            (Kms::removeOsImageHashCall::SELECTOR, 0x9425_bac6),
            (App::addComposeHashCall::SELECTOR, 0xdfc7_7223),
            (App::removeComposeHashCall::SELECTOR, 0x67b3_f22c),
            (App::addDeviceCall::SELECTOR, 0x2a81_9728),
            (App::removeDeviceCall::SELECTOR, 0x1d26_6200),
            (App::setAllowAnyDeviceCall::SELECTOR, 0x7c4b_eeb8),
            (App::setRequireTcbUpToDateCall::SELECTOR, 0x6e4c_7422),
            (App::disableUpgradesCall::SELECTOR, 0xec66_9036),
            (App::transferOwnershipCall::SELECTOR, 0xf2fd_e38b),
            (App::acceptOwnershipCall::SELECTOR, 0x79ba_5097),
            (App::allowedComposeHashesCall::SELECTOR, 0x2f66_22e5),
            (App::allowedDeviceIdsCall::SELECTOR, 0xbf8b_211b),
            (App::allowAnyDeviceCall::SELECTOR, 0x3440_a16a),
            (App::requireTcbUpToDateCall::SELECTOR, 0x0aa5_8c83),
            (App::versionCall::SELECTOR, 0x54fd_4d50),
            (App::ownerCall::SELECTOR, 0x8da5_cb5b),
            (App::pendingOwnerCall::SELECTOR, 0xe30c_3978),
            (App::OwnableUnauthorizedAccount::SELECTOR, 0x118c_daa7),
            (Safe::execTransactionCall::SELECTOR, 0x6a76_1202),
        ];
        for (selector, expected) in known {
            assert_eq!(u32::from_be_bytes(selector), expected, "{expected:#x}");
        }
    }

    #[test]
    fn topics_are_those_of_the_contracts() {
        let known = [
            (
                Kms::AppDeployedViaFactory::SIGNATURE_HASH,
                "fd86d7f6962eba3b7a3bf9129c06c0b2f885e1c61ef2c9f0dbb856be0deefdee",
            ),
            (
                App::ComposeHashAdded::SIGNATURE_HASH,
                "fecb34306dd9d8b785b54d65489d06afc8822a0893ddacedff40c50a4942d0af",
            ),
            (
                App::ComposeHashRemoved::SIGNATURE_HASH,
                "755b79bd4b0eeab344d032284a99003b2ddc018b646752ac72d681593a6e8947",
            ),
            (
                App::DeviceAdded::SIGNATURE_HASH,
                "67fc71ab96fe3fa3c6f78e9a00e635d591b7333ce611c0380bc577aac702243b",
            ),
            (
                Safe::ExecutionFailure::SIGNATURE_HASH,
                "23428b18acfb3ea64b08dc0c1d296ea9c09702c09083ca5272e64d115b687d23",
            ),
        ];
        for (topic, expected) in known {
            assert_eq!(hex::encode(topic), expected);
        }
    }
}
