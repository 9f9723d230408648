//! Drift of one node: which differences are open, and what is done about them. What is a difference is decided
//! in [`casemate_core::drift`].
//!
//! A round reads only CVMs that differ, or whose difference is open. The configurations of all VMs are read in
//! one list every `drift.compare_configs_s`, and then only CVMs whose configuration on the node changed since. A node
//! that does not answer has no round: what is open stays as it was.
//!
//! Absent on purpose: removal of unknown VMs, and anything about VMs without our mark.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use casemate_core::{
    drift::{self, Drift, DriftKind, DriftPolicy, ReportedConfig},
    id::{CvmId, DeviceId, EngineVmId, NodeId, VmUuid},
    time::Timestamp,
};
use casemate_store::{
    Error as StoreError,
    cvms::{self, Cvm},
    drift::{self as stored, NewDrift},
};

use super::compare::{BATCH, bounded, record, recorded};
use crate::app::{
    Ctx,
    events::{self, CvmEvent, EventScope},
    fleet::{FleetNode, Turn},
};

/// Differences of one node that are kept; more are only counted in the log.
const MOST: usize = 1000;

/// The result of one round of the watch.
#[derive(Debug)]
pub struct Seen {
    /// CVMs that differed.
    pub suspects: BTreeSet<CvmId>,
    /// VMs with a mark that was not there in the round before.
    pub new: Vec<(VmUuid, EngineVmId)>,
    /// The device id of the round before.
    pub before: DeviceId,
}

impl Seen {
    /// Of a round in which no VM changed.
    pub const fn nothing(before: DeviceId) -> Self {
        Self { suspects: BTreeSet::new(), new: Vec::new(), before }
    }
}

/// A difference: what it is about, and its kind.
type Key = (String, DriftKind);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Open {
    cvm: Option<CvmId>,
    what: String,
}

/// The open differences of a node, and what is needed to find new ones.
#[derive(Debug, Default)]
pub struct DriftWatch {
    /// `None`: not read from the database yet.
    open: Option<BTreeMap<Key, Open>>,
    /// VMs whose CVM was not on this node when they were first seen. A deletion may have ended between the list
    /// and the read, so they count from the second round on.
    strangers: BTreeMap<VmUuid, (EngineVmId, u8)>,
    /// When configurations were read last.
    compared: Option<Timestamp>,
    /// Hashes of the configurations that were compared.
    configs: HashMap<VmUuid, u64>,
}

impl DriftWatch {
    /// Looks at what a round found, after it was recorded.
    pub async fn look<V: Sync>(
        &mut self,
        ctx: &Ctx,
        node: &FleetNode,
        turn: &mut Turn<'_>,
        seen: Seen,
        shown: &HashMap<VmUuid, V>,
    ) -> Result<(), StoreError> {
        // An operator may have closed some of them.
        let open = match self.open.take() {
            Some(open) if open.is_empty() => open,
            Some(_) | None => read_open(ctx, node.id).await?,
        };
        let outcome = self.find(ctx, node, turn, &open, seen, shown).await;
        let found = match outcome {
            Ok(found) => found,
            Err(error) => {
                self.open = Some(open);
                return Err(error);
            }
        };
        // Whatever fails from here on, the rows say what is open.
        let next = write(ctx, node, &open, found).await?;
        self.open = Some(next);
        Ok(())
    }

