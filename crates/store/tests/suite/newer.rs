//! Two versions share a database during an upgrade: the older one leaves alone what it cannot read.

use std::time::Duration;

use casemate_store::{Error, cvms};
use casemate_testing::database::{self, Fresh};
use sqlx::{Connection, PgConnection, SqliteConnection};

use crate::world::{START, World, at, claim, next_due};

const TERM: Duration = Duration::from_mins(1);
const NEWER: &str =
    "UPDATE cvms SET status = '{\"v\":2,\"value\":{\"engine\":\"on\"}}' WHERE id = ";

async fn run(fresh: &Fresh, sql: String) {
    let sql = sqlx::AssertSqlSafe(sql);
    let url = fresh.url();
    if url.starts_with("sqlite:") {
        let mut raw = SqliteConnection::connect(&url).await.unwrap();
        sqlx::query(sql).execute(&mut raw).await.unwrap();
        raw.close().await.unwrap();
    } else {
        let mut raw = PgConnection::connect(&url).await.unwrap();
        sqlx::query(sql).execute(&mut raw).await.unwrap();
        raw.close().await.unwrap();
    }
}

async fn a_row_of_a_newer_version_is_left_to_it(fresh: Fresh) {
    let world = World::new(fresh.db.clone()).await;
    let (newer, ours) = (world.cvm("newer").await, world.cvm("ours").await);
    run(&fresh, format!("{NEWER}{}", newer.id.0)).await;
    let claimed = claim(&fresh.db, "older", at(1), TERM, 10).await.unwrap();
    assert_eq!(claimed.iter().map(|cvm| cvm.id).collect::<Vec<_>>(), [ours.id]);
    // The lease is free for a process that can read the row, and does not wake this one.
    assert_eq!(next_due(&fresh.db).await.unwrap(), Some(at(61)));
    let read = cvms::by_id(&fresh.db, world.workspace, newer.id).await;
    let Err(Error::Newer { table: "cvms", column: "status", row, reason }) = read else {
        panic!("{read:?}")
    };
    assert_eq!(row, newer.id.0.to_string());
    assert!(reason.contains("version 2"), "{reason}");
    let mut tx = fresh.db.begin().await.unwrap();
    assert!(matches!(tx.lock_cvm(newer.id).await, Err(Error::Newer { .. })));
    drop(tx);
    run(&fresh, format!("UPDATE cvms SET due_at = {} WHERE id = {}", START.micros(), ours.id.0))
        .await;
    assert_eq!(next_due(&fresh.db).await.unwrap(), Some(START));
    fresh.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_of_a_newer_version_is_left_to_it_on_sqlite() {
    a_row_of_a_newer_version_is_left_to_it(database::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_of_a_newer_version_is_left_to_it_on_postgres() {
    a_row_of_a_newer_version_is_left_to_it(database::postgres().await).await;
}
