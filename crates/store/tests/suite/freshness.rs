//! A read value is current until a write that changes it begins, and never again after that.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use casemate_core::{
    access::Scopes,
    cvm::{Phase, Power},
};
use casemate_store::{
    Db, accounts, cvms, cvms::Cvm, freshness::Stamp, operations::Ending, people::NewUser,
};

use crate::world::{START, TERM, World, at, at_rest};

/// Reads a CVM like a reader that caches it.
async fn read(world: &World, cvm: &Cvm) -> (Cvm, Stamp) {
    let moment = world.db.moment();
    let found = cvms::by_id(&world.db, world.workspace, cvm.id).await.unwrap().unwrap();
    let stamp = world.db.stamp(&found, moment).expect("nobody writes it");
    (found, stamp)
}

async fn is_current(world: &World, cvm: &Cvm, stamp: Stamp) -> bool {
    world.db.is_current(cvm.id, stamp).await.unwrap()
}

async fn every_write_that_readers_see_ends_a_stamp(db: Db) {
    let world = World::new(db.clone()).await;
    let cvm = world.cvm("alpha").await;
    let (_, first) = read(&world, &cvm).await;
    assert!(is_current(&world, &cvm, first).await);

    world.cvm("bravo").await;
    assert!(is_current(&world, &cvm, first).await, "another CVM is none of its business");

    world.set_desired_power(cvm.id, Power::Stopped, at(1)).await;
    assert!(!is_current(&world, &cvm, first).await, "a new desired state");

    let (_, second) = read(&world, &cvm).await;
    let claimed = crate::world::claim(&db, "w", at(2), TERM, 10).await.unwrap();
    assert!(is_current(&world, &cvm, second).await, "nobody sees a lease");
    let ours = claimed.iter().find(|claimed| claimed.id == cvm.id).unwrap();
    let operation = world.open_operation(cvm.id).await;
    let mut tx = db.begin().await.unwrap();
    tx.close_operation(operation, &Ending::Succeeded, at(3)).await.unwrap();
    tx.record(ours, &at_rest(&ours.status, Phase::Running), at(3)).await.unwrap();
    tx.commit().await.unwrap();
    assert!(!is_current(&world, &cvm, second).await, "a record");

    let (_, third) = read(&world, &cvm).await;
    world.delete(cvm.id, at(4)).await;
    assert!(!is_current(&world, &cvm, third).await, "it is gone");
}

async fn what_was_rolled_back_changes_nothing_that_was_read(db: Db) {
    let world = World::new(db.clone()).await;
    let cvm = world.cvm("alpha").await;
    let (before, _) = read(&world, &cvm).await;
    let mut tx = db.begin().await.unwrap();
    tx.set_desired(&before, &before.desired, &before.status, Phase::Stopping, at(1)).await.unwrap();
    drop(tx);
    let (after, stamp) = read(&world, &cvm).await;
    assert_eq!(before, after);
    assert!(is_current(&world, &cvm, stamp).await);
}

/// One task writes, others read and cache: no reader accepts a value older than the last acknowledged write,
/// or older than what any reader has seen.
async fn nothing_acknowledged_is_hidden(db: Db) {
    let world = World::crowded(db.clone()).await;
    let cvm = world.cvm("alpha").await;
    let acknowledged = Arc::new(std::sync::atomic::AtomicI64::new(cvm.desired.run));
    let over = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let (world, cvm) = (world.clone(), cvm.clone());
            let (acknowledged, over) = (acknowledged.clone(), over.clone());
            tokio::spawn(async move {
                let mut kept: Option<(i64, Stamp)> = None;
                let mut hits = 0_u32;
                while !over.load(Ordering::SeqCst) {
                    let least = acknowledged.load(Ordering::SeqCst);
                    let shown = match kept {
                        Some((run, stamp)) if is_current(&world, &cvm, stamp).await => {
                            hits += 1;
                            run
                        }
                        _ => {
                            let moment = world.db.moment();
                            let found = cvms::by_id(&world.db, world.workspace, cvm.id);
                            let found = found.await.unwrap().unwrap();
                            let stamp = world.db.stamp(&found, moment);
                            kept = stamp.map(|stamp| (found.desired.run, stamp));
                            found.desired.run
                        }
                    };
                    assert!(shown >= least, "{shown} after {least} was acknowledged");
                    // What one reader has seen, all readers see from then on.
                    acknowledged.fetch_max(shown, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                }
                hits
            })
        })
        .collect();
    for number in 0..150 {
        let mut tx = db.begin().await.unwrap();
        let read = tx.cvm(cvm.id).await.unwrap().unwrap();
        let desired =
            casemate_core::cvm::DesiredState { run: read.desired.run + 1, ..read.desired };
        // The clock stands still: freshness does not depend on it.
        tx.set_desired(&read, &desired, &read.status, Phase::Running, START).await.unwrap();
        if number % 3 == 0 {
            drop(tx);
        } else {
            tx.commit().await.unwrap();
            acknowledged.fetch_max(desired.run, Ordering::SeqCst);
        }
        tokio::task::yield_now().await;
    }
    let (_, stamp) = read(&world, &cvm).await;
    assert!(is_current(&world, &cvm, stamp).await);
    over.store(true, Ordering::SeqCst);
    for reader in readers {
        reader.await.unwrap();
    }
}

async fn accounts_are_kept_where_only_this_process_writes_them(db: Db) {
    let world = World::new(db.clone()).await;
    let mut tx = db.begin().await.unwrap();
    tx.insert_key(world.key("aa", &Scopes::All), START).await.unwrap();
    tx.commit().await.unwrap();
    let moment = db.moment();
    accounts::principal(&db, "aa", START).await.unwrap().unwrap();
    let stamp = db.accounts_stamp(moment);
    assert_eq!(stamp.is_some(), matches!(db, Db::Sqlite(_)));
    let Some(stamp) = stamp else { return };
    assert!(db.accounts_are_current(stamp));
    let mut tx = db.begin().await.unwrap();
    tx.insert_user(NewUser::person("bob", "b@example.org"), START).await.unwrap();
    assert!(!db.accounts_are_current(stamp), "from the write on, not from its end");
    tx.commit().await.unwrap();
    assert!(!db.accounts_are_current(stamp));
}

casemate_testing::each_backend!(
    every_write_that_readers_see_ends_a_stamp,
    what_was_rolled_back_changes_nothing_that_was_read,
    nothing_acknowledged_is_hidden,
    accounts_are_kept_where_only_this_process_writes_them,
);
