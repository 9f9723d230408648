//! Compares what nodes show with what is recorded, at rest: a VM that vanished, stopped or came up
//! behind our back becomes an event and a new phase. One listing per node and round; of the CVMs only
//! those are read whose VM shows something else than in the last round, or of which an event was
//! written since. Whatever seems to differ is read and listed once more, in this order: what changes
//! after the reading raises a fence, and what is concluded from an older record is not written.
//!
//! Deliberately absent: repair. What was changed on the host is shown, and left alone until somebody
//! changes what is desired; a CVM under way is its reconciler's business.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use casemate_core::{
    cvm::{EngineState, ObservedVm, Phase, Shows, phase},
    id::{CvmId, EngineVmId, EventSeq, VmUuid},
};
use casemate_engine::node::{CallError, Inventory, Mark};
use casemate_store::{
    Error as StoreError,
    cvms::{self, Cvm},
    events as stored_events,
    lease::Record,
};
use tokio_util::sync::CancellationToken;

use crate::app::{
    Ctx,
    events::{self, CvmEvent, EventScope},
    fleet::FleetNode,
};

/// So many CVMs are in memory at once.
const BATCH: usize = 200;
/// After more events than this every CVM of the node is compared.
const MANY_EVENTS: i64 = 20_000;

/// Watches every node until told to stop.
pub async fn run(ctx: Ctx, stop: CancellationToken) {
    let every = Duration::from_secs(ctx.config.work.watch_nodes_s.max(1));
    let mut watches: Vec<_> =
        ctx.fleet.own().values().map(|node| (node.clone(), Watch::default())).collect();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
        for (node, watch) in &mut watches {
            if let Err(error) = watch.look(&ctx, node).await {
                tracing::error!(node = %node.name, error = &error as &dyn std::error::Error,
                    "what the node shows was not recorded");
            }
        }
    }
}

/// What a comparison looks at of the VMs with one mark.
type Shown = Vec<(EngineVmId, Shows)>;

/// What was compared with a node so far.
#[derive(Debug, Default)]
pub struct Watch {
    /// What the node showed, as hashes.
    shown: HashMap<VmUuid, u64>,
    /// Every event up to here was taken into account; `None`: nothing was compared.
    events: Option<EventSeq>,
    /// Those that changed while they were compared.
    again: BTreeSet<CvmId>,
}

impl Watch {
    /// Looks at a node once.
    pub async fn look(&mut self, ctx: &Ctx, node: &Arc<FleetNode>) -> Result<(), StoreError> {
        let newest = stored_events::newest(&ctx.db).await?;
        let Some(shown) = ask(ctx, node).await? else { return Ok(()) };
        let hashes: HashMap<_, _> = shown.iter().map(|(uuid, vms)| (*uuid, hash(vms))).collect();
        let suspects = match self.events {
            Some(observed) if newest.0 - observed.0 <= MANY_EVENTS => {
                let mut changed = self.again.clone();
                changed.extend(stored_events::cvms_between(&ctx.db, observed, newest).await?);
                changed.extend(self.changed(ctx, node, &hashes).await?);
                differing(ctx, node, &changed, &shown).await?
            }
            _ => all_differing(ctx, node, &shown).await?,
        };
        drop(shown);
        self.again = record_differences(ctx, node, suspects).await?;
        self.shown = hashes;
        self.events = Some(newest);
        Ok(())
    }

    /// The CVMs whose VMs show something else than in the last round.
    async fn changed(
        &self,
        ctx: &Ctx,
        node: &FleetNode,
        hashes: &HashMap<VmUuid, u64>,
    ) -> Result<Vec<CvmId>, StoreError> {
        let other = |uuid: &&VmUuid| self.shown.get(uuid) != hashes.get(uuid);
        let gone = self.shown.keys().filter(|uuid| !hashes.contains_key(uuid));
        let changed: Vec<VmUuid> = hashes.keys().filter(other).chain(gone).copied().collect();
        let mut ids = Vec::new();
        for some in changed.chunks(BATCH) {
            ids.extend(cvms::ids_on_node(&ctx.db, node.id, some).await?);
        }
        Ok(ids)
    }
}

fn hash(vms: &Shown) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    for (id, shows) in vms {
        (&id.0, shows).hash(&mut hasher);
    }
    hasher.finish()
}

/// What the node tells of itself and shows; `None`: it does not answer, which is written down.
async fn ask(
    ctx: &Ctx,
    node: &Arc<FleetNode>,
) -> Result<Option<HashMap<VmUuid, Shown>>, StoreError> {
    let answer: Result<(Inventory, _), _> =
        bounded(ctx, async { Ok((node.node.inventory().await?, node.node.list().await?)) }).await;
    let (was_reachable, is_reachable) = (node.observed().1, answer.is_ok());
    if was_reachable != is_reachable {
        if !is_reachable {
            tracing::warn!(node = %node.name, "node does not answer");
        }
        let mut tx = ctx.db.begin().await?;
        tx.mark_node(node.id, is_reachable, ctx.now()).await?;
        tx.commit().await?;
    }
    let Ok((inventory, vms)) = answer else {
        node.record_answer(None);
        return Ok(None);
    };
    node.record_answer(Some(inventory));
    let mut shown: HashMap<VmUuid, Shown> = HashMap::new();
    for (mark, vm) in vms {
        shown.entry(mark.uuid()).or_default().push((vm.id.clone(), vm.shows()));
    }
    for vms in shown.values_mut() {
        vms.sort_by(|one, other| one.0.cmp(&other.0));
    }
    Ok(Some(shown))
}

