//! Guarantees of a commit under concurrency and with dropped callers.

use std::{collections::BTreeSet, future::poll_fn, pin::pin, task::Poll};

use casemate_core::id::EventSeq;
use casemate_store::{
    Db, Error, accounts,
    events::{self, NewEvent},
    people::NewUser,
};
use casemate_testing::database::{self, Fresh};

use crate::world::{START, World};

async fn note(world: &World, tx: &mut casemate_store::Tx, number: usize) -> Result<(), Error> {
    append(world, tx, number.into()).await
}

async fn append(
    world: &World,
    tx: &mut casemate_store::Tx,
    body: serde_json::Value,
) -> Result<(), Error> {
    let event =
        NewEvent { workspace: world.workspace, cvm: None, operation: None, kind: "note", body };
    tx.append_events(&[event], START).await.map(drop)
}

/// A transaction of two events that belong together.
async fn two_notes(world: &World, number: usize) -> Result<(), Error> {
    let mut tx = world.db.begin().await?;
    note(world, &mut tx, number).await?;
    note(world, &mut tx, number).await?;
    tx.commit().await
}

async fn notes(db: &Db) -> Vec<usize> {
    let all = events::of_all(db, EventSeq(0), 10_000).await.unwrap();
    all.iter().map(|event| event.body.parse().unwrap()).collect()
}

/// Checks that each number appears twice in a row.
async fn whole_notes(db: &Db) -> BTreeSet<usize> {
    let notes = notes(db).await;
    let pairs: Vec<_> = notes.chunks(2).collect();
    assert!(pairs.iter().all(|pair| pair[0] == pair[1]), "{pairs:?}");
    let numbers: BTreeSet<_> = pairs.iter().map(|pair| pair[0]).collect();
    assert_eq!(numbers.len() * 2, notes.len());
    numbers
}

/// The future's value, or `None` if it was dropped after this number of polls.
async fn given_up_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

/// Of 200 concurrent transactions a fifth is dropped and a seventh fails; the others are not affected.
async fn two_hundred_at_once(fresh: &Fresh) {
    let world = World::crowded(fresh.db.clone()).await;
    let tasks: Vec<_> = (0..200)
        .map(|number| {
            let world = world.clone();
            tokio::spawn(async move {
                let mut tx = world.db.begin().await.unwrap();
                note(&world, &mut tx, number).await.unwrap();
                tokio::task::yield_now().await;
                note(&world, &mut tx, number).await.unwrap();
                if number % 5 == 0 {
                    return None;
                }
                if number % 7 == 0 {
                    tx.insert_user(NewUser::person("ada", "taken@example.org"), START)
                        .await
                        .unwrap_err();
                    tx.commit().await.unwrap_err();
                    return None;
                }
                tx.commit().await.unwrap();
                // An acknowledged change is immediately visible to all readers.
                assert!(notes(&world.db).await.contains(&number));
                Some(number)
            })
        })
        .collect();
    let mut acknowledged = BTreeSet::new();
    for task in tasks {
        acknowledged.extend(task.await.unwrap());
    }
    assert_eq!(acknowledged.len(), 137);
    let reopened = fresh.reopen().await;
    assert_eq!(whole_notes(&reopened).await, acknowledged);
    reopened.close().await;
}

/// Drops a transaction at every await point, while others continue.
async fn given_up_at_every_point(fresh: &Fresh) {
    let world = World::crowded(fresh.db.clone()).await;
    let steady = {
        let world = world.clone();
        tokio::spawn(async move {
            for number in 1_000..1_100 {
                two_notes(&world, number).await.unwrap();
            }
        })
    };
    let mut acknowledged = BTreeSet::new();
    for polls in 0..60 {
        if let Some(end) = given_up_after(polls, two_notes(&world, polls)).await {
            end.unwrap();
            acknowledged.insert(polls);
        }
    }
    assert!(!acknowledged.is_empty(), "60 polls are enough for a transaction");
    steady.await.unwrap();
    acknowledged.extend(1_000..1_100);
    two_notes(&world, 2_000).await.unwrap();
    acknowledged.insert(2_000);
    // A transaction dropped during its commit may be there as a whole.
    let there = whole_notes(&world.db).await;
    assert!(there.is_superset(&acknowledged), "{there:?}");
    assert!(!there.contains(&0) && !there.contains(&1));
}

/// More transactions than connections, each with a read outside of its transaction.
async fn transactions_may_read_beside_themselves(db: Db) {
    let world = World::crowded(db.clone()).await;
    let tasks: Vec<_> = (0..40)
        .map(|number| {
            let world = world.clone();
            tokio::spawn(async move {
                let mut tx = world.db.begin().await.unwrap();
                note(&world, &mut tx, number).await.unwrap();
                accounts::any_user(&world.db).await.unwrap();
                assert!(!notes(&world.db).await.contains(&number), "not before commit");
                tx.commit().await.unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(notes(&db).await.len(), 40);
}

async fn a_statement_given_up_spoils_its_transaction(db: Db) {
    let world = World::new(db.clone()).await;
    let mut tx = db.begin().await.unwrap();
    note(&world, &mut tx, 1).await.unwrap();
    // A statement that runs longer than a time slice: on a busy machine the database's thread
    // can answer a short one before the first poll returns, and then nothing is dropped.
    let long = serde_json::Value::from("x".repeat(8 << 20));
    let mut given_up = false;
    for _ in 0..20 {
        given_up = given_up_after(1, append(&world, &mut tx, long.clone())).await.is_none();
        if given_up {
            break;
        }
    }
    assert!(given_up, "every statement was answered within one poll");
    let later = note(&world, &mut tx, 3).await;
    assert!(matches!(later, Err(Error::Commit(_))), "{later:?}");
    let end = tx.commit().await;
    assert!(matches!(end, Err(Error::Commit(_))), "{end:?}");
    two_notes(&world, 4).await.unwrap();
    assert_eq!(notes(&db).await, [4, 4]);
}

async fn what_comes_after_closing_is_refused(db: Db) {
    let world = World::new(db.clone()).await;
    db.close().await;
    let begun = db.begin().await;
    assert!(matches!(begun, Err(Error::Unavailable(_))), "{begun:?}");
    let read = db.ping().await;
    assert!(matches!(read, Err(Error::Unavailable(_))), "{read:?}");
    drop(world);
}

casemate_testing::each_backend!(
    transactions_may_read_beside_themselves,
    a_statement_given_up_spoils_its_transaction,
    what_comes_after_closing_is_refused,
);

/// Bodies that open their database again.
macro_rules! each_fresh {
    ($($name:ident),+ $(,)?) => {
        mod fresh_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let fresh = super::database::sqlite().await;
                super::$name(&fresh).await;
                fresh.finish().await;
            })+
        }
        mod fresh_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let fresh = super::database::postgres().await;
                super::$name(&fresh).await;
                fresh.finish().await;
            })+
        }
    };
}

each_fresh!(two_hundred_at_once, given_up_at_every_point);
