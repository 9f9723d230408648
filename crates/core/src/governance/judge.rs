//! From what a chain says to a verdict.
//!
//! [`evaluate_receipt`] looks at the transaction that is named, if one is: it has to have succeeded, and in it the
//! app itself has to have added the hash. To whom it was sent says nothing: that is a Safe, a timelock,
//! an entry point, or the contract of the KMS. [`decide`] looks at the state, and has the last word.

use alloy_sol_types::SolEvent;

use super::{
    Block, Proof, Question, Refusal, State, Verdict, interface::AppContract::ComposeHashAdded,
    messages, rules::Rule,
};
use crate::id::{Address, TxHash};

/// What has to be true, beyond what contracts say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    pub chain_id: u64,
    /// In how many blocks a transaction has to be, its own included; zero means one.
    pub confirmations: u64,
}

impl Policy {
    /// With this many confirmations.
    #[must_use]
    pub const fn new(chain_id: u64, confirmations: u64) -> Self {
        Self { chain_id, confirmations }
    }
}

/// What a contract said in a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The contract.
    pub address: Address,
    /// The kind of event, and what of it is indexed.
    pub topics: Vec<[u8; 32]>,
    /// The rest of it.
    pub data: Vec<u8>,
    /// Whether a reorganisation took it back.
    pub removed: bool,
}

/// What came of a transaction that is in a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    pub block: Block,
    /// Whether the chain has this block at that height.
    pub canonical: bool,
    /// Whether it succeeded.
    pub succeeded: bool,
    /// What contracts said in it, in order.
    pub logs: Vec<Log>,
}

/// What a transaction comes to as evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReceiptEvaluation {
    /// It is what it is said to be.
    Holds,
    /// It may become that: look again. When there is no time left this is the answer.
    NotYet(Refusal),
    /// It is not, and will not be.
    Refused(Refusal),
}

/// What is said of a transaction that is in no block, or in none of this chain, when there is no time left
/// to wait for it.
#[must_use]
pub fn not_found(transaction: TxHash, policy: &Policy) -> Refusal {
    messages::not_found(transaction, policy.chain_id)
}

/// Weighs the named transaction. `settled` is the height up to which blocks count: the newest one, or
/// the newest one that the chain calls safe or final.
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

/// In how many settled blocks something is that is in `block`.
fn confirmations(block: &Block, settled: u64) -> u64 {
    settled.checked_sub(block.number).map_or(0, |above| above.saturating_add(1))
}

/// Whether the app says in this event that it allows the hash.
fn adds(log: &Log, question: &Question) -> bool {
    let address = log.address == question.app.into() || !Rule::LogAddress.applies();
    let hash = log.data == question.hash.as_bytes() || !Rule::HashInData.applies();
    address && hash && is_addition(log)
}

/// Whether this is a hash being added, of whichever app.
pub(super) fn is_addition(log: &Log) -> bool {
    !log.removed && log.topics == [ComposeHashAdded::SIGNATURE_HASH.0] && log.data.len() == 32
}

/// What the state says; the named transaction has been weighed before.
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
