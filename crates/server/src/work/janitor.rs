//! Deletes expired rows: uncommitted provisions, stored responses, deliveries to webhooks. Batches are bounded, so that no sweep
//! blocks the database for long.

use std::time::Duration;

use casemate_core::time::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::app::Ctx;

const EVERY: Duration = Duration::from_mins(10);
const ANSWERS_KEPT: Duration = Duration::from_hours(24);
/// Expired provisions are kept for a while, so that a late commit gets "expired" instead of "unknown".
const EXPIRED_KEPT: Duration = Duration::from_hours(30 * 24);

/// Commit tokens are kept after their expiry, because a recent commit may be repeated.
const TOKENS_KEPT: Duration = Duration::from_hours(24);

/// Sweeps until stopped.
pub async fn run(ctx: Ctx, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        if let Err(error) = sweep(&ctx).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "sweep failed; the next one goes on"
            );
        }
    }
}

pub async fn sweep(ctx: &Ctx) -> Result<(), casemate_store::Error> {
    let now = ctx.now();
    let kept = i64::try_from(EXPIRED_KEPT.as_micros()).unwrap_or(i64::MAX);
    let mut tx = ctx.db.begin().await?;
    let old = Timestamp::from_micros(now.micros() - kept);
    tx.expire_provisions(old).await?;
    tx.expire_prepared(old).await?;
    tx.forget_proofs(old).await?;
    // Unknown and expired tokens get the same response.
    let used = i64::try_from(TOKENS_KEPT.as_micros()).unwrap_or(i64::MAX);
    tx.expire_preparations(Timestamp::from_micros(now.micros() - used), now).await?;
    tx.forget_answers(now, ANSWERS_KEPT).await?;
    tx.forget_logins(now).await?;
    tx.forget_evidence(Timestamp::from_micros(now.micros() - used)).await?;
    tx.commit().await?;
    sweep_deliveries(ctx).await
}

/// Deletes old deliveries to webhooks, in batches, until there are no more.
async fn sweep_deliveries(ctx: &Ctx) -> Result<(), casemate_store::Error> {
    let kept = Duration::from_hours(24 * u64::from(ctx.config.webhooks.kept_days));
    let kept = i64::try_from(kept.as_micros()).unwrap_or(i64::MAX);
    let old = Timestamp::from_micros(ctx.now().micros() - kept);
    loop {
        let mut tx = ctx.db.begin().await?;
        let deleted = tx.forget_deliveries(old).await?;
        tx.commit().await?;
        if deleted == 0 || ctx.stop.is_cancelled() {
            return Ok(());
        }
    }
}
