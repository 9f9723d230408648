//! What an account has sent already: transactions that are not mined yet, and apps that it deployed.

use std::time::{Duration, Instant};

use alloy_sol_types::SolEvent;
use casemate_core::{
    governance::{interface::KmsContract::AppDeployedViaFactory, judge::Log},
    id::{Address, AppId, TxHash},
};
use serde_json::{Value, json};

use super::{
    error::ChainError,
    overview::deployed_app,
    rpc::{Rpc, hex0x},
    send::log,
};

/// How many blocks back deployments are looked for: about five hours on Base, a day and a half on Ethereum.
const BLOCKS: u128 = 9_000;
/// The fewest blocks that are asked for at once. Endpoints limit their number.
const FEWEST: u128 = 500;
/// Polling interval.
const LOOK: Duration = Duration::from_millis(500);

/// An app that an account deployed through the contract of a KMS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deployment {
    pub app: AppId,
    pub transaction: TxHash,
}

impl Rpc {
    /// Number of transactions of an account that are sent and not mined.
    pub async fn pending_transactions(&self, account: Address) -> Result<u128, ChainError> {
        let count = async |at: &str| {
            self.number("eth_getTransactionCount", json!([hex0x(account.as_bytes()), at])).await
        };
        // Mined first: what is mined between the two counts as pending, and is looked at once more.
        let mined = count("latest").await?;
        Ok(count("pending").await?.saturating_sub(mined))
    }

    /// Waits until everything that an account sent is mined. `false`: in this time it was not.
    pub async fn settled(&self, account: Address, within: Duration) -> Result<bool, ChainError> {
        let begun = Instant::now();
        loop {
            if self.pending_transactions(account).await? == 0 {
                return Ok(true);
            }
            if begun.elapsed() >= within {
                return Ok(false);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The apps that an account deployed lately through the contract of a KMS, the newest first.
    pub async fn deployments(
        &self,
        kms: Address,
        deployer: Address,
    ) -> Result<Vec<Deployment>, ChainError> {
        let head = self.number("eth_blockNumber", json!([])).await?;
        let first = head.saturating_sub(BLOCKS);
        let (mut from, mut step, mut found) = (first, BLOCKS, Vec::new());
        while from <= head {
            let to = from.saturating_add(step).min(head);
            match self.deployments_between(kms, deployer, from, to).await {
                Ok(some) => {
                    found.extend(some);
                    from = to.saturating_add(1);
                }
                Err(ChainError::Refused(_)) if step > FEWEST => step = (step / 2).max(FEWEST),
                Err(error) => return Err(error),
            }
        }
        found.reverse();
        Ok(found)
    }

    async fn deployments_between(
        &self,
        kms: Address,
        deployer: Address,
        from: u128,
        to: u128,
    ) -> Result<Vec<Deployment>, ChainError> {
        let mut topic = [0; 32];
        topic[12..].copy_from_slice(deployer.as_bytes());
        let asked = json!([{
            "address": hex0x(kms.as_bytes()),
            "fromBlock": format!("{from:#x}"),
            "toBlock": format!("{to:#x}"),
            "topics": [hex0x(AppDeployedViaFactory::SIGNATURE_HASH.as_slice()), null, hex0x(&topic)],
        }]);
        let logs: Vec<Value> = self.ask("eth_getLogs", asked).await?;
        let read = |value: &Value| {
            let transaction = value.get("transactionHash")?.as_str()?.parse().ok()?;
            let logs: [Log; 1] = [log(value)?];
            let app = deployed_app(&logs, kms, deployer)?;
            Some(Deployment { app, transaction })
        };
        Ok(logs.iter().filter_map(read).collect())
    }
}
