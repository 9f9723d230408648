//! Writing what happened: one place that knows the kinds of events and their bodies.

use casemate_core::{
    change::EnvReport,
    cvm::{Boot, Phase},
    governance::{Block, Proof, Question},
    id::{Address, ComposeHash, CvmId, EventSeq, OperationId, WorkspaceId},
    operation::OperationKind,
    time::Timestamp,
};
use casemate_store::{Error, Tx, events::NewEvent, operations::Ending};
use serde_json::{Value, json};

use super::views;

/// Something that happened to a CVM.
#[derive(Debug, Clone)]
pub enum CvmEvent {
    /// A change was accepted.
    Accepted(OperationKind),
    /// What a change does to the names of variables.
    EnvNames(EnvReport),
    /// The turn of a change of the configuration came.
    Begun {
        /// How many others go with it.
        with: usize,
    },
    /// Changes that went in one did not work; they are tried one by one.
    Split,
    /// The word users see changed.
    Phase(Phase, Phase),
    /// The guest told how far it is.
    Boot(Boot),
    /// A reconciler is about to do a step, or has done it.
    Step {
        /// Which step.
        name: &'static str,
        /// How far it is, or how it ended.
        outcome: StepResult,
    },
    /// A change ended.
    Ended {
        /// What it was.
        kind: OperationKind,
        /// `succeeded`, `failed`, `superseded`, `cancelled`.
        how: &'static str,
        /// Failure code and cause.
        failure: Option<(String, String)>,
    },
    /// It is to be deleted by itself at this time, or no longer.
    DeletionSet(Option<Timestamp>),
    /// The node shows something else than what is recorded.
    Drift(String),
    /// A document was prepared for contracts to allow; `what` is an update or another machine.
    Prepared {
        /// `update`, `replica`, `instance`.
        what: &'static str,
        /// The document.
        hash: ComposeHash,
        /// The chain of the contracts.
        chain_id: u64,
        /// Until when it can be committed.
        until: Timestamp,
    },
    /// Contracts were asked, and what they allow was accepted.
    Verified(Box<Verified>),
    /// Contracts were asked again: right before a guest goes down for it, or because the block at which
    /// they allowed it fell out of the chain.
    VerifiedAgain(Box<Verified>),
    /// The block at which they allowed it is no longer part of the chain, and they do not allow it now:
    /// somebody must act.
    Undone(ComposeHash, Block),
}

/// How far a step is, or how it ended. Stored as `code` and, for people, `outcome`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepResult {
    /// It is about to be done.
    Intended,
    /// It was done.
    Done,
    /// The node was not there to take it; why.
    NodeUnreachable(String),
    /// It may have been done; why that is not known.
    OutcomeUnknown(String),
    /// The node refused it; why.
    Refused(String),
    /// It waits for a chain that does not answer; why.
    ChainSilent(String),
}

impl StepResult {
    /// The stable word, in events and operations.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Intended => "intended",
            Self::Done => "done",
            Self::NodeUnreachable(_) => "node_unreachable",
            Self::OutcomeUnknown(_) => "outcome_unknown",
            Self::Refused(_) => "refused",
            Self::ChainSilent(_) => "chain_silent",
        }
    }

    /// The same for people.
    pub fn message(&self) -> String {
        match self {
            Self::Intended | Self::Done => self.code().to_owned(),
            Self::NodeUnreachable(why) => format!("node unreachable: {why}"),
            Self::OutcomeUnknown(why) => format!("outcome unknown: {why}"),
            Self::Refused(why) | Self::ChainSilent(why) => why.clone(),
        }
    }
}

/// What a contract was asked, what it said, and who is said to have deployed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// What it was asked.
    pub question: Question,
    /// What it said.
    pub proof: Proof,
    /// Who is said to have deployed it.
    pub deployer: Option<Address>,
}

impl Verified {
    fn body(&self) -> Value {
        let address = |address: Option<Address>| address.map(views::contract);
        let Self { question, proof, deployer } = self;
        json!({
            "chain_id": proof.chain_id,
            "block_number": proof.block.number,
            "block_hash": format!("0x{}", proof.block.hash),
            "kms_contract": views::contract(question.kms),
            "app_contract": views::contract(question.app),
            "compose_hash": question.hash,
            "device_id": question.device,
            "transaction_hash": proof.transaction.map(|hash| format!("0x{hash}")),
            "owner": address(proof.owner),
            "deployer": address(*deployer),
        })
    }
}

