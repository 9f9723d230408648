//! A host in files outlives the process that uses it, whenever that process is killed.

use std::{
    collections::BTreeSet,
    fs,
    process::{Child, Command, Stdio},
    time::{Instant, SystemTime},
};

use super::*;
use crate::node::sim::Effect;

/// Where the child finds its host; without it, it is no child.
const DIR: &str = "CASEMATE_TEST_SIM_DIR";

#[derive(Debug)]
struct Wall;

impl Clock for Wall {
    #[expect(clippy::disallowed_methods, reason = "two processes share this clock")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap())
    }
}

/// The end of time, when everything that was being removed is gone.
#[derive(Debug)]
struct End;

impl Clock for End {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(i64::MAX)
    }
}

/// The worst there is: every process starts with the same.
#[derive(Debug)]
struct Poor;

impl Entropy for Poor {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(7);
    }
}

/// Not a test by itself: what the killed process does, without end.
#[tokio::test]
async fn child() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let node =
        SimNode::open(dir.into(), SimConfig::fast(), Arc::new(Wall), Arc::new(Poor)).unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(u64::from(std::process::id()));
    let padding = "x".repeat(20_000);
    loop {
        let n = u8::try_from(rng.next_u32() % 4).unwrap();
        let vms = node.find(&mark(n)).await.unwrap();
        let Some(vm) = vms.first().filter(|_| vms.len() > 3) else {
            node.create(&config(n, "")).await.unwrap();
            continue;
        };
        // It may be refused because the VM is being removed; that is no matter here.
        let _ = match rng.next_u32() % 4 {
            0 => node.push(&vm.id, &config(n, &padding)).await,
            1 => node.start(&vm.id).await,
            2 => node.stop(&vm.id).await,
            _ => node.remove(&vm.id).await,
        };
    }
}

fn spawn(dir: &Path) -> Child {
    let (_, module) = module_path!().split_once("::").unwrap();
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("{module}::child"), "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn journal_length(dir: &Path) -> u64 {
    fs::metadata(dir.join("calls.jsonl")).map_or(0, |metadata| metadata.len())
}

/// Waits until the child has written that much, and kills it.
fn kill_after(mut child: Child, dir: &Path, bytes: u64) {
    let (before, started) = (journal_length(dir), Instant::now());
    while journal_length(dir) < before + bytes {
        assert!(started.elapsed() < Duration::from_secs(30), "the child does nothing");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// What is there is what the journal says, to the last call.
fn check(dir: &Path) {
    let host = SimHost::open(dir, Arc::new(End)).unwrap();
    let calls = host.calls().unwrap();
    assert!(calls.windows(2).all(|pair| pair[0].n < pair[1].n), "a number was given twice");
    let (mut made, mut removed) = (BTreeSet::new(), BTreeSet::new());
    for effect in calls.into_iter().flat_map(|call| call.effects) {
        match effect {
            Effect::Made { vm, .. } => assert!(made.insert(vm), "an id was given twice"),
            Effect::Removed { vm, .. } => assert!(removed.insert(vm), "a VM was removed twice"),
            Effect::Began { .. } | Effect::Ends { .. } => {}
        }
    }
    let there: BTreeSet<EngineVmId> =
        host.vms().unwrap().into_iter().map(|vm| vm.observed.id).collect();
    assert_eq!(there, &made - &removed);
}

#[test]
fn no_kill_leaves_a_call_half_done() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..60 {
        kill_after(spawn(dir.path()), dir.path(), 1 + round * 499);
        check(dir.path());
    }
    assert!(!dir.path().join("redo.json").exists());
}
