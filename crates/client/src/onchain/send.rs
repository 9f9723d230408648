//! Transactions: simulated, priced, signed, sent once, waited for.

use std::time::{Duration, Instant};

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Bytes, TxKind, U256};
use casemate_core::{
    governance::{
        judge::Log,
        returned::{self, CallResult},
    },
    id::{Address, BlockHash, TxHash},
};
use serde_json::{Value, json};

use super::{
    error::ChainError,
    key::Key,
    rpc::{Rpc, bytes, hex0x, number},
};

/// Polling interval for mined transactions.
const LOOK: Duration = Duration::from_millis(500);

/// A transaction that would succeed and that its account can pay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    pub from: Address,
    pub to: Address,
    pub data: Vec<u8>,
    /// Gas limit.
    pub gas: u64,
    /// Maximum cost in wei.
    pub cost: u128,
    nonce: u64,
    max_fee: u128,
    tip: u128,
}

/// A transaction that was mined and succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mined {
    pub hash: TxHash,
    /// Height of its block.
    pub block: u64,
    pub block_hash: BlockHash,
    pub gas_used: u64,
    pub logs: Vec<Log>,
}

impl Rpc {
    /// Simulates and prices a transaction. [`ChainError::Reverts`] and [`ChainError::Funds`]: it must not be
    /// signed.
    pub async fn prepare(
        &self,
        from: Address,
        to: Address,
        data: Vec<u8>,
    ) -> Result<Prepared, ChainError> {
        if let CallResult::Reverted(why) = self.call(Some(from), to, &data).await? {
            return Err(ChainError::Reverts(returned::reason(&why)));
        }
        let sender = hex0x(from.as_bytes());
        let call = json!({ "from": sender, "to": hex0x(to.as_bytes()), "data": hex0x(&data) });
        let estimate = self.number("eth_estimateGas", json!([call])).await?;
        // The state may differ when it is mined.
        let gas = u64::try_from(estimate.saturating_add(estimate / 4)).unwrap_or(u64::MAX);
        let block: Value = self.ask("eth_getBlockByNumber", json!(["latest", false])).await?;
        let base_fee = block.get("baseFeePerGas").and_then(number).unwrap_or_default();
        let tip = self.number("eth_maxPriorityFeePerGas", json!([])).await?;
        let max_fee = base_fee.saturating_mul(2).saturating_add(tip);
        let cost = max_fee.saturating_mul(gas.into());
        let has = self.number("eth_getBalance", json!([sender, "latest"])).await?;
        if has < cost {
            return Err(ChainError::Funds { account: from, has, needs: cost });
        }
        let nonce = self.number("eth_getTransactionCount", json!([sender, "pending"])).await?;
        let nonce = u64::try_from(nonce).map_err(|_| self.senseless("eth_getTransactionCount"))?;
        Ok(Prepared { from, to, data, gas, cost, nonce, max_fee, tip })
    }

    /// Signs a transaction and sends it once. Returns its hash even if there was no response; [`Self::mined`]
    /// tells whether it arrived.
    pub async fn send(&self, key: &Key, prepared: &Prepared) -> Result<TxHash, ChainError> {
        let transaction = TxEip1559 {
            chain_id: self.chain_id(),
            nonce: prepared.nonce,
            gas_limit: prepared.gas,
            max_fee_per_gas: prepared.max_fee,
            max_priority_fee_per_gas: prepared.tip,
            to: TxKind::Call(alloy_primitives::Address::from(*prepared.to.as_bytes())),
            value: U256::ZERO,
            access_list: alloy_eips::eip2930::AccessList::default(),
            input: Bytes::from(prepared.data.clone()),
        };
        let signature = key.sign(&transaction.signature_hash())?;
        let signed = TxEnvelope::from(transaction.into_signed(signature));
        let hash = TxHash::from_bytes(signed.tx_hash().0);
        let raw = hex0x(&signed.encoded_2718());
        match self.send_raw("eth_sendRawTransaction", json!([raw])).await {
            // An endpoint refuses a transaction that it already has, without a specific code.
            Err(refused @ ChainError::Refused(_)) if !self.has_transaction(hash).await => {
                Err(refused)
            }
            Ok(_) | Err(ChainError::Unanswered { .. } | ChainError::Refused(_)) => Ok(hash),
            Err(error) => Err(error),
        }
    }

    /// Whether the endpoint has a transaction, mined or pending.
    async fn has_transaction(&self, hash: TxHash) -> bool {
        let asked = json!([hex0x(hash.as_bytes())]);
        self.ask::<Option<Value>>("eth_getTransactionByHash", asked)
            .await
            .is_ok_and(|tx| tx.is_some())
    }

    /// Waits until a transaction is mined and has this number of confirmations, counting its own block.
    pub async fn mined(
        &self,
        hash: TxHash,
        confirmations: u64,
        within: Duration,
    ) -> Result<Mined, ChainError> {
        let begun = Instant::now();
        let mut silence = None;
        while begun.elapsed() < within {
            match self.look(hash, confirmations).await {
                Ok(Some(mined)) => return Ok(mined),
                Ok(None) => silence = None,
                Err(error @ ChainError::Unanswered { .. }) => silence = Some(error),
                Err(error) => return Err(error),
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(silence.unwrap_or(ChainError::NotMined { hash, seconds: within.as_secs() }))
    }

    async fn look(&self, hash: TxHash, confirmations: u64) -> Result<Option<Mined>, ChainError> {
        let receipt: Value =
            self.ask("eth_getTransactionReceipt", json!([hex0x(hash.as_bytes())])).await?;
        if receipt.is_null() {
            return Ok(None);
        }
        let mined =
            mined(hash, &receipt).ok_or_else(|| self.senseless("eth_getTransactionReceipt"))?;
        if receipt.get("status").and_then(number) != Some(1) {
            return Err(ChainError::Failed(hash));
        }
        let head = self.number("eth_blockNumber", json!([])).await?;
        let deep = head.saturating_add(1).saturating_sub(mined.block.into());
        Ok((deep >= confirmations.into()).then_some(mined))
    }
}

fn mined(hash: TxHash, receipt: &Value) -> Option<Mined> {
    let quantity = |name: &str| u64::try_from(number(receipt.get(name)?)?).ok();
    Some(Mined {
        hash,
        block: quantity("blockNumber")?,
        block_hash: receipt.get("blockHash")?.as_str()?.parse().ok()?,
        gas_used: quantity("gasUsed")?,
        logs: receipt.get("logs")?.as_array()?.iter().map(log).collect::<Option<_>>()?,
    })
}

pub(super) fn log(value: &Value) -> Option<Log> {
    let topic = |topic: &Value| bytes(topic)?.try_into().ok();
    Some(Log {
        address: value.get("address")?.as_str()?.parse().ok()?,
        topics: value.get("topics")?.as_array()?.iter().map(topic).collect::<Option<_>>()?,
        data: bytes(value.get("data")?)?,
        removed: value.get("removed").and_then(Value::as_bool).unwrap_or(false),
    })
}
