//! Writing what happened. The stored form of each is [`casemate_core::event::Event`].

use casemate_core::{
    change::EnvReport,
    cvm::{Boot, FailureCode, Phase, ServiceFault},
    drift::DriftKind,
    event::{BootEvent, BootState, End, Event, Evidence, KeyDecision, StepCode, StepEvent},
    governance::{Block, Proof, Question},
    id::{Address, ComposeHash, CvmId, EventSeq, NodeId, OperationId, WorkspaceId},
    operation::OperationKind,
    time::Timestamp,
};
use casemate_store::{Error, Tx, events::NewEvent, operations::Ending};

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
        how: End,
        /// Failure code and cause.
        failure: Option<(FailureCode, String)>,
    },
    /// It is to be deleted by itself at this time, or no longer.
    DeletionSet(Option<Timestamp>),
    /// The node shows something else than what is recorded; the kind, if it is not as desired either.
    Drift(String, Option<DriftKind>),
    /// Evidence was refused, or accepted after it had been refused.
    Evidence {
        accepted: bool,
        /// Why not.
        why: Vec<String>,
    },
    /// A service failed after the boot.
    ServiceFailed(ServiceFault),
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
    /// A KMS asked whether the guest may have its keys.
    Keys(Box<KeyDecision>),
    /// It is on another node now.
    NodeChanged {
        from: NodeId,
        to: NodeId,
        /// The VM before is on a host that was given up.
        left_behind: bool,
    },
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
    /// A cluster of dstack-gateway did not do it; why.
    GatewayFailed(String),
}

impl StepResult {
    /// The code, in events and operations.
    pub const fn code(&self) -> StepCode {
        match self {
            Self::Intended => StepCode::Intended,
            Self::Done => StepCode::Done,
            Self::NodeUnreachable(_) => StepCode::NodeUnreachable,
            Self::OutcomeUnknown(_) => StepCode::OutcomeUnknown,
            Self::Refused(_) => StepCode::Refused,
            Self::ChainSilent(_) => StepCode::ChainSilent,
            Self::GatewayFailed(_) => StepCode::GatewayFailed,
        }
    }

    /// The same for people.
    pub fn message(&self) -> String {
        match self {
            Self::Intended | Self::Done => self.code().as_str().to_owned(),
            Self::NodeUnreachable(why) => format!("node unreachable: {why}"),
            Self::OutcomeUnknown(why) => format!("outcome unknown: {why}"),
            Self::Refused(why) | Self::ChainSilent(why) | Self::GatewayFailed(why) => why.clone(),
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
    fn evidence(&self) -> Box<Evidence> {
        let Self { question, proof, deployer } = self;
        Box::new(Evidence {
            chain_id: proof.chain_id,
            block_number: proof.block.number,
            block_hash: proof.block.hash,
            kms_contract: question.kms,
            app_contract: question.app.into(),
            compose_hash: question.hash,
            device_id: question.device,
            transaction_hash: proof.transaction,
            owner: proof.owner,
            deployer: *deployer,
        })
    }
}

impl CvmEvent {
    /// The end of an operation.
    pub fn ended(kind: OperationKind, ending: &Ending) -> Self {
        let (how, failure) = match ending {
            Ending::Succeeded => (End::Succeeded, None),
            Ending::Superseded => (End::Superseded, None),
            Ending::Cancelled => (End::Cancelled, None),
            Ending::Failed(code, cause) => (End::Failed, Some((*code, cause.clone()))),
        };
        Self::Ended { kind, how, failure }
    }

    /// The form in which it is stored.
    fn stored(&self) -> Event {
        match self {
            Self::Accepted(kind) => Event::Accepted { kind: *kind },
            Self::EnvNames(report) => Event::EnvNames(report.clone()),
            Self::Begun { with } => Event::Begun { with: *with },
            Self::Split => Event::Split {},
            Self::Phase(from, to) => Event::Phase { from: *from, to: *to },
            Self::Boot(boot) => {
                let (state, progress) = match boot {
                    Boot::Failed(why) => (BootState::Failed, format!("failed: {why}")),
                    Boot::Done => (BootState::Done, "done".to_owned()),
                    Boot::Unknown | Boot::Progress(_) => {
                        (BootState::Progress, boot.as_str().to_owned())
                    }
                };
                Event::Boot(BootEvent { state, progress })
            }
            Self::Step { name, outcome } => Event::Step(StepEvent {
                step: (*name).to_owned(),
                code: outcome.code(),
                outcome: outcome.message(),
            }),
            Self::Ended { kind, how, failure } => {
                let (code, cause) = failure.clone().unzip();
                Event::Ended { kind: *kind, how: *how, code, cause }
            }
            Self::DeletionSet(at) => Event::DeletionSet { at: *at },
            Self::Drift(what, kind) => Event::Drift { what: what.clone(), drift: *kind },
            Self::ServiceFailed(fault) => Event::ServiceFailed {
                service: fault.service.clone(),
                fault: fault.kind.clone(),
                what: fault.to_string(),
            },
            Self::Evidence { accepted, why } => {
                Event::Evidence { accepted: *accepted, why: why.clone() }
            }
            Self::Prepared { what, hash, chain_id, until } => Event::Prepared {
                what: (*what).to_owned(),
                compose_hash: *hash,
                chain_id: *chain_id,
                expires_at: *until,
            },
            Self::Verified(verified) => Event::Verified(verified.evidence()),
            Self::VerifiedAgain(verified) => Event::VerifiedAgain(verified.evidence()),
            Self::Undone(hash, block) => Event::Undone {
                compose_hash: *hash,
                block_number: block.number,
                block_hash: block.hash,
            },
            Self::Keys(decision) => Event::Keys(decision.clone()),
            Self::NodeChanged { from, to, left_behind } => {
                Event::NodeChanged { from: *from, to: *to, left_behind: *left_behind }
            }
        }
    }
}

/// Where something happened.
#[derive(Debug, Clone, Copy)]
pub struct EventScope {
    /// Whose CVM it is.
    pub workspace: WorkspaceId,
    pub cvm: CvmId,
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
    let events: Vec<_> = cvm_events.iter().map(|event| new_event(scope, event)).collect();
    for event in cvm_events {
        if let CvmEvent::Verified(it) | CvmEvent::VerifiedAgain(it) = event {
            tx.keep_proof(scope.cvm, &it.question.hash, &it.proof, now).await?;
        }
    }
    tx.append_events(&events, now).await
}

/// Writes down what happened to several CVMs, in order; returns the place of the last event.
pub async fn write_all(
    tx: &mut Tx,
    all: &[(EventScope, CvmEvent)],
    now: Timestamp,
) -> Result<EventSeq, Error> {
    let events: Vec<_> = all.iter().map(|(scope, event)| new_event(*scope, event)).collect();
    tx.append_events(&events, now).await
}

fn new_event(scope: EventScope, event: &CvmEvent) -> NewEvent<'static> {
    let stored = event.stored();
    NewEvent {
        workspace: scope.workspace,
        cvm: Some(scope.cvm),
        operation: scope.operation,
        kind: stored.kind(),
        body: stored.body(),
    }
}