impl CvmEvent {
    /// The end of an operation.
    pub fn ended(kind: OperationKind, ending: &Ending) -> Self {
        let (how, failure) = match ending {
            Ending::Succeeded => ("succeeded", None),
            Ending::Superseded => ("superseded", None),
            Ending::Cancelled => ("cancelled", None),
            Ending::Failed(code, cause) => {
                ("failed", Some((code.as_str().to_owned(), cause.clone())))
            }
        };
        Self::Ended { kind, how, failure }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Accepted(_) => "operation.accepted",
            Self::EnvNames(_) => "operation.env",
            Self::Begun { .. } => "operation.begun",
            Self::Split => "operation.split",
            Self::Phase(..) => "cvm.phase",
            Self::Boot(_) => "cvm.boot",
            Self::Step { .. } => "operation.step",
            Self::Ended { .. } => "operation.ended",
            Self::DeletionSet(_) => "cvm.deletion_set",
            Self::Drift(_) => "cvm.drift",
            Self::Prepared { .. } => "governance.prepared",
            Self::Verified(_) => "governance.verified",
            Self::VerifiedAgain(_) => "governance.verified_again",
            Self::Undone(..) => "governance.undone",
        }
    }

    fn body(&self) -> Value {
        match self {
            Self::Accepted(kind) => json!({ "kind": kind.as_str() }),
            Self::EnvNames(report) => json!({
                "added": report.added, "removed": report.removed, "missing": report.missing
            }),
            Self::Begun { with } => json!({ "with": with }),
            Self::Split => json!({}),
            Self::Phase(from, to) => json!({ "from": from.as_str(), "to": to.as_str() }),
            Self::Boot(boot) => {
                let (state, progress) = match boot {
                    Boot::Failed(why) => ("failed", format!("failed: {why}")),
                    Boot::Done => ("done", "done".to_owned()),
                    Boot::Unknown | Boot::Progress(_) => ("progress", boot.as_str().to_owned()),
                };
                json!({ "state": state, "progress": progress })
            }
            Self::Step { name, outcome } => {
                json!({ "step": name, "code": outcome.code(), "outcome": outcome.message() })
            }
            Self::Ended { kind, how, failure: None } => {
                json!({ "kind": kind.as_str(), "how": how })
            }
            Self::Ended { kind, how, failure: Some((code, cause)) } => {
                json!({ "kind": kind.as_str(), "how": how, "code": code, "cause": cause })
            }
            Self::DeletionSet(at) => json!({ "at": at.map(|at| at.to_string()) }),
            Self::Drift(what) => json!({ "what": what }),
            Self::Prepared { what, hash, chain_id, until } => json!({
                "what": what, "compose_hash": hash, "chain_id": chain_id,
                "expires_at": until.to_string(),
            }),
            Self::Verified(verified) | Self::VerifiedAgain(verified) => verified.body(),
            Self::Undone(hash, block) => json!({
                "compose_hash": hash,
                "block_number": block.number,
                "block_hash": format!("0x{}", block.hash),
            }),
        }
    }
}

/// Where something happened.
#[derive(Debug, Clone, Copy)]
pub struct EventScope {
    /// Whose CVM it is.
    pub workspace: WorkspaceId,
    /// Which CVM.
    pub cvm: CvmId,
    /// In which operation.
    pub operation: Option<OperationId>,
}

/// Closes an operation of this kind and those that go with it, and tells the end of each. Returns the
/// place of the last event; `None`: it was closed already.
pub async fn close(
    tx: &mut Tx,
    scope: EventScope,
    (operation, kind): (OperationId, OperationKind),
    ending: &Ending,
    now: Timestamp,
) -> Result<Option<EventSeq>, Error> {
    let mut newest = None;
    for closed in tx.close_operation(operation, ending, now).await? {
        let scope = EventScope { operation: Some(closed), ..scope };
        newest = Some(write(tx, scope, &[CvmEvent::ended(kind, ending)], now).await?);
    }
    Ok(newest)
}

/// Writes down what happened, in order; returns the place of the last event.
pub async fn write(
    tx: &mut Tx,
    scope: EventScope,
    cvm_events: &[CvmEvent],
    now: Timestamp,
) -> Result<EventSeq, Error> {
    let events: Vec<NewEvent<'_>> = cvm_events
        .iter()
        .map(|event| NewEvent {
            workspace: scope.workspace,
            cvm: Some(scope.cvm),
            operation: scope.operation,
            kind: event.kind(),
            body: event.body(),
        })
        .collect();
    for event in cvm_events {
        if let CvmEvent::Verified(it) | CvmEvent::VerifiedAgain(it) = event {
            tx.keep_proof(scope.cvm, &it.question.hash, &it.proof, now).await?;
        }
    }
    tx.append_events(&events, now).await
}
