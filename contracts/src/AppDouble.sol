// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.24;

import {AppBootInfo, IAppAllowed} from "./Boot.sol";
import {Owned, OwnedInTwoSteps} from "./Owned.sol";
import {Policy} from "./Policy.sol";
import {Implementation} from "./Proxy.sol";

/// What contracts of apps of both generations have. Slots 0 to 2 are where the real ones keep the same.
abstract contract AppLists is Owned, Policy, Implementation, IAppAllowed {
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

    /// Also of today's apps: the factory's older form calls it.
    function initialize(address initialOwner, bool disable, bool anyDevice, bytes32 deviceId, bytes32 composeHash)
        external
        initializer
    {
        _initialize(initialOwner, disable, anyDevice, deviceId, composeHash);
    }

    function _initialize(
        address initialOwner,
        bool disable,
        bool anyDevice,
        bytes32 deviceId,
        bytes32 composeHash
    ) internal {
        require(initialOwner != address(0), "invalid owner address");
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
        _policy("compose-hash", composeHash, false);
    }

    function addDevice(bytes32 deviceId) external onlyOwner {
        _addDevice(deviceId);
    }

    function removeDevice(bytes32 deviceId) external onlyOwner {
        allowedDeviceIds[deviceId] = false;
        emit DeviceRemoved(deviceId);
        _policy("device", deviceId, false);
    }

    function setAllowAnyDevice(bool allowAny) external onlyOwner {
        allowAnyDevice = allowAny;
        emit AllowAnyDeviceSet(allowAny);
        _policy("allow-any-device", 0, allowAny);
    }

    function disableUpgrades() external onlyOwner {
        upgradesDisabled = true;
        emit UpgradesDisabled();
        _policy("upgrades-disabled", 0, true);
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
        _policy("compose-hash", composeHash, true);
    }

    function _addDevice(bytes32 deviceId) private {
        allowedDeviceIds[deviceId] = true;
        emit DeviceAdded(deviceId);
        _policy("device", deviceId, true);
    }

    function _tcbRefused(string calldata) internal view virtual returns (bool) {
        return false;
    }
}

/// An app from before 2026-02: handed over at once, no word on TCB, no version.
contract OldAppDouble is AppLists {}

/// An app as the factory makes them now.
contract AppDouble is AppLists, OwnedInTwoSteps {
    bool public requireTcbUpToDate;

    event RequireTcbUpToDateSet(bool requireUpToDate);

    function initialize(
        address initialOwner,
        bool disable,
        bool requireUpToDate,
        bool anyDevice,
        bytes32 deviceId,
        bytes32 composeHash
    ) external initializer {
        requireTcbUpToDate = requireUpToDate;
        _initialize(initialOwner, disable, anyDevice, deviceId, composeHash);
    }

    function version() external pure returns (uint256) {
        return 2;
    }

    function supportsInterface(bytes4 id) external pure returns (bool) {
        return id == 0x01ffc9a7 || id == 0x1e079198 || id == 0x8fd37527;
    }

    function setRequireTcbUpToDate(bool requireUpToDate) external onlyOwner {
        requireTcbUpToDate = requireUpToDate;
        emit RequireTcbUpToDateSet(requireUpToDate);
        _policy("require-tcb-up-to-date", 0, requireUpToDate);
    }

    function transferOwnership(address newOwner) public override(Owned, OwnedInTwoSteps) {
        OwnedInTwoSteps.transferOwnership(newOwner);
    }

    function _tcbRefused(string calldata status) internal view override returns (bool) {
        return requireTcbUpToDate && keccak256(bytes(status)) != keccak256("UpToDate");
    }
}

/// All that the interface of apps requires: no lists, rules of its own. It allows one document anywhere.
contract JudgeDouble is IAppAllowed {
    bytes32 private immutable ALLOWED;

    constructor(bytes32 composeHash) {
        ALLOWED = composeHash;
    }

    function supportsInterface(bytes4 id) external pure returns (bool) {
        return id == 0x01ffc9a7 || id == 0x1e079198;
    }

    function isAppAllowed(AppBootInfo calldata boot) external view returns (bool, string memory) {
        return boot.composeHash == ALLOWED ? (true, "") : (false, "not by this contract's rules");
    }
}