    /// Every difference that is open now.
    async fn find<V: Sync>(
        &mut self,
        ctx: &Ctx,
        node: &FleetNode,
        turn: &mut Turn<'_>,
        open: &BTreeMap<Key, Open>,
        seen: Seen,
        shown: &HashMap<VmUuid, V>,
    ) -> Result<BTreeMap<Key, Open>, StoreError> {
        let mut found = BTreeMap::new();
        let mut examined = seen.suspects;
        examined.extend(open.values().filter_map(|open| open.cvm));
        let configs = self.read_configs(ctx, node, turn, open, shown).await?;
        let uuids: Vec<VmUuid> = configs.keys().copied().collect();
        for some in uuids.chunks(BATCH) {
            examined.extend(cvms::ids_on_node(&ctx.db, node.id, some).await?);
        }
        let examined: Vec<CvmId> = examined.into_iter().collect();
        for some in examined.chunks(BATCH) {
            for cvm in cvms::on_node_among(&ctx.db, node.id, some).await? {
                self.examine(ctx, &cvm, open, &configs, &mut found).await?;
            }
        }
        self.strangers(ctx, node, seen.new, shown, &mut found).await?;
        let (inventory, _) = node.observed();
        for image in &inventory.images {
            let drift = drift::of_image(&image.name, image.os_image_hash.as_deref());
            add(&mut found, format!("image:{}", image.name), None, drift);
        }
        host(open, seen.before, inventory.device_id, &mut found);
        found.retain(|(_, kind), _| ctx.config.drift.of(*kind) != DriftPolicy::Ignore);
        Ok(found)
    }

    /// The configurations to compare now: none, or those that changed since the last time, and those whose
    /// difference is open.
    async fn read_configs<V: Sync>(
        &mut self,
        ctx: &Ctx,
        node: &FleetNode,
        turn: &mut Turn<'_>,
        open: &BTreeMap<Key, Open>,
        shown: &HashMap<VmUuid, V>,
    ) -> Result<BTreeMap<VmUuid, (EngineVmId, ReportedConfig)>, StoreError> {
        let every = Duration::from_secs(ctx.config.drift.compare_configs_s);
        let now = ctx.now();
        if self.compared.is_some_and(|at| now.since(at) < every) {
            return Ok(BTreeMap::new());
        }
        let told = match turn.wait_for(bounded(ctx, node.node.configs())).await {
            Ok(told) => told,
            Err(error) => {
                tracing::debug!(node = %node.name, %error, "configurations were not told");
                return Ok(BTreeMap::new());
            }
        };
        self.compared = Some(now);
        self.configs.retain(|uuid, _| shown.contains_key(uuid));
        let mut changed = BTreeMap::new();
        for (mark, vm, config) in told {
            let mut hasher = DefaultHasher::new();
            (&vm.0, &config).hash(&mut hasher);
            let hash = hasher.finish();
            let uuid = mark.uuid();
            let was = self.configs.insert(uuid, hash);
            let is_open = open.keys().any(|(subject, _)| *subject == config_subject(uuid));
            if was != Some(hash) || is_open {
                changed.insert(uuid, (vm, config));
            }
        }
        Ok(changed)
    }

    /// Compares one CVM.
    async fn examine(
        &mut self,
        ctx: &Ctx,
        cvm: &Cvm,
        open: &BTreeMap<Key, Open>,
        configs: &BTreeMap<VmUuid, (EngineVmId, ReportedConfig)>,
        found: &mut BTreeMap<Key, Open>,
    ) -> Result<(), StoreError> {
        let (state, config) = (format!("state:{}", cvm.uuid), config_subject(cvm.uuid));
        let keep = |subject: &str, found: &mut BTreeMap<Key, Open>| {
            let same = open.iter().filter(|((about, _), _)| about == subject);
            found.extend(same.map(|(key, open)| (key.clone(), open.clone())));
        };
        let Some(vm) = recorded(cvm) else {
            // A reconciler is at it: compared again once it is done.
            self.configs.remove(&cvm.uuid);
            if cvm.operation.is_some() {
                keep(&state, found);
                keep(&config, found);
            }
            return Ok(());
        };
        let drift = drift::of_state(&cvm.desired, &cvm.status, cvm.status.observed.as_ref());
        add(found, state, Some(cvm.id), drift);
        let Some((_, has)) = configs.get(&cvm.uuid).filter(|(told, _)| told == vm) else {
            if cvm.status.observed.is_some() {
                keep(&config, found);
            }
            return Ok(());
        };
        let Some(expected) = drift::expected(&cvm.spec, &cvm.desired, &cvm.status) else {
            self.configs.remove(&cvm.uuid);
            return Ok(());
        };
        let drifts = drift::of_config(&expected, has);
        let policy = |drift: &Drift| ctx.config.drift.of(drift.kind);
        if drifts.iter().any(|drift| policy(drift) == DriftPolicy::Repair) {
            push_again(ctx, cvm).await?;
        }
        for drift in drifts {
            add(found, config.clone(), Some(cvm.id), Some(drift));
        }
        Ok(())
    }

