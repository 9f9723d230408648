//! Replies that are kept: never older than what was acknowledged, whoever made the change.

use crate::common;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use casemate_api::version::ApiVersion;
use casemate_core::node::NodeState;
use casemate_engine::node::sim::{Fault, FaultKind, Method};
use casemate_server::{
    app::{
        cache::ReplyKey,
        fleet::{NodePolicy, Nodes},
    },
    nodes::watch::Watch,
};
use casemate_store::Db;
use common::{TestNode, World};
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Value, json};

async fn on(db: Db) -> World {
    World::over(db, vec![TestNode::sim()], |_| {}).await
}

async fn is_kept(world: &World, uuid: &str) -> bool {
    let caller = world.ctx.authenticate(&world.key).await.unwrap();
    let key = ReplyKey::of(&caller, uuid, ApiVersion::V20260121).unwrap();
    world.ctx.kept_reply(&key, &caller).await.unwrap().is_some()
}

async fn deployed(world: &World, name: &str) -> (String, String) {
    let made = world.deploy(name).await;
    world.settle().await;
    let uuid = made["vm_uuid"].as_str().unwrap().to_owned();
    (format!("/cvms/{uuid}"), uuid)
}

async fn a_change_is_shown_by_every_replica(db: Db) {
    let ours = on(db.clone()).await;
    // SQLite has one process; it stands for both.
    let theirs = matches!(db, Db::Postgres(_)).then(|| ours.replica());
    let theirs = theirs.as_ref().unwrap_or(&ours);
    let (path, uuid) = deployed(&ours, "alpha").await;
    let before = ours.get(&path).await.ok();
    assert_eq!(before["status"], "running");
    assert!(is_kept(&ours, &uuid).await);
    assert_eq!(ours.get(&path).await.ok(), before);
    assert_eq!(theirs.get(&path).await.ok(), before);
    for (verb, word, end) in [("stop", "stopping", "stopped"), ("start", "starting", "running")] {
        theirs.call("POST", &format!("{path}/{verb}"), "2026-01-21", None).await.ok();
        for world in [&ours, theirs] {
            let shown = world.get(&path).await.ok();
            assert_eq!(shown["status"], word, "{shown}");
            assert_eq!(shown["in_progress"], true);
        }
        theirs.settle().await;
        assert_eq!(ours.get(&path).await.ok()["status"], end);
    }
    theirs.call("DELETE", &path, "2026-01-21", None).await.ok();
    theirs.settle().await;
    assert_eq!(ours.get(&path).await.status, 404);
}

