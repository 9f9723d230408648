// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.24;

/// Who owns a contract, handed over at once.
abstract contract Owned {
    event OwnershipTransferred(address indexed previousOwner, address indexed newOwner);

    error OwnableUnauthorizedAccount(address account);
    error OwnableInvalidOwner(address owner);

    struct Ownership {
        address owner;
        address pending;
    }

    modifier onlyOwner() {
        if (msg.sender != _ownership().owner) revert OwnableUnauthorizedAccount(msg.sender);
        _;
    }

    function owner() public view returns (address) {
        return _ownership().owner;
    }

    function transferOwnership(address newOwner) public virtual onlyOwner {
        if (newOwner == address(0)) revert OwnableInvalidOwner(newOwner);
        _setOwner(newOwner);
    }

    function renounceOwnership() external onlyOwner {
        _setOwner(address(0));
    }

    function _setOwner(address newOwner) internal {
        Ownership storage ownership = _ownership();
        emit OwnershipTransferred(ownership.owner, newOwner);
        ownership.owner = newOwner;
        ownership.pending = address(0);
    }

    /// A place of its own, so that slots 0 to 3 mean here what they mean in the real contracts.
    function _ownership() internal pure returns (Ownership storage ownership) {
        bytes32 place = keccak256("casemate.test.ownership");
        assembly {
            ownership.slot := place
        }
    }
}

/// The same in two steps: the new owner has to accept.
abstract contract OwnedInTwoSteps is Owned {
    event OwnershipTransferStarted(address indexed previousOwner, address indexed newOwner);

    function pendingOwner() external view returns (address) {
        return _ownership().pending;
    }

    function transferOwnership(address newOwner) public virtual override onlyOwner {
        _ownership().pending = newOwner;
        emit OwnershipTransferStarted(owner(), newOwner);
    }

    function acceptOwnership() external {
        if (msg.sender != _ownership().pending) revert OwnableUnauthorizedAccount(msg.sender);
        _setOwner(msg.sender);
    }
}
