//! The serial log.

use futures_util::StreamExt as _;

use super::*;
use crate::node::{CallError, LogQuery};

const ALL: LogQuery = LogQuery { follow: false, tail: 1000 };

/// A host whose followed logs are looked at all the time.
fn quick() -> World {
    World::with(SimConfig { follow_poll_ms: 1, ..SimConfig::default() })
}

async fn text(world: &World, vm: &EngineVmId, query: LogQuery) -> String {
    let stream = world.node.logs(vm, query).await.unwrap();
    let chunks: Vec<_> = stream.map(|chunk| chunk.unwrap()).collect().await;
    String::from_utf8(chunks.concat()).unwrap()
}

#[tokio::test]
async fn the_log_grows_with_the_boot() {
    let world = World::new();
    let vm = world.create(&config(1, "")).await;
    assert_eq!(text(&world, &vm, ALL).await, "");
    world.node.start(&vm).await.unwrap();
    assert_eq!(text(&world, &vm, ALL).await.lines().count(), 2);
    world.pass(2000);
    let log = text(&world, &vm, ALL).await;
    assert!(log.lines().all(|line| line.starts_with("serial | [")), "{log}");
    assert!(log.ends_with("dstack: done\n"), "{log}");
    let tail = text(&world, &vm, LogQuery { tail: 2, ..ALL }).await;
    assert_eq!(tail.lines().count(), 2);
    assert!(log.ends_with(&tail));
    world.node.stop(&vm).await.unwrap();
    assert!(text(&world, &vm, ALL).await.ends_with("powered off by the host\n"));
    let unknown = EngineVmId("nobody".to_owned());
    assert!(matches!(world.node.logs(&unknown, ALL).await, Err(CallError::Rejected(_))));
}

#[tokio::test]
async fn a_followed_log_goes_on_until_the_guest_is_down() {
    let world = quick();
    let vm = world.started(&config(1, "")).await;
    let mut stream = world.node.logs(&vm, LogQuery { follow: true, tail: 0 }).await.unwrap();
    let waiting = tokio::time::timeout(20 * MILLISECOND, stream.next()).await;
    assert!(waiting.is_err(), "{waiting:?}");
    world.pass(2000);
    let boot = stream.next().await.unwrap().unwrap();
    assert!(boot.ends_with(b"dstack: done\n"));
    world.node.remove(&vm).await.unwrap();
    let end = stream.next().await.unwrap().unwrap();
    assert!(end.ends_with(b"powered off by the host\n"));
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_followed_log_ends_when_the_vm_is_gone() {
    let world = quick();
    let vm = world.booted(&config(1, "")).await;
    let stream = world.node.logs(&vm, LogQuery { follow: true, tail: 0 }).await.unwrap();
    world.node.remove(&vm).await.unwrap();
    world.pass(10_000);
    assert_eq!(stream.collect::<Vec<_>>().await, []);
}

#[tokio::test]
async fn a_followed_log_ends_with_the_power() {
    for graceful in [false, true] {
        let world = quick();
        let vm = world.booted(&config(1, "")).await;
        let mut stream = world.node.logs(&vm, LogQuery { follow: true, tail: 0 }).await.unwrap();
        if graceful {
            world.node.shutdown(&vm).await.unwrap();
        } else {
            world.node.stop(&vm).await.unwrap();
        }
        world.pass(10_000);
        let ended = tokio::time::timeout(2000 * MILLISECOND, async {
            while let Some(piece) = stream.next().await {
                piece.unwrap();
            }
        });
        assert!(ended.await.is_ok(), "graceful: {graceful}");
    }
}
