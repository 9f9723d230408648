//! Documents, app ids, prepared deployments.

use std::{collections::BTreeSet, time::Duration};

use casemate_core::id::{AppId, CvmId};
use casemate_store::{
    Db, Error, Tx, cvms,
    provisions::{self, Provision},
};

use crate::world::{START, World, app_id, at, hash, kms, number};

const DAY: u64 = 86_400;

/// Provisions: the bound id, or the next nonce.
async fn provision(world: &World, name: &str, document: u64, now: u64) -> AppId {
    let mut tx = world.db.begin().await.unwrap();
    let app = provision_in(&mut tx, world, name, document, now).await;
    tx.commit().await.unwrap();
    app
}

async fn provision_in(tx: &mut Tx, world: &World, name: &str, document: u64, now: u64) -> AppId {
    let (hash, now) = (hash(document), at(now));
    let bound = tx.bound_app_id(world.workspace, name, &hash, &kms(), now).await.unwrap();
    let app = match bound {
        Some(app) => app,
        None => next_app(tx, world, name).await,
    };
    // Afterwards, because storing the same document locks its row and would hide a missing lock of the
    // workspace.
    tx.keep_document(&hash, "{\"name\":\"x\"}", now).await.unwrap();
    tx.insert_provision(&world.provision(app, hash, name, now)).await.unwrap();
    app
}

async fn next_app(tx: &mut Tx, world: &World, name: &str) -> AppId {
    loop {
        let nonce = tx.draw_nonce(world.workspace).await.unwrap();
        let workspace = u64::try_from(world.workspace.0).unwrap();
        let app = app_id(workspace * 1_000_000 + nonce);
        let kms = kms();
        let bound = tx.bind_app_id(&app, world.workspace, Some(nonce), name, &kms, START);
        if bound.await.unwrap() {
            return app;
        }
    }
}

/// Commits; `None` if it was already consumed.
async fn commit(world: &World, document: u64, app: AppId, name: &str) -> Option<CvmId> {
    let mut tx = world.db.begin().await.unwrap();
    let found = tx.provisions_for(world.workspace, &hash(document), Some(&app)).await.unwrap();
    let open = found.into_iter().find(|provision| provision.cvm.is_none())?;
    let mut new = world.new_cvm(app, name);
    new.spec.compose_hash = hash(document);
    let cvm = tx.insert_cvm(new, START).await.unwrap().cvm.id;
    assert!(tx.consume_provision(open.id, &app, cvm).await.unwrap());
    tx.commit().await.unwrap();
    Some(cvm)
}

async fn the_same_request_gets_the_same_id_until_consumed(db: Db) {
    let world = World::new(db.clone()).await;
    let app = provision(&world, "alpha", 1, 0).await;
    assert_eq!(provision(&world, "alpha", 1, 1).await, app);
    assert_ne!(provision(&world, "bravo", 1, 2).await, app);
    assert_ne!(provision(&world, "alpha", 2, 3).await, app);
    assert_ne!(provision(&world.foreign().await, "alpha", 1, 4).await, app);
    assert!(commit(&world, 1, app, "alpha").await.is_some());
    assert_ne!(provision(&world, "alpha", 1, 5).await, app);
}

async fn equal_requests_at_once_get_one_id(db: Db) {
    let world = World::crowded(db).await;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move { provision(&world, "alpha", 1, 0).await })
        })
        .collect();
    let mut apps = BTreeSet::new();
    for task in tasks {
        apps.insert(task.await.unwrap());
    }
    assert_eq!(apps.len(), 1, "{apps:?}");
}

async fn nonces_are_unique(db: Db) {
    let world = World::crowded(db.clone()).await;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move {
                let mut drawn = Vec::new();
                for _ in 0..10 {
                    let mut tx = world.db.begin().await.unwrap();
                    drawn.push(tx.draw_nonce(world.workspace).await.unwrap());
                    tx.commit().await.unwrap();
                }
                drawn
            })
        })
        .collect();
    let mut drawn = BTreeSet::new();
    for task in tasks {
        drawn.extend(task.await.unwrap());
    }
    assert_eq!(drawn, (0..80).collect::<BTreeSet<u64>>());
}

