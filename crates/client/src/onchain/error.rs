//! Errors of a chain.

use casemate_core::{
    governance::plan::checksummed,
    id::{Address, TxHash},
};

/// Why a request to a chain failed. Errors name the host of an endpoint, never its whole URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// The URL of the endpoint is invalid.
    #[error("not the URL of a chain's endpoint: {0}")]
    Url(String),
    /// No response, or an invalid one.
    #[error("{host} does not answer for the chain: {reason}")]
    Unanswered { host: String, reason: String },
    /// The endpoint serves another chain.
    #[error("{host} serves chain {serves}, and this is about chain {wanted}")]
    WrongChain {
        host: String,
        serves: u64,
        /// The expected chain.
        wanted: u64,
    },
    /// The endpoint refused a request, with its message.
    #[error("the chain refuses: {0}")]
    Refused(String),
    /// The transaction would revert, so it was not signed.
    #[error("the transaction would fail: {0}")]
    Reverts(String),
    /// The account cannot pay, so nothing was signed. In wei.
    #[error("{} has {} ETH, and the transaction may cost {} ETH", checksummed(*.account), ether(*.has), ether(*.needs))]
    Funds {
        account: Address,
        has: u128,
        /// The maximum cost.
        needs: u128,
    },
    /// The transaction was mined and failed.
    #[error("transaction 0x{0} was mined and failed")]
    Failed(TxHash),
    /// The transaction was not mined and confirmed in time. It may still be.
    #[error("transaction 0x{hash} is not confirmed after {seconds} s; it may be yet")]
    NotMined { hash: TxHash, seconds: u64 },
    /// Signing failed.
    #[error("the key does not sign: {0}")]
    Signing(String),
}

/// Wei as ether, with six decimal places.
fn ether(wei: u128) -> String {
    let micros = wei / 1_000_000_000_000;
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_ether() {
        let account = Address::from_bytes([0; 20]);
        let error =
            ChainError::Funds { account, has: 1_500_000_000_000_000, needs: 2 * 10_u128.pow(18) };
        let text = error.to_string();
        assert!(text.contains("0.001500 ETH") && text.contains("2.000000 ETH"), "{text}");
    }
}
