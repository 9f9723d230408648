//! The watch of one node: connects its driver, checks whether it answers, and compares its VMs with the CVMs
//! at rest. A VM that vanished, stopped or started without an operation becomes an event and a new phase. A
//! round lists the VMs once, and reads only CVMs whose VM changed since the last round or that have new
//! events. CVMs that seem to differ are read again and then listed again, in this order: a later change
//! raises the fence, so nothing is concluded from an older record.
//!
//! A node that comes back after an outage, or that this process has just begun to serve, is reconciled: every
//! CVM is compared, and one that is not as desired is handed to its reconciler, unless it failed for a reason
//! of its own.
//!
//! Absent on purpose: repair of drift while the node answers. Somebody changed the host: the drift is shown,
//! and left alone until the desired state changes. CVMs with an open operation are left to their reconcilers.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use casemate_core::{
    cvm::{EngineState, ObservedVm, Phase, VisibleState, phase},
    id::{CvmId, EngineVmId, EventSeq, VmUuid},
    plan::needs_reconcile,
};
use casemate_engine::node::{CallError, Inventory, Mark, guard::GuardedNode};
use casemate_store::{
    Error as StoreError,
    cvms::{self, Cvm},
    events as stored_events,
    lease::Record,
    nodes::NodeRow,
};
use tokio_util::sync::CancellationToken;

use super::{differences::differences, open::Opener, settings::NodeSettings};

use crate::app::{
    Ctx,
    events::{self, CvmEvent, EventScope},
    fleet::FleetNode,
};

/// Maximum number of CVMs in memory at once.
const BATCH: usize = 200;
/// After more events than this, every CVM of the node is compared.
const MANY_EVENTS: i64 = 20_000;

/// Connects a node to its driver.
#[derive(Debug)]
pub struct Connect {
    pub opener: Arc<Opener>,
    /// The node that gets the driver.
    pub guard: Arc<GuardedNode>,
    pub row: NodeRow,
}

impl Connect {
    /// Opens the driver if it is not open.
    async fn connect(&self, ctx: &Ctx, node: &FleetNode) {
        if self.guard.is_connected() {
            return;
        }
        let open = async {
            match &self.row.settings {
                None => self.opener.default_driver(node.kind).await,
                Some(text) => {
                    let settings = NodeSettings::from_json(text).map_err(|why| why.to_string())?;
                    self.opener.driver(&node.name, &settings.driver).await
                }
            }
        };
        let limit = Duration::from_secs(ctx.config.work.call_timeout_s);
        let silence = |_| Err(format!("no answer in {} s", limit.as_secs()));
        self.guard.connect(tokio::time::timeout(limit, open).await.unwrap_or_else(silence));
    }
}

/// Watches a node until stopped.
pub async fn run(ctx: Ctx, node: Arc<FleetNode>, connect: Connect, stop: CancellationToken) {
    let every = Duration::from_secs(ctx.config.work.watch_nodes_s.max(1));
    let mut watch = Watch { reconciles: true, ..Watch::default() };
    loop {
        let look = async {
            connect.connect(&ctx, &node).await;
            if let Err(error) = watch.look(&ctx, &node).await {
                tracing::error!(node = %node.name, error = &error as &dyn std::error::Error,
                    "what the node shows was not recorded");
            }
        };
        if stop.run_until_cancelled(look).await.is_none() {
            return;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = node.look_now.notified() => {}
            () = tokio::time::sleep(every) => {}
        }
    }
}

/// The compared state of the VMs with one mark.
type ComparedVms = Vec<(EngineVmId, VisibleState)>;

/// State of the comparison between rounds.
#[derive(Debug, Default)]
pub struct Watch {
    /// Hashes of the last observed states.
    shown: HashMap<VmUuid, u64>,
    /// Events up to here were taken into account; `None`: nothing was compared yet.
    events: Option<EventSeq>,
    /// CVMs that changed during their comparison.
    again: BTreeSet<CvmId>,
    /// Whether the next answer is the first after an outage, or since this process serves the node.
    reconciles: bool,
}

