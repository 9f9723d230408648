//! App ids of accounts: the address of an Ethereum account's next contract (`CREATE`).

use alloy_primitives::Address;

use crate::id::{AppId, Wallet};

/// The address of the contract that `deployer` creates with the transaction number `nonce`.
#[must_use]
pub fn create_address(deployer: &Wallet, nonce: u64) -> AppId {
    AppId::from_bytes(Address::from(*deployer.as_bytes()).create(nonce).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nonces 0–3 are widely published vectors; all were computed with `getCreateAddress` of npm `ethers` 6.
    #[test]
    fn addresses_are_those_of_ethereum() {
        let deployer = "0x6ac7ea33f8831ea9dcc53393aaa88b25a785dbf0".parse().unwrap();
        let known = [
            (0, "cd234a471b72ba2f1ccf0a70fcaba648a5eecd8d"),
            (1, "343c43a37d37dff08ae8c4a11544c718abb4fcf8"),
            (2, "f778b86fa74e846c4f0a1fbd1335fe81c00a0c91"),
            (3, "fffd933a0bc612844eaf0c6fe3e5b8e9b6c1d19c"),
            (0x7f, "06d9a77f5e4b311bae8d559db9cdb4df94104aa0"),
            (0x80, "08e190dcb7b73f5fcdabb43e102215c83659a76d"),
            (0xff, "3ef7c1a519e4b4431e317d7839340e3139b03c65"),
            (0x100, "3837c1ae70354f670550c746580199ac6a73cb0a"),
            (0xffff, "65260eecff4edebabe134f76f1f39a91defde56c"),
            (0x1_0000, "f666a819b370d38f44f2573464da3fba8479b917"),
            (u64::MAX - 1, "9ab3917bcc9efbcf7de35bced143ed95c3b3cbf5"),
            (u64::MAX, "9bc924993b60399df164c3763a964301d3db95ca"),
        ];
        for (nonce, address) in known {
            assert_eq!(create_address(&deployer, nonce).to_string(), address, "nonce {nonce}");
        }
    }
}
