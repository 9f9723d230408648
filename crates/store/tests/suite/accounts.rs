//! Users, workspaces, keys and nodes.

use casemate_core::{
    access::{Role, Scopes},
    id::WorkspaceId,
    node::{NodeKind, NodeState},
    place::Amount,
    quota::Quota,
};
use casemate_store::{
    Db, Error,
    accounts::{self, Known, Principal},
    cvms::{WorkspaceUsage, workspace_usage},
    nodes::{self, NewNode},
    people::NewUser,
};

use crate::world::{START, World, app_id, at, sim};

async fn known(db: &Db, hash: &str) -> Principal {
    match accounts::principal(db, hash, START).await.unwrap() {
        Some(Known::Valid(found)) => *found,
        other => panic!("{other:?}"),
    }
}

async fn a_key_speaks_for_its_user_and_workspace(db: Db) {
    assert!(!accounts::any_user(&db).await.unwrap());
    let world = World::new(db.clone()).await;
    assert!(accounts::any_user(&db).await.unwrap());
    let mut tx = db.begin().await.unwrap();
    tx.insert_key(world.key("aa", &Scopes::All), START).await.unwrap();
    tx.commit().await.unwrap();
    let found = known(&db, "aa").await;
    assert_eq!((found.user.id, found.workspace.id), (world.user, world.workspace));
    assert_eq!((found.access.role, found.access.is_operator), (Role::Owner, false));
    assert_eq!(accounts::principal(&db, "bb", START).await.unwrap(), None);
    assert_eq!(accounts::principal(&db, "AA", START).await.unwrap(), None);
}

async fn a_taken_name_is_a_conflict_and_spoils_its_transaction(db: Db) {
    World::new(db.clone()).await;
    let mut tx = db.begin().await.unwrap();
    let again = tx.insert_user(NewUser::person("ada", "other@example.org"), START).await;
    assert!(matches!(again, Err(Error::Conflict(_))), "{again:?}");
    let next = tx.insert_user(NewUser::person("bob", "bob@example.org"), START).await;
    assert!(matches!(next, Err(Error::Commit(_))), "{next:?}");
    let end = tx.commit().await;
    assert!(matches!(end, Err(Error::Commit(_))), "{end:?}");
    let mut tx = db.begin().await.unwrap();
    tx.insert_user(NewUser::person("bob", "bob@example.org"), START).await.unwrap();
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
    tx.mark_node(ids[0], None, false, at(5)).await.unwrap();
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
    tx.keep_nodes("there", "10.0.0.2:80", at(60)).await.unwrap();
    tx.commit().await.unwrap();
    let all = nodes::all(&db).await.unwrap();
    let kept: Vec<_> =
        all.iter().map(|node| (node.id(), &*node.owner, node.lease_expires_at)).collect();
    let expected = [(world.node, "here", START.micros()), (second, "there", at(60).micros())];
    assert_eq!(kept, expected);
    assert_eq!(all[1].gateway, "10.0.0.2:80");
}

async fn a_node_is_added_once_and_removed_when_it_is_empty(db: Db) {
    let world = World::new(db.clone()).await;
    let add = async |node: NewNode<'_>| {
        let mut tx = db.begin().await.unwrap();
        let id = tx.add_node(&node, at(1)).await.unwrap();
        tx.commit().await.unwrap();
        id
    };
    let set = async |id, state| {
        let mut tx = db.begin().await.unwrap();
        let done = tx.set_node_state(id, state).await.unwrap();
        tx.commit().await.unwrap();
        done
    };
    let remove = async |id, with_cvms| {
        let mut tx = db.begin().await.unwrap();
        let done = tx.remove_node(id, with_cvms).await.unwrap();
        tx.commit().await.unwrap();
        done
    };
    assert_eq!(add(sim("node-1")).await, None, "the name is taken");
    let id = add(NewNode { settings: Some("{}"), ..sim("node-2") }).await.unwrap();
    assert!(set(id, NodeState::Cordoned).await);
    let row = nodes::all(&db).await.unwrap().into_iter().find(|row| row.id() == id).unwrap();
    assert_eq!((row.state, row.reachable), (NodeState::Cordoned, false));
    assert_eq!(row.settings.as_deref(), Some("{}"));

    let on_it = World { node: id, ..world.clone() }.cvm("alpha").await;
    assert_eq!(on_it.node, id);
    assert!(!remove(id, false).await, "it has a CVM");
    assert!(remove(id, true).await);
    assert!(!set(id, NodeState::Active).await, "a removed node is added, not uncordoned");
    let other = NewNode { kind: NodeKind::Docker, ..sim("node-2") };
    assert_eq!(add(other).await, None, "it was of another kind");
    assert_eq!(add(sim("node-2")).await, Some(id), "the same node again");
}

