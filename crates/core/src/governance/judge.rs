//! Computes verdicts from chain data.
//!
//! [`evaluate_receipt`] checks the given transaction, if any: it must have succeeded, and the app's own
//! contract must have added the hash in it. The transaction's recipient does not matter: it may be a Safe, a
//! timelock, an entry point or the KMS contract. [`decide`] checks the current state, which is decisive.

use alloy_sol_types::SolEvent;

use super::{
    Block, BootInfo, Proof, Question, Refusal, State, Verdict,
    interface::AppContract::ComposeHashAdded, messages, rules::Rule,
};
use crate::id::{Address, TxHash};

/// Requirements beyond the contracts' state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    pub chain_id: u64,
    /// Number of blocks that a transaction needs, including its own; zero means one.
    pub confirmations: u64,
}

impl Policy {
    /// With this number of confirmations.
    #[must_use]
    pub const fn new(chain_id: u64, confirmations: u64) -> Self {
        Self { chain_id, confirmations }
    }
}

/// A log entry of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The contract that emitted it.
    pub address: Address,
    /// The event's signature and indexed fields.
    pub topics: Vec<[u8; 32]>,
    /// The other fields.
    pub data: Vec<u8>,
    /// Whether a reorganisation removed it.
    pub removed: bool,
}

/// The receipt of a mined transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    pub block: Block,
    /// Whether its block is part of the chain.
    pub canonical: bool,
    pub succeeded: bool,
    /// In order.
    pub logs: Vec<Log>,
}

/// The result of checking a receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReceiptEvaluation {
    /// The transaction is valid evidence.
    Holds,
    /// It may become valid: ask again. The refusal is for when time is up.
    NotYet(Refusal),
    /// It is invalid and stays so.
    Refused(Refusal),
}

/// The refusal for a transaction that is not in a block of this chain when time is up.
#[must_use]
pub fn not_found(transaction: TxHash, policy: &Policy) -> Refusal {
    messages::not_found(transaction, policy.chain_id)
}

/// Checks the given transaction. `settled` is the height up to which blocks count: the newest block, or the
/// newest one that the chain calls safe or final.
#[must_use]
pub fn evaluate_receipt(
    question: &Question,
    transaction: TxHash,
    receipt: &Receipt,
    settled: u64,
    policy: &Policy,
) -> ReceiptEvaluation {
    let chain = policy.chain_id;
    if !receipt.canonical {
        return ReceiptEvaluation::NotYet(not_found(transaction, policy));
    }
    if !receipt.succeeded && Rule::ReceiptStatus.applies() {
        return ReceiptEvaluation::Refused(messages::reverted(question, transaction, chain));
    }
    if !receipt.logs.iter().any(|log| adds(log, question)) {
        return ReceiptEvaluation::Refused(messages::no_event(
            question,
            transaction,
            &receipt.logs,
            chain,
        ));
    }
    let seen = confirmations(&receipt.block, settled);
    let wanted = policy.confirmations.max(1);
    if seen < wanted && Rule::Confirmations.applies() {
        return ReceiptEvaluation::NotYet(messages::unconfirmed(transaction, seen, wanted, chain));
    }
    ReceiptEvaluation::Holds
}

/// The number of settled blocks from `block` on.
fn confirmations(block: &Block, settled: u64) -> u64 {
    settled.checked_sub(block.number).map_or(0, |above| above.saturating_add(1))
}

/// Whether this is the app's event that it allows the hash.
fn adds(log: &Log, question: &Question) -> bool {
    let address = log.address == question.app.into() || !Rule::LogAddress.applies();
    let hash = log.data == question.hash.as_bytes() || !Rule::HashInData.applies();
    address && hash && is_addition(log)
}

/// Whether this event adds a hash, for any app.
pub(super) fn is_addition(log: &Log) -> bool {
    !log.removed && log.topics == [ComposeHashAdded::SIGNATURE_HASH.0] && log.data.len() == 32
}

/// The refusal of a boot by the KMS contract, of something that the app allows.
#[must_use]
pub fn boot_refused(boot: &BootInfo, block: &Block, reason: &str, chain_id: u64) -> Refusal {
    messages::boot_refused(boot, block, reason, chain_id)
}

/// The verdict on the state; the transaction was checked before.
#[must_use]
pub fn decide(question: &Question, state: &State, policy: &Policy) -> Verdict {
    let chain = policy.chain_id;
    if !state.kms_exists {
        return Verdict::Refused(messages::no_kms(question, state, chain));
    }
    if !state.registered && Rule::Registration.applies() {
        return Verdict::Refused(messages::not_registered(question, state, chain));
    }
    if !state.app_exists {
        return Verdict::Refused(messages::no_app(question, state, chain));
    }
    if !state.has_lists && !state.hash_allowed {
        return Verdict::Refused(messages::judged(question, state, chain));
    }
    let hash = state.hash_allowed || !Rule::State.applies();
    let device = state.device_allowed() || !Rule::Device.applies();
    if !(hash && device) {
        return Verdict::Refused(messages::not_allowed(question, state, (hash, device), chain));
    }
    Verdict::Allowed(Proof {
        chain_id: chain,
        block: state.block,
        owner: state.owner,
        transaction: question.transaction,
    })
}
