//! Many requests at the same time, on both databases.

use std::{collections::BTreeSet, sync::Arc};

use axum::http::Request;
use casemate_engine::node::{Capacity, sim::SimConfig};
use casemate_store::Db;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::replicas::{
    common::{Reply, TestNode, World},
    deployed,
};

async fn world(db: Db, nodes: Vec<TestNode>) -> Arc<World> {
    let world = World::over(db, nodes, |_| {}).await;
    deployed(&world, json!({})).await;
    Arc::new(world)
}

/// Sends this many requests at once; the `n`th under what `key` says.
async fn at_once(
    world: &Arc<World>,
    times: usize,
    path: &str,
    key: fn(usize) -> Option<String>,
) -> Vec<Reply> {
    let mut all = JoinSet::new();
    for n in 0..times {
        let (world, path) = (world.clone(), path.to_owned());
        all.spawn(async move {
            let mut request = Request::builder()
                .method("POST")
                .uri(format!("/api/v1{path}"))
                .header("x-api-key", &world.key)
                .header("x-phala-version", "2026-01-21");
            if let Some(key) = key(n) {
                request = request.header("idempotency-key", key);
            }
            world.send(request.body("null".into()).unwrap()).await
        });
    }
    all.join_all().await
}

async fn total(world: &World) -> Value {
    world.get("/cvms/paginated").await.ok()["total"].clone()
}

async fn one_key_is_one_replica(db: Db) {
    let world = world(db, vec![TestNode::sim()]).await;
    let replies = at_once(&world, 64, "/cvms/my-app/replicas", |_| Some("once".to_owned())).await;
    let texts: BTreeSet<&str> = replies.iter().map(|reply| reply.text.as_str()).collect();
    assert_eq!(texts.len(), 1, "64 equal replies: {texts:?}");
    assert!(replies.iter().all(|reply| reply.status == 200));
    let replayed = replies.iter().filter(|one| one.headers.contains_key("idempotent-replayed"));
    assert_eq!(replayed.count(), 63);
    assert_eq!(total(&world).await, 2);
    world.settle().await;
    assert_eq!(world.sim.host().vms().unwrap().len(), 2);
    let again = at_once(&world, 2, "/cvms/my-app/replicas", |_| Some("once".to_owned())).await;
    assert!(again.iter().all(|reply| texts.contains(reply.text.as_str())));
    assert_eq!(total(&world).await, 2);
}

async fn replicas_made_at_once_have_names_of_their_own(db: Db) {
    let world = world(db, vec![TestNode::sim()]).await;
    let replies = at_once(&world, 24, "/cvms/my-app/replicas", |_| None).await;
    let names: BTreeSet<String> =
        replies.into_iter().map(|reply| reply.ok()["name"].as_str().unwrap().to_owned()).collect();
    let expected: BTreeSet<String> = (2..26).map(|n| format!("my-app-{n}")).collect();
    assert_eq!(names, expected);
    world.settle().await;
    assert_eq!(world.sim.host().vms().unwrap().len(), 25);
}

async fn a_node_is_never_given_more_than_it_has(db: Db) {
    let small = |name, slots| {
        let capacity = Capacity { slots, ..SimConfig::fast().capacity };
        TestNode { name, host: SimConfig { capacity, ..SimConfig::fast() }, ..TestNode::sim() }
    };
    let world = world(db, vec![small("sim-1", 4), small("sim-2", 3)]).await;
    let replies = at_once(&world, 16, "/cvms/my-app/replicas", |_| None).await;
    let (made, refused): (Vec<_>, Vec<_>) =
        replies.into_iter().partition(|reply| reply.status == 200);
    assert_eq!(made.len(), 6, "7 slots, one of them the source's");
    for reply in refused {
        reply.refused(400, "ERR-02-005");
    }
    world.settle().await;
    let on = |n: usize| world.sims[n].host().vms().unwrap().len();
    assert_eq!((on(0), on(1)), (4, 3));
}

casemate_testing::each_backend!(
    one_key_is_one_replica,
    replicas_made_at_once_have_names_of_their_own,
    a_node_is_never_given_more_than_it_has,
);
