//! The second phase: what was prepared is found, and accepted as it was written down once contracts allow it.
//!
//! Nothing is used up before it is accepted, in one transaction with what it becomes: a process that dies while
//! contracts are asked has only looked.

use async_trait::async_trait;
use casemate_api::{
    error::ErrorCode,
    reply::{ChangeStatus, Committed},
};
use casemate_core::{
    change::{Change, Configuration},
    cvm::Power,
    id::{CvmName, NodeId, OperationId},
    operation::OperationState,
    stored::{self, Stored, Unreadable},
};
use casemate_store::{
    Error as StoreError, Tx, accounts,
    commit_tokens::{self, Kind, Preparation},
    cvms::{self, Cvm},
    operations,
};

use super::{
    ApprovalHeaders, TokenRejection, contracts, digest,
    flow::{self, Consent, Decision, Proposal},
    token_hash,
    token_rejection::{Standing, standing},
};
use crate::app::{
    Caller, Ctx, Error, audit,
    mutation::{IdempotencyKey, Mutation, WriteError},
    replicate::ReplicaOverrides,
    update::{self, Accepted, ChangeRequest, Effect},
};

/// Any kind.
pub const ANY: [Kind; 3] = [Kind::Update, Kind::Replica, Kind::Instance];

/// The update that was prepared for a CVM and that a request with an API key confirms: the newest one with the
/// document that it names, else the newest.
pub async fn of_cvm(ctx: &Ctx, cvm: &Cvm, says: &ApprovalHeaders) -> Result<Preparation, Error> {
    let row = commit_tokens::update_of(&ctx.db, cvm.id, says.hash.as_ref()).await?;
    let row = row.ok_or(TokenRejection::NothingPrepared)?;
    match standing(&row, None, ctx.now()) {
        Err(TokenRejection::Unknown) => Err(TokenRejection::NothingPrepared.into()),
        _ => Ok(row),
    }
}

/// What was prepared under a token, whatever became of it.
pub async fn of_token(ctx: &Ctx, token: &str) -> Result<Preparation, Error> {
    // Nothing else was ever given.
    let row = match token.parse::<uuid::Uuid>() {
        Ok(_) => commit_tokens::by_token(&ctx.db, &token_hash(token)).await?,
        Err(_) => None,
    };
    match row {
        Some(row) => Ok(row),
        None if ctx.token_rate_limit.too_many() => Err(Error::code(ErrorCode::RateLimited)),
        None => Err(TokenRejection::Unknown.into()),
    }
}

/// The same, which must be of this kind and of the CVM that a path names. Whoever names another one
/// hears what somebody without a token hears.
pub async fn of_path(
    ctx: &Ctx,
    token: &str,
    kinds: &[Kind],
    path: &Path<'_>,
) -> Result<(Preparation, Caller), Error> {
    let row = of_token(ctx, token).await?;
    let meant = match path {
        Path::App(text) => crate::app::cvms::app_id(text) == Some(row.app),
        Path::Cvm(text) => {
            let found = cvms::resolve(&ctx.db, row.workspace, &CvmName::parse(text)).await?;
            let is_gone =
                found.is_empty() && cvms::by_id(&ctx.db, row.workspace, row.cvm).await?.is_none();
            is_gone || found.iter().any(|cvm| cvm.id == row.cvm)
        }
    };
    if !meant {
        return Err(TokenRejection::Unknown.into());
    }
    if !kinds.contains(&row.kind) {
        return Err(TokenRejection::OtherKind(row.kind).into());
    }
    // Who prepared it answers for it; whoever left the workspace does not any more.
    let principal = accounts::member(&ctx.db, row.created_by, row.workspace).await?;
    let caller = principal.map(Caller::from).ok_or(TokenRejection::Unknown)?;
    Ok((row, caller))
}

