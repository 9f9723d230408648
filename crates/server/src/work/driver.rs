//! Finds CVMs that are due and has them worked on.
//!
//! Promises: every due CVM on a node of this process is claimed within a second of falling due, whoever forgot to wake us; a
//! CVM is worked on by one holder of its lease at a time; at most `work.concurrency` at once; on
//! shutdown no new work begins, turns under way end, and leases are given back.
//!
//! A CVM that waits (for a boot, for a shutdown) is kept under its lease, in a task that sleeps: looking
//! again costs no write. Where too many wait already, the lease is given back instead and claimed
//! again later.
//!
//! Deliberately absent: a queue. The table is the queue; a lost wake-up or a lost process costs
//! seconds, not work.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use casemate_core::id::NodeId;
use casemate_store::lease::{self, Claimant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::cvm::{self, LeasedCvm, Pause};
use crate::app::{Ctx, update::schedule};

/// So many CVMs wait under their leases at once.
const WAITING: usize = 2048;
/// How long at most a CVM that fell due waits to be seen, when nobody wakes us.
const SCAN: Duration = Duration::from_secs(1);

/// Works until told to stop.
pub async fn run(ctx: Ctx, owner: String, stop: CancellationToken) {
    let places = Places {
        work: Arc::new(Semaphore::new(ctx.config.work.concurrency)),
        wait: Arc::new(Semaphore::new(WAITING)),
    };
    let turns = TaskTracker::new();
    let mut looked: Option<Instant> = None;
    loop {
        let pause = match places.work.available_permits() {
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
        while let Some(mut taken) = free(&places.work) {
            let Some(claimed) = claim(&ctx, &owner, taken.num_permits()).await else { break };
            for leased in claimed {
                // Never more than there are permits.
                let Some(permit) = taken.split(1) else { break };
                turns.spawn(keep_at(ctx.clone(), places.clone(), leased, permit, stop.clone()));
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

/// How many may be worked on, and how many may wait under their leases.
#[derive(Debug, Clone)]
struct Places {
    work: Arc<Semaphore>,
    wait: Arc<Semaphore>,
}

/// All places that are free now, taken; `None`: there are none.
fn free(places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    // Those who waited may take some in between; then there are fewer.
    let mut wanted = u32::try_from(places.available_permits()).unwrap_or(u32::MAX);
    while wanted > 0 {
        if let Ok(taken) = places.clone().try_acquire_many_owned(wanted) {
            return Some(taken);
        }
        wanted /= 2;
    }
    None
}

/// Works on a CVM and waits with it until its lease is given back.
async fn keep_at(
    ctx: Ctx,
    places: Places,
    mut leased: Box<LeasedCvm>,
    mut working: OwnedSemaphorePermit,
    stop: CancellationToken,
) {
    loop {
        let (until, waits) = match Box::pin(cvm::work(&ctx, leased)).await {
            Pause::Over => break,
            Pause::Until(until, waits) => (until, waits),
        };
        let Ok(waiting) = places.wait.clone().try_acquire_owned() else {
            cvm::release(&ctx, waits, until).await;
            break;
        };
        drop(working);
        ctx.wake.notify_one();
        let again = async {
            tokio::time::sleep(until.since(ctx.now())).await;
            places.work.clone().acquire_owned().await
        };
        // On shutdown all leases are given back at once.
        let Some(Ok(permit)) = stop.run_until_cancelled(again).await else { return };
        drop(waiting);
        (leased, working) = (waits, permit);
    }
    ctx.wake.notify_one();
}

/// A batch of due CVMs, now ours; `None` when there is nothing to do.
async fn claim(ctx: &Ctx, owner: &str, limit: usize) -> Option<Vec<Box<LeasedCvm>>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let (now, term) = (ctx.now(), Duration::from_secs(ctx.config.work.lease_s));
    let leased = |cvm| LeasedCvm::new(cvm, now.plus(term));
    let nodes = own_nodes(ctx);
    let claimant = Claimant { owner, nodes: &nodes };
    match lease::claim(&ctx.db, &claimant, now, term, limit).await {
        Ok(claimed) if claimed.is_empty() => None,
        Ok(claimed) => Some(claimed.into_iter().map(leased).collect()),
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
        for leased in claimed {
            cvm::work_and_release(ctx, leased).await;
            turns += 1;
        }
    }
    turns
}
