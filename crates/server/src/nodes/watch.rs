//! The watch of one node: connects its driver, checks whether it answers, and compares its VMs with the CVMs
//! at rest. A VM that vanished, stopped or started without an operation becomes an event and a new phase. A
//! round lists the VMs once, and reads only CVMs whose VM changed since the last round or that have new
//! events. CVMs that seem to differ are read again and then listed again, in this order: a later change
//! raises the fence, so nothing is concluded from an older record.
//!
//! A list that is the one before ([`ListMark`]) is not read: a host whose CVMs are at rest costs its calls,
//! however many CVMs it has. Rounds take turns ([`crate::app::fleet::Turns`]).
//!
//! A node that comes back after an outage, or that this process has just begun to serve, is reconciled: every
//! CVM is compared, and one that is not as desired is handed to its reconciler, unless it failed for a reason
//! of its own.
//!
//! While a node answers, drift is shown, and repaired where the policy of its kind says so ([`drift`](super::drift)).
//! CVMs with an open operation are left to their reconcilers.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use casemate_core::{
    cvm::ObservedVm,
    id::{CvmId, VmUuid},
    preflight::Probe,
    time::Timestamp,
};
use casemate_engine::node::{CallError, Inventory, ListMark, Listed, Mark, guard::GuardedNode};
use casemate_store::{Error as StoreError, cvms, nodes::NodeRow};
use tokio_util::sync::CancellationToken;

use super::{
    compare::{
        BATCH, ComparedVms, all_suspects, bounded, differing, differs, is_unsettled,
        record_differences,
    },
    drift::{DriftWatch, Seen},
    open::Opener,
    settings::NodeSettings,
};

use crate::app::{
    Ctx,
    fleet::{Changes, FleetNode, Turn},
};

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

/// A pre-flight probe is repeated after this time; it is taken at once when an operator checks a node.
const PROBE_EVERY: Duration = Duration::from_mins(10);

/// Watches a node until stopped.
pub async fn run(ctx: Ctx, node: Arc<FleetNode>, connect: Connect, stop: CancellationToken) {
    let every = Duration::from_secs(ctx.config.work.watch_nodes_s.max(1));
    let mut watch = Watch { reconciles: true, ..Watch::default() };
    loop {
        let look = async {
            let mut turn = ctx.fleet.turns.take().await;
            turn.wait_for(connect.connect(&ctx, &node)).await;
            drop(turn);
            if node.take_probe_request() {
                watch.probe(&ctx, &node).await;
            }
            if let Err(error) = watch.look(&ctx, &node).await {
                tracing::error!(node = %node.name, error = &error as &dyn std::error::Error,
                    "what the node shows was not recorded");
            }
            if watch.probe_is_due(ctx.now()) && node.outage().is_none() {
                watch.probe(&ctx, &node).await;
            }
        };
        if stop.run_until_cancelled(Box::pin(look)).await.is_none() {
            return;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = node.look_now.notified() => {}
            () = tokio::time::sleep(every) => {}
        }
    }
}

/// State of the comparison between rounds.
#[derive(Debug, Default)]
pub struct Watch {
    /// Hashes of the last observed states.
    shown: HashMap<VmUuid, u64>,
    /// Of the list that they are from.
    mark: Option<ListMark>,
    /// The last round was compared and recorded to its end.
    is_compared: bool,
    /// CVMs that changed during their comparison.
    again: BTreeSet<CvmId>,
    /// Whether the next answer is the first after an outage, or since this process serves the node.
    reconciles: bool,
    /// The last probe; `None`: none was answered yet.
    probe: Option<Option<Probe>>,
    /// When a probe was tried last.
    probed_at: Option<Timestamp>,
    drift: DriftWatch,
}

impl Watch {
    /// Runs one round when it is its turn.
    pub async fn look(&mut self, ctx: &Ctx, node: &Arc<FleetNode>) -> Result<(), StoreError> {
        let mut turn = ctx.fleet.turns.take().await;
        self.round(ctx, node, &mut turn).await
    }

