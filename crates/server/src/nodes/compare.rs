//! Compares what a node shows with the CVMs at rest, and records what differs. CVMs that seem to differ are read
//! again and then listed again, in this order: a later change raises the fence, so nothing is concluded from an
//! older record.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use casemate_core::{
    cvm::{EngineState, ObservedVm, Phase, VisibleState, phase},
    drift::{self, DriftKind, DriftPolicy},
    id::{CvmId, EngineVmId, EventSeq, VmUuid},
    plan::{booted_after_all, needs_reconcile},
};
use casemate_engine::node::{CallError, Mark};
use casemate_store::{
    Error as StoreError,
    cvms::{self, Cvm},
    lease::Record,
};

use super::differences::differences;
use crate::app::{
    Ctx,
    events::{self, CvmEvent, EventScope},
    fleet::{FleetNode, Turn},
};

/// Maximum number of CVMs in memory at once.
pub(super) const BATCH: usize = 200;

/// The compared state of the VMs with one mark.
pub(super) type ComparedVms = Vec<(EngineVmId, VisibleState)>;

/// A call to a node, bounded in time.
pub(super) async fn bounded<T>(
    ctx: &Ctx,
    call: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    let limit = Duration::from_secs(ctx.config.work.call_timeout_s);
    let silence = |_| Err(CallError::Unknown("no answer in time".to_owned()));
    tokio::time::timeout(limit, call).await.unwrap_or_else(silence)
}

/// The VM recorded for a CVM at rest; `None` if there is nothing to compare.
pub(super) fn recorded(cvm: &Cvm) -> Option<&EngineVmId> {
    match &cvm.status.engine {
        EngineState::Present { vm } if cvm.operation.is_none() => Some(vm),
        EngineState::Present { .. } | EngineState::Absent | EngineState::Creating { .. } => None,
    }
}

/// Whether the CVM may need reconciliation whatever its node shows: the VM is not as desired, or an operation
/// failed because of the node.
pub(super) fn is_unsettled(cvm: &Cvm) -> bool {
    let vms: Vec<ObservedVm> = cvm.status.observed.iter().cloned().collect();
    cvm.operation.is_none() && needs_reconciler(cvm, &vms)
}

/// Whether a CVM at rest needs its reconciler.
fn needs_reconciler(cvm: &Cvm, vms: &[ObservedVm]) -> bool {
    needs_reconcile(&cvm.desired, &cvm.status, vms)
}

pub(super) fn differs(cvm: &Cvm, shown: &HashMap<VmUuid, ComparedVms>) -> bool {
    let Some(vm) = recorded(cvm) else { return false };
    let vms = shown.get(&cvm.uuid);
    let shows = vms.and_then(|vms| vms.iter().find(|(id, _)| id == vm)).map(|(_, shows)| shows);
    differ(shows, cvm.status.observed.as_ref().map(ObservedVm::shows).as_ref())
}

/// Whether what a VM shows is not what was recorded.
fn differ(shows: Option<&VisibleState>, recorded: Option<&VisibleState>) -> bool {
    match (shows, recorded) {
        (Some(shows), Some(recorded)) => shows.differs(recorded),
        (shows, recorded) => shows.is_some() || recorded.is_some(),
    }
}

/// The CVMs among these that differ from what their node showed.
pub(super) async fn differing(
    ctx: &Ctx,
    node: &FleetNode,
    ids: &BTreeSet<CvmId>,
    shown: &HashMap<VmUuid, ComparedVms>,
) -> Result<Vec<CvmId>, StoreError> {
    let ids: Vec<CvmId> = ids.iter().copied().collect();
    let mut suspects = Vec::new();
    for some in ids.chunks(BATCH) {
        let found = cvms::on_node_among(&ctx.db, node.id, some).await?;
        suspects.extend(found.iter().filter(|cvm| differs(cvm, shown)).map(|cvm| cvm.id));
    }
    Ok(suspects)
}

/// All CVMs of the node that are suspect.
pub(super) async fn all_suspects(
    ctx: &Ctx,
    node: &FleetNode,
    is_suspect: impl Fn(&Cvm) -> bool,
) -> Result<Vec<CvmId>, StoreError> {
    let limit = i64::try_from(BATCH).unwrap_or(i64::MAX);
    let (mut suspects, mut after) = (Vec::new(), CvmId(0));
    loop {
        let page = cvms::on_node(&ctx.db, node.id, after, limit).await?;
        let Some(last) = page.last() else { return Ok(suspects) };
        after = last.id;
        suspects.extend(page.iter().filter(|cvm| is_suspect(cvm)).map(|cvm| cvm.id));
    }
}