impl Watch {
    /// Runs one round.
    pub async fn look(&mut self, ctx: &Ctx, node: &Arc<FleetNode>) -> Result<(), StoreError> {
        let newest = stored_events::newest(&ctx.db).await?;
        let was_away = self.reconciles || node.silence().is_some();
        let Some(shown) = query_node(ctx, node).await? else {
            self.reconciles = true;
            return Ok(());
        };
        // Also if the database fails below.
        self.reconciles = was_away;
        if was_away {
            // Its CVMs are claimed again from now on.
            ctx.wake.notify_one();
        }
        let hashes: HashMap<_, _> = shown.iter().map(|(uuid, vms)| (*uuid, hash(vms))).collect();
        let suspects = match self.events {
            _ if was_away => {
                all_suspects(ctx, node, |cvm| differs(cvm, &shown) || is_unsettled(cvm)).await?
            }
            Some(observed) if newest.0 - observed.0 <= MANY_EVENTS => {
                let mut changed = self.again.clone();
                changed.extend(stored_events::cvms_between(&ctx.db, observed, newest).await?);
                changed.extend(self.changed(ctx, node, &hashes).await?);
                differing(ctx, node, &changed, &shown).await?
            }
            _ => all_suspects(ctx, node, |cvm| differs(cvm, &shown)).await?,
        };
        drop(shown);
        self.again = record_differences(ctx, node, suspects, was_away).await?;
        self.shown = hashes;
        self.events = Some(newest);
        // CVMs that could not be compared now are reconciled in the next round.
        self.reconciles = was_away && !self.again.is_empty();
        Ok(())
    }

    /// CVMs whose VMs changed since the last round.
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

fn hash(vms: &ComparedVms) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    for (id, shows) in vms {
        (&id.0, shows).hash(&mut hasher);
    }
    hasher.finish()
}

/// The inventory and VMs of the node; `None`: it does not answer, which is recorded.
async fn query_node(
    ctx: &Ctx,
    node: &Arc<FleetNode>,
) -> Result<Option<HashMap<VmUuid, ComparedVms>>, StoreError> {
    let answer: Result<(Inventory, _), _> =
        bounded(ctx, async { Ok((node.node.inventory().await?, node.node.list().await?)) }).await;
    let (known, was_reachable) = node.observed();
    let told = answer.as_ref().ok().map(|(inventory, _)| inventory);
    if was_reachable != told.is_some() || told.is_some_and(|told| *told != *known) {
        record_reachability(ctx, node, told).await?;
    }
    let (inventory, vms) = match answer {
        Ok(answer) => answer,
        Err(error) => {
            if was_reachable {
                tracing::warn!(node = %node.name, %error, "node does not answer");
            }
            node.record_answer(Err(describe_error(error)), ctx.now());
            return Ok(None);
        }
    };
    if !was_reachable {
        tracing::info!(node = %node.name, "node answers");
    }
    node.record_answer(Ok(inventory), ctx.now());
    let mut shown: HashMap<VmUuid, ComparedVms> = HashMap::new();
    for (mark, vm) in vms {
        shown.entry(mark.uuid()).or_default().push((vm.id.clone(), vm.shows()));
    }
    for vms in shown.values_mut() {
        vms.sort_by(|one, other| one.0.cmp(&other.0));
    }
    Ok(Some(shown))
}

/// Records whether the node answers, and its inventory.
async fn record_reachability(
    ctx: &Ctx,
    node: &FleetNode,
    told: Option<&Inventory>,
) -> Result<(), StoreError> {
    let json = told.and_then(|inventory| casemate_core::stored::write(inventory).ok());
    let mut tx = ctx.db.begin().await?;
    tx.mark_node(node.id, json.as_deref(), told.is_some(), ctx.now()).await?;
    tx.commit().await
}