async fn an_id_or_nonce_is_bound_once(db: Db) {
    let world = World::new(db.clone()).await;
    let foreign = world.foreign().await;
    let (first, second) = (app_id(number()), app_id(number()));
    let mut tx = db.begin().await.unwrap();
    assert!(
        tx.bind_app_id(&first, world.workspace, Some(7), "alpha", &kms(), START).await.unwrap()
    );
    assert!(
        !tx.bind_app_id(&second, world.workspace, Some(7), "bravo", &kms(), START).await.unwrap()
    );
    assert!(
        !tx.bind_app_id(&first, world.workspace, Some(8), "bravo", &kms(), START).await.unwrap()
    );
    assert!(
        !tx.bind_app_id(&first, foreign.workspace, None, "bravo", &kms(), START).await.unwrap()
    );
    assert!(
        tx.bind_app_id(&second, foreign.workspace, Some(7), "bravo", &kms(), START).await.unwrap()
    );
    let held = tx.held_app_id(&first).await.unwrap().unwrap();
    assert_eq!((held.workspace_id, held.nonce), (world.workspace.0, Some(7)));
    assert_eq!(held.name, "alpha");
    assert_eq!(tx.held_app_id(&app_id(number())).await.unwrap(), None);
    tx.commit().await.unwrap();
}

/// One of them waits for the other, and both see one winner.
async fn an_explicit_nonce_goes_to_one_of_many(db: Db) {
    let world = World::crowded(db.clone()).await;
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let world = world.clone();
            tokio::spawn(async move {
                let mut tx = world.db.begin().await.unwrap();
                let app = app_id(500 + task);
                let kms = kms();
                let bound = tx.bind_app_id(&app, world.workspace, Some(3), "alpha", &kms, START);
                let bound = bound.await.unwrap();
                tx.commit().await.unwrap();
                usize::from(bound)
            })
        })
        .collect();
    let mut winners = 0;
    for task in tasks {
        winners += task.await.unwrap();
    }
    assert_eq!(winners, 1);
}

async fn free_nonces_leave_out_what_is_bound(db: Db) {
    let world = World::new(db.clone()).await;
    let mut tx = db.begin().await.unwrap();
    for nonce in (0..1200).filter(|nonce| *nonce != 700).chain([1202]) {
        let app = app_id(10_000 + nonce);
        tx.bind_app_id(&app, world.workspace, Some(nonce), "alpha", &kms(), START).await.unwrap();
    }
    tx.commit().await.unwrap();
    let free = async |from, count| {
        provisions::free_nonces(&db, world.workspace, from, count).await.unwrap()
    };
    assert_eq!(free(0, 4).await, [700, 1200, 1201, 1203]);
    assert_eq!(free(701, 1).await, [1200]);
    assert_eq!(free(5, 0).await, [] as [u64; 0]);
    let last = u64::try_from(i64::MAX).unwrap() - 1;
    assert_eq!(free(last, 3).await, [last]);
    let foreign = world.foreign().await;
    assert_eq!(provisions::free_nonces(&db, foreign.workspace, 0, 2).await.unwrap(), [0, 1]);
}

async fn a_provision_is_consumed_by_one_of_many(db: Db) {
    let world = World::crowded(db.clone()).await;
    let app = provision(&world, "alpha", 1, 0).await;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move { commit(&world, 1, app, "alpha").await })
        })
        .collect();
    let mut made = Vec::new();
    for task in tasks {
        made.extend(task.await.unwrap());
    }
    assert_eq!(made.len(), 1, "{made:?}");
    let seek = cvms::PageStart::Skip(0);
    let live = cvms::page(&db, world.workspace, crate::world::ALL, seek, 10).await.unwrap().total;
    assert_eq!(live, 1);
}

/// Without the workspace's lock, the write itself decides.
async fn consuming_twice_says_so(db: Db) {
    let world = World::new(db.clone()).await;
    let app = provision(&world, "alpha", 1, 0).await;
    let mut tx = db.begin().await.unwrap();
    let found = tx.provisions_for(world.workspace, &hash(1), None).await.unwrap();
    let cvm = world.insert(&mut tx, app, "alpha").await.cvm.id;
    assert!(tx.consume_provision(found[0].id, &app, cvm).await.unwrap());
    assert!(!tx.consume_provision(found[0].id, &app, cvm).await.unwrap());
    tx.commit().await.unwrap();
}

