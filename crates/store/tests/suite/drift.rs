//! Open drift of nodes.

use casemate_core::{drift::DriftKind, id::NodeId};
use casemate_store::{
    Db,
    drift::{self, DriftRow, NewDrift},
};

use crate::world::{START, World, at};

async fn drift_is_kept_until_it_is_gone(db: Db) {
    let world = World::new(db.clone()).await;
    let cvm = world.cvm("alpha").await.id;
    let other = world.node("node-2").await.node;
    let new = |node, subject, kind, what| NewDrift { node, subject, kind, cvm: None, what };
    let lost = NewDrift { cvm: Some(cvm), ..new(world.node, "state:a", DriftKind::Lost, "gone") };
    let mut tx = db.begin().await.unwrap();
    tx.insert_drift(&lost, START).await.unwrap();
    tx.insert_drift(&new(world.node, "vm:1", DriftKind::UnknownVm, "x"), START).await.unwrap();
    tx.insert_drift(&new(other, "host:1", DriftKind::HostReplaced, "x"), START).await.unwrap();
    // Seen again: the words are new, the time is not.
    tx.insert_drift(&NewDrift { what: "still gone", ..lost }, at(9)).await.unwrap();
    tx.commit().await.unwrap();

    let of = async |node: Option<NodeId>| drift::open(&db, node, None, 9).await.unwrap();
    let here = of(Some(world.node)).await;
    assert_eq!(here.len(), 2);
    let first = DriftRow {
        node_id: world.node.0,
        subject: "state:a".to_owned(),
        kind: "lost".to_owned(),
        cvm_id: Some(cvm.0),
        what: "still gone".to_owned(),
        since: START.micros(),
    };
    assert_eq!(here[0], first);
    let all = of(None).await;
    assert_eq!(all.len(), 3);
    // Page by page.
    let mut paged = Vec::new();
    let mut after: Option<DriftRow> = None;
    loop {
        let cursor = after.as_ref().map(|row| (NodeId(row.node_id), &*row.subject, &*row.kind));
        let mut page = drift::open(&db, None, cursor, 1).await.unwrap();
        let Some(row) = page.pop() else { break };
        after = Some(row.clone());
        paged.push(row);
    }
    assert_eq!(paged, all);

    let mut tx = db.begin().await.unwrap();
    assert!(tx.delete_drift(world.node, "state:a", "lost").await.unwrap());
    assert!(!tx.delete_drift(world.node, "state:a", "lost").await.unwrap());
    assert_eq!(tx.delete_drift_of_kind(other, DriftKind::HostReplaced).await.unwrap(), 1);
    tx.commit().await.unwrap();
    let left = of(None).await;
    assert_eq!(left.iter().map(|row| &*row.subject).collect::<Vec<_>>(), ["vm:1"]);

    let mut tx = db.begin().await.unwrap();
    assert!(!tx.remove_node(world.node, false).await.unwrap(), "it has a CVM");
    assert!(tx.remove_node(world.node, true).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(of(None).await, [], "a node that is gone shows nothing");
}

casemate_testing::each_backend!(drift_is_kept_until_it_is_gone);
