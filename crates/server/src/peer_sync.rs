//! What other processes on the same database do: their events wake readers and reconcilers here, and
//! their nodes are known here. Without others it finds nothing new.
//!
//! Deliberately absent: `LISTEN`. One row read four times a second costs less than a connection, and
//! is the same on both databases.

use std::time::Duration;

use casemate_store::{Error, events, nodes};
use tokio_util::sync::CancellationToken;

use crate::app::{Ctx, fleet::FleetNode};

/// An event of another process is news here within this time.
const EVENTS: Duration = Duration::from_millis(250);
/// A node of another process is known here within this time.
const NODES: Duration = Duration::from_secs(2);

/// Follows until told to stop.
pub async fn run(ctx: Ctx, owner: String, stop: CancellationToken) {
    let events = async {
        loop {
            tokio::time::sleep(EVENTS).await;
            match events::newest(&ctx.db).await {
                Ok(newest) => {
                    if newest > *ctx.last_event.borrow() {
                        ctx.announce(newest);
                    }
                }
                Err(error) => tracing::debug!(%error, "no look at the newest event"),
            }
        }
    };
    let nodes = async {
        loop {
            tokio::time::sleep(NODES).await;
            if let Err(error) = know_nodes(&ctx, &owner).await {
                tracing::debug!(%error, "no look at the nodes of others");
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = events => {}
        () = nodes => {}
    }
}

/// Learns of the nodes that others serve, and of those that nobody serves but that still have CVMs.
pub async fn know_nodes(ctx: &Ctx, owner: &str) -> Result<(), Error> {
    let (rows, taken) = (nodes::all(&ctx.db).await?, nodes::taken(&ctx.db).await?);
    let now = ctx.now().micros();
    ctx.fleet.know(rows.iter().filter_map(|row| {
        let served = row.owner != owner && row.lease_expires_at > now;
        let has_cvms = taken.iter().any(|taken| taken.node_id == row.id);
        (served || has_cvms).then(|| FleetNode::remote(row, served)).flatten()
    }));
    Ok(())
}
