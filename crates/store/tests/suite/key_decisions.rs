//! What a KMS may be told about the CVMs of an app, and the record of it.

use casemate_core::{
    cvm::{BootIdentity, Power, Status},
    id::{CvmId, InstanceId, NodeId},
};
use casemate_store::{
    Db,
    cvms::Cvm,
    key_decisions::{self, BootQuery},
};

use crate::world::{World, app_id, at, hash, number};

/// The ids of the candidates, in their order.
async fn asked(db: &Db, query: BootQuery<'_>, limit: i64) -> Vec<CvmId> {
    let found = key_decisions::candidates(db, query, limit).await.unwrap();
    found.into_iter().map(|one| one.cvm).collect()
}

/// Records this status as that of a CVM.
async fn record(world: &World, cvm: &Cvm, status: &Status) {
    let mut tx = world.db.begin().await.unwrap();
    tx.set_desired(cvm, &cvm.desired, status, cvm.phase, at(1)).await.unwrap();
    tx.commit().await.unwrap();
}

async fn candidates_that_fit_best_come_first(db: Db) {
    let world = World::new(db.clone()).await;
    let other = world.node("node-2").await;
    let app = app_id(number());
    let first = world.replica(app, "alpha").await;
    let second = other.replica(app, "alpha-2").await;
    let third = world.replica(app, "alpha-3").await;
    world.cvm("another-app").await;
    let query =
        BootQuery { app: &app, instance: None, compose_hash: &hash(7), nodes: &[world.node] };
    assert_eq!(asked(&db, query, 9).await, [third.id, first.id, second.id]);
    let there = BootQuery { nodes: &[other.node, NodeId(99)], ..query };
    assert_eq!(asked(&db, there, 1).await, [second.id]);
    let nowhere = BootQuery { nodes: &[], compose_hash: &hash(8), ..query };
    assert_eq!(asked(&db, nowhere, 9).await.len(), 3);
    let stranger = app_id(number());
    assert_eq!(asked(&db, BootQuery { app: &stranger, ..query }, 9).await, []);

    world.set_desired_power(first.id, Power::Deleted, at(1)).await;
    let found = key_decisions::candidates(&db, query, 9).await.unwrap();
    let wanted: Vec<_> = found.iter().map(|one| (one.cvm, one.wanted)).collect();
    assert_eq!(wanted, [(third.id, true), (first.id, false), (second.id, true)]);
    world.delete(first.id, at(2)).await;
    let instance = InstanceId::from_bytes([9; 20]);
    let query = BootQuery { instance: Some(&instance), ..query };
    assert_eq!(asked(&db, query, 9).await, [third.id, second.id]);

    let mut tx = db.begin().await.unwrap();
    tx.remove_node(other.node, true).await.unwrap();
    tx.commit().await.unwrap();
    let found = key_decisions::candidates(&db, query, 9).await.unwrap();
    assert_eq!(found.iter().map(|one| one.node_removed).collect::<Vec<_>>(), [false, true]);
}

async fn what_the_node_has_may_boot_until_it_gets_the_newest(db: Db) {
    let world = World::new(db.clone()).await;
    let cvm = world.cvm("alpha").await;
    let query = BootQuery {
        app: &cvm.spec.app_id,
        instance: None,
        compose_hash: &hash(7),
        nodes: &[world.node],
    };
    let boots = async || key_decisions::candidates(&db, query, 9).await.unwrap().remove(0).boots;
    let newest = cvm.spec.boot_identity();
    assert_eq!(boots().await, std::slice::from_ref(&newest));
    let older = BootIdentity { compose_hash: hash(6), ..newest.clone() };
    let pushed = |boot: &BootIdentity| Status { pushed_boot: Some(boot.clone()), ..Status::new() };
    record(&world, &cvm, &pushed(&older)).await;
    assert_eq!(boots().await, [newest.clone(), older]);
    let cvm = world.read(cvm.id).await;
    record(&world, &cvm, &pushed(&newest)).await;
    assert_eq!(boots().await, [newest]);
}

async fn the_last_answer_counts(db: Db) {
    let world = World::new(db.clone()).await;
    let (one, two) = (world.cvm("alpha").await.id, world.cvm("bravo").await.id);
    let answer = async |denied, time| {
        let mut tx = db.begin().await.unwrap();
        tx.record_key_decision(one, denied, time).await.unwrap();
        tx.commit().await.unwrap();
    };
    assert_eq!(key_decisions::refusal(&db, one).await.unwrap(), None);
    answer(Some(("device_not_allowed", "device not allowed")), at(1)).await;
    answer(Some(("device_not_allowed", "device not allowed")), at(2)).await;
    let refusal = key_decisions::refusal(&db, one).await.unwrap().unwrap();
    assert_eq!((refusal.at, refusal.message.as_str()), (at(2), "device not allowed"));
    assert_eq!(key_decisions::refusal(&db, two).await.unwrap(), None);
    answer(None, at(3)).await;
    assert_eq!(key_decisions::refusal(&db, one).await.unwrap(), None, "allowed since");
}

async fn answers_about_nobody_are_counted_by_kind(db: Db) {
    let count = async |key, count, last, time| {
        let mut tx = db.begin().await.unwrap();
        tx.count_key_decisions(key, count, last, time).await.unwrap();
        tx.commit().await.unwrap();
    };
    count(("app", "app_unknown"), 2, "1", at(1)).await;
    count(("kms", "allowed"), 1, "2", at(2)).await;
    count(("app", "app_unknown"), 40, "3", at(3)).await;
    let totals = key_decisions::totals(&db).await.unwrap();
    let shown: Vec<_> = totals
        .iter()
        .map(|one| (one.subject.as_str(), one.code.as_str(), one.total, one.last.as_str()))
        .collect();
    assert_eq!(shown, [("app", "app_unknown", 42, "3"), ("kms", "allowed", 1, "2")]);
    assert_eq!((totals[0].first_at, totals[0].last_at), (at(1).micros(), at(3).micros()));
}

casemate_testing::each_backend!(
    candidates_that_fit_best_come_first,
    what_the_node_has_may_boot_until_it_gets_the_newest,
    the_last_answer_counts,
    answers_about_nobody_are_counted_by_kind,
);
