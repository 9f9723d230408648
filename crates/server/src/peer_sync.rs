//! What other processes on the same database do: their events wake readers and reconcilers here. Without
//! others it finds nothing new.
//!
//! Deliberately absent: `LISTEN`. One row read four times a second costs less than a connection, and
//! is the same on both databases.

use std::time::Duration;

use casemate_store::events;
use tokio_util::sync::CancellationToken;

use crate::app::Ctx;

/// An event of another process is news here within this time.
const EVENTS: Duration = Duration::from_millis(250);

/// Follows until told to stop.
pub async fn run(ctx: Ctx, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVENTS) => {}
        }
        match events::newest(&ctx.db).await {
            Ok(newest) => {
                if newest > *ctx.last_event.borrow() {
                    ctx.announce(newest);
                }
            }
            Err(error) => tracing::debug!(%error, "no look at the newest event"),
        }
    }
}