    /// VMs with our mark whose CVM is not on this node.
    async fn strangers<V: Sync>(
        &mut self,
        ctx: &Ctx,
        node: &FleetNode,
        new: Vec<(VmUuid, EngineVmId)>,
        shown: &HashMap<VmUuid, V>,
        found: &mut BTreeMap<Key, Open>,
    ) -> Result<(), StoreError> {
        self.strangers.retain(|uuid, _| shown.contains_key(uuid));
        for (_, rounds) in self.strangers.values_mut() {
            *rounds = rounds.saturating_add(1);
        }
        self.strangers.extend(new.into_iter().map(|(uuid, vm)| (uuid, (vm, 1))));
        let doubtful: Vec<VmUuid> = self.strangers.keys().copied().collect();
        for some in doubtful.chunks(BATCH) {
            for ours in cvms::uuids_on_node(&ctx.db, node.id, some).await? {
                self.strangers.remove(&ours);
            }
        }
        for (vm, _) in self.strangers.values().filter(|(_, rounds)| *rounds > 1) {
            add(found, format!("vm:{vm}"), None, Some(drift::of_unknown(&vm.0)));
        }
        Ok(())
    }
}

fn config_subject(uuid: VmUuid) -> String {
    format!("config:{uuid}")
}

fn add(found: &mut BTreeMap<Key, Open>, subject: String, cvm: Option<CvmId>, drift: Option<Drift>) {
    if let Some(Drift { kind, what }) = drift {
        found.insert((subject, kind), Open { cvm, what });
    }
}

/// A replaced host stays open until the host is the one before again, or until its operator accepts it.
fn host(
    open: &BTreeMap<Key, Open>,
    before: DeviceId,
    now: DeviceId,
    found: &mut BTreeMap<Key, Open>,
) {
    let replaced = open.iter().filter(|((_, kind), _)| *kind == DriftKind::HostReplaced);
    for (key, open) in replaced.filter(|((subject, _), _)| *subject != format!("host:{now}")) {
        found.insert(key.clone(), open.clone());
    }
    let is_back = open.contains_key(&(format!("host:{now}"), DriftKind::HostReplaced));
    if !is_back {
        add(found, format!("host:{before}"), None, drift::of_host(before, now));
    }
}

async fn read_open(ctx: &Ctx, node: NodeId) -> Result<BTreeMap<Key, Open>, StoreError> {
    let limit = i64::try_from(MOST).unwrap_or(i64::MAX);
    let rows = stored::open(&ctx.db, Some(node), None, limit).await?;
    let read = rows.into_iter().filter_map(|row| {
        let open = Open { cvm: row.cvm_id.map(CvmId), what: row.what };
        Some(((row.subject, DriftKind::parse(&row.kind)?), open))
    });
    Ok(read.collect())
}

/// Has the reconciler of a CVM at rest send the whole configuration again, for which a running guest restarts.
async fn push_again(ctx: &Ctx, cvm: &Cvm) -> Result<(), StoreError> {
    let mut status = cvm.status.clone();
    status.pushed = 0;
    match record(ctx, cvm, &status, cvm.phase, Vec::new(), true).await {
        // Something came in between: compared again the next time.
        Err(StoreError::Stale) => Ok(()),
        other => other,
    }
}

