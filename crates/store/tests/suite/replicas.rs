//! The inputs of a replica: documents of an app, names in use, free capacity of nodes.

use std::collections::BTreeSet;

use casemate_core::cvm::{PortMap, Power};
use casemate_store::{Db, cvms::NewCvm};

use crate::world::{START, World, app_id, at, hash, number};

async fn documents_of_an_app_are_those_of_its_live_cvms(db: Db) {
    let world = World::new(db.clone()).await;
    let app = app_id(number());
    let first = world.replica(app, "app-1").await;
    let second = world.replica(app, "app-2").await;
    world.cvm("other").await;
    let documents = async |world: &World| {
        let mut tx = world.db.begin().await.unwrap();
        tx.documents_of_app(world.workspace, &app).await.unwrap()
    };
    assert_eq!(documents(&world).await, [(hash(7), second.id)], "the newest that runs it");

    let mut tx = db.begin().await.unwrap();
    tx.keep_document(&hash(8), "{}", START).await.unwrap();
    let mut new = world.new_cvm(app, "app-3");
    new.spec.compose_hash = hash(8);
    let third = tx.insert_cvm(new, START).await.unwrap().cvm;
    assert_eq!(
        tx.documents_of_app(world.workspace, &app).await.unwrap(),
        [(hash(8), third.id), (hash(7), second.id)],
        "newest first, and what this transaction wrote",
    );
    tx.commit().await.unwrap();

    world.set_desired_power(second.id, Power::Deleted, at(1)).await;
    assert_eq!(documents(&world).await, [(hash(8), third.id), (hash(7), first.id)]);
    world.delete(first.id, at(2)).await;
    assert_eq!(documents(&world).await, [(hash(8), third.id)]);
    assert_eq!(documents(&world.foreign().await).await, [], "another workspace sees nothing");
}

async fn names_are_held_until_their_deletion_is_desired(db: Db) {
    let world = World::new(db.clone()).await;
    let kept = world.cvm("app-2").await;
    let goes = world.cvm("app-3").await;
    world.set_desired_power(goes.id, Power::Deleted, at(1)).await;
    let asked: Vec<String> =
        ["app-2", "app-3", "app-4", "it's \"quoted\""].map(str::to_owned).into();
    let mut tx = db.begin().await.unwrap();
    let held = tx.names_held(world.workspace, &asked).await.unwrap();
    assert_eq!(held, BTreeSet::from([kept.spec.name]));
    assert_eq!(tx.names_held(world.workspace, &[]).await.unwrap(), BTreeSet::new());
    drop(tx);
    let foreign = world.foreign().await.workspace;
    let mut tx = db.begin().await.unwrap();
    assert_eq!(tx.names_held(foreign, &asked).await.unwrap(), BTreeSet::new());
}

async fn what_a_node_has_left_is_seen_within_the_transaction(db: Db) {
    let world = World::new(db.clone()).await;
    world.cvm("plain").await;
    let mut tx = db.begin().await.unwrap();
    assert_eq!(tx.ports_on_node(world.node, None).await.unwrap(), []);
    let port =
        PortMap { protocol: "tcp".to_owned(), host_port: 20_001, vm_port: 80, host_address: None };
    let app = app_id(number());
    let new = world.new_cvm(app, "ports");
    tx.bind_app_id(&app, world.workspace, None, "ports", &new.kms, START).await.unwrap();
    let mut spec = new.spec.clone();
    spec.ports.push(port.clone());
    let made = tx.insert_cvm(NewCvm { spec, ..new }, START).await.unwrap().cvm;
    assert_eq!(tx.ports_on_node(world.node, None).await.unwrap(), [port]);
    assert_eq!(tx.ports_on_node(world.node, Some(made.id)).await.unwrap(), []);
    let taken = tx.node_usage().await.unwrap();
    assert_eq!(taken.iter().map(|node| node.slots).sum::<i64>(), 2);
    drop(tx);
    let mut tx = db.begin().await.unwrap();
    assert_eq!(tx.ports_on_node(world.node, None).await.unwrap(), []);
}

casemate_testing::each_backend!(
    documents_of_an_app_are_those_of_its_live_cvms,
    names_are_held_until_their_deletion_is_desired,
    what_a_node_has_left_is_seen_within_the_transaction,
);
