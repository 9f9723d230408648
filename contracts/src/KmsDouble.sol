// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.24;

import {AppBootInfo, IAppAllowed} from "./Boot.sol";
import {OwnedInTwoSteps} from "./Owned.sol";
import {Policy} from "./Policy.sol";
import {Implementation, ProxyDouble} from "./Proxy.sol";

struct KmsInfo {
    bytes k256Pubkey;
    bytes caPubkey;
    bytes quote;
    bytes eventlog;
}

/// The code of a KMS contract, for a proxy: knows apps, OS images and the devices of the KMS itself, and makes apps.
/// The n-th app has the address CREATE(proxy, n), as with the real one.
contract KmsDouble is OwnedInTwoSteps, Policy, Implementation {
    KmsInfo public kmsInfo;
    string public gatewayAppId;
    mapping(address => bool) public registeredApps;
    mapping(bytes32 => bool) public kmsAllowedAggregatedMrs;
    mapping(bytes32 => bool) public kmsAllowedDeviceIds;
    mapping(bytes32 => bool) public allowedOsImages;
    address public appImplementation;

    event KmsInfoSet(bytes k256Pubkey);
    event AppImplementationSet(address implementation);
    event AppRegistered(address appId);
    event AppDeployedViaFactory(address indexed appId, address indexed deployer);
    event GatewayAppIdSet(string gatewayAppId);
    event KmsAggregatedMrAdded(bytes32 mrAggregated);
    event KmsAggregatedMrRemoved(bytes32 mrAggregated);
    event KmsDeviceAdded(bytes32 deviceId);
    event KmsDeviceRemoved(bytes32 deviceId);
    event OsImageHashAdded(bytes32 osImageHash);
    event OsImageHashRemoved(bytes32 osImageHash);

    function initialize(address initialOwner, address implementation) external initializer {
        if (initialOwner == address(0)) revert OwnableInvalidOwner(initialOwner);
        _setOwner(initialOwner);
        if (implementation != address(0)) {
            appImplementation = implementation;
            emit AppImplementationSet(implementation);
            _policy("app-implementation", _word(implementation), true);
        }
    }

    function supportsInterface(bytes4 id) external pure returns (bool) {
        return id == 0x01ffc9a7 || id == 0x1e079198;
    }

    function setKmsInfo(KmsInfo calldata info) external onlyOwner {
        kmsInfo = info;
        emit KmsInfoSet(info.k256Pubkey);
        _policy("kms-info", keccak256(info.k256Pubkey), true);
    }

    function setAppImplementation(address implementation) external onlyOwner {
        require(implementation != address(0), "Invalid implementation address");
        appImplementation = implementation;
        emit AppImplementationSet(implementation);
        _policy("app-implementation", _word(implementation), true);
    }

    function deployAndRegisterApp(
        address appOwner,
        bool disableUpgrades,
        bool allowAnyDevice,
        bytes32 deviceId,
        bytes32 composeHash
    ) external returns (address) {
        return _deploy(appOwner, disableUpgrades, false, allowAnyDevice, deviceId, composeHash);
    }

    function deployAndRegisterApp(
        address appOwner,
        bool disableUpgrades,
        bool requireTcbUpToDate,
        bool allowAnyDevice,
        bytes32 deviceId,
        bytes32 composeHash
    ) external returns (address) {
        return _deploy(appOwner, disableUpgrades, requireTcbUpToDate, allowAnyDevice, deviceId, composeHash);
    }

    /// Anybody may register any address.
    function registerApp(address appId) public {
        require(appId != address(0), "Invalid app ID");
        registeredApps[appId] = true;
        emit AppRegistered(appId);
        _policy("registered-app", _word(appId), true);
    }

    function setGatewayAppId(string calldata appId) external onlyOwner {
        gatewayAppId = appId;
        emit GatewayAppIdSet(appId);
        _policy("gateway-app-id", keccak256(bytes(appId)), true);
    }

    function addKmsAggregatedMr(bytes32 mr) external onlyOwner {
        kmsAllowedAggregatedMrs[mr] = true;
        emit KmsAggregatedMrAdded(mr);
        _policy("kms-aggregated-mr", mr, true);
    }

    function removeKmsAggregatedMr(bytes32 mr) external onlyOwner {
        kmsAllowedAggregatedMrs[mr] = false;
        emit KmsAggregatedMrRemoved(mr);
        _policy("kms-aggregated-mr", mr, false);
    }

    function addKmsDevice(bytes32 deviceId) external onlyOwner {
        kmsAllowedDeviceIds[deviceId] = true;
        emit KmsDeviceAdded(deviceId);
        _policy("kms-device", deviceId, true);
    }

    function removeKmsDevice(bytes32 deviceId) external onlyOwner {
        kmsAllowedDeviceIds[deviceId] = false;
        emit KmsDeviceRemoved(deviceId);
        _policy("kms-device", deviceId, false);
    }

    function addOsImageHash(bytes32 hash) external onlyOwner {
        allowedOsImages[hash] = true;
        emit OsImageHashAdded(hash);
        _policy("os-image", hash, true);
    }

    function removeOsImageHash(bytes32 hash) external onlyOwner {
        allowedOsImages[hash] = false;
        emit OsImageHashRemoved(hash);
        _policy("os-image", hash, false);
    }

    function isKmsAllowed(AppBootInfo calldata boot) external view returns (bool, string memory) {
        if (keccak256(bytes(boot.tcbStatus)) != keccak256("UpToDate")) return (false, "TCB status is not up to date");
        if (!allowedOsImages[boot.osImageHash]) return (false, "OS image is not allowed");
        if (!kmsAllowedAggregatedMrs[boot.mrAggregated]) return (false, "Aggregated MR not allowed");
        if (!kmsAllowedDeviceIds[boot.deviceId]) return (false, "KMS is not allowed to boot on this device");
        return (true, "");
    }

    function isAppAllowed(AppBootInfo calldata boot) external view returns (bool, string memory) {
        if (!registeredApps[boot.appId]) return (false, "App not registered");
        if (!allowedOsImages[boot.osImageHash]) return (false, "OS image is not allowed");
        if (boot.appId.code.length == 0) return (false, "App not deployed or invalid address");
        return IAppAllowed(boot.appId).isAppAllowed(boot);
    }

    function _deploy(
        address appOwner,
        bool disableUpgrades,
        bool requireTcbUpToDate,
        bool allowAnyDevice,
        bytes32 deviceId,
        bytes32 composeHash
    ) private returns (address) {
        require(appImplementation != address(0), "DstackApp implementation not set");
        require(appOwner != address(0), "Invalid owner address");
        // By its signature: the implementation may be of any version.
        bytes memory call = abi.encodeWithSignature(
            "initialize(address,bool,bool,bool,bytes32,bytes32)",
            appOwner,
            disableUpgrades,
            requireTcbUpToDate,
            allowAnyDevice,
            deviceId,
            composeHash
        );
        address app = address(new ProxyDouble(appImplementation, call));
        registerApp(app);
        emit AppDeployedViaFactory(app, msg.sender);
        return app;
    }

    function _word(address account) private pure returns (bytes32) {
        return bytes32(uint256(uint160(account)));
    }
}
