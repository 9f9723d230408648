//! First responses by key.

use std::time::Duration;

use casemate_store::{Db, Error, idempotency::StoredReply};

use crate::world::{START, World, at};

fn answer(body: &str) -> StoredReply {
    StoredReply { fingerprint: "f".to_owned(), status: 202, body: body.to_owned() }
}

/// One request: the first does the work and stores the response, the others repeat it.
async fn request(world: &World, own: &str) -> String {
    let mut tx = world.db.begin().await.unwrap();
    if let Some(before) = tx.remembered(world.workspace, "key", START).await.unwrap() {
        return before.body;
    }
    tokio::task::yield_now().await;
    tx.remember(world.workspace, "key", &answer(own)).await.unwrap();
    tx.commit().await.unwrap();
    own.to_owned()
}

async fn concurrent_requests_with_one_key_have_one_answer(db: Db) {
    let world = World::crowded(db).await;
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            let world = world.clone();
            tokio::spawn(async move { request(&world, &format!("answer {number}")).await })
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(request(&world, "later").await, answers[0]);
}

async fn a_request_that_ended_without_an_answer_leaves_the_key_free(db: Db) {
    let world = World::new(db.clone()).await;
    let mut dropped = db.begin().await.unwrap();
    assert_eq!(dropped.remembered(world.workspace, "key", START).await.unwrap(), None);
    drop(dropped);
    let mut unanswered = db.begin().await.unwrap();
    assert_eq!(unanswered.remembered(world.workspace, "key", START).await.unwrap(), None);
    unanswered.commit().await.unwrap();
    assert_eq!(request(&world, "mine").await, "mine");
}

async fn keys_are_each_workspaces_own_and_forgotten_by_age(db: Db) {
    let world = World::new(db.clone()).await;
    let foreign = world.foreign().await;
    assert_eq!(request(&world, "ours").await, "ours");
    assert_eq!(request(&foreign, "theirs").await, "theirs");
    let mut tx = db.begin().await.unwrap();
    assert_eq!(tx.forget_answers(at(60), Duration::from_mins(1)).await.unwrap(), 0);
    assert_eq!(tx.forget_answers(at(61), Duration::from_mins(1)).await.unwrap(), 2);
    assert_eq!(tx.forget_answers(at(61), Duration::MAX).await.unwrap(), 0);
    tx.commit().await.unwrap();
    assert_eq!(request(&world, "again").await, "again");
}

async fn an_answer_needs_its_key(db: Db) {
    let world = World::new(db.clone()).await;
    let mut tx = db.begin().await.unwrap();
    let end = tx.remember(world.workspace, "never taken", &answer("x")).await;
    assert!(matches!(end, Err(Error::Stale)), "{end:?}");
}

casemate_testing::each_backend!(
    concurrent_requests_with_one_key_have_one_answer,
    a_request_that_ended_without_an_answer_leaves_the_key_free,
    keys_are_each_workspaces_own_and_forgotten_by_age,
    an_answer_needs_its_key,
);
