//! Looks at each cluster of dstack-gateway, in a task of its own, so that one that hangs delays no other. What is shown
//! of a cluster is of the last look: nothing that talks to a gateway runs inside a request.

use std::{sync::Arc, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::app::{Ctx, gateways::GatewayCluster};

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(15);
/// Longest time of a look, which is several calls.
const LOOK: Duration = Duration::from_mins(1);

/// Starts a task for each configured cluster.
pub fn start(tasks: &TaskTracker, ctx: &Ctx, stop: &CancellationToken) {
    for cluster in ctx.gateways.all() {
        tasks.spawn(run(ctx.clone(), cluster.clone(), stop.clone()));
    }
}

async fn run(ctx: Ctx, cluster: Arc<GatewayCluster>, stop: CancellationToken) {
    loop {
        if stop.run_until_cancelled(look(&ctx, &cluster)).await.is_none() {
            return;
        }
        if stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
            return;
        }
    }
}

/// Looks once.
pub async fn look(ctx: &Ctx, cluster: &GatewayCluster) {
    let answer = match tokio::time::timeout(LOOK, cluster.client.look()).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", LOOK.as_secs())),
    };
    let did = cluster.answers();
    match &answer {
        Ok(_) if !did => tracing::info!(gateway = %cluster.name, "gateway answers"),
        Err(why) if did => tracing::warn!(gateway = %cluster.name, why, "gateway does not answer"),
        Ok(_) | Err(_) => {}
    }
    cluster.record(answer, ctx.now());
}