/// Writes what opened and what closed, in batches. Returns what is open.
async fn write(
    ctx: &Ctx,
    node: &FleetNode,
    open: &BTreeMap<Key, Open>,
    found: BTreeMap<Key, Open>,
) -> Result<BTreeMap<Key, Open>, StoreError> {
    let closed: Vec<&Key> = open.keys().filter(|key| !found.contains_key(*key)).collect();
    let room = MOST.saturating_sub(open.len() - closed.len());
    let mut opened: Vec<(&Key, &Open)> =
        found.iter().filter(|(key, now)| open.get(*key) != Some(*now)).collect();
    if opened.len() > room {
        let left = opened.len() - room;
        tracing::warn!(node = %node.name, left, "more drift than is kept");
        opened.truncate(room);
    }
    for some in closed.chunks(BATCH) {
        let mut tx = ctx.db.begin().await?;
        for (subject, kind) in some {
            tx.delete_drift(node.id, subject, kind.as_str()).await?;
        }
        tx.commit().await?;
    }
    for some in opened.chunks(BATCH) {
        write_opened(ctx, node, some).await?;
    }
    for (subject, kind) in closed {
        tracing::info!(node = %node.name, %subject, kind = kind.as_str(), "drift ended");
    }
    let kept: BTreeSet<Key> = opened.into_iter().map(|(key, _)| key.clone()).collect();
    Ok(found.into_iter().filter(|(key, _)| open.contains_key(key) || kept.contains(key)).collect())
}

async fn write_opened(
    ctx: &Ctx,
    node: &FleetNode,
    opened: &[(&Key, &Open)],
) -> Result<(), StoreError> {
    let now = ctx.now();
    // The event of a changed state was written with the status.
    let about: Vec<CvmId> = opened
        .iter()
        .filter(|((subject, _), _)| subject.starts_with("config:"))
        .filter_map(|(_, open)| open.cvm)
        .collect();
    let cvms = cvms::on_node_among(&ctx.db, node.id, &about).await?;
    let mut tx = ctx.db.begin().await?;
    for ((subject, kind), open) in opened {
        let new = NewDrift { node: node.id, subject, kind: *kind, cvm: open.cvm, what: &open.what };
        tx.insert_drift(&new, now).await?;
    }
    let mut newest = None;
    for ((subject, kind), open) in opened {
        tracing::warn!(node = %node.name, %subject, kind = kind.as_str(), "drift: {}", open.what);
        let cvm =
            cvms.iter().find(|cvm| subject.starts_with("config:") && Some(cvm.id) == open.cvm);
        if let Some(cvm) = cvm {
            let scope = EventScope { workspace: cvm.workspace, cvm: cvm.id, operation: None };
            let event = CvmEvent::Drift(open.what.clone(), Some(*kind));
            newest = Some(events::write(&mut tx, scope, &[event], now).await?);
        }
    }
    tx.commit().await?;
    if let Some(newest) = newest {
        ctx.announce(newest);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(byte: u8) -> DeviceId {
        DeviceId::from_bytes([byte; 32])
    }

    fn opened(open: &BTreeMap<Key, Open>, before: u8, now: u8) -> BTreeMap<Key, Open> {
        let mut found = BTreeMap::new();
        host(open, device(before), device(now), &mut found);
        found
    }

    #[test]
    fn a_replaced_host_stays_open_until_it_is_back() {
        let none = BTreeMap::new();
        assert!(opened(&none, 1, 1).is_empty() && opened(&none, 0, 1).is_empty());
        let replaced = opened(&none, 1, 2);
        let keys: Vec<&Key> = replaced.keys().collect();
        assert_eq!(keys, [&(format!("host:{}", device(1)), DriftKind::HostReplaced)]);
        assert_eq!(opened(&replaced, 2, 2), replaced, "still another host");
        assert_eq!(opened(&replaced, 2, 1), none, "the host before is back");
        assert_eq!(opened(&replaced, 2, 3).len(), 2, "yet another one");
    }
}
