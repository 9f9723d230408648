//! Watches the blocks of approvals until they are final, so that a reorganisation is noticed. If a block is
//! no longer part of its chain, the contracts are asked again: an approval that still holds gets a newer
//! proof, another one raises an alarm.
//!
//! Absent on purpose: repair. A running guest keeps running; an operator decides whether to stop it.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use casemate_core::{
    governance::{Question, Verdict},
    id::{BlockHash, CvmId, DeviceId},
};
use casemate_store::{
    Error as StoreError,
    cvms::{self, Cvm},
    proofs::{self, Open},
};
use tokio_util::sync::CancellationToken;

use crate::app::{
    Ctx,
    events::{self, CvmEvent, EventScope, Verified},
    fleet::{FleetNode, Governed},
};

const EVERY: Duration = Duration::from_secs(12);
/// Ethereum blocks are final after about 13 minutes, Base blocks after about 20.
const SETTLED: Duration = Duration::from_mins(30);
/// Maximum number of proofs in memory at once.
const BATCH: i64 = 200;

/// Watches until stopped.
pub async fn run(ctx: Ctx, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        if let Err(error) = look(&ctx).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "what a chain took back was not recorded; the next round looks again"
            );
        }
    }
}

/// One round over the CVMs of this process's nodes. Each block is looked up once.
pub async fn look(ctx: &Ctx) -> Result<(), StoreError> {
    let mut known = HashMap::new();
    for node in ctx.fleet.own().values() {
        let mut after: Option<Open> = None;
        loop {
            let some = proofs::on_node(&ctx.db, node.id, after.as_ref(), BATCH).await?;
            let ids: BTreeSet<CvmId> = some.iter().map(|open| open.cvm).collect();
            let ids: Vec<CvmId> = ids.into_iter().collect();
            let cvms = cvms::on_node_among(&ctx.db, node.id, &ids).await?;
            for open in &some {
                if let Some(cvm) = cvms.iter().find(|cvm| cvm.id == open.cvm) {
                    look_at(ctx, node, cvm, open, &mut known).await?;
                }
            }
            let Some(last) = some.into_iter().last() else { break };
            after = Some(last);
        }
    }
    Ok(())
}

/// Whether blocks are part of their chain, by chain and hash; `None`: unknown.
type CanonicalBlocks = HashMap<(u64, BlockHash), Option<bool>>;

async fn look_at(
    ctx: &Ctx,
    node: &FleetNode,
    cvm: &Cvm,
    open: &Open,
    known: &mut CanonicalBlocks,
) -> Result<(), StoreError> {
    let governed = ctx.fleet.kms_of(&cvm.kms).and_then(|kms| kms.governed.as_ref());
    let Some(governed) = governed.filter(|it| it.chain.chain_id() == open.chain_id) else {
        return Ok(());
    };
    let key = (open.chain_id, open.block.hash);
    let canonical = match known.get(&key) {
        Some(canonical) => *canonical,
        None => *known.entry(key).or_insert(governed.chain.is_canonical(&open.block).await.ok()),
    };
    // A missing answer is asked again in the next round.
    let verdict = match canonical {
        Some(true) if ctx.now() >= open.since.plus(SETTLED) => None,
        Some(false) => {
            let question = question(governed, cvm, node.observed().0.device_id, open);
            match governed.chain.verify(&question, Duration::ZERO).await {
                Ok(verdict) => Some((question, verdict)),
                Err(_) => return Ok(()),
            }
        }
        Some(true) | None => return Ok(()),
    };
    settle(ctx, cvm, open, verdict).await
}

/// Ends the watch of a block; `verdict` is the contracts' answer since it left its chain.
async fn settle(
    ctx: &Ctx,
    cvm: &Cvm,
    open: &Open,
    verdict: Option<(Question, Verdict)>,
) -> Result<(), StoreError> {
    let now = ctx.now();
    let mut tx = ctx.db.begin().await?;
    if !tx.settle_proof(open).await? {
        return Ok(());
    }
    let operation = cvm.operation.map(|operation| operation.id);
    let scope = EventScope { workspace: cvm.workspace, cvm: cvm.id, operation };
    let (told, undone) = match verdict {
        None => (None, None),
        Some((question, Verdict::Allowed(proof))) => {
            let verified = Verified { question, proof, deployer: cvm.spec.deployer };
            (Some(CvmEvent::VerifiedAgain(Box::new(verified))), None)
        }
        Some((_, Verdict::Refused(why))) => {
            (Some(CvmEvent::Undone(open.hash, open.block)), Some(why))
        }
    };
    let mut last_event = None;
    if let Some(told) = told {
        last_event = Some(events::write(&mut tx, scope, &[told], now).await?);
    }
    tx.commit().await?;
    if let Some(why) = undone {
        metrics::counter!("casemate_governance_undone_total").increment(1);
        tracing::error!(cvm = %cvm.id, app = %cvm.spec.app_id, compose_hash = %open.hash,
            block = open.block.number, %why,
            "a chain took back what allowed a CVM to boot: it will not boot again");
    }
    if let Some(seq) = last_event {
        ctx.publish(seq);
    }
    Ok(())
}

const fn question(governed: &Governed, cvm: &Cvm, device: DeviceId, open: &Open) -> Question {
    Question {
        kms: governed.contract,
        app: cvm.spec.app_id,
        hash: open.hash,
        device,
        os_image: None,
        transaction: None,
    }
}
