// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.24;

import {AppBootInfo, IAppAllowed} from "./Boot.sol";
import {Owned, OwnedInTwoSteps} from "./Owned.sol";

/// What contracts of apps of both generations have. Slots 0 to 2 are where the real ones keep the same.
abstract contract AppLists is Owned, IAppAllowed {
    mapping(bytes32 => bool) public allowedComposeHashes;
    bool internal upgradesDisabled;
    bool public allowAnyDevice;
    mapping(bytes32 => bool) public allowedDeviceIds;

    event ComposeHashAdded(bytes32 composeHash);
    event ComposeHashRemoved(bytes32 composeHash);
    event DeviceAdded(bytes32 deviceId);
    event DeviceRemoved(bytes32 deviceId);
    event AllowAnyDeviceSet(bool allowAny);
    event UpgradesDisabled();

    constructor(address initialOwner, bool disable, bool anyDevice, bytes32 deviceId, bytes32 composeHash) {
        if (initialOwner == address(0)) revert OwnableInvalidOwner(initialOwner);
        _setOwner(initialOwner);
        upgradesDisabled = disable;
        allowAnyDevice = anyDevice;
        if (deviceId != 0) _addDevice(deviceId);
        if (composeHash != 0) _addComposeHash(composeHash);
    }

    function addComposeHash(bytes32 composeHash) external onlyOwner {
        _addComposeHash(composeHash);
    }

    function removeComposeHash(bytes32 composeHash) external onlyOwner {
        allowedComposeHashes[composeHash] = false;
        emit ComposeHashRemoved(composeHash);
    }

    function addDevice(bytes32 deviceId) external onlyOwner {
        _addDevice(deviceId);
    }

    function removeDevice(bytes32 deviceId) external onlyOwner {
        allowedDeviceIds[deviceId] = false;
        emit DeviceRemoved(deviceId);
    }

    function setAllowAnyDevice(bool allowAny) external onlyOwner {
        allowAnyDevice = allowAny;
        emit AllowAnyDeviceSet(allowAny);
    }

    function disableUpgrades() external onlyOwner {
        upgradesDisabled = true;
        emit UpgradesDisabled();
    }

    function isAppAllowed(AppBootInfo calldata boot) external view returns (bool, string memory) {
        if (_tcbRefused(boot.tcbStatus)) return (false, "TCB status is not up to date");
        if (!allowedComposeHashes[boot.composeHash]) return (false, "Compose hash not allowed");
        if (!allowAnyDevice && !allowedDeviceIds[boot.deviceId]) return (false, "Device not allowed");
        return (true, "");
    }

    function _addComposeHash(bytes32 composeHash) private {
        allowedComposeHashes[composeHash] = true;
        emit ComposeHashAdded(composeHash);
    }

    function _addDevice(bytes32 deviceId) private {
        allowedDeviceIds[deviceId] = true;
        emit DeviceAdded(deviceId);
    }

    function _tcbRefused(string calldata) internal view virtual returns (bool) {
        return false;
    }
}

/// An app from before 2026-02: handed over at once, no word on TCB, no version.
contract OldAppDouble is AppLists {
    constructor(address initialOwner, bool disable, bool anyDevice, bytes32 deviceId, bytes32 composeHash)
        AppLists(initialOwner, disable, anyDevice, deviceId, composeHash)
    {}
}

/// An app as the factory makes them now.
contract AppDouble is AppLists, OwnedInTwoSteps {
    bool public requireTcbUpToDate;

    event RequireTcbUpToDateSet(bool requireUpToDate);

    constructor(
        address initialOwner,
        bool disable,
        bool requireUpToDate,
        bool anyDevice,
        bytes32 deviceId,
        bytes32 composeHash
    ) AppLists(initialOwner, disable, anyDevice, deviceId, composeHash) {
        requireTcbUpToDate = requireUpToDate;
    }

    function version() external pure returns (uint256) {
        return 2;
    }

    function setRequireTcbUpToDate(bool requireUpToDate) external onlyOwner {
        requireTcbUpToDate = requireUpToDate;
        emit RequireTcbUpToDateSet(requireUpToDate);
    }

    function transferOwnership(address newOwner) public override(Owned, OwnedInTwoSteps) {
        OwnedInTwoSteps.transferOwnership(newOwner);
    }

    function _tcbRefused(string calldata status) internal view override returns (bool) {
        return requireTcbUpToDate && keccak256(bytes(status)) != keccak256("UpToDate");
    }
}