async fn a_node_that_nobody_serves_is_taken_by_one(db: Db) {
    let world = World::new(db.clone()).await;
    let take = async |id, owner, now, until| {
        let mut tx = db.begin().await.unwrap();
        let taken = tx.take_node(id, (owner, "10.0.0.2:80"), at(now), at(until)).await.unwrap();
        tx.commit().await.unwrap();
        taken
    };
    assert!(!take(world.node, "there", 99, 100).await, "its files are the owner's");
    let mut tx = db.begin().await.unwrap();
    let leased = NewNode { pinned: false, lease_expires_at: at(10), ..sim("node-2") };
    let id = tx.add_node(&leased, at(0)).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    assert!(!take(id, "there", 9, 30).await, "it is served");
    assert!(take(id, "there", 11, 30).await);
    assert!(!take(id, "elsewhere", 12, 40).await);
    let mut tx = db.begin().await.unwrap();
    tx.release_nodes("there").await.unwrap();
    tx.commit().await.unwrap();
    assert!(take(id, "elsewhere", 12, 40).await, "it was given back");
}

async fn what_is_taken_follows_the_live_cvms(db: Db) {
    let world = World::new(db.clone()).await;
    assert_eq!(nodes::usage(&db).await.unwrap(), []);
    let cvm = world.cvm("alpha").await;
    world.cvm("bravo").await;
    let taken = nodes::usage(&db).await.unwrap();
    let expected = nodes::NodeUsage {
        node_id: world.node.0,
        slots: 2,
        vcpu: 4,
        memory_mb: 2048,
        disk_gb: 20,
        state: NodeState::Active,
    };
    assert_eq!(taken, [expected]);
    world.delete(cvm.id, at(1)).await;
    let taken = nodes::usage(&db).await.unwrap();
    assert_eq!(
        taken,
        [nodes::NodeUsage { slots: 1, vcpu: 2, memory_mb: 1024, disk_gb: 10, ..expected }]
    );
    let of_workspace = workspace_usage(&db, world.workspace).await.unwrap();
    assert_eq!(of_workspace.taken, Amount { slots: 1, vcpu: 2, memory_mb: 1024, disk_gb: 10 });
}

async fn a_quota_is_read_where_the_workspace_is_locked(db: Db) {
    let world = World::new(db.clone()).await;
    world.cvm("alpha").await;
    let quota = Quota { cvms: Some(3), memory_mb: Some(0), ..Quota::default() };
    let mut tx = db.begin().await.unwrap();
    tx.set_quota(world.workspace, quota).await.unwrap();
    let locked = tx.lock_workspace_usage(world.workspace).await.unwrap();
    assert_eq!((locked.quota, locked.taken.slots), (quota, 1));
    let inserted = world.insert(&mut tx, app_id(7), "bravo").await;
    assert_eq!((inserted.workspace.quota, inserted.workspace.taken.slots), (quota, 2));
    assert_eq!(tx.workspace_usage(world.workspace).await.unwrap(), inserted.workspace);
    tx.commit().await.unwrap();
    let nobody = workspace_usage(&db, WorkspaceId(99)).await.unwrap();
    assert_eq!(nobody, WorkspaceUsage::default());
}

/// Each admits itself only while there are fewer than five: exactly five must pass.
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
    assert_eq!(nodes::usage(&db).await.unwrap()[0].slots, 5);
}

casemate_testing::each_backend!(
    a_key_speaks_for_its_user_and_workspace,
    a_taken_name_is_a_conflict_and_spoils_its_transaction,
    a_node_keeps_its_id_under_its_name,
    a_nodes_name_belongs_to_one_instance,
    a_node_is_added_once_and_removed_when_it_is_empty,
    a_node_that_nobody_serves_is_taken_by_one,
    what_is_taken_follows_the_live_cvms,
    admissions_to_one_node_see_each_other,
    a_quota_is_read_where_the_workspace_is_locked,
);