async fn bounded<T>(
    ctx: &Ctx,
    call: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    let limit = Duration::from_secs(ctx.config.work.call_timeout_s);
    let silence = |_| Err(CallError::Unknown("no answer in time".to_owned()));
    tokio::time::timeout(limit, call).await.unwrap_or_else(silence)
}

/// The VM recorded for a CVM at rest; `None` where there is nothing to compare.
fn recorded(cvm: &Cvm) -> Option<&EngineVmId> {
    match &cvm.status.engine {
        EngineState::Present { vm } if cvm.operation.is_none() => Some(vm),
        EngineState::Present { .. } | EngineState::Absent | EngineState::Creating { .. } => None,
    }
}

fn differs(cvm: &Cvm, shown: &HashMap<VmUuid, Shown>) -> bool {
    let Some(vm) = recorded(cvm) else { return false };
    let vms = shown.get(&cvm.uuid);
    let shows = vms.and_then(|vms| vms.iter().find(|(id, _)| id == vm)).map(|(_, shows)| shows);
    shows != cvm.status.observed.as_ref().map(ObservedVm::shows).as_ref()
}

/// Those of these CVMs of the node that differ from what it showed.
async fn differing(
    ctx: &Ctx,
    node: &FleetNode,
    ids: &BTreeSet<CvmId>,
    shown: &HashMap<VmUuid, Shown>,
) -> Result<Vec<CvmId>, StoreError> {
    let ids: Vec<CvmId> = ids.iter().copied().collect();
    let mut suspects = Vec::new();
    for some in ids.chunks(BATCH) {
        let found = cvms::on_node_among(&ctx.db, node.id, some).await?;
        suspects.extend(found.iter().filter(|cvm| differs(cvm, shown)).map(|cvm| cvm.id));
    }
    Ok(suspects)
}

/// The same for all CVMs of the node.
async fn all_differing(
    ctx: &Ctx,
    node: &FleetNode,
    shown: &HashMap<VmUuid, Shown>,
) -> Result<Vec<CvmId>, StoreError> {
    let limit = i64::try_from(BATCH).unwrap_or(i64::MAX);
    let (mut suspects, mut after) = (Vec::new(), CvmId(0));
    loop {
        let page = cvms::on_node(&ctx.db, node.id, after, limit).await?;
        let Some(last) = page.last() else { return Ok(suspects) };
        after = last.id;
        suspects.extend(page.iter().filter(|cvm| differs(cvm, shown)).map(|cvm| cvm.id));
    }
}

/// Reads the suspects, has the node asked again, and writes down what still differs; returns those
/// that somebody else changed meanwhile.
async fn record_differences(
    ctx: &Ctx,
    node: &FleetNode,
    suspects: Vec<CvmId>,
) -> Result<BTreeSet<CvmId>, StoreError> {
    let mut again = BTreeSet::new();
    for some in suspects.chunks(BATCH) {
        let found = cvms::on_node_among(&ctx.db, node.id, some).await?;
        for cvm in found.iter().filter(|cvm| recorded(cvm).is_some()) {
            let mark = Mark::new(&cvm.spec.name, cvm.uuid);
            let Ok(vms) = bounded(ctx, node.node.find(&mark)).await else {
                again.insert(cvm.id);
                continue;
            };
            match compare(ctx, cvm, vms).await {
                Ok(()) => {}
                Err(StoreError::Stale) => drop(again.insert(cvm.id)),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(again)
}

/// Records a difference, if there is one that users see.
async fn compare(ctx: &Ctx, cvm: &Cvm, shown: Vec<ObservedVm>) -> Result<(), StoreError> {
    let Some(vm) = recorded(cvm) else { return Ok(()) };
    let ours = shown.into_iter().find(|observed| observed.id == *vm);
    let shows_of = |vm: &Option<ObservedVm>| vm.as_ref().map(ObservedVm::shows);
    if shows_of(&ours) == shows_of(&cvm.status.observed) {
        return Ok(());
    }
    let mut status = cvm.status.clone();
    status.observed.clone_from(&ours);
    let shows = phase(cvm.desired.power, &status, None);
    let what = match &ours {
        None => "the VM is no longer on its node".to_owned(),
        Some(vm) if !vm.faults.is_empty() => {
            vm.faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        }
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
        lease_until: None,
        calling: false,
        due_at: None,
        deleted: false,
    };
    tx.record(cvm, &record, now).await?;
    let mut new_events = vec![CvmEvent::Drift(what)];
    if shows != cvm.phase {
        new_events.push(CvmEvent::Phase(cvm.phase, shows));
    }
    let scope = EventScope { workspace: cvm.workspace, cvm: cvm.id, operation: None };
    let newest = events::write(&mut tx, scope, &new_events, now).await?;
    tx.commit().await?;
    ctx.announce(newest);
    Ok(())
}
