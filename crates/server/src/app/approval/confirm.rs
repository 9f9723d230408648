//! The second phase: what was prepared is found, contracts are asked, and it is accepted as it was
//! written down.
//!
//! Two steps, because nothing is awaited within a transaction: [`find`] looks and asks, [`begin`] checks
//! once more what was read, in the transaction that accepts. Between the two nothing is used up: a
//! process that dies there has only looked.

use casemate_api::{
    error::ErrorCode,
    reply::{ChangeStatus, Committed},
};
use casemate_core::{
    change::{Change, Configuration},
    cvm::Power,
    id::{CvmId, CvmName, NodeId, OperationId},
    stored::{self, Stored, Unreadable},
};
use casemate_store::{
    Error as StoreError, Tx, accounts,
    commit_tokens::{self, Kind, Preparation},
    cvms::{self, Cvm},
};

use super::{
    ApprovalHeaders, Clearance, TokenRejection, contracts, device, digest, question, token_hash,
    token_rejection::Standing,
};
use crate::{
    app::{
        Caller, Ctx, Error, governance,
        mutation::{IdempotencyKey, Mutation, WriteError},
        replicate::Wanted,
        update::{self, Accepted, ChangeRequest, Effect, Outcome},
    },
    crash,
};

/// Something that was prepared and that contracts allow now.
#[derive(Debug)]
pub struct Confirmation {
    /// As it was read.
    pub row: Preparation,
    /// What contracts said.
    pub clearance: Clearance,
}

/// Any kind.
pub const ANY: [Kind; 3] = [Kind::Update, Kind::Replica, Kind::Instance];

/// What a confirmation comes to.
#[derive(Debug)]
pub enum Found {
    /// It can be begun.
    Now(Box<Confirmation>),
    /// It was, a moment ago, and became this.
    Before(OperationId, Option<CvmId>),
}

/// The newest update that was prepared for a CVM, confirmed with an API key.
pub async fn of_cvm(ctx: &Ctx, cvm: &Cvm, headers: &ApprovalHeaders) -> Result<Found, Error> {
    let row = commit_tokens::newest_update(&ctx.db, cvm.id)
        .await?
        .ok_or(TokenRejection::NothingPrepared)?;
    match super::token_rejection::standing(&row, None, ctx.now()) {
        Err(TokenRejection::Unknown) => Err(TokenRejection::NothingPrepared.into()),
        _ => find(ctx, row, headers).await,
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

/// Looks whether it still stands, and asks contracts. Never within a transaction.
pub async fn find(ctx: &Ctx, row: Preparation, headers: &ApprovalHeaders) -> Result<Found, Error> {
    match super::token_rejection::standing(&row, headers.hash.as_ref(), ctx.now())? {
        Standing::Live => {}
        Standing::Before(operation, made) => return Ok(Found::Before(operation, made)),
    }
    let transaction = governance::transaction(headers.transaction.as_deref())?;
    let cvm = cvms::by_id(&ctx.db, row.workspace, row.cvm).await?.filter(is_live);
    let cvm = cvm.ok_or(TokenRejection::Gone)?;
    let contracts = contracts(ctx, &cvm.kms)?
        .filter(|contracts| contracts.governed.chain.chain_id() == row.chain_id)
        .ok_or(TokenRejection::OtherContracts)?;
    let mut tx = ctx.begin().await?;
    let base = base(ctx, &mut tx, &row, &cvm).await?;
    // Read after that: what moved the configuration may have been this very preparation.
    let row = tx.preparation(&row.hash).await?.ok_or(TokenRejection::Unknown)?;
    drop(tx);
    if let Standing::Before(operation, made) =
        super::token_rejection::standing(&row, None, ctx.now())?
    {
        return Ok(Found::Before(operation, made));
    }
    if digest(&base) != row.base {
        return Err(TokenRejection::Moved.into());
    }
    let device = device(ctx, node(&row, &cvm)?)?;
    let mut asked = question(contracts.governed, &cvm, row.compose_hash, device);
    asked.transaction = transaction;
    let mut clearance = Clearance::default();
    clearance.ask(contracts.governed, &asked).await?;
    crash::point(|| "governance.verified".to_owned());
    Ok(Found::Now(Box::new(Confirmation { row, clearance })))
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
pub fn machine(row: &Preparation) -> Result<Wanted, Error> {
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

/// Accepts a confirmed update, if nothing came in between. `again` is what the request that confirms it
/// asks for by itself: nothing, or the same. [`StoreError::Stale`]: something did.
pub async fn begin(
    ctx: &Ctx,
    tx: &mut Tx,
    caller: &Caller,
    confirmation: &Confirmation,
    again: Option<&ChangeRequest>,
) -> Result<Accepted, Error> {
    let hash = &confirmation.row.hash;
    let cvm = tx.lock_cvm(confirmation.row.cvm).await?;
    let cvm = cvm.filter(is_live).ok_or(TokenRejection::Gone)?;
    let row = tx.preparation(hash).await?.ok_or(TokenRejection::Unknown)?;
    match super::token_rejection::standing(&row, None, ctx.now())? {
        Standing::Live => {}
        Standing::Before(operation, _) => return before(tx, &cvm, operation).await,
    }
    if digest(&base(ctx, tx, &row, &cvm).await?) != row.base {
        return Err(TokenRejection::Moved.into());
    }
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
    let clearance = &confirmation.clearance;
    match update::accept(ctx, tx, caller, cvm.id, &asked, clearance).await? {
        Outcome::Accepted(accepted) => {
            if tx.use_preparation(hash, accepted.operation, None, ctx.now()).await? {
                Ok(*accepted)
            } else {
                Err(StoreError::Stale.into())
            }
        }
        // The CVM is on another device than the one that contracts were asked about.
        Outcome::Prepared(_) => Err(StoreError::Stale.into()),
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
    let found = find(ctx, row, &headers?).await?;
    let mut mutation = ctx.begin_mutation(&caller, key).await?;
    let operation = match found {
        Found::Before(operation, _) => operation,
        Found::Now(confirmed) => {
            begin(ctx, &mut mutation.tx, &caller, &confirmed, None).await?.operation
        }
    };
    let status = ChangeStatus::InProgress;
    Ok((mutation, Committed { correlation_id: operation.to_string(), status }))
}

/// The answer to a confirmation that came before: its operation, and the CVM as it is.
pub async fn before(tx: &mut Tx, cvm: &Cvm, operation: OperationId) -> Result<Accepted, Error> {
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
        is_kept::<Wanted>(include_str!("../../../tests/golden/stored/machine_request.v1.json"));
    }
}
