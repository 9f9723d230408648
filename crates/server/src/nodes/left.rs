//! VMs that CVMs left on hosts that did not answer ([`casemate_core::moving::Way::LeaveBehind`]). When such a host is
//! back, they are removed before anything else; clusters of dstack-gateway forget their instances at once.
//!
//! A row stays until the host has shown that there is no such VM, also none of a call that was under way when the CVM
//! left. Nobody moves the CVM back to that host before.

use std::time::Duration;

use casemate_core::{
    cvm::VmPower,
    id::{CvmId, InstanceId, NodeId, VmUuid},
    time::Timestamp,
};
use casemate_engine::{gateway::GatewayError, node::Mark};
use casemate_store::{
    Error as StoreError,
    left_vms::{self, LeftVm},
};
use futures_util::{StreamExt as _, stream};
use tokio_util::sync::CancellationToken;

use super::compare::bounded;
use crate::app::{Ctx, fleet::FleetNode};

/// Rows of one sweep.
const MOST: i64 = 1000;
/// VMs that are worked on at once.
const AT_ONCE: usize = 16;
/// Longest time of a call to one cluster.
const CLUSTER_CALL: Duration = Duration::from_secs(3);

/// Sweeps until stopped, as often as nodes are looked at.
pub async fn run(ctx: Ctx, stop: CancellationToken) {
    let every = Duration::from_secs(ctx.config.work.watch_nodes_s.max(1));
    loop {
        if stop.run_until_cancelled(sweep(&ctx)).await.is_none() {
            return;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
    }
}

/// Works on every VM that is left, once. Without any it is one query.
pub async fn sweep(ctx: &Ctx) {
    let left = match left_vms::all(&ctx.db, MOST).await {
        Ok(left) => left,
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "no look at VMs that are left"
            );
            return;
        }
    };
    stream::iter(&left)
        .for_each_concurrent(AT_ONCE, async |one| {
            if let Err(error) = work(ctx, one).await {
                tracing::warn!(
                    cvm = one.cvm_id,
                    error = &error as &dyn std::error::Error,
                    "a VM that is left was not worked on; the next sweep does"
                );
            }
        })
        .await;
}

async fn work(ctx: &Ctx, left: &LeftVm) -> Result<(), StoreError> {
    let (id, cvm) = (NodeId(left.node_id), CvmId(left.cvm_id));
    let node = ctx.fleet.node(id);
    if let Some(instance) = left.instance_id.as_deref().and_then(|id| id.parse().ok())
        && unregister(ctx, node.as_deref(), &instance).await
    {
        let mut tx = ctx.db.begin().await?;
        tx.unregister_left_vm(id, cvm).await?;
        tx.commit().await?;
    }
    let Some(own) = ctx.fleet.own_node(id).filter(|node| node.outage().is_none()) else {
        return Ok(());
    };
    if !is_gone(ctx, &own, left).await {
        return Ok(());
    }
    tracing::info!(node = %own.name, cvm = left.cvm_id, "a VM that was left is gone");
    let mut tx = ctx.db.begin().await?;
    tx.forget_left_vm(id, cvm).await?;
    tx.commit().await
}

/// Has the clusters of a node forget an instance; whether all did. Of a node that is not known, all clusters.
async fn unregister(ctx: &Ctx, node: Option<&FleetNode>, instance: &InstanceId) -> bool {
    let clusters =
        node.map_or_else(|| ctx.gateways.all().to_vec(), |node| ctx.gateways.of_node(node));
    let mut all = true;
    for cluster in clusters {
        if cluster.features().is_some_and(|features| !features.removal) {
            continue;
        }
        let call = tokio::time::timeout(CLUSTER_CALL, cluster.client.remove_instance(instance));
        match call.await {
            Ok(Ok(_) | Err(GatewayError::NoMethod(_))) => {}
            Ok(Err(error)) => {
                tracing::debug!(gateway = cluster.name, %error, "an instance is not forgotten yet");
                all = false;
            }
            Err(_) => all = false,
        }
    }
    all
}

/// Removes the VM; whether there is none, and none can appear.
async fn is_gone(ctx: &Ctx, node: &FleetNode, left: &LeftVm) -> bool {
    let Ok(uuid) = left.vm_uuid.parse::<VmUuid>() else { return true };
    let mark = Mark::new(&left.name, uuid);
    let vms = match bounded(ctx, node.node.find(&mark)).await {
        Ok(vms) => vms,
        Err(error) => {
            tracing::debug!(node = %node.name, %error, "a VM that is left was not looked for");
            return false;
        }
    };
    for vm in vms.iter().filter(|vm| vm.power != VmPower::Removing) {
        tracing::warn!(node = %node.name, cvm = left.cvm_id, vm = %vm.id,
            "a host came back with a VM of a CVM that was moved; it is removed");
        if let Err(error) = bounded(ctx, node.node.remove(&vm.id)).await {
            tracing::warn!(node = %node.name, vm = %vm.id, %error, "it was not removed yet");
        }
    }
    vms.is_empty() && ctx.now() >= Timestamp::from_micros(left.settles_at)
}
