//! A host in files survives a process that is killed at any point of a call.

use std::fs;

use super::*;
use crate::node::{
    Node as _,
    sim::{
        SimConfig,
        tests::{World, clock, config, mark},
    },
};

#[test]
fn a_key_is_a_file_name() {
    let key = Key { seq: 12, mark: mark(1).uuid(), id: EngineVmId("b1c2_d3".to_owned()) };
    let name = format!("0000000012_{}_b1c2_d3.json", mark(1).uuid());
    assert_eq!(files::key(&name), Some(key));
    for other in ["0000000012.half", "x.json", "", "1_2_3.json"] {
        assert_eq!(files::key(other), None);
    }
}

#[tokio::test]
async fn an_interrupted_call_is_finished_by_the_next_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let world = World::in_dir(dir.path(), SimConfig::fast(), clock());
    world.create(&config(1, "")).await;
    let journal = fs::read(path("calls.jsonl")).unwrap();
    let host = fs::read(path("host.json")).unwrap();
    let vm = world.create(&config(2, "")).await;
    let (calls, vms) = (world.host.calls().unwrap(), world.host.vms().unwrap());

    // The second call, as it lay on the disk when its process died.
    let changes = Changes {
        host: serde_json::from_slice(&fs::read(path("host.json")).unwrap()).unwrap(),
        puts: world
            .node
            .shared
            .store
            .locked(|disk| {
                let key = disk.keys(Which::All)?.remove(1);
                Ok([(2, disk.vm(&key)?)].into())
            })
            .unwrap(),
        drops: BTreeSet::new(),
        call: calls.last().cloned(),
    };
    let redo = serde_json::json!({ "changes": changes, "journal_at": journal.len() });
    let vm_file = path("vms").join(format!("0000000002_{}_{vm}.json", mark(2).uuid()));

    let half_line = [&journal[..], b"{\"n\":2,\"at"].concat();
    for (journal_left, host_left, vm_left) in [
        (&journal[..], &host[..], None),
        (&half_line[..], &host[..], Some(&b"{\"id"[..])),
        (
            &fs::read(path("calls.jsonl")).unwrap()[..],
            &host[..],
            Some(&fs::read(&vm_file).unwrap()[..]),
        ),
    ] {
        fs::write(path("redo.json"), redo.to_string()).unwrap();
        fs::write(path("calls.jsonl"), journal_left).unwrap();
        fs::write(path("host.json"), host_left).unwrap();
        match vm_left {
            Some(content) => fs::write(&vm_file, content).unwrap(),
            None => fs::remove_file(&vm_file).unwrap(),
        }
        let next = World::in_dir(dir.path(), SimConfig::fast(), world.clock.clone());
        assert_eq!(next.host.calls().unwrap(), calls);
        assert_eq!(next.host.vms().unwrap(), vms);
        assert!(!path("redo.json").exists());
    }
}

#[tokio::test]
async fn two_processes_share_one_host() {
    let dir = tempfile::tempdir().unwrap();
    let a = World::in_dir(dir.path(), SimConfig::fast(), clock());
    let b = World::in_dir(dir.path(), SimConfig::fast(), a.clock.clone());
    let mut ids = BTreeSet::new();
    for _ in 0..20 {
        let config = config(1, "");
        let (x, y) =
            futures_util::future::join(a.node.create(&config), b.node.create(&config)).await;
        ids.extend([x.unwrap(), y.unwrap()]);
    }
    assert_eq!(ids.len(), 40);
    assert_eq!(a.node.list().await.unwrap(), b.node.list().await.unwrap());
    let calls = a.host.calls().unwrap();
    assert!(calls.windows(2).all(|pair| pair[0].n < pair[1].n));
}

/// One handle knows which files there are; another one, of another process, changes them.
#[tokio::test]
async fn what_another_process_made_and_removed_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let a = World::in_dir(dir.path(), SimConfig::fast(), clock());
    let b = World::in_dir(dir.path(), SimConfig::fast(), a.clock.clone());
    let first = a.create(&config(1, "")).await;
    assert_eq!(b.node.find(&mark(1)).await.unwrap().len(), 1);
    let second = b.create(&config(1, "")).await;
    let ids = |vms: Vec<casemate_core::cvm::ObservedVm>| -> Vec<_> {
        vms.into_iter().map(|vm| vm.id).collect()
    };
    assert_eq!(ids(a.node.find(&mark(1)).await.unwrap()), [first.clone(), second.clone()]);
    b.node.remove(&first).await.unwrap();
    a.pass(60_000);
    assert_eq!(ids(b.node.find(&mark(1)).await.unwrap()), std::slice::from_ref(&second));
    assert_eq!(ids(a.node.find(&mark(1)).await.unwrap()), std::slice::from_ref(&second));
    assert!(a.node.start(&first).await.is_err());
    assert_eq!(a.node.list().await.unwrap(), b.node.list().await.unwrap());
}

#[tokio::test]
async fn a_host_without_its_directory_is_unreachable() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::in_dir(dir.path(), SimConfig::fast(), clock());
    drop(dir);
    let answer = world.node.list().await;
    assert!(matches!(answer, Err(crate::node::CallError::Unreachable(_))), "{answer:?}");
}
