//! Finds due CVMs and runs their reconcilers.
//!
//! Guarantees: every due CVM on an answering node of this process is claimed within a second of becoming due,
//! even if a wake-up was lost; one lease holder works on a CVM at a time; at most `work.concurrency` CVMs per
//! node run at once, so a node that hangs delays only its own CVMs; on shutdown no new work starts, running
//! turns end, and leases are given back.
//!
//! CVMs of a node that does not answer are not claimed: they stay due without cost until the node's watch
//! gets an answer and wakes the driver.
//!
//! A CVM that waits (for a boot or a shutdown) keeps its lease in a sleeping task, so observing again costs
//! no write. If too many wait, the lease is given back and claimed again later.
//!
//! Absent on purpose: a queue. The table is the queue; a lost wake-up or a lost process costs seconds, not
//! work.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use casemate_core::id::NodeId;
use casemate_store::lease::{self, Claimant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::cvm::{self, LeasedCvm, TurnEnd};
use crate::app::{Ctx, update::schedule};

/// Maximum number of CVMs that wait under their leases.
const WAITING: usize = 2048;
/// Maximum time from due to claimed without a wake-up.
const SCAN: Duration = Duration::from_secs(1);

/// Runs until stopped.
pub async fn run(ctx: Ctx, owner: String, stop: CancellationToken) {
    let mut places = Permits::new(ctx.config.work.concurrency);
    let turns = TaskTracker::new();
    let mut looked: Option<Instant> = None;
    loop {
        let nodes = places.nodes_with_permits(&ctx);
        let pause = next_pause(&ctx, &nodes).await;
        tokio::select! {
            () = stop.cancelled() => break,
            () = ctx.wake.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
        if looked.is_none_or(|at| at.elapsed() >= SCAN) {
            delete_due(&ctx).await;
            looked = Some(Instant::now());
        }
        while claim_round(&ctx, &owner, &mut places, &turns, &stop).await {}
    }
    turns.close();
    turns.wait().await;
    if let Err(error) = lease::release_all(&ctx.db, &owner).await {
        tracing::warn!(%error, "leases were not given back; they run out by themselves");
    }
}

/// Claims due CVMs once from every node, as far as there are permits. Returns whether there were any.
async fn claim_round(
    ctx: &Ctx,
    owner: &str,
    places: &mut Permits,
    turns: &TaskTracker,
    stop: &CancellationToken,
) -> bool {
    let mut any = false;
    for node in due_nodes(ctx, &places.nodes_with_permits(ctx)).await {
        let work = places.of(node);
        let Some(mut taken) = free(&work) else { continue };
        for leased in claim(ctx, owner, node, taken.num_permits()).await {
            // Never more than there are permits.
            let Some(permit) = taken.split(1) else { break };
            let here = NodePermits { work: work.clone(), wait: places.wait.clone() };
            turns.spawn(reconcile_until_released(ctx.clone(), here, leased, permit, stop.clone()));
            any = true;
        }
    }
    any
}

/// Starts the scheduled deletions that are due.
async fn delete_due(ctx: &Ctx) {
    if let Err(error) = schedule::delete_due(ctx).await {
        tracing::warn!(%error, "scheduled deletions were not looked at; the next look does");
    }
}

/// Permits for running CVMs per node, and for waiting CVMs.
#[derive(Debug)]
struct Permits {
    most: usize,
    work: HashMap<NodeId, Arc<Semaphore>>,
    wait: Arc<Semaphore>,
}

impl Permits {
    fn new(most: usize) -> Self {
        Self { most, work: HashMap::new(), wait: Arc::new(Semaphore::new(WAITING)) }
    }

    fn of(&mut self, node: NodeId) -> Arc<Semaphore> {
        let most = self.most;
        self.work.entry(node).or_insert_with(|| Arc::new(Semaphore::new(most))).clone()
    }

    /// The answering nodes with free permits.
    fn nodes_with_permits(&mut self, ctx: &Ctx) -> Vec<NodeId> {
        let mut nodes = answering_nodes(ctx);
        nodes.retain(|node| self.of(*node).available_permits() > 0);
        nodes
    }
}

/// The permits of one node.
#[derive(Debug, Clone)]
struct NodePermits {
    work: Arc<Semaphore>,
    wait: Arc<Semaphore>,
}

/// Takes all free permits; `None`: there are none.
fn free(places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    // A waiting task may take some in between; then there are fewer.
    let mut wanted = u32::try_from(places.available_permits()).unwrap_or(u32::MAX);
    while wanted > 0 {
        if let Ok(taken) = places.clone().try_acquire_many_owned(wanted) {
            return Some(taken);
        }
        wanted /= 2;
    }
    None
}

/// Reconciles a CVM and waits with it until its lease is given back.
async fn reconcile_until_released(
    ctx: Ctx,
    places: NodePermits,
    mut leased: Box<LeasedCvm>,
    mut working: OwnedSemaphorePermit,
    stop: CancellationToken,
) {
    loop {
        let (until, waits) = match Box::pin(cvm::work(&ctx, leased)).await {
            TurnEnd::Over => break,
            TurnEnd::Until(until, waits) => (until, waits),
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
        // On shutdown all leases are given back together.
        let Some(Ok(permit)) = stop.run_until_cancelled(again).await else { return };
        drop(waiting);
        (leased, working) = (waits, permit);
    }
    ctx.wake.notify_one();
}

/// Claims a batch of due CVMs of a node.
async fn claim(ctx: &Ctx, owner: &str, node: NodeId, limit: usize) -> Vec<Box<LeasedCvm>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let (now, term) = (ctx.now(), Duration::from_secs(ctx.config.work.lease_s));
    let claimant = Claimant { owner, nodes: &[node] };
    match lease::claim(&ctx.db, &claimant, now, term, limit).await {
        Ok(claimed) => claimed.into_iter().map(|cvm| LeasedCvm::new(cvm, now.plus(term))).collect(),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "no CVM could be claimed");
            Vec::new()
        }
    }
}

/// The nodes among these that have a due CVM.
async fn due_nodes(ctx: &Ctx, nodes: &[NodeId]) -> Vec<NodeId> {
    match lease::due_nodes(&ctx.db, nodes, ctx.now()).await {
        Ok(due) => due,
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "no look at what is due");
            Vec::new()
        }
    }
}

/// The nodes whose CVMs are worked on here.
fn answering_nodes(ctx: &Ctx) -> Vec<NodeId> {
    let own = ctx.fleet.own();
    own.values().filter(|node| node.outage().is_none()).map(|node| node.id).collect()
}

async fn next_pause(ctx: &Ctx, nodes: &[NodeId]) -> Duration {
    if nodes.is_empty() {
        return SCAN;
    }
    match lease::next_due(&ctx.db, nodes).await {
        Ok(Some(due)) => due.since(ctx.now()).clamp(Duration::from_millis(5), SCAN),
        Ok(None) | Err(_) => SCAN,
    }
}

/// Runs everything that is due now in this task, and returns the number of turns. For tests with their own
/// clock.
pub async fn settle_now(ctx: &Ctx, owner: &str) -> usize {
    let mut turns = 0;
    delete_due(ctx).await;
    loop {
        let mut claimed = Vec::new();
        for node in due_nodes(ctx, &answering_nodes(ctx)).await {
            claimed.extend(claim(ctx, owner, node, ctx.config.work.concurrency).await);
        }
        if claimed.is_empty() {
            return turns;
        }
        for leased in claimed {
            cvm::work_and_release(ctx, leased).await;
            turns += 1;
        }
    }
}