    async fn round(
        &mut self,
        ctx: &Ctx,
        node: &Arc<FleetNode>,
        turn: &mut Turn<'_>,
    ) -> Result<(), StoreError> {
        // Before the list: an event after it belongs to the next round.
        let events = ctx.fleet.changes.take(&ctx.db, node.id).await?;
        let is_compared = std::mem::take(&mut self.is_compared);
        let was_away = self.reconciles || node.outage().is_some();
        let before = node.observed().0.device_id;
        let probe = self.probe.as_ref().map(Option::as_ref);
        let is_quiet = matches!(&events, Changes::Some(changed) if changed.is_empty())
            && self.again.is_empty();
        let known = self.mark.filter(|_| is_compared && is_quiet && !was_away);
        let Some(listed) = query_node(ctx, node, turn, (probe, known)).await? else {
            self.reconciles = true;
            return Ok(());
        };
        // Also if the database fails below.
        self.reconciles = was_away;
        if was_away {
            // Its CVMs are claimed again from now on.
            ctx.wake.notify_one();
        }
        let Some(Listed { vms, mark }) = listed else {
            return self.look_for_drift(ctx, node, turn, Seen::nothing(before)).await;
        };
        let shown = by_mark(vms);
        let hashes: HashMap<_, _> = shown.iter().map(|(uuid, vms)| (*uuid, hash(vms))).collect();
        if was_away || !is_compared || events == Changes::All {
            node.evidence.note_all();
        }
        let suspects = match events {
            _ if was_away => {
                all_suspects(ctx, node, |cvm| differs(cvm, &shown) || is_unsettled(cvm)).await?
            }
            Changes::Some(mut changed) if is_compared => {
                changed.extend(self.again.iter().copied());
                changed.extend(self.changed(ctx, node, &hashes).await?);
                node.evidence.note(changed.iter().copied());
                differing(ctx, node, &changed, &shown).await?
            }
            Changes::Some(_) | Changes::All => {
                all_suspects(ctx, node, |cvm| differs(cvm, &shown)).await?
            }
        };
        let mut seen =
            Seen { suspects: suspects.iter().copied().collect(), new: Vec::new(), before };
        for (uuid, vms) in shown.into_iter().filter(|(uuid, _)| !self.shown.contains_key(uuid)) {
            seen.new.extend(vms.into_iter().map(|(vm, _)| (uuid, vm)));
        }
        self.again = record_differences(ctx, node, turn, suspects, was_away).await?;
        (self.shown, self.mark) = (hashes, mark);
        self.look_for_drift(ctx, node, turn, seen).await?;
        // CVMs that could not be compared now are reconciled in the next round.
        self.reconciles = was_away && !self.again.is_empty();
        Ok(())
    }

    /// Ends a round: with it everything is compared.
    async fn look_for_drift(
        &mut self,
        ctx: &Ctx,
        node: &FleetNode,
        turn: &mut Turn<'_>,
        seen: Seen,
    ) -> Result<(), StoreError> {
        let looked = self.drift.look(ctx, node, turn, seen, &self.shown).await;
        if looked.is_err() {
            // Everything is new to the next round.
            self.shown.clear();
        }
        self.is_compared = looked.is_ok();
        looked
    }

    fn probe_is_due(&self, now: Timestamp) -> bool {
        self.probed_at.is_none_or(|at| now.since(at) >= PROBE_EVERY)
    }

    /// Takes a pre-flight probe; the next look records it with the inventory.
    async fn probe(&mut self, ctx: &Ctx, node: &FleetNode) {
        self.probed_at = Some(ctx.now());
        let mut turn = ctx.fleet.turns.take().await;
        match turn.wait_for(bounded(ctx, node.node.probe(&*ctx.clock))).await {
            Ok(probe) => {
                let is_new = probe.is_some() && self.probe.as_ref() != Some(&probe);
                self.probe = Some(probe);
                if is_new {
                    node.look_now.notify_one();
                }
            }
            Err(error) => tracing::debug!(node = %node.name, %error, "no probe"),
        }
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

fn by_mark(vms: Vec<(Mark, ObservedVm)>) -> HashMap<VmUuid, ComparedVms> {
    let mut shown: HashMap<VmUuid, ComparedVms> = HashMap::new();
    for (mark, vm) in vms {
        shown.entry(mark.uuid()).or_default().push((vm.id.clone(), vm.shows()));
    }
    for vms in shown.values_mut() {
        vms.sort_by(|one, other| one.0.cmp(&other.0));
    }
    shown
}

/// An answer of a node: its VMs, unless they are those of the list before.
type Answer = Option<Listed>;

/// The inventory of the node, and its VMs unless their list is the one of the mark; `None`: it does not answer,
/// which is recorded.
async fn query_node(
    ctx: &Ctx,
    node: &Arc<FleetNode>,
    turn: &mut Turn<'_>,
    (probe, before): (Option<Option<&Probe>>, Option<ListMark>),
) -> Result<Option<Answer>, StoreError> {
    let (known, was_reachable) = node.observed();
    let ask = async {
        let told = node.node.inventory().await?;
        Ok((told.with_known(&known, probe), node.node.list_if_changed(before).await?))
    };
    let answer: Result<(Inventory, Answer), _> = turn.wait_for(bounded(ctx, ask)).await;
    let told = answer.as_ref().ok().map(|(inventory, _)| inventory);
    if was_reachable != told.is_some() || told.is_some_and(|told| *told != *known) {
        record_reachability(ctx, node, told).await?;
    }
    let (inventory, listed) = match answer {
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
    Ok(Some(listed))
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
