// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.24;

/// What a KMS asks its contract at a boot.
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

interface IAppAllowed {
    function isAppAllowed(AppBootInfo calldata boot) external view returns (bool, string memory);
}