/// What a path says a token is of.
#[derive(Debug, Clone, Copy)]
pub enum Path<'a> {
    /// A CVM, by any of its names.
    Cvm(&'a str),
    App(&'a str),
}

/// Whether a CVM is there and not about to go.
pub fn is_live(cvm: &Cvm) -> bool {
    cvm.desired.power != Power::Deleted
}

/// The configuration now that something was prepared on.
pub async fn base(
    ctx: &Ctx,
    tx: &mut Tx,
    row: &Preparation,
    cvm: &Cvm,
) -> Result<Configuration, Error> {
    match row.kind {
        Kind::Update => update::in_force_next(ctx, tx, cvm).await,
        Kind::Replica | Kind::Instance => update::configuration(tx, cvm).await,
    }
}

/// The node that it is to run on.
pub fn node(row: &Preparation, cvm: &Cvm) -> Result<NodeId, Error> {
    match row.kind {
        Kind::Update => Ok(cvm.node),
        Kind::Replica | Kind::Instance => Ok(machine(row)?.node.unwrap_or(cvm.node)),
    }
}

/// What was prepared, of a machine.
pub fn machine(row: &Preparation) -> Result<ReplicaOverrides, Error> {
    request(row)
}

/// What was prepared, of an update.
pub fn update(row: &Preparation) -> Result<ChangeRequest, Error> {
    request(row)
}

fn request<T: Stored>(row: &Preparation) -> Result<T, Error> {
    stored::read(row.request.as_deref().unwrap_or_default()).map_err(|why| match why {
        Unreadable::Newer { .. } => Error::code(ErrorCode::NewerVersion),
        Unreadable::Corrupt(_) => {
            Error::Internal(format!("what was prepared does not parse: {why}"))
        }
    })
}

/// Accepts an update that was prepared, if it still stands. `again` is what the request that confirms it asks
/// for by itself: nothing, or the same.
pub async fn begin(
    ctx: &Ctx,
    tx: &mut Tx,
    caller: &Caller,
    row: &Preparation,
    says: &ApprovalHeaders,
    consent: &Consent,
    again: Option<&ChangeRequest>,
) -> Result<Decision<Box<Accepted>>, Error> {
    let (cvm, row) = match lock_preparation(ctx, tx, row, says).await? {
        LockedPreparation::Live(cvm, row) => (cvm, row),
        LockedPreparation::Before(cvm, _, operation) => {
            progress(ctx, operation).await?;
            let cvm = cvm.ok_or(TokenRejection::Gone)?;
            audit::before_cvm(&cvm);
            return Ok(Decision::Done(Box::new(before(tx, &cvm, operation).await?)));
        }
    };
    let mut asked = update(&row)?;
    if let Some(again) = again {
        if again.change != Change::default() {
            let (_, next, _) = update::preview(ctx, tx, &cvm, &again.change).await?;
            let same = next.spec.compose_hash == row.compose_hash
                && again.change.bound_to(row.compose_hash) == asked.change;
            if !same {
                return Err(TokenRejection::OtherRequest.into());
            }
        }
        asked.guard = again.guard.or(asked.guard);
        asked.may_restart &= again.may_restart;
    }
    // It is prepared already, so it is asked about.
    let consent = Consent { prepare: false, ..consent.clone() };
    let decision = update::accept(ctx, tx, caller, cvm.id, &asked, &consent).await?;
    if let Decision::Done(accepted) = &decision
        && !tx.use_preparation(&row.hash, accepted.operation, None, ctx.now()).await?
    {
        return Err(StoreError::Stale.into());
    }
    Ok(decision)
}

/// Something that was prepared, in the transaction that is to accept it. Its CVM is taken.
#[derive(Debug)]
pub enum LockedPreparation {
    /// It can be begun.
    Live(Cvm, Preparation),
    /// It was, a moment ago, and became this. The CVM may be gone.
    Before(Option<Cvm>, Preparation, OperationId),
}

/// Takes the CVM of what was prepared and checks, as both are now, that it still stands.
pub async fn lock_preparation(
    ctx: &Ctx,
    tx: &mut Tx,
    row: &Preparation,
    says: &ApprovalHeaders,
) -> Result<LockedPreparation, Error> {
    let cvm = tx.lock_cvm(row.cvm).await?;
    let row = tx.preparation(&row.hash).await?.ok_or(TokenRejection::Unknown)?;
    let stands = standing(&row, says.hash.as_ref(), ctx.now())?;
    let cvm = cvm.filter(is_live);
    if let Standing::Before(operation) = stands {
        return Ok(LockedPreparation::Before(cvm, row, operation));
    }
    let cvm = cvm.ok_or(TokenRejection::Gone)?;
    contracts(ctx, &cvm.kms)?
        .filter(|contracts| contracts.governed.chain.chain_id() == row.chain_id)
        .ok_or(TokenRejection::OtherContracts)?;
    if digest(&base(ctx, tx, &row, &cvm).await?) != row.base {
        return Err(TokenRejection::Moved.into());
    }
    Ok(LockedPreparation::Live(cvm, row))
}

/// How what a token became goes on. An error, if it came to nothing: then repeating it does not help.
async fn progress(ctx: &Ctx, operation: OperationId) -> Result<ChangeStatus, Error> {
    // One that only this transaction sees yet was begun just now.
    let Some(operation) = operations::get(&ctx.db, operation).await? else {
        return Ok(ChangeStatus::InProgress);
    };
    match operation.state {
        OperationState::Pending | OperationState::Running => Ok(ChangeStatus::InProgress),
        OperationState::Succeeded => Ok(ChangeStatus::Succeeded),
        state @ (OperationState::Failed
        | OperationState::Superseded
        | OperationState::Cancelled) => {
            let cause = operation.failure.map(|(_, cause)| cause);
            Err(TokenRejection::Ended(state, cause).into())
        }
    }
}

/// Commits an update by its token, in the name of whoever prepared it.
pub async fn commit_update(
    ctx: &Ctx,
    token: &str,
    path: &Path<'_>,
    headers: Result<ApprovalHeaders, Error>,
    key: Option<IdempotencyKey>,
) -> Result<(Mutation, Committed), WriteError> {
    let (row, caller) = of_path(ctx, token, &[Kind::Update], path).await?;
    let says = headers?;
    let commit = CommitUpdate { ctx, caller: &caller, row: &row, says: &says };
    let (mutation, operation) = flow::run(ctx, &caller, key, &says, commit).await?;
    // What this request began goes on; what an earlier one began may have ended.
    let status = match row.used_at {
        None => ChangeStatus::InProgress,
        Some(_) => progress(ctx, operation).await?,
    };
    Ok((mutation, Committed { correlation_id: operation.to_string(), status }))
}

struct CommitUpdate<'a> {
    ctx: &'a Ctx,
    caller: &'a Caller,
    row: &'a Preparation,
    says: &'a ApprovalHeaders,
}

