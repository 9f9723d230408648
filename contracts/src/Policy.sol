// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.24;

/// The event that real contracts emit beside each of their others since 2026-08.
abstract contract Policy {
    event PolicyChanged(address indexed actor, bytes32 indexed policy, bytes32 indexed value, bool enabled);

    function _policy(string memory policy, bytes32 value, bool enabled) internal {
        emit PolicyChanged(msg.sender, keccak256(bytes(policy)), value, enabled);
    }
}
