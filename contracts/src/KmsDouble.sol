// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.24;

import {AppDouble} from "./AppDouble.sol";
import {AppBootInfo, IAppAllowed} from "./Boot.sol";
import {OwnedInTwoSteps} from "./Owned.sol";

/// The contract of a KMS: knows apps, OS images and the devices of the KMS itself, and makes apps. The
/// n-th app has the address CREATE(this, n), as with the real one.
contract KmsDouble is OwnedInTwoSteps {
    string public gatewayAppId;
    mapping(address => bool) public registeredApps;
    mapping(bytes32 => bool) public kmsAllowedAggregatedMrs;
    mapping(bytes32 => bool) public kmsAllowedDeviceIds;
    mapping(bytes32 => bool) public allowedOsImages;

    event AppRegistered(address appId);
    event AppDeployedViaFactory(address indexed appId, address indexed deployer);
    event GatewayAppIdSet(string gatewayAppId);
    event KmsAggregatedMrAdded(bytes32 mrAggregated);
    event KmsAggregatedMrRemoved(bytes32 mrAggregated);
    event KmsDeviceAdded(bytes32 deviceId);
    event KmsDeviceRemoved(bytes32 deviceId);
    event OsImageHashAdded(bytes32 osImageHash);
    event OsImageHashRemoved(bytes32 osImageHash);

    constructor(address initialOwner) {
        if (initialOwner == address(0)) revert OwnableInvalidOwner(initialOwner);
        _setOwner(initialOwner);
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
    }

    function setGatewayAppId(string calldata appId) external onlyOwner {
        gatewayAppId = appId;
        emit GatewayAppIdSet(appId);
    }

    function addKmsAggregatedMr(bytes32 mr) external onlyOwner {
        kmsAllowedAggregatedMrs[mr] = true;
        emit KmsAggregatedMrAdded(mr);
    }

    function removeKmsAggregatedMr(bytes32 mr) external onlyOwner {
        kmsAllowedAggregatedMrs[mr] = false;
        emit KmsAggregatedMrRemoved(mr);
    }

    function addKmsDevice(bytes32 deviceId) external onlyOwner {
        kmsAllowedDeviceIds[deviceId] = true;
        emit KmsDeviceAdded(deviceId);
    }

    function removeKmsDevice(bytes32 deviceId) external onlyOwner {
        kmsAllowedDeviceIds[deviceId] = false;
        emit KmsDeviceRemoved(deviceId);
    }

    function addOsImageHash(bytes32 hash) external onlyOwner {
        allowedOsImages[hash] = true;
        emit OsImageHashAdded(hash);
    }

    function removeOsImageHash(bytes32 hash) external onlyOwner {
        allowedOsImages[hash] = false;
        emit OsImageHashRemoved(hash);
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
        AppDouble app =
            new AppDouble(appOwner, disableUpgrades, requireTcbUpToDate, allowAnyDevice, deviceId, composeHash);
        registerApp(address(app));
        emit AppDeployedViaFactory(address(app), msg.sender);
        return address(app);
    }
}