#[async_trait]
impl Proposal for CommitUpdate<'_> {
    type Done = OperationId;

    async fn decide(
        &mut self,
        tx: &mut Tx,
        consent: &Consent,
    ) -> Result<Decision<OperationId>, Error> {
        let Self { ctx, caller, row, says } = *self;
        Ok(match begin(ctx, tx, caller, row, says, consent, None).await? {
            Decision::Done(accepted) => Decision::Done(accepted.operation),
            Decision::Prepared(prepared) => Decision::Prepared(prepared),
            Decision::Asks(needs) => Decision::Asks(needs),
        })
    }

    fn is_prepared(&self) -> bool {
        true
    }
}

/// The answer to a confirmation that came before: its operation, and the CVM as it is.
async fn before(tx: &mut Tx, cvm: &Cvm, operation: OperationId) -> Result<Accepted, Error> {
    let cvm = tx.cvm(cvm.id).await?.ok_or(TokenRejection::Gone)?;
    Ok(Accepted {
        promised: cvm.spec.clone(),
        cvm,
        operation,
        effect: Effect::Restart,
        waits_behind: None,
        allowed_envs_changed: false,
        report: None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Reads what earlier versions wrote, and writes the same.
    fn is_kept<T: Stored>(golden: &str) {
        let value: T = stored::read(golden).unwrap();
        let written: Value = serde_json::from_str(&stored::write(&value).unwrap()).unwrap();
        assert_eq!(written, serde_json::from_str::<Value>(golden).unwrap());
    }

    #[test]
    fn what_is_prepared_is_written_and_read_as_ever() {
        is_kept::<ChangeRequest>(include_str!(
            "../../../tests/golden/stored/change_request.v1.json"
        ));
        is_kept::<ReplicaOverrides>(include_str!(
            "../../../tests/golden/stored/machine_request.v1.json"
        ));
    }
}