/// The cause of a missing answer, for people.
fn describe_error(error: CallError) -> String {
    match error {
        CallError::Unreachable(why) | CallError::Unknown(why) => why,
        CallError::Rejected(why) => format!("it refuses to be asked: {why}"),
    }
}

async fn bounded<T>(
    ctx: &Ctx,
    call: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    let limit = Duration::from_secs(ctx.config.work.call_timeout_s);
    let silence = |_| Err(CallError::Unknown("no answer in time".to_owned()));
    tokio::time::timeout(limit, call).await.unwrap_or_else(silence)
}

/// The VM recorded for a CVM at rest; `None` if there is nothing to compare.
fn recorded(cvm: &Cvm) -> Option<&EngineVmId> {
    match &cvm.status.engine {
        EngineState::Present { vm } if cvm.operation.is_none() => Some(vm),
        EngineState::Present { .. } | EngineState::Absent | EngineState::Creating { .. } => None,
    }
}

/// Whether the CVM may need reconciliation whatever its node shows: the VM is not as desired, or an operation
/// failed because of the node.
fn is_unsettled(cvm: &Cvm) -> bool {
    let vms: Vec<ObservedVm> = cvm.status.observed.iter().cloned().collect();
    cvm.operation.is_none() && needs_reconciler(cvm, &vms)
}

/// Whether a CVM at rest needs its reconciler.
fn needs_reconciler(cvm: &Cvm, vms: &[ObservedVm]) -> bool {
    needs_reconcile(&cvm.desired, &cvm.status, vms)
}

fn differs(cvm: &Cvm, shown: &HashMap<VmUuid, ComparedVms>) -> bool {
    let Some(vm) = recorded(cvm) else { return false };
    let vms = shown.get(&cvm.uuid);
    let shows = vms.and_then(|vms| vms.iter().find(|(id, _)| id == vm)).map(|(_, shows)| shows);
    shows != cvm.status.observed.as_ref().map(ObservedVm::shows).as_ref()
}

/// The CVMs among these that differ from what their node showed.
async fn differing(
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
async fn all_suspects(
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
async fn record_differences(
    ctx: &Ctx,
    node: &FleetNode,
    suspects: Vec<CvmId>,
    was_away: bool,
) -> Result<BTreeSet<CvmId>, StoreError> {
    let mut again = BTreeSet::new();
    for some in suspects.chunks(BATCH) {
        let found = cvms::on_node_among(&ctx.db, node.id, some).await?;
        let at_rest = |cvm: &&Cvm| recorded(cvm).is_some() || (was_away && is_unsettled(cvm));
        for cvm in found.iter().filter(at_rest) {
            let mark = Mark::new(&cvm.spec.name, cvm.uuid);
            let Ok(vms) = bounded(ctx, node.node.find(&mark)).await else {
                again.insert(cvm.id);
                continue;
            };
            let due = was_away && needs_reconciler(cvm, &vms);
            match compare(ctx, cvm, vms, due).await {
                Ok(()) => {}
                Err(StoreError::Stale) => drop(again.insert(cvm.id)),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(again)
}

/// Records visible differences, if any, and whether the CVM becomes due.
async fn compare(
    ctx: &Ctx,
    cvm: &Cvm,
    shown: Vec<ObservedVm>,
    due: bool,
) -> Result<(), StoreError> {
    let recorded = recorded(cvm);
    let ours = shown.into_iter().find(|observed| recorded == Some(&observed.id));
    let shows_of = |vm: &Option<ObservedVm>| vm.as_ref().map(ObservedVm::shows);
    if recorded.is_none() || shows_of(&ours) == shows_of(&cvm.status.observed) {
        return if due {
            record(ctx, cvm, &cvm.status, cvm.phase, Vec::new(), due).await
        } else {
            Ok(())
        };
    }
    let mut status = cvm.status.clone();
    status.observed.clone_from(&ours);
    let shows = phase(cvm.desired.power, &status, None);
    let new_events = differences(cvm.status.observed.as_ref(), ours.as_ref());
    record(ctx, cvm, &status, shows, new_events, due).await
}

async fn record(
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
