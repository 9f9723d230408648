//! Renews this process's leases of its nodes, and ends the operations on nodes that were given up.
//!
//! Operations on a node that is not served, or does not answer, wait. Only an operator knows whether a host
//! is lost. After `casemate admin node remove --give-up`, the first process to send a heartbeat ends the
//! operations there: deletions succeed, all others fail.
//!
//! The clocks of processes on one database must agree within `work.node_missing_s`.

use std::time::Duration;

use casemate_core::node::NodeState;
use casemate_store::{
    Error, cvms,
    lease::{self, Claimant},
    nodes::{self, NodeRow},
};
use tokio_util::sync::CancellationToken;

use crate::{
    app::Ctx,
    work::cvm::{self, LeasedCvm},
};

const BEAT: Duration = Duration::from_secs(5);
/// CVMs per claim and per page.
const BATCH: i64 = 64;

/// Sends heartbeats until stopped; the first one immediately.
pub async fn run(ctx: Ctx, owner: String, stop: CancellationToken) {
    loop {
        if let Err(error) = beat(&ctx, &owner).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the nodes were not kept");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(BEAT) => {}
        }
    }
}

pub async fn beat(ctx: &Ctx, owner: &str) -> Result<(), Error> {
    if !ctx.fleet.own().is_empty() {
        let mut tx = ctx.db.begin().await?;
        tx.keep_nodes(owner, &ctx.instance.gateway, ctx.now().plus(ctx.config.work.node_missing()))
            .await?;
        tx.commit().await?;
    }
    let taken = nodes::usage(&ctx.db).await?;
    if taken.iter().all(|taken| taken.state != NodeState::Removed) {
        return Ok(());
    }
    for row in nodes::all(&ctx.db).await? {
        let has_cvms = taken.iter().any(|taken| taken.node_id == row.id);
        if row.state == NodeState::Removed && has_cvms {
            give_up(ctx, owner, &row).await?;
        }
    }
    Ok(())
}

/// Ends the open operations on a node that was given up, and records for other CVMs that their VM is lost.
async fn give_up(ctx: &Ctx, owner: &str, row: &NodeRow) -> Result<(), Error> {
    let nodes = [row.id()];
    let claimant = Claimant { owner, nodes: &nodes };
    let term = Duration::from_secs(ctx.config.work.lease_s);
    while !lease::due_nodes(&ctx.db, &nodes, ctx.now()).await?.is_empty() {
        let now = ctx.now();
        let claimed = lease::claim(&ctx.db, &claimant, now, term, BATCH).await?;
        if claimed.is_empty() {
            break;
        }
        for cvm in claimed {
            cvm::give_up(ctx, LeasedCvm::new(cvm, now.plus(term)), &row.name).await;
        }
    }
    let mut after = casemate_core::id::CvmId(0);
    loop {
        let page = cvms::on_node(&ctx.db, row.id(), after, BATCH).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.id;
        for cvm in page.into_iter().filter(cvm::is_at_rest_on_lost_node) {
            cvm::give_up(ctx, LeasedCvm::new(cvm, ctx.now()), &row.name).await;
        }
    }
}
