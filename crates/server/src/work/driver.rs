//! Finds CVMs that are due and has them worked on.
//!
//! Promises: every due CVM on a node that this process serves and that answers is claimed within a
//! second of falling due, whoever forgot to wake us; a CVM is worked on by one holder of its lease at a
//! time; at most `work.concurrency` of one node at once, so that a node that hangs holds up only its own
//! CVMs; on shutdown no new work begins, turns under way end, and leases are given back.
//!
//! CVMs of a node that does not answer are not claimed: they stay due and cost nothing until the node's
//! watch has had an answer and wakes us.
//!
//! A CVM that waits (for a boot, for a shutdown) is kept under its lease, in a task that sleeps: looking
//! again costs no write. Where too many wait already, the lease is given back instead and claimed
//! again later.
//!
//! Deliberately absent: a queue. The table is the queue; a lost wake-up or a lost process costs
//! seconds, not work.

use std::{
    collections::HashMap,
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
    let mut places = Places::new(ctx.config.work.concurrency);
    let turns = TaskTracker::new();
    let mut looked: Option<Instant> = None;
    loop {
        let nodes = places.with_room(&ctx);
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

/// Claims from every node once what is due there and has room here; whether there was any.
async fn claim_round(
    ctx: &Ctx,
    owner: &str,
    places: &mut Places,
    turns: &TaskTracker,
    stop: &CancellationToken,
) -> bool {
    let mut any = false;
    for node in due_nodes(ctx, &places.with_room(ctx)).await {
        let work = places.of(node);
        let Some(mut taken) = free(&work) else { continue };
        for leased in claim(ctx, owner, node, taken.num_permits()).await {
            // Never more than there are permits.
            let Some(permit) = taken.split(1) else { break };
            let here = Here { work: work.clone(), wait: places.wait.clone() };
            turns.spawn(keep_at(ctx.clone(), here, leased, permit, stop.clone()));
            any = true;
        }
    }
    any
}

/// Deletes the CVMs whose time has come.
async fn delete_due(ctx: &Ctx) {
    if let Err(error) = schedule::delete_due(ctx).await {
        tracing::warn!(%error, "scheduled deletions were not looked at; the next look does");
    }
}

/// How many may be worked on at each node, and how many may wait under their leases.
#[derive(Debug)]
struct Places {
    most: usize,
    work: HashMap<NodeId, Arc<Semaphore>>,
    wait: Arc<Semaphore>,
}

impl Places {
    fn new(most: usize) -> Self {
        Self { most, work: HashMap::new(), wait: Arc::new(Semaphore::new(WAITING)) }
    }

    fn of(&mut self, node: NodeId) -> Arc<Semaphore> {
        let most = self.most;
        self.work.entry(node).or_insert_with(|| Arc::new(Semaphore::new(most))).clone()
    }

    /// The nodes that answer and of which more CVMs may be worked on.
    fn with_room(&mut self, ctx: &Ctx) -> Vec<NodeId> {
        let mut nodes = answering(ctx);
        nodes.retain(|node| self.of(*node).available_permits() > 0);
        nodes
    }
}

/// The places of the CVMs of one node.
#[derive(Debug, Clone)]
struct Here {
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
    places: Here,
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

/// A batch of due CVMs of a node, now ours.
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

/// Those of these nodes where a CVM is due.
async fn due_nodes(ctx: &Ctx, nodes: &[NodeId]) -> Vec<NodeId> {
    match lease::due_nodes(&ctx.db, nodes, ctx.now()).await {
        Ok(due) => due,
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "no look at what is due");
            Vec::new()
        }
    }
}

/// The nodes whose CVMs are worked on here. The others' wait.
fn answering(ctx: &Ctx) -> Vec<NodeId> {
    let own = ctx.fleet.own();
    own.values().filter(|node| node.silence().is_none()).map(|node| node.id).collect()
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

/// Works on everything that is due now, in this task, until nothing is; returns how many turns that
/// took. For tests with a clock of their own.
pub async fn settle_now(ctx: &Ctx, owner: &str) -> usize {
    let mut turns = 0;
    delete_due(ctx).await;
    loop {
        let mut claimed = Vec::new();
        for node in due_nodes(ctx, &answering(ctx)).await {
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
