// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.24;

/// What stands at the address of a KMS or an app: state of its own, code of another contract, kept where ERC-1967
/// says.
contract ProxyDouble {
    /// keccak256("eip1967.proxy.implementation") - 1
    bytes32 private constant PLACE = 0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc;

    error ERC1967InvalidImplementation(address implementation);
    error FailedCall();

    constructor(address implementation, bytes memory call) {
        if (implementation.code.length == 0) revert ERC1967InvalidImplementation(implementation);
        assembly {
            sstore(PLACE, implementation)
        }
        (bool done, bytes memory why) = implementation.delegatecall(call);
        if (done) return;
        if (why.length == 0) revert FailedCall();
        assembly {
            revert(add(why, 32), mload(why))
        }
    }

    fallback() external payable {
        assembly {
            calldatacopy(0, 0, calldatasize())
            let done := delegatecall(gas(), sload(PLACE), 0, calldatasize(), 0, 0)
            returndatacopy(0, 0, returndatasize())
            switch done
            case 0 { revert(0, returndatasize()) }
            default { return(0, returndatasize()) }
        }
    }
}

/// Code for a proxy: initialized once, and never by itself.
abstract contract Implementation {
    error InvalidInitialization();

    modifier initializer() {
        bytes32 place = keccak256("casemate.test.initialized");
        bool before;
        assembly {
            before := sload(place)
        }
        if (before) revert InvalidInitialization();
        assembly {
            sstore(place, 1)
        }
        _;
    }

    constructor() initializer {}
}
