//! Collects evidence from guests: after each boot, again every `attestation.refresh_s`, and when somebody
//! asked. Only CVMs of nodes that this process serves; one task per node asks its guests, so a node that
//! hangs delays nobody else.
//!
//! A CVM is due when its node's watch saw it change and its newest evidence is of an earlier boot. After a
//! start, an outage or a lost batch every CVM of the node may be due. A CVM at rest costs nothing but its
//! refresh.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use casemate_core::{
    attestation::ReportData,
    cvm::Phase,
    id::{CvmId, EventSeq, NodeId},
};
use casemate_store::{
    Error as StoreError, Tx,
    cvms::{self, Cvm},
    evidence::{self, Request},
};
use futures_util::{StreamExt, stream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::app::{
    Ctx,
    attestation::{self, Collection},
    fleet::{Due, FleetNode},
    gateways,
};

const TICK: Duration = Duration::from_secs(1);
/// A guest that showed nothing, or nothing that was accepted, is asked again after this time.
const RETRY: Duration = Duration::from_mins(1);
/// CVMs that are read, asked and recorded together.
const BATCH: usize = 64;
/// Guests of one node that are asked at one time.
const AT_ONCE: usize = 4;
/// Requests that are read at one time.
const REQUESTS: i64 = 64;

/// Collects until stopped.
pub async fn run(ctx: Ctx, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    let (mut refreshed, mut retried) = (ctx.now(), ctx.now());
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = ctx.evidence_asked.notified() => {}
            () = tokio::time::sleep(TICK) => {}
        }
        let refresh = Duration::from_secs(ctx.config.attestation.refresh_s);
        let is_due = ctx.now().since(refreshed) >= refresh;
        if is_due {
            refreshed = ctx.now();
        }
        let retries = ctx.now().since(retried) >= RETRY;
        if retries {
            retried = ctx.now();
        }
        let mut nodes: Vec<Arc<FleetNode>> = ctx.fleet.own().values().cloned().collect();
        nodes.retain(|node| node.outage().is_none());
        let ids: Vec<NodeId> = nodes.iter().map(|node| node.id).collect();
        let asked = match evidence::open_requests(&ctx.db, &ids, REQUESTS).await {
            Ok(asked) => asked,
            Err(error) => {
                tracing::warn!(%error, "requests for evidence were not read; the next round does");
                Vec::new()
            }
        };
        for node in nodes {
            if is_due {
                node.evidence.note_all();
            }
            if retries {
                node.evidence.retry();
            }
            let own: Vec<Request> =
                asked.iter().filter(|one| one.node_id == node.id.0).cloned().collect();
            if own.is_empty() && node.evidence.is_empty() {
                continue;
            }
            let (ctx, stop) = (ctx.clone(), stop.clone());
            tasks.spawn(async move {
                // Another turn of this node takes what is due.
                let Ok(_turn) = node.evidence.turn.try_lock() else { return };
                if let Some(Err(error)) = stop.run_until_cancelled(round(&ctx, &node, own)).await {
                    tracing::warn!(node = %node.name, %error, "evidence was not recorded");
                    node.evidence.note_all();
                }
            });
        }
    }
    tasks.close();
    tasks.wait().await;
}

/// Asks the guests of one node that are due, and answers requests about them.
pub async fn round(
    ctx: &Ctx,
    node: &Arc<FleetNode>,
    asked: Vec<Request>,
) -> Result<(), StoreError> {
    for request in asked {
        answer(ctx, node, &request).await?;
    }
    let due = node.evidence.take();
    if due.all {
        let mut after = CvmId(0);
        loop {
            let page = cvms::on_node(&ctx.db, node.id, after, BATCH_I64).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            collect(ctx, node, page).await?;
        }
    } else {
        let Due { cvms: ids, .. } = due;
        let ids: Vec<CvmId> = ids.into_iter().collect();
        for some in ids.chunks(BATCH) {
            let page = cvms::on_node_among(&ctx.db, node.id, some).await?;
            collect(ctx, node, page).await?;
        }
    }
    Ok(())
}

const BATCH_I64: i64 = 64;

