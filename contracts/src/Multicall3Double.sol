// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.24;

/// Many reads as one, as wallets ask them. It is put at its well-known address by the test chain, so it
/// has no constructor and no immutables.
contract Multicall3Double {
    struct Call3 {
        address target;
        bool allowFailure;
        bytes callData;
    }

    struct Result {
        bool success;
        bytes returnData;
    }

    function aggregate3(Call3[] calldata calls) external payable returns (Result[] memory results) {
        results = new Result[](calls.length);
        for (uint256 i = 0; i < calls.length; i++) {
            (bool success, bytes memory returned) = calls[i].target.call(calls[i].callData);
            require(success || calls[i].allowFailure, "Multicall3: call failed");
            results[i] = Result(success, returned);
        }
    }
}
