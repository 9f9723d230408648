//! Finds CVMs that are due and has them worked on.
//!
//! Promises: every due CVM on a node of this process is claimed within a second of falling due, whoever forgot to wake us; a
//! CVM is worked on by one holder of its lease at a time; at most `work.concurrency` at once; on
//! shutdown no new work begins, turns under way end, and leases are given back.
//!
//! Deliberately absent: a queue. The table is the queue; a lost wake-up or a lost process costs
//! seconds, not work.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use casemate_core::id::NodeId;
use casemate_store::{
    cvms::Cvm,
    lease::{self, Claimant},
};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::app::{Ctx, update::schedule};

/// How long at most a CVM that fell due waits to be seen, when nobody wakes us.
const SCAN: Duration = Duration::from_secs(1);

/// Works until told to stop.
pub async fn run(ctx: Ctx, owner: String, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(ctx.config.work.concurrency));
    let turns = TaskTracker::new();
    let mut looked: Option<Instant> = None;
    loop {
        let pause = match permits.available_permits() {
            0 => SCAN,
            _ => next_pause(&ctx).await,
        };
        tokio::select! {
            () = stop.cancelled() => break,
            () = ctx.wake.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
        if looked.is_none_or(|at| at.elapsed() >= SCAN) {
            delete_due(&ctx).await;
            looked = Some(Instant::now());
        }
        while let Some(claimed) = claim(&ctx, &owner, permits.available_permits()).await {
            for cvm in claimed {
                // Claims never exceed the free permits, and only this loop takes any.
                let Ok(permit) = permits.clone().try_acquire_owned() else { break };
                let ctx = ctx.clone();
                turns.spawn(async move {
                    super::cvm::work(&ctx, cvm).await;
                    drop(permit);
                    ctx.wake.notify_one();
                });
            }
        }
    }
    turns.close();
    turns.wait().await;
    if let Err(error) = lease::release_all(&ctx.db, &owner).await {
        tracing::warn!(%error, "leases were not given back; they run out by themselves");
    }
}

/// Deletes the CVMs whose time has come.
async fn delete_due(ctx: &Ctx) {
    if let Err(error) = schedule::delete_due(ctx).await {
        tracing::warn!(%error, "scheduled deletions were not looked at; the next look does");
    }
}

/// A batch of due CVMs, now ours; `None` when there is nothing to do or nobody to do it.
async fn claim(ctx: &Ctx, owner: &str, free: usize) -> Option<Vec<Cvm>> {
    let limit = i64::try_from(free).unwrap_or(i64::MAX);
    if limit == 0 {
        return None;
    }
    let term = Duration::from_secs(ctx.config.work.lease_s);
    let nodes = own_nodes(ctx);
    let claimant = Claimant { owner, nodes: &nodes };
    match lease::claim(&ctx.db, &claimant, ctx.now(), term, limit).await {
        Ok(claimed) => Some(claimed).filter(|claimed| !claimed.is_empty()),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "no CVM could be claimed");
            None
        }
    }
}

/// The nodes whose CVMs are worked on here; [`super::presence`] says what becomes of the others.
fn own_nodes(ctx: &Ctx) -> Vec<NodeId> {
    ctx.fleet.own().keys().copied().collect()
}

async fn next_pause(ctx: &Ctx) -> Duration {
    match lease::next_due(&ctx.db, &own_nodes(ctx)).await {
        Ok(Some(due)) => due.since(ctx.now()).clamp(Duration::from_millis(5), SCAN),
        Ok(None) | Err(_) => SCAN,
    }
}

/// Works on everything that is due now, in this task, until nothing is; returns how many turns that
/// took. For tests with a clock of their own.
pub async fn settle_now(ctx: &Ctx, owner: &str) -> usize {
    let mut turns = 0;
    delete_due(ctx).await;
    while let Some(claimed) = claim(ctx, owner, ctx.config.work.concurrency).await {
        for cvm in claimed {
            super::cvm::work(ctx, cvm).await;
            turns += 1;
        }
    }
    turns
}
