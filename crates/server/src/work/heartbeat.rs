//! Says that this process serves its nodes, and ends what waits for a node that nobody serves.
//!
//! A CVM is worked on only by the process that has its node. When that process is gone for longer
//! than `work.node_missing_s`, or came back without the node, whoever sweeps first fails the open
//! operation, so that no client waits for ever. Nothing is undone: the VM, if there is one, is where
//! it was, and a new operation finds it once the node is served again.
//!
//! Clocks of processes on one database must agree within `work.node_missing_s`.

use std::time::Duration;

use casemate_core::id::NodeId;
use casemate_store::{
    Error,
    lease::{self, Claimant},
    nodes::{self, NodeRow},
};
use tokio_util::sync::CancellationToken;

use super::cvm::{self, LeasedCvm};
use crate::app::Ctx;

const BEAT: Duration = Duration::from_secs(5);
/// CVMs per claim.
const BATCH: i64 = 64;

/// Beats until told to stop; the first one is at once.
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
        tx.keep_nodes(owner, ctx.now().plus(ctx.config.work.node_missing())).await?;
        tx.commit().await?;
    }
    let rows = nodes::all(&ctx.db).await?;
    let missing: Vec<NodeId> =
        rows.iter().filter(|row| is_missing(ctx, owner, row)).map(NodeRow::id).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let claimant = Claimant { owner, nodes: &missing };
    let term = Duration::from_secs(ctx.config.work.lease_s);
    loop {
        let now = ctx.now();
        let claimed = lease::claim(&ctx.db, &claimant, now, term, BATCH).await?;
        if claimed.is_empty() {
            return Ok(());
        }
        for cvm in claimed {
            Box::pin(cvm::work_and_release(ctx, LeasedCvm::new(cvm, now.plus(term)))).await;
        }
    }
}

/// A node of our own that we did not open is served by nobody: this process has the data directory.
fn is_missing(ctx: &Ctx, owner: &str, row: &NodeRow) -> bool {
    let ours = row.owner == owner;
    !ctx.fleet.own().contains_key(&row.id()) && (ours || row.lease_expires_at < ctx.now().micros())
}
