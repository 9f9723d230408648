//! Deletion at a set time.

use casemate_core::{cvm::Power, id::CvmId, time::Timestamp};
use casemate_store::{
    Tx, accounts,
    cvms::{Cvm, to_delete},
};

use crate::app::{
    Caller, Ctx, Error, audit, cvms,
    events::{self, CvmEvent, EventScope},
    power::{self, Verb},
};

/// CVMs deleted in one look.
const AT_ONCE: i64 = 50;

/// Sets or clears the time at which a CVM is deleted by itself; `None` leaves it.
pub async fn set(
    ctx: &Ctx,
    tx: &mut Tx,
    caller: &Caller,
    id: CvmId,
    at: Option<Option<Timestamp>>,
) -> Result<Cvm, Error> {
    let cvm = tx
        .lock_cvm(id)
        .await?
        .filter(|cvm| cvm.workspace == caller.workspace.id && cvm.desired.power != Power::Deleted)
        .ok_or_else(cvms::not_found)?;
    audit::before_cvm(&cvm);
    let now = ctx.now();
    let Some(at) = at.filter(|at| *at != cvm.delete_at) else { return Ok(cvm) };
    if at.is_some_and(|at| at <= now) {
        return Err(Error::invalid("scheduled_delete_at", "must be in the future, or null"));
    }
    tx.schedule_deletion(cvm.id, at, caller.user.id, now).await?;
    let scope = EventScope { workspace: cvm.workspace, cvm: cvm.id, operation: None };
    events::write(tx, scope, &[CvmEvent::DeletionSet(at)], now).await?;
    Ok(Cvm { delete_at: at, updated_at: now, ..cvm })
}

/// Deletes the CVMs whose time has come, in the name of whoever set it; returns how many.
pub async fn delete_due(ctx: &Ctx) -> Result<usize, Error> {
    let due = to_delete(&ctx.db, ctx.now(), AT_ONCE).await?;
    for one in &due {
        let Some(principal) = accounts::author(&ctx.db, one.by, one.workspace).await? else {
            tracing::error!(cvm = %one.cvm, "nobody to delete it for");
            continue;
        };
        let mut tx = ctx.begin().await?;
        let caller = Caller::from(principal);
        power::apply(ctx, &mut tx, &caller, one.cvm, Verb::Delete).await?;
        ctx.commit(tx).await?;
    }
    Ok(due.len())
}
