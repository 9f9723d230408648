//! Blocks, with the state of the contracts at each.

use std::sync::Arc;

use casemate_core::{
    governance::{
        Block,
        judge::{Log, Receipt},
    },
    id::{Address, BlockHash, TxHash},
};
use sha2::{Digest, Sha256};

use super::contracts::{Contracts, Run};

/// A call in a transaction: sender, contract, calldata.
pub(super) type Call = (Address, Address, Vec<u8>);

/// A transaction: all of its calls succeed, or none.
#[derive(Debug, Clone)]
pub(super) struct Transaction {
    pub hash: TxHash,
    pub calls: Vec<Call>,
}

/// A transaction in a block.
#[derive(Debug, Clone)]
pub(super) struct Included {
    pub transaction: Transaction,
    pub succeeded: bool,
    pub logs: Vec<Log>,
}

/// A block with its resulting state.
#[derive(Debug, Clone)]
pub(super) struct Mined {
    pub block: Block,
    pub contracts: Arc<Contracts>,
    pub included: Vec<Included>,
}

#[derive(Debug)]
pub(super) struct Ledger {
    chain_id: u64,
    blocks: Vec<Mined>,
    pending: Vec<Transaction>,
    /// Counter for unique hashes.
    made: u64,
}

impl Ledger {
    pub fn new(chain_id: u64) -> Self {
        let mut ledger = Self { chain_id, blocks: Vec::new(), pending: Vec::new(), made: 0 };
        ledger.seal(Contracts::default(), Vec::new());
        ledger
    }

    pub fn chain_id(&self) -> u64 {
        self.chain_id
    }

    pub fn head(&self) -> &Mined {
        // The first block always exists.
        &self.blocks[self.blocks.len() - 1]
    }

    pub fn at(&self, number: u64) -> Option<&Mined> {
        self.blocks.get(usize::try_from(number).ok()?)
    }

    pub fn with_hash(&self, hash: &BlockHash) -> Option<&Mined> {
        self.blocks.iter().rev().find(|mined| mined.block.hash == *hash)
    }

    pub fn find(&self, transaction: &TxHash) -> Option<(&Mined, &Included)> {
        self.blocks.iter().rev().find_map(|mined| {
            let mut included = mined.included.iter();
            Some((mined, included.find(|included| included.transaction.hash == *transaction)?))
        })
    }

    pub fn receipt(&self, transaction: &TxHash) -> Option<Receipt> {
        self.find(transaction).map(|(mined, included)| Receipt {
            block: mined.block,
            canonical: true,
            succeeded: included.succeeded,
            logs: included.logs.clone(),
        })
    }

    /// Submits a transaction for the next block.
    pub fn submit(&mut self, calls: Vec<Call>) -> TxHash {
        let hash = TxHash::from_bytes(self.next_hash("transaction"));
        self.pending.push(Transaction { hash, calls });
        hash
    }

    /// Mines the next block with all submitted transactions.
    pub fn mine(&mut self) {
        let mut contracts = Contracts::clone(&self.head().contracts);
        let pending = std::mem::take(&mut self.pending);
        let included = pending.into_iter().map(|tx| execute(&mut contracts, tx)).collect();
        self.seal(contracts, included);
    }

    /// Mines a block in which the contracts are edited directly.
    pub fn edit(&mut self, change: impl FnOnce(&mut Contracts)) {
        let mut contracts = Contracts::clone(&self.head().contracts);
        change(&mut contracts);
        self.seal(contracts, Vec::new());
    }

    /// Replaces the newest `depth` blocks by empty ones; their transactions are lost.
    pub fn reorg(&mut self, depth: usize) {
        let keep = self.blocks.len().saturating_sub(depth).max(1);
        let lost = self.blocks.len() - keep;
        self.blocks.truncate(keep);
        for _ in 0..lost {
            self.edit(|_| ());
        }
    }

    fn seal(&mut self, contracts: Contracts, included: Vec<Included>) {
        let number = u64::try_from(self.blocks.len()).unwrap_or(u64::MAX);
        let hash = BlockHash::from_bytes(self.next_hash("block"));
        let block = Block { number, hash };
        self.blocks.push(Mined { block, contracts: Arc::new(contracts), included });
    }

    fn next_hash(&mut self, of: &str) -> [u8; 32] {
        self.made += 1;
        Sha256::digest(format!("{of} {} {}", self.chain_id, self.made)).into()
    }
}

fn execute(contracts: &mut Contracts, transaction: Transaction) -> Included {
    let mut after = contracts.clone();
    let runs: Result<Vec<Run>, Vec<u8>> =
        transaction.calls.iter().map(|(from, to, data)| after.call(*from, *to, data)).collect();
    match runs {
        Ok(runs) => {
            *contracts = after;
            let logs = runs.into_iter().flat_map(|run| run.logs).collect();
            Included { transaction, succeeded: true, logs }
        }
        Err(_) => Included { transaction, succeeded: false, logs: Vec::new() },
    }
}
