//! Users, workspaces, keys and nodes.

use casemate_store::{
    Db, Error, accounts,
    nodes::{self, NewNode},
};

use crate::world::{START, World, app_id, at, sim};

async fn a_key_speaks_for_its_user_and_workspace(db: Db) {
    assert!(!accounts::any_user(&db).await.unwrap());
    let world = World::new(db.clone()).await;
    assert!(accounts::any_user(&db).await.unwrap());
    let mut tx = db.begin().await.unwrap();
    tx.insert_api_key("aa", world.user, world.workspace, "laptop", START).await.unwrap();
    tx.commit().await.unwrap();
    let found = accounts::principal(&db, "aa", START).await.unwrap().unwrap();
    assert_eq!((found.user.id, found.workspace.id), (world.user, world.workspace));
    assert_eq!(accounts::principal(&db, "bb", START).await.unwrap(), None);
    assert_eq!(accounts::principal(&db, "AA", START).await.unwrap(), None);
}

async fn a_taken_name_is_a_conflict_and_spoils_its_transaction(db: Db) {
    World::new(db.clone()).await;
    let mut tx = db.begin().await.unwrap();
    let again = tx.insert_user("ada", "other@example.org", START).await;
    assert!(matches!(again, Err(Error::Conflict(_))), "{again:?}");
    let next = tx.insert_user("bob", "bob@example.org", START).await;
    assert!(matches!(next, Err(Error::Commit(_))), "{next:?}");
    let end = tx.commit().await;
    assert!(matches!(end, Err(Error::Commit(_))), "{end:?}");
    let mut tx = db.begin().await.unwrap();
    tx.insert_user("bob", "bob@example.org", START).await.unwrap();
    tx.commit().await.unwrap();
}

async fn a_node_keeps_its_id_under_its_name(db: Db) {
    let world = World::crowded(db.clone()).await;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move { world.node("node-2").await.node })
        })
        .collect();
    let mut ids = Vec::new();
    for task in tasks {
        ids.push(task.await.unwrap());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    let mut tx = db.begin().await.unwrap();
    tx.mark_node(ids[0], false, at(5)).await.unwrap();
    tx.commit().await.unwrap();
    let all = nodes::all(&db).await.unwrap();
    let seen: Vec<_> = all.iter().map(|node| (node.id(), node.reachable)).collect();
    assert_eq!(seen, [(world.node, true), (ids[0], false)]);
}

async fn a_nodes_name_belongs_to_one_instance(db: Db) {
    let world = World::new(db.clone()).await;
    let enlist = async |node: &NewNode<'_>| {
        let mut tx = db.begin().await.unwrap();
        let id = tx.upsert_node(node, at(1)).await.unwrap();
        tx.commit().await.unwrap();
        id
    };
    let foreign = NewNode { owner: "there", gateway: "10.0.0.2:80", ..sim("node-1") };
    assert_eq!(enlist(&foreign).await, None);
    assert_eq!(enlist(&sim("node-1")).await, Some(world.node));
    let second = enlist(&NewNode { name: "node-2", ..foreign }).await.unwrap();

    let mut tx = db.begin().await.unwrap();
    tx.keep_nodes("there", at(60)).await.unwrap();
    tx.commit().await.unwrap();
    let all = nodes::all(&db).await.unwrap();
    let kept: Vec<_> =
        all.iter().map(|node| (node.id(), &*node.owner, node.lease_expires_at)).collect();
    let expected = [(world.node, "here", START.micros()), (second, "there", at(60).micros())];
    assert_eq!(kept, expected);
    assert_eq!(all[1].gateway, "10.0.0.2:80");
}

async fn what_is_taken_follows_the_live_cvms(db: Db) {
    let world = World::new(db.clone()).await;
    assert_eq!(nodes::taken(&db).await.unwrap(), []);
    let cvm = world.cvm("alpha").await;
    world.cvm("bravo").await;
    let taken = nodes::taken(&db).await.unwrap();
    let expected =
        nodes::Taken { node_id: world.node.0, slots: 2, vcpu: 4, memory_mb: 2048, disk_gb: 20 };
    assert_eq!(taken, [expected]);
    world.delete(cvm.id, at(1)).await;
    let taken = nodes::taken(&db).await.unwrap();
    assert_eq!(
        taken,
        [nodes::Taken { slots: 1, vcpu: 2, memory_mb: 1024, disk_gb: 10, ..expected }]
    );
}

/// Each admits itself only while fewer than five are there: exactly five must pass.
async fn admissions_to_one_node_see_each_other(db: Db) {
    let world = World::crowded(db.clone()).await;
    let tasks: Vec<_> = (0..12)
        .map(|number| {
            let world = world.clone();
            tokio::spawn(async move {
                let mut tx = world.db.begin().await.unwrap();
                let name = format!("cvm-{number}");
                let inserted = world.insert(&mut tx, app_id(1_000 + number), &name).await;
                if inserted.before.slots >= 5 {
                    return false;
                }
                tx.commit().await.unwrap();
                true
            })
        })
        .collect();
    let mut admitted = 0;
    for task in tasks {
        admitted += usize::from(task.await.unwrap());
    }
    assert_eq!(admitted, 5);
    assert_eq!(nodes::taken(&db).await.unwrap()[0].slots, 5);
}

casemate_testing::each_backend!(
    a_key_speaks_for_its_user_and_workspace,
    a_taken_name_is_a_conflict_and_spoils_its_transaction,
    a_node_keeps_its_id_under_its_name,
    a_nodes_name_belongs_to_one_instance,
    what_is_taken_follows_the_live_cvms,
    admissions_to_one_node_see_each_other,
);
