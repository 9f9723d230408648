//! Forgets what has expired: provisions nobody committed, answers nobody asks for again. Bounded
//! batches, so that no sweep holds the database for long.

use std::time::Duration;

use casemate_core::time::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::app::Ctx;

const EVERY: Duration = Duration::from_mins(10);
const ANSWERS_KEPT: Duration = Duration::from_hours(24);
/// Expired provisions are kept a while, so that a late commit hears "expired" and not "unknown".
const EXPIRED_KEPT: Duration = Duration::from_hours(30 * 24);

/// Commit tokens are kept a little past their end: what was committed shortly before it may be repeated.
const TOKENS_KEPT: Duration = Duration::from_hours(24);

/// Sweeps until told to stop.
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
    // One that is unknown is answered in the words of one that has expired.
    let used = i64::try_from(TOKENS_KEPT.as_micros()).unwrap_or(i64::MAX);
    tx.expire_preparations(Timestamp::from_micros(now.micros() - used), now).await?;
    tx.forget_answers(now, ANSWERS_KEPT).await?;
    tx.commit().await
}
