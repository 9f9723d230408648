//! JSON of the Ethereum JSON-RPC, in and out of our types. Pure.

use casemate_core::{
    governance::{
        Block,
        judge::{Log, Receipt},
    },
    id::{Address, BlockHash, TxHash},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::config::Tip;

/// Which block a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// The newest that is called so.
    Tip(Tip),
    /// This height, whichever block that is.
    Number(u64),
    /// This block or none (EIP-1898).
    Hash(BlockHash),
}

impl At {
    pub fn parameter(self) -> Value {
        match self {
            Self::Tip(tip) => Value::from(tip.tag()),
            Self::Number(number) => Value::from(quantity(number)),
            Self::Hash(hash) => json!({"blockHash": format!("0x{hash}"), "requireCanonical": true}),
        }
    }
}

#[derive(Deserialize)]
struct WireBlock {
    number: Option<String>,
    hash: Option<BlockHash>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireReceipt {
    block_number: Option<String>,
    block_hash: Option<BlockHash>,
    status: String,
    logs: Vec<WireLog>,
}

#[derive(Deserialize)]
struct WireLog {
    address: Address,
    topics: Vec<BlockHash>,
    data: String,
    #[serde(default)]
    removed: bool,
}

/// What was said that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Senseless;

/// A number as nodes want it: hex without leading zeros.
pub(super) fn quantity(number: u64) -> String {
    format!("{number:#x}")
}

pub(super) fn number(text: &str) -> Result<u64, Senseless> {
    let digits = text.strip_prefix("0x").ok_or(Senseless)?;
    u64::from_str_radix(digits, 16).map_err(|_| Senseless)
}

pub(super) fn bytes(value: &Value) -> Result<Vec<u8>, Senseless> {
    let digits = value.as_str().and_then(|text| text.strip_prefix("0x")).ok_or(Senseless)?;
    hex::decode(digits).map_err(|_| Senseless)
}

pub(super) fn data(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

pub(super) fn address(address: &Address) -> String {
    format!("0x{address}")
}

pub(super) fn transaction(hash: &TxHash) -> String {
    format!("0x{hash}")
}

/// A block; `None` where there is none.
pub(super) fn block(value: Value) -> Result<Option<Block>, Senseless> {
    if value.is_null() {
        return Ok(None);
    }
    let WireBlock { number: height, hash } = read(value)?;
    // A block that is still being made has neither.
    let (Some(height), Some(hash)) = (height, hash) else { return Ok(None) };
    Ok(Some(Block { number: number(&height)?, hash }))
}

/// A receipt whose block is not known to be canonical yet; `None` where there is none, or the
/// transaction is in no block.
pub(super) fn receipt(value: Value) -> Result<Option<Receipt>, Senseless> {
    if value.is_null() {
        return Ok(None);
    }
    let receipt: WireReceipt = read(value)?;
    let (Some(height), Some(hash)) = (receipt.block_number, receipt.block_hash) else {
        return Ok(None);
    };
    let logs: Result<Vec<Log>, Senseless> = receipt.logs.into_iter().map(log).collect();
    Ok(Some(Receipt {
        block: Block { number: number(&height)?, hash },
        canonical: false,
        succeeded: number(&receipt.status)? == 1,
        logs: logs?,
    }))
}

fn log(log: WireLog) -> Result<Log, Senseless> {
    Ok(Log {
        address: log.address,
        topics: log.topics.iter().map(|topic| *topic.as_bytes()).collect(),
        data: bytes(&Value::from(log.data))?,
        removed: log.removed,
    })
}

fn read<T: for<'de> Deserialize<'de>>(value: Value) -> Result<T, Senseless> {
    serde_json::from_value(value).map_err(|_| Senseless)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_hex_without_leading_zeros() {
        assert_eq!(quantity(0), "0x0");
        assert_eq!(quantity(8453), "0x2105");
        assert_eq!(number("0x2105"), Ok(8453));
        for text in ["", "8453", "0x", "0xg", "0x10000000000000000"] {
            assert_eq!(number(text), Err(Senseless), "{text}");
        }
    }

    #[test]
    fn a_receipt_is_read_as_nodes_write_it() {
        let hash = format!("0x{}", "ab".repeat(32));
        let json = json!({
            "transactionHash": hash, "blockHash": hash, "blockNumber": "0x10", "status": "0x1", "type": "0x2",
            "logs": [{"address": format!("0x{}", "AA".repeat(20)), "topics": [hash], "data": "0x0102",
                      "blockNumber": "0x10", "logIndex": "0x0"}],
        });
        let found = receipt(json.clone()).unwrap().unwrap();
        assert_eq!((found.block.number, found.succeeded), (16, true));
        assert_eq!(found.logs[0].address, Address::from_bytes([0xaa; 20]));
        assert_eq!(
            (found.logs[0].topics[0], found.logs[0].data.as_slice()),
            ([0xab; 32], &[1, 2][..])
        );

        let mut failed = json.clone();
        failed["status"] = "0x0".into();
        assert!(!receipt(failed).unwrap().unwrap().succeeded);
        let mut pending = json.clone();
        pending["blockHash"] = Value::Null;
        assert_eq!(receipt(pending), Ok(None));
        let mut broken = json;
        broken["status"] = Value::Null;
        assert_eq!(receipt(broken), Err(Senseless));
        assert_eq!(receipt(Value::Null), Ok(None));
        assert_eq!(receipt(json!("0x")), Err(Senseless));
    }

    #[test]
    fn a_block_is_named_by_hash_number_or_tag() {
        let hash = BlockHash::from_bytes([0xab; 32]);
        let pinned = json!({"blockHash": format!("0x{hash}"), "requireCanonical": true});
        assert_eq!(At::Hash(hash).parameter(), pinned);
        assert_eq!(At::Number(16).parameter(), "0x10");
        assert_eq!(At::Tip(Tip::Finalized).parameter(), "finalized");
        let found = block(json!({"number": "0x10", "hash": format!("0x{hash}"), "miner": "0x"}));
        assert_eq!(found, Ok(Some(Block { number: 16, hash })));
        assert_eq!(block(json!({"number": null, "hash": null})), Ok(None));
    }
}
