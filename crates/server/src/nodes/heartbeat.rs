//! Says that this process serves its nodes, and ends what is on nodes that their operator gave up.
//!
//! A node that nobody serves, or that does not answer, ends nothing: its operations wait. Only an
//! operator knows whether a host comes back. Once one has said that it does not
//! (`casemate admin node remove --give-up`), whoever beats first ends the operations there: deletions are
//! done, everything else has failed.
//!
//! Clocks of processes on one database must agree within `work.node_missing_s`.

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

/// One beat.
pub async fn beat(ctx: &Ctx, owner: &str) -> Result<(), Error> {
    if !ctx.fleet.own().is_empty() {
        let mut tx = ctx.db.begin().await?;
        tx.keep_nodes(owner, &ctx.instance.gateway, ctx.now().plus(ctx.config.work.node_missing()))
            .await?;
        tx.commit().await?;
    }
    let taken = nodes::taken(&ctx.db).await?;
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

/// Ends what is under way on a node that was given up, and says of the rest that its VM is lost to us.
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
