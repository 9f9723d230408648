//! The one flow of whatever contracts may have to allow: begin a transaction, decide in it, let it go, ask
//! contracts, begin and decide again. Every route goes through here, so that none asks a chain within a
//! transaction or accepts what a contract has not allowed.

use async_trait::async_trait;
use casemate_api::error::ErrorCode;
use casemate_core::governance::Question;
use casemate_store::{Error as StoreError, Tx};

use super::{ApprovalHeaders, Clearance, Prepared, TokenRejection};
use crate::{
    app::{
        Caller, Ctx, Error,
        fleet::Governed,
        governance::{self, NotAllowed},
        mutation::{IdempotencyKey, Mutation, WriteError},
    },
    crash,
};

/// How often something is decided anew, because contracts were asked or because something else was written
/// meanwhile.
const ATTEMPTS: usize = 8;

/// What contracts have to allow, and which.
pub type Need = (Governed, Question);

/// What comes of deciding, in a transaction.
#[derive(Debug)]
pub enum Decision<T> {
    /// It is written.
    Done(T),
    /// It is prepared: contracts have to allow it first.
    Prepared(Box<Prepared>),
    /// Nothing is written: contracts are to be asked first.
    Asks(Vec<Need>),
}

/// What contracts have said so far.
#[derive(Debug, Clone, Default)]
pub struct Consent {
    /// What they allow.
    pub clearance: Clearance,
    /// Whether what they were not found to allow is to be prepared. Otherwise they are to be asked.
    pub prepare: bool,
    /// Whether it is only to be prepared, and its token told.
    pub prepare_only: bool,
}

impl From<Clearance> for Consent {
    fn from(clearance: Clearance) -> Self {
        Self { clearance, ..Self::default() }
    }
}

/// Something that contracts may have to allow.
#[async_trait]
pub trait Proposal: Send {
    /// What it becomes.
    type Done: Send;

    /// Finds what it means now and writes it, prepares it, or says what contracts are to be asked. The
    /// transaction of an error, or of questions, is dropped. [`StoreError::Stale`] and
    /// [`StoreError::Conflict`]: it is to be decided anew.
    async fn decide(
        &mut self,
        tx: &mut Tx,
        consent: &Consent,
    ) -> Result<Decision<Self::Done>, Error>;

    /// Whether it was prepared before: then what contracts do not allow is an error, and not prepared again.
    fn is_prepared(&self) -> bool {
        false
    }

    /// Whether a chain that does not answer is an error. Otherwise it is as if contracts did not allow it yet.
    fn needs_answer(&self) -> bool {
        true
    }
}

/// Carries something through. What contracts do not allow, though `says` does not say that they do, is
/// prepared, and the client is told what to register.
pub async fn run<P: Proposal>(
    ctx: &Ctx,
    caller: &Caller,
    key: Option<IdempotencyKey>,
    says: &ApprovalHeaders,
    mut proposal: P,
) -> Result<(Mutation, P::Done), WriteError> {
    let prepare_only = says.prepare_only;
    let mut consent =
        Consent { clearance: Clearance::default(), prepare: prepare_only, prepare_only };
    let mut lost = StoreError::Stale;
    for _ in 0..ATTEMPTS {
        let mut mutation = ctx.begin_mutation(caller, key.clone()).await?;
        match proposal.decide(&mut mutation.tx, &consent).await {
            Ok(Decision::Done(done)) => return Ok((mutation, done)),
            Ok(Decision::Prepared(prepared)) => {
                mutation.finish_part().await?;
                return Err(prepared.refusal(ctx).await.into());
            }
            Ok(Decision::Asks(needs)) => {
                // Contracts are asked outside of the transaction.
                drop(mutation);
                let may_prepare = !says.confirms() && !proposal.is_prepared();
                consent.ask(says, &needs, may_prepare, proposal.needs_answer()).await?;
            }
            Err(Error::Store(error @ (StoreError::Stale | StoreError::Conflict(_)))) => {
                lost = error;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(lost.into())
}

impl Consent {
    async fn ask(
        &mut self,
        says: &ApprovalHeaders,
        needs: &[Need],
        may_prepare: bool,
        needs_answer: bool,
    ) -> Result<(), Error> {
        let transaction = governance::transaction(says.transaction.as_deref())?;
        for (governed, question) in needs {
            if says.hash.is_some_and(|hash| hash != question.hash) {
                return Err(TokenRejection::OtherHash(question.hash).into());
            }
            let asked = Question { transaction, ..*question };
            match self.clearance.ask(governed, &asked).await {
                Ok(()) => crash::point(|| "governance.verified".to_owned()),
                // Nobody said that they do, so the client is told what to register.
                Err(NotAllowed::Yet(_)) if may_prepare => self.prepare = true,
                Err(NotAllowed::Other(error))
                    if may_prepare && !needs_answer && error.is(ErrorCode::ChainUnreachable) =>
                {
                    self.prepare = true;
                }
                Err(why) => return Err(why.into()),
            }
        }
        Ok(())
    }
}
