//! Compares what nodes show with what is recorded, at rest: a VM that vanished, stopped or came up
//! behind our back becomes an event and a new phase. One listing per node, however many CVMs it has;
//! CVMs that agree cost nothing more.
//!
//! Deliberately absent: repair. What was changed on the host is shown, and left alone until somebody
//! wishes otherwise; a CVM under way is its reconciler's business.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use casemate_core::{
    cvm::{EngineState, Phase, Seen, SeenVm, phase},
    id::VmUuid,
};
use casemate_engine::node::CallError;
use casemate_store::{
    Error as StoreError,
    cvms::{self, Cvm},
    lease::Record,
};
use tokio_util::sync::CancellationToken;

use crate::app::{
    Ctx,
    events::{self, Happening, Place},
    fleet::FleetNode,
};

/// Watches every node until told to stop.
pub async fn run(ctx: Ctx, stop: CancellationToken) {
    let every = Duration::from_secs(ctx.config.work.watch_nodes_s.max(1));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
        for node in ctx.fleet.own().values() {
            if let Err(error) = look(&ctx, node).await {
                tracing::error!(node = %node.name, error = &error as &dyn std::error::Error,
                    "what the node shows was not recorded");
            }
        }
    }
}

/// Looks at one node once.
pub async fn look(ctx: &Ctx, node: &Arc<FleetNode>) -> Result<(), StoreError> {
    // Read before the node is asked: whatever changes meanwhile raises a fence, and what is concluded
    // from an older record is not written.
    let recorded = cvms::on_node(&ctx.db, node.id).await?;
    let limit = Duration::from_secs(ctx.config.work.call_timeout_s);
    let answer = tokio::time::timeout(limit, async {
        Ok::<_, CallError>((node.node.inventory().await?, node.node.list().await?))
    })
    .await;
    let was_reachable = node.seen().1;
    let Ok(Ok((inventory, vms))) = answer else {
        node.note(None);
        if was_reachable {
            tracing::warn!(node = %node.name, "node does not answer");
            let mut tx = ctx.db.begin().await?;
            tx.mark_node(node.id, false, ctx.now()).await?;
            tx.commit().await?;
        }
        return Ok(());
    };
    node.note(Some(inventory));
    if !was_reachable {
        let mut tx = ctx.db.begin().await?;
        tx.mark_node(node.id, true, ctx.now()).await?;
        tx.commit().await?;
    }
    let mut shown: BTreeMap<VmUuid, Vec<SeenVm>> = BTreeMap::new();
    for (mark, vm) in vms {
        shown.entry(mark.uuid()).or_default().push(vm);
    }
    for cvm in recorded {
        let seen = shown.remove(&cvm.uuid).unwrap_or_default();
        if cvm.operation.is_none() {
            match compare(ctx, &cvm, seen).await {
                Ok(()) | Err(StoreError::Stale) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Records a difference, if there is one that users see.
async fn compare(ctx: &Ctx, cvm: &Cvm, shown: Vec<SeenVm>) -> Result<(), StoreError> {
    let EngineState::Present { vm } = &cvm.status.engine else { return Ok(()) };
    let seen = Seen::Vms(shown);
    let Seen::Vms(vms) = &seen else { return Ok(()) };
    let ours = vms.iter().find(|seen| seen.id == *vm).cloned();
    let power = |vm: &Option<SeenVm>| vm.as_ref().map(|vm| vm.power);
    if power(&ours) == power(&cvm.status.seen) {
        return Ok(());
    }
    let mut status = cvm.status.clone();
    status.seen.clone_from(&ours);
    let shows = phase(cvm.wish.power, &status, None);
    let what = match &ours {
        None => "the VM is no longer on its node".to_owned(),
        Some(vm) => format!("the node shows the VM {:?}", vm.power).to_lowercase(),
    };
    record(ctx, cvm, &status, shows, what).await
}

async fn record(
    ctx: &Ctx,
    cvm: &Cvm,
    status: &casemate_core::cvm::Status,
    shows: Phase,
    what: String,
) -> Result<(), StoreError> {
    let now = ctx.now();
    let mut tx = ctx.db.begin().await?;
    let record = Record {
        status,
        phase: shows,
        instance_id: status.seen.as_ref().and_then(|vm| vm.instance_id),
        lease_until: None,
        due_at: None,
        deleted: false,
    };
    tx.record(cvm, &record, now).await?;
    let mut news = vec![Happening::Drift(what)];
    if shows != cvm.phase {
        news.push(Happening::Phase(cvm.phase, shows));
    }
    let place = Place { workspace: cvm.workspace, cvm: cvm.id, operation: None };
    let newest = events::write(&mut tx, place, &news, now).await?;
    tx.commit().await?;
    ctx.announce(newest);
    Ok(())
}
