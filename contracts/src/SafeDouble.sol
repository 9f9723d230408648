// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.24;

/// A multisig that behaves as a Safe where apps depend on it: owners approve the hash of a transaction,
/// anybody carries it out, and with `safeTxGas` above zero the outer transaction succeeds though the inner
/// call failed. Signatures are approvals only (`v = 1`), in ascending order of owners.
contract SafeDouble {
    bytes32 private constant DOMAIN = keccak256("EIP712Domain(uint256 chainId,address verifyingContract)");
    bytes32 private constant TRANSACTION = keccak256(
        "SafeTx(address to,uint256 value,bytes data,uint8 operation,uint256 safeTxGas,uint256 baseGas,uint256 gasPrice,address gasToken,address refundReceiver,uint256 nonce)"
    );

    address[] private owners;
    mapping(address => bool) public isOwner;
    mapping(address => mapping(bytes32 => uint256)) public approvedHashes;
    uint256 private threshold;
    uint256 public nonce;

    event ApproveHash(bytes32 indexed approvedHash, address indexed owner);
    event ExecutionSuccess(bytes32 indexed txHash, uint256 payment);
    event ExecutionFailure(bytes32 indexed txHash, uint256 payment);

    constructor(address[] memory initialOwners, uint256 initialThreshold) {
        require(initialThreshold > 0 && initialThreshold <= initialOwners.length, "GS201");
        for (uint256 i = 0; i < initialOwners.length; i++) {
            isOwner[initialOwners[i]] = true;
        }
        owners = initialOwners;
        threshold = initialThreshold;
    }

    receive() external payable {}

    function getThreshold() external view returns (uint256) {
        return threshold;
    }

    function getOwners() external view returns (address[] memory) {
        return owners;
    }

    function approveHash(bytes32 hash) external {
        require(isOwner[msg.sender], "GS030");
        approvedHashes[msg.sender][hash] = 1;
        emit ApproveHash(hash, msg.sender);
    }

    function execTransaction(
        address to,
        uint256 value,
        bytes calldata data,
        uint8 operation,
        uint256 safeTxGas,
        uint256 baseGas,
        uint256 gasPrice,
        address gasToken,
        address refundReceiver,
        bytes memory signatures
    ) external payable returns (bool success) {
        bytes32 hash = getTransactionHash(
            to, value, data, operation, safeTxGas, baseGas, gasPrice, gasToken, refundReceiver, nonce
        );
        nonce++;
        _checkApprovals(hash, signatures);
        (success,) = operation == 1 ? to.delegatecall(data) : to.call{value: value}(data);
        require(success || safeTxGas != 0 || gasPrice != 0, "GS013");
        if (success) emit ExecutionSuccess(hash, 0);
        else emit ExecutionFailure(hash, 0);
    }

    function getTransactionHash(
        address to,
        uint256 value,
        bytes calldata data,
        uint8 operation,
        uint256 safeTxGas,
        uint256 baseGas,
        uint256 gasPrice,
        address gasToken,
        address refundReceiver,
        uint256 transactionNonce
    ) public view returns (bytes32) {
        bytes memory head = abi.encode(TRANSACTION, to, value, keccak256(data), operation, safeTxGas);
        bytes memory tail = abi.encode(baseGas, gasPrice, gasToken, refundReceiver, transactionNonce);
        bytes32 domain = keccak256(abi.encode(DOMAIN, block.chainid, address(this)));
        return keccak256(abi.encodePacked(hex"1901", domain, keccak256(bytes.concat(head, tail))));
    }

    function _checkApprovals(bytes32 hash, bytes memory signatures) private view {
        require(signatures.length >= threshold * 65, "GS020");
        address last = address(0);
        for (uint256 i = 0; i < threshold; i++) {
            uint256 place = i * 65;
            address signer;
            uint8 kind;
            assembly {
                signer := mload(add(add(signatures, 32), place))
                kind := byte(0, mload(add(add(signatures, 96), place)))
            }
            require(kind == 1 && isOwner[signer] && signer > last, "GS026");
            require(msg.sender == signer || approvedHashes[signer][hash] != 0, "GS025");
            last = signer;
        }
    }
}

/// Many calls as one, run by a Safe as itself. Each is packed as operation (1 byte), address (20), value
/// (32), length (32), data.
contract MultiSendDouble {
    address private immutable self = address(this);

    function multiSend(bytes memory transactions) external payable {
        require(address(this) != self, "MultiSend should only be called via delegatecall");
        uint256 place = 0;
        while (place < transactions.length) {
            uint8 operation;
            address to;
            uint256 value;
            uint256 length;
            assembly {
                let at := add(add(transactions, 32), place)
                operation := byte(0, mload(at))
                to := shr(96, mload(add(at, 1)))
                value := mload(add(at, 21))
                length := mload(add(at, 53))
            }
            require(operation == 0 && place + 85 + length <= transactions.length, "MultiSend: malformed");
            bool success;
            assembly {
                let data := add(add(transactions, 117), place)
                success := call(gas(), to, value, data, length, 0, 0)
            }
            require(success, "MultiSend: call failed");
            place += 85 + length;
        }
    }
}