async fn the_newest_provisions_come_first(db: Db) {
    let world = World::new(db.clone()).await;
    let alpha = provision(&world, "alpha", 1, 0).await;
    let bravo = provision(&world, "bravo", 1, 5).await;
    provision(&world, "alpha", 1, 3).await;
    let mut tx = db.begin().await.unwrap();
    let all = tx.provisions_for(world.workspace, &hash(1), None).await.unwrap();
    let apps: Vec<_> = all.iter().map(|provision| provision.spec.app_id).collect();
    assert_eq!(apps, [bravo, alpha, alpha]);
    let of_alpha = tx.provisions_for(world.workspace, &hash(1), Some(&alpha)).await.unwrap();
    assert_eq!(of_alpha.iter().map(|p| p.created_at).collect::<Vec<_>>(), [at(3), at(0)]);
    let foreign = world.workspace.0 + 1;
    let none = tx.provisions_for(casemate_core::id::WorkspaceId(foreign), &hash(1), None).await;
    assert_eq!(none.unwrap(), []);
}

async fn what_expired_goes_with_what_only_it_referred_to(db: Db) {
    let world = World::new(db.clone()).await;
    let used = provision(&world, "alpha", 1, 0).await;
    let unused = provision(&world, "bravo", 2, 0).await;
    let renewed = provision(&world, "delta", 3, 0).await;
    provision(&world, "delta", 3, 10 * DAY).await;
    commit(&world, 1, used, "alpha").await.unwrap();
    let expire = async |now| {
        let mut tx = db.begin().await.unwrap();
        let gone = tx.expire_provisions(now).await.unwrap();
        tx.commit().await.unwrap();
        gone
    };
    assert_eq!(expire(at(14 * DAY)).await, 0);
    assert_eq!(expire(at(14 * DAY + 1)).await, 3);
    assert_eq!(expire(at(14 * DAY + 1)).await, 0);
    let mut tx = db.begin().await.unwrap();
    assert!(tx.held_app_id(&used).await.unwrap().is_some());
    assert!(tx.held_app_id(&renewed).await.unwrap().is_some());
    assert!(tx.held_app_id(&unused).await.unwrap().is_none());
    let late = world.provision(unused, hash(1), "bravo", at(15 * DAY));
    let late = tx.insert_provision(&late).await;
    assert!(matches!(late, Err(Error::Stale)), "{late:?}");
    drop(tx);
    assert!(provisions::document(&db, &hash(1)).await.unwrap().is_some());
    assert!(provisions::document(&db, &hash(3)).await.unwrap().is_some());
    assert_eq!(provisions::document(&db, &hash(2)).await.unwrap(), None);
}

async fn an_expired_provision_binds_no_id(db: Db) {
    let world = World::new(db.clone()).await;
    provision(&world, "alpha", 1, 0).await;
    let mut tx = db.begin().await.unwrap();
    let bound = async |tx: &mut Tx, now| {
        tx.bound_app_id(world.workspace, "alpha", &hash(1), &kms(), now).await.unwrap()
    };
    assert!(bound(&mut tx, at(14 * DAY - 1)).await.is_some());
    assert!(bound(&mut tx, at(14 * DAY)).await.is_none());
}

