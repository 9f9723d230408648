//! Whether instances of an app need accepted evidence to get its requests. The gateway reads it with every
//! request, so a change counts at once.

use casemate_api::attestation::EvidencePolicy;
use casemate_store::{Tx, evidence};

use crate::app::{Caller, Ctx, Error, audit, cvms};

/// The policy of an app of the caller.
pub async fn policy(ctx: &Ctx, caller: &Caller, text: &str) -> Result<EvidencePolicy, Error> {
    cvms::app_record(ctx, caller, text).await?;
    let app = cvms::app_id(text).ok_or_else(|| cvms::app_not_found(text))?;
    Ok(EvidencePolicy { required: evidence::is_required(&ctx.db, &app).await? })
}

/// Sets the policy of an app of the caller.
pub async fn set_policy(
    ctx: &Ctx,
    caller: &Caller,
    tx: &mut Tx,
    text: &str,
    policy: &EvidencePolicy,
) -> Result<(), Error> {
    let app = cvms::app_id(text).ok_or_else(|| cvms::app_not_found(text))?;
    let before = EvidencePolicy { required: evidence::is_required(&ctx.db, &app).await? };
    audit::before(&before);
    if tx.require_evidence(caller.workspace.id, &app, policy.required).await? {
        Ok(())
    } else {
        Err(cvms::app_not_found(text))
    }
}