/// Reads the suspects, lists the node's VMs again, and records the differences that remain; if the node
/// `was_away`, hands them to their reconcilers. Returns the CVMs that changed in the meantime.
pub(super) async fn record_differences(
    ctx: &Ctx,
    node: &FleetNode,
    turn: &mut Turn<'_>,
    suspects: Vec<CvmId>,
    was_away: bool,
) -> Result<BTreeSet<CvmId>, StoreError> {
    let mut again = BTreeSet::new();
    for some in suspects.chunks(BATCH) {
        let found = cvms::on_node_among(&ctx.db, node.id, some).await?;
        let at_rest = |cvm: &&Cvm| recorded(cvm).is_some() || (was_away && is_unsettled(cvm));
        for cvm in found.iter().filter(at_rest) {
            let mark = Mark::new(&cvm.spec.name, cvm.uuid);
            let Ok(vms) = turn.wait_for(bounded(ctx, node.node.find(&mark))).await else {
                again.insert(cvm.id);
                continue;
            };
            let drift = drift_of(cvm, &vms);
            let policy = drift.map(|kind| ctx.config.drift.of(kind));
            let is_repaired = was_away || policy == Some(DriftPolicy::Repair);
            let due = (is_repaired && needs_reconciler(cvm, &vms))
                || booted_after_all(&cvm.desired, &cvm.status, &vms);
            let kind = drift.filter(|_| policy != Some(DriftPolicy::Ignore));
            let is_told = drift.is_none() || kind.is_some();
            match compare(ctx, cvm, vms, due, Told { is_told, kind }).await {
                Ok(()) => {}
                Err(StoreError::Stale) => drop(again.insert(cvm.id)),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(again)
}

/// How the VM that is recorded for a CVM differs from what is desired.
fn drift_of(cvm: &Cvm, vms: &[ObservedVm]) -> Option<DriftKind> {
    let recorded = recorded(cvm)?;
    let vm = vms.iter().find(|vm| vm.id == *recorded);
    drift::of_state(&cvm.desired, &cvm.status, vm).map(|drift| drift.kind)
}

/// Whether a difference is an event, and of what kind.
#[derive(Debug, Clone, Copy)]
struct Told {
    is_told: bool,
    kind: Option<DriftKind>,
}

/// Records visible differences, if any, and whether the CVM becomes due.
async fn compare(
    ctx: &Ctx,
    cvm: &Cvm,
    shown: Vec<ObservedVm>,
    due: bool,
    Told { is_told, kind }: Told,
) -> Result<(), StoreError> {
    let recorded = recorded(cvm);
    let before = cvm.status.observed.as_ref();
    let ours = shown.into_iter().find(|observed| recorded == Some(&observed.id));
    let ours = ours.map(|observed| observed.after(before));
    let shows = ours.as_ref().map(ObservedVm::shows);
    if recorded.is_none() || !differ(shows.as_ref(), before.map(ObservedVm::shows).as_ref()) {
        return if due {
            record(ctx, cvm, &cvm.status, cvm.phase, Vec::new(), due).await
        } else {
            Ok(())
        };
    }
    let mut status = cvm.status.clone();
    status.observed.clone_from(&ours);
    let shows = phase(cvm.desired.power, &status, None);
    let mut new_events = differences(before, ours.as_ref(), kind);
    if !is_told {
        new_events.retain(|event| !matches!(event, CvmEvent::Drift(..)));
    }
    record(ctx, cvm, &status, shows, new_events, due).await
}

/// Records a status and a phase of a CVM at rest; due: its reconciler takes it up.
pub(super) async fn record(
    ctx: &Ctx,
    cvm: &Cvm,
    status: &casemate_core::cvm::Status,
    shows: Phase,
    mut new_events: Vec<CvmEvent>,
    due: bool,
) -> Result<(), StoreError> {
    let now = ctx.now();
    let mut tx = ctx.db.begin().await?;
    let record = Record {
        status,
        phase: shows,
        lease_until: None,
        calling: false,
        due_at: due.then_some(now),
        deleted: false,
    };
    tx.record(cvm, &record, now).await?;
    if shows != cvm.phase {
        new_events.push(CvmEvent::Phase(cvm.phase, shows));
    }
    let scope = EventScope { workspace: cvm.workspace, cvm: cvm.id, operation: None };
    let newest = events::write(&mut tx, scope, &new_events, now).await?;
    tx.commit().await?;
    if due {
        ctx.wake.notify_one();
    }
    if newest > EventSeq(0) {
        ctx.announce(newest);
    }
    Ok(())
}