/// Asks those of these CVMs whose newest evidence is of an earlier boot, or old.
async fn collect(ctx: &Ctx, node: &Arc<FleetNode>, mut page: Vec<Cvm>) -> Result<(), StoreError> {
    page.retain(|cvm| cvm.phase == Phase::Running);
    if page.is_empty() {
        return Ok(());
    }
    let ids: Vec<CvmId> = page.iter().map(|cvm| cvm.id).collect();
    let has = evidence::newest_boots(&ctx.db, &ids).await?;
    // A refresh begins a little early, so that what was collected just after the last one is not left out.
    let fresh = Duration::from_secs(ctx.config.attestation.refresh_s / 2);
    let now = ctx.now();
    page.retain(|cvm| {
        let newest = has.iter().find(|newest| newest.cvm == cvm.id);
        newest.is_none_or(|newest| {
            let fresh = if newest.accepted == Some(false) { RETRY / 2 } else { fresh };
            newest.boot != evidence::boot_of(cvm) || now.since(newest.collected_at) >= fresh
        })
    });
    let asked = stream::iter(page).map(|cvm| {
        let (ctx, node) = (ctx.clone(), node.clone());
        async move {
            let found = attestation::collect(&ctx, &node, &cvm, None).await;
            let found = found.inspect_err(|error| {
                tracing::debug!(node = %node.name, cvm = %cvm.reference, %error, "no evidence");
            });
            (cvm, found.ok())
        }
    });
    let all: Vec<(Cvm, Option<Collection>)> = asked.buffer_unordered(AT_ONCE).collect().await;
    let is_open = |(_, found): &&(Cvm, Option<Collection>)| {
        !found.as_ref().is_some_and(Collection::is_accepted)
    };
    node.evidence.note_later(all.iter().filter(is_open).map(|(cvm, _)| cvm.id));
    let found: Vec<(Cvm, Collection)> =
        all.into_iter().filter_map(|(cvm, found)| Some((cvm, found?))).collect();
    if found.is_empty() {
        return Ok(());
    }
    let refused = to_take_out(ctx, node, &found).await?;
    let mut tx = ctx.db.begin().await?;
    for (cvm, collection) in &found {
        let before = has.iter().find(|newest| newest.cvm == cvm.id);
        attestation::record(&mut tx, cvm, collection, before).await?;
        // Its turn takes it out of the rotation of its clusters. Back in, it finds the way by itself.
        if refused.contains(&cvm.id) {
            tx.make_due(cvm.id, ctx.now()).await?;
        }
    }
    commit(ctx, tx).await?;
    if !refused.is_empty() {
        ctx.wake.notify_one();
    }
    Ok(())
}

/// Those of these CVMs whose clusters must send them nothing for their app.
async fn to_take_out(
    ctx: &Ctx,
    node: &FleetNode,
    found: &[(Cvm, Collection)],
) -> Result<BTreeSet<CvmId>, StoreError> {
    let mut refused = BTreeSet::new();
    if gateways::that_drain(ctx, node).is_empty() {
        return Ok(refused);
    }
    for (cvm, _) in found.iter().filter(|(_, collection)| !collection.is_accepted()) {
        if evidence::is_required(&ctx.db, &cvm.spec.app_id).await? {
            refused.insert(cvm.id);
        }
    }
    Ok(refused)
}

/// Commits, and announces events.
async fn commit(ctx: &Ctx, tx: Tx) -> Result<(), StoreError> {
    let last_event = tx.last_event();
    tx.commit().await?;
    if last_event > EventSeq(0) {
        ctx.announce(last_event);
    }
    Ok(())
}

async fn answer(ctx: &Ctx, node: &Arc<FleetNode>, request: &Request) -> Result<(), StoreError> {
    let id = CvmId(request.cvm_id);
    let cvm = cvms::on_node_among(&ctx.db, NodeId(request.node_id), &[id]).await?.pop();
    let nonce = request.nonce.as_deref().map(|text| {
        let mut nonce: ReportData = [0; 64];
        hex::decode_to_slice(text, &mut nonce).map(|()| nonce)
    });
    let outcome = match (cvm, nonce.transpose()) {
        (None, _) => Err("the CVM is gone".to_owned()),
        (_, Err(_)) => Err("the nonce cannot be read".to_owned()),
        (Some(cvm), Ok(nonce)) => {
            let found = attestation::collect(ctx, node, &cvm, nonce.as_ref()).await;
            found.map(|found| (cvm, found)).map_err(|error| error.to_string())
        }
    };
    let before = evidence::newest_boots(&ctx.db, &[id]).await?;
    let mut tx = ctx.db.begin().await?;
    if let Ok((cvm, collection)) = &outcome {
        attestation::record(&mut tx, cvm, collection, before.first()).await?;
    }
    let told = match &outcome {
        Ok((_, collection)) => Ok(&*collection.collected.checksum),
        Err(why) => Err(&**why),
    };
    tx.answer_evidence_request(&request.id, told, ctx.now()).await?;
    commit(ctx, tx).await
}
