//! What holds after any sequence of calls and faults. A failing assertion names its seed.

use std::collections::{BTreeMap, BTreeSet};

use casemate_core::cvm::VmPower;

use super::{
    trace::{Trace, acts},
    *,
};
use crate::node::sim::{Effect, SimVm};

fn in_memory() -> Trace {
    let world = World::with(SimConfig { journal: Journal::All, ..SimConfig::default() });
    Trace { world, reopen: Box::new(same), known: Vec::new() }
}

/// Another handle of a host in memory.
fn same(world: &World) -> World {
    let World { clock, node, .. } = world;
    World { clock: clock.clone(), host: node.host(), node: node.clone() }
}

fn in_files(dir: &Path) -> Trace {
    let dir = dir.to_owned();
    let entropy = Arc::new(Seeded::new(1));
    let open = move |clock: &Arc<ManualClock>| {
        let config = SimConfig { journal: Journal::All, ..SimConfig::default() };
        let node = SimNode::open(dir.clone(), config, clock.clone(), entropy.clone()).unwrap();
        World { clock: clock.clone(), host: node.host(), node }
    };
    let world = open(&clock());
    Trace { world, reopen: Box::new(move |world| open(&world.clock)), known: Vec::new() }
}

/// What a host must never show.
#[derive(Debug, Default)]
struct Watch {
    /// VMs that were there once and then were not.
    gone: BTreeSet<EngineVmId>,
    there: BTreeSet<EngineVmId>,
}

impl Watch {
    fn look(&mut self, world: &World, label: &str) {
        let vms = world.host.vms().unwrap();
        let ids: BTreeSet<_> = vms.iter().map(|vm| vm.observed.id.clone()).collect();
        assert_eq!(ids.len(), vms.len(), "{label}: an id was given twice");
        assert!(ids.is_disjoint(&self.gone), "{label}: a VM came back");
        self.gone.extend(self.there.difference(&ids).cloned());
        self.there = ids;
        let starts = starts(world);
        for vm in &vms {
            check(vm, &starts, world.now(), label);
        }
        account(world, &vms, label);
    }
}

/// When each VM was first started.
fn starts(world: &World) -> BTreeMap<EngineVmId, Timestamp> {
    let mut first = BTreeMap::new();
    for start in world.host.audit().unwrap().starts {
        first.entry(start.vm).or_insert(start.at);
    }
    first
}

fn check(vm: &SimVm, starts: &BTreeMap<EngineVmId, Timestamp>, now: Timestamp, label: &str) {
    let first = starts.get(&vm.observed.id);
    let booted = first.is_some_and(|first| *first < now);
    assert!(vm.observed.instance_id.is_none() || booted, "{label}: instance id before boot");
    assert_eq!(vm.observed.started_at.is_some(), first.is_some(), "{label}: started_at");
    let on = matches!(vm.observed.power, VmPower::Running | VmPower::Stopping);
    assert!(on || !vm.serves, "{label}: serves while off");
}

/// A VM is there if it was made and is not removed, and only then.
fn account(world: &World, vms: &[SimVm], label: &str) {
    let there: BTreeSet<_> = vms.iter().map(|vm| vm.observed.id.clone()).collect();
    let (mut made, mut leaving, mut gone) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for effect in world.host.calls().unwrap().into_iter().flat_map(|call| call.effects) {
        match effect {
            Effect::Made { vm, .. } => assert!(made.insert(vm), "{label}: made twice"),
            Effect::Removed { vm, at, .. } if at <= world.now() => assert!(gone.insert(vm)),
            Effect::Removed { vm, .. } => assert!(leaving.insert(vm)),
            Effect::Began { .. } | Effect::Ends { .. } => {}
        }
    }
    let stays = &(&made - &gone) - &leaving;
    assert!(stays.is_subset(&there), "{label}: a VM was lost");
    assert!(there.is_subset(&(&made - &gone)), "{label}: a VM from nowhere");
}

#[tokio::test]
async fn no_sequence_makes_a_host_contradict_itself() {
    for seed in 0..300 {
        let mut trace = in_memory();
        let mut watch = Watch::default();
        for (i, act) in acts(seed, 50).iter().enumerate() {
            let told = trace.act(act).await;
            watch.look(&trace.world, &format!("seed {seed}, act {i} {act:?} -> {told}"));
        }
    }
}

#[tokio::test]
async fn files_and_memory_answer_alike_also_when_reopened() {
    for seed in 1000..1040 {
        let dir = tempfile::tempdir().unwrap();
        let (mut files, mut memory) = (in_files(dir.path()), in_memory());
        for (i, act) in acts(seed, 50).iter().enumerate() {
            let (a, b) = (files.act(act).await, memory.act(act).await);
            assert_eq!(a, b, "seed {seed}, act {i} {act:?}");
        }
        let (a, b) = (&files.world.host, &memory.world.host);
        assert_eq!(a.vms().unwrap(), b.vms().unwrap(), "seed {seed}");
        assert_eq!(a.calls().unwrap(), b.calls().unwrap(), "seed {seed}");
        assert_eq!(a.audit().unwrap(), b.audit().unwrap(), "seed {seed}");
    }
}

#[tokio::test]
async fn one_seed_is_one_story() {
    let mut stories = Vec::new();
    for _ in 0..2 {
        let mut trace = in_memory();
        let mut story = Vec::new();
        for act in acts(7, 200) {
            story.push(trace.act(&act).await);
        }
        stories.push(story);
    }
    assert_eq!(stories[0], stories[1]);
}