/// Readers never see less than what was acknowledged before they asked.
async fn readers_keep_up_with_a_writer(db: Db) {
    let world = Arc::new(on(db).await);
    let (path, _) = deployed(&world, "alpha").await;
    let acknowledged = Arc::new(std::sync::Mutex::new(String::new()));
    let over = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (world, path) = (world.clone(), path.clone());
            let (acknowledged, over) = (acknowledged.clone(), over.clone());
            tokio::spawn(async move {
                while !over.load(Ordering::SeqCst) {
                    let least = acknowledged.lock().unwrap().clone();
                    let shown = world.get(&path).await.ok();
                    // Ids of operations sort by time.
                    let id = shown["progress"]["correlation_id"].as_str().unwrap_or_default();
                    assert!(least.is_empty() || *id >= *least, "{id} after {least}");
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for _ in 0..40 {
        // Time moves, so that the ids do.
        world.clock.advance_ms(2);
        let body = Some(Value::Object(serde_json::Map::new()));
        let path = format!("{path}/restart");
        world.call("POST", &path, "2026-01-21", body).await.ok();
        let shown = world.get(path.trim_end_matches("/restart")).await.ok();
        let id = shown["progress"]["correlation_id"].as_str().unwrap().to_owned();
        *acknowledged.lock().unwrap() = id;
        tokio::task::yield_now().await;
    }
    over.store(true, Ordering::SeqCst);
    for reader in readers {
        reader.await.unwrap();
    }
}

async fn a_kept_reply_is_what_a_new_process_says(db: Db) {
    let world = on(db).await;
    let (path, uuid) = deployed(&world, "alpha").await;
    assert_eq!(world.get(&path).await.ok()["node_info"]["status"], "ONLINE");
    assert!(is_kept(&world, &uuid).await);
    world
        .ctx
        .fleet
        .own()
        .values()
        .next()
        .unwrap()
        .record_answer(Err("gone".to_owned()), world.ctx.now());
    assert_eq!(world.get(&path).await.ok()["node_info"]["status"], "OFFLINE");
    // What is kept is what a process that has just started says, in every version and at any time.
    for version in ["2025-10-28", "2026-01-21", "2026-05-22", "2026-06-23"] {
        let before = world.call("GET", &path, version, None).await.ok();
        world.clock.advance_ms(5_000);
        assert_eq!(world.call("GET", &path, version, None).await.ok(), before);
        let other = world.replica();
        assert_eq!(other.call("GET", &path, version, None).await.ok(), before, "{version}");
    }
}

/// What happens on the node behind our back is found by the watch, and only that is written.
async fn a_vm_that_vanished_is_noticed_once(db: Db) {
    let world = on(db.clone()).await;
    let node = world.ctx.fleet.own().values().next().unwrap().clone();
    let (path, _) = deployed(&world, "alpha").await;
    let (other, _) = deployed(&world, "bravo").await;
    let mut watch = Watch::default();
    let newest = async || casemate_store::events::newest(&db).await.unwrap();
    let at_rest = newest().await;
    watch.look(&world.ctx, &node).await.unwrap();
    watch.look(&world.ctx, &node).await.unwrap();
    assert_eq!(newest().await, at_rest, "nothing differs");

    world
        .sim
        .host()
        .set_faults([Fault::new(FaultKind::Vanish).of("alpha").on(Method::List)].to_vec())
        .unwrap();
    watch.look(&world.ctx, &node).await.unwrap();
    let noticed = newest().await;
    assert!(noticed > at_rest);
    assert_ne!(world.get(&path).await.ok()["status"], "running");
    assert_eq!(world.get(&other).await.ok()["status"], "running");
    watch.look(&world.ctx, &node).await.unwrap();
    assert_eq!(newest().await, noticed, "once");

    // What a reconciler brought about is no drift.
    world.call("POST", &format!("{other}/stop"), "2026-01-21", None).await.ok();
    world.settle().await;
    let stopped = newest().await;
    watch.look(&world.ctx, &node).await.unwrap();
    assert_eq!(newest().await, stopped);
    world.sim.host().set_faults([Fault::new(FaultKind::Unreachable)].to_vec()).unwrap();
    watch.look(&world.ctx, &node).await.unwrap();
    assert_eq!(newest().await, stopped, "silence says nothing of a VM");
    assert!(!node.observed().1);
}

/// Something that changes what a reply shows, or may.
#[derive(Debug, Clone)]
enum Happening {
    Power(&'static str),
    Patch(Value),
    Delete,
    Work,
    Hours(i64),
    NodeSilent,
    NodeAnswers,
    NodeCordoned(bool),
    NodeUnknown,
    NodeKnown,
}

fn happening() -> impl Strategy<Value = Happening> {
    let power = select(vec!["start", "stop", "restart", "shutdown"]).prop_map(Happening::Power);
    let patch = select(vec![
        json!({"vcpu": 2, "memory": 4096}),
        json!({"vcpu": 1, "memory": 2048}),
        json!({"listed": true}),
        json!({"public_logs": false}),
        json!({"name": "bravo"}),
        json!({"name": "alpha"}),
    ]);
    prop_oneof![
        3 => power,
        3 => patch.prop_map(Happening::Patch),
        1 => Just(Happening::Delete),
        3 => Just(Happening::Work),
        1 => (1_i64..100).prop_map(Happening::Hours),
        1 => Just(Happening::NodeSilent),
        1 => Just(Happening::NodeAnswers),
        1 => any::<bool>().prop_map(Happening::NodeCordoned),
        1 => Just(Happening::NodeUnknown),
        1 => Just(Happening::NodeKnown),
    ]
}

async fn happen(world: &World, nodes: &Nodes, path: &str, happening: Happening) {
    let node = nodes.values().next().unwrap();
    match happening {
        // Refused or not: what counts is what readers see afterwards.
        Happening::Power(verb) => {
            world.call("POST", &format!("{path}/{verb}"), "2026-01-21", Some(json!({}))).await;
        }
        Happening::Patch(body) => {
            world.call("PATCH", path, "2026-01-21", Some(body)).await;
        }
        Happening::Delete => {
            world.call("DELETE", path, "2026-01-21", None).await;
        }
        Happening::Work => {
            casemate_server::work::driver::settle_now(&world.ctx, "test").await;
            world.clock.advance_ms(20);
        }
        Happening::Hours(hours) => world.clock.advance_ms(hours * 3_600_000),
        Happening::NodeSilent => node.record_answer(Err("no answer".to_owned()), world.ctx.now()),
        Happening::NodeAnswers => {
            node.record_answer(Ok((*node.observed().0).clone()), world.ctx.now());
        }
        Happening::NodeCordoned(cordoned) => {
            let state = if cordoned { NodeState::Cordoned } else { NodeState::Active };
            node.set_policy(NodePolicy { state, ..NodePolicy::default() });
        }
        Happening::NodeUnknown => world.ctx.fleet.serve(Nodes::new()),
        Happening::NodeKnown => world.ctx.fleet.serve(nodes.clone()),
    }
}

/// A body without the id of its request, which only errors have.
fn without_request(text: &str) -> Value {
    let mut body: Value = serde_json::from_str(text).unwrap_or_else(|_| text.into());
    if let Some(error) = body.as_object_mut() {
        error.remove("request_id");
    }
    body
}

/// Whatever happens, in whatever order: a reply is what a process says that keeps nothing.
async fn replies_are_those_of_a_process_without_a_cache(happenings: Vec<Happening>) {
    let world = World::new().await;
    let (path, uuid) = deployed(&world, "alpha").await;
    let shown = world.get(&path).await.ok();
    let by_number = format!("/cvms/{}", shown["id"].as_i64().map_or(1, |id| id));
    let nodes = (*world.ctx.fleet.own()).clone();
    let mut used = 0;
    for happening in happenings {
        let said = format!("{happening:?}");
        happen(&world, &nodes, &path, happening).await;
        for path in [&path, &by_number] {
            for version in ["2025-10-28", "2026-01-21", "2026-06-23"] {
                let anew = world.replica().call("GET", path, version, None).await;
                let anew = (anew.status, without_request(&anew.text));
                for _ in 0..2 {
                    let reply = world.call("GET", path, version, None).await;
                    assert_eq!((reply.status, without_request(&reply.text)), anew, "{said}");
                }
            }
        }
        used += usize::from(is_kept(&world, &uuid).await);
    }
    assert!(used > 0 || world.get(&path).await.status != 200, "the cache was not used at all");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn a_reply_is_what_a_process_without_a_cache_says(all in vec(happening(), 1..16)) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(replies_are_those_of_a_process_without_a_cache(all));
    }
}

casemate_testing::each_backend!(
    a_change_is_shown_by_every_replica,
    readers_keep_up_with_a_writer,
    a_kept_reply_is_what_a_new_process_says,
    a_vm_that_vanished_is_noticed_once,
);