/// If a contract will be the app, the commit names it.
async fn a_provision_without_an_app_gets_one_when_it_is_consumed(db: Db) {
    let world = World::new(db.clone()).await;
    let document = hash(4);
    let mut tx = db.begin().await.unwrap();
    tx.keep_document(&document, "{}", at(0)).await.unwrap();
    let unbound =
        |now| Provision { app: None, ..world.provision(app_id(0), document, "alpha", at(now)) };
    let (older, newer) = (unbound(0), unbound(1));
    for provision in [&older, &newer] {
        tx.insert_provision(provision).await.unwrap();
    }
    // It matches any app, besides those for one app only.
    let (own, contract) = (app_id(number()), app_id(number()));
    assert!(tx.bind_app_id(&own, world.workspace, Some(1), "alpha", &kms(), at(2)).await.unwrap());
    let bound = world.provision(own, document, "alpha", at(2));
    tx.insert_provision(&bound).await.unwrap();
    let ids = async |tx: &mut Tx, app: Option<&AppId>| -> Vec<_> {
        let found = tx.provisions_for(world.workspace, &document, app).await.unwrap();
        found.into_iter().map(|provision| (provision.id, provision.app)).collect()
    };
    let open = [(newer.id, None), (older.id, None)];
    assert_eq!(ids(&mut tx, Some(&contract)).await, open);
    assert_eq!(ids(&mut tx, Some(&own)).await.len(), 3);
    assert_eq!(ids(&mut tx, None).await.len(), 3);
    let kms = kms();
    let again = tx.bound_app_id(world.workspace, "alpha", &document, &kms, at(3)).await.unwrap();
    assert_eq!(again, Some(own), "no app is no app to give again");
    assert!(
        provisions::first_open(&db, world.workspace, &document, &contract, at(3))
            .await
            .unwrap()
            .is_none()
    );
    // Its app is bound permanently to the workspace that commits it first.
    assert!(tx.bind_app_id(&contract, world.workspace, None, "alpha", &kms, at(3)).await.unwrap());
    let mut new = world.new_cvm(contract, "alpha");
    new.spec.compose_hash = document;
    let cvm = tx.insert_cvm(new, at(3)).await.unwrap().cvm.id;
    assert!(tx.consume_provision(newer.id, &contract, cvm).await.unwrap());
    assert!(!tx.consume_provision(newer.id, &contract, cvm).await.unwrap());
    assert_eq!(ids(&mut tx, Some(&contract)).await, [(newer.id, Some(contract)), (older.id, None)]);
    tx.commit().await.unwrap();
    let mut tx = db.begin().await.unwrap();
    assert_eq!(tx.expire_provisions(at(15 * DAY)).await.unwrap(), 3);
    tx.commit().await.unwrap();
    let mut tx = db.begin().await.unwrap();
    let held = tx.held_app_id(&contract).await.unwrap().unwrap();
    assert_eq!((held.workspace_id, &*held.kms_id), (world.workspace.0, kms.as_ref()));
    assert_eq!(held.nonce, None);
    assert!(provisions::document(&db, &document).await.unwrap().is_some(), "a CVM has it");
}

/// Of two workspaces that bind an app concurrently, one gets it.
async fn an_app_is_bound_by_one_of_two_workspaces(db: Db) {
    let world = World::crowded(db).await;
    let foreign = world.foreign().await;
    let app = app_id(number());
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let world = if task % 2 == 0 { world.clone() } else { foreign.clone() };
            tokio::spawn(async move {
                let mut tx = world.db.begin().await.unwrap();
                let kms = kms();
                let bound = tx.bind_app_id(&app, world.workspace, None, "alpha", &kms, START);
                let bound = bound.await.unwrap();
                let held = tx.held_app_id(&app).await.unwrap().unwrap().workspace_id;
                tx.commit().await.unwrap();
                (bound, held)
            })
        })
        .collect();
    let (mut winners, mut holders) = (0, BTreeSet::new());
    for task in tasks {
        let (bound, held) = task.await.unwrap();
        winners += usize::from(bound);
        holders.insert(held);
    }
    assert_eq!((winners, holders.len()), (1, 1), "{holders:?}");
}

/// The janitor runs concurrently with new uses of app ids and documents: no error, no inconsistency.
async fn expiry_and_provisions_at_once(db: Db) {
    let world = World::crowded(db.clone()).await;
    for name in 0..20 {
        provision(&world, &format!("name-{name}"), name, 0).await;
    }
    let janitor = {
        let db = db.clone();
        tokio::spawn(async move {
            for _ in 0..20 {
                let mut tx = db.begin().await.unwrap();
                tx.expire_provisions(at(20 * DAY)).await.unwrap();
                tx.commit().await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
    };
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move {
                for name in 0..20 {
                    provision(&world, &format!("name-{name}"), name, 20 * DAY).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    janitor.await.unwrap();
    for document in 0..20 {
        assert!(provisions::document(&db, &hash(document)).await.unwrap().is_some());
    }
}

casemate_testing::each_backend!(
    the_same_request_gets_the_same_id_until_consumed,
    equal_requests_at_once_get_one_id,
    nonces_are_unique,
    an_id_or_nonce_is_bound_once,
    an_explicit_nonce_goes_to_one_of_many,
    free_nonces_leave_out_what_is_bound,
    a_provision_is_consumed_by_one_of_many,
    consuming_twice_says_so,
    the_newest_provisions_come_first,
    what_expired_goes_with_what_only_it_referred_to,
    an_expired_provision_binds_no_id,
    a_provision_without_an_app_gets_one_when_it_is_consumed,
    an_app_is_bound_by_one_of_two_workspaces,
    expiry_and_provisions_at_once,
);
