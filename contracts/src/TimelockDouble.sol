// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.24;

/// A timelock: one proposer schedules a call, anybody executes it when its delay is over.
contract TimelockDouble {
    address public immutable proposer;
    mapping(bytes32 => uint256) public getTimestamp;

    event CallScheduled(
        bytes32 indexed id,
        uint256 indexed index,
        address target,
        uint256 value,
        bytes data,
        bytes32 predecessor,
        uint256 delay
    );
    event CallExecuted(bytes32 indexed id, uint256 indexed index, address target, uint256 value, bytes data);

    constructor(address initialProposer) {
        proposer = initialProposer;
    }

    function schedule(
        address target,
        uint256 value,
        bytes calldata data,
        bytes32 predecessor,
        bytes32 salt,
        uint256 delay
    ) external {
        require(msg.sender == proposer, "Timelock: not the proposer");
        bytes32 id = hashOperation(target, value, data, predecessor, salt);
        require(getTimestamp[id] == 0, "Timelock: scheduled already");
        getTimestamp[id] = block.timestamp + delay;
        emit CallScheduled(id, 0, target, value, data, predecessor, delay);
    }

    function execute(address target, uint256 value, bytes calldata payload, bytes32 predecessor, bytes32 salt)
        external
        payable
    {
        bytes32 id = hashOperation(target, value, payload, predecessor, salt);
        require(getTimestamp[id] > 1 && getTimestamp[id] <= block.timestamp, "Timelock: not ready");
        getTimestamp[id] = 1;
        (bool success, bytes memory returned) = target.call{value: value}(payload);
        if (!success) {
            assembly {
                revert(add(returned, 32), mload(returned))
            }
        }
        emit CallExecuted(id, 0, target, value, payload);
    }

    function hashOperation(
        address target,
        uint256 value,
        bytes calldata data,
        bytes32 predecessor,
        bytes32 salt
    ) public pure returns (bytes32) {
        return keccak256(abi.encode(target, value, data, predecessor, salt));
    }
}
