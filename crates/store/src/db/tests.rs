//! Failures inside a SQLite batch.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use casemate_core::time::Timestamp;
use sqlx::{Connection, query, query_scalar, sqlite::SqliteConnectOptions};
use tempfile::TempDir;
use tokio::{sync::watch, task::JoinHandle};

use super::{
    Db, Durability, Tx,
    sqlite::{Outcome, SqliteTx},
};
use crate::{Error, people::NewUser};

const NOW: Timestamp = Timestamp::from_micros(1);

async fn user(tx: &mut Tx, name: &str) -> Result<(), Error> {
    tx.insert_user(NewUser::person(name, "e@example.org"), NOW).await.map(drop)
}

async fn users(db: &Db) -> Vec<String> {
    let sql = "SELECT username FROM users ORDER BY id";
    on_read!(db, |c| query_scalar::<_, String>(sql).fetch_all(c)).unwrap()
}

async fn run(tx: &mut Tx, sql: &'static str) -> Result<u64, Error> {
    exec_tx!(tx, query(sql))
}

fn outcome(tx: &Tx) -> watch::Receiver<Outcome> {
    let Tx::Sqlite(SqliteTx { outcome, .. }) = tx else { panic!("a SQLite transaction") };
    outcome.clone()
}

/// Starts a task that waits for the writer. It has its place in the queue when this returns.
async fn queued<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    let mut work = Box::pin(work);
    let waits = poll_fn(|context| Poll::Ready(work.as_mut().poll(context).is_pending())).await;
    assert!(waits, "the writer is taken");
    tokio::spawn(work)
}

/// Begins a transaction and runs these while it is open, so that all are in one batch: each queues for the
/// writer before the first gives it up.
async fn in_one_batch(
    db: &Db,
    names: &[&'static str],
    first: impl AsyncFnOnce(&mut Tx),
) -> (Result<(), Error>, Vec<Result<(), Error>>) {
    let mut open = db.begin().await.unwrap();
    let batch = outcome(&open);
    first(&mut open).await;
    let mut others = Vec::new();
    for name in names {
        let (db, batch, name) = (db.clone(), batch.clone(), *name);
        let other = async move {
            let mut tx = db.begin().await.unwrap();
            assert!(outcome(&tx).same_channel(&batch), "{name} is in another batch");
            user(&mut tx, name).await.unwrap();
            tx.commit().await
        };
        others.push(queued(other).await);
    }
    let end = open.commit().await;
    let mut ends = Vec::new();
    for other in others {
        ends.push(other.await.unwrap());
    }
    (end, ends)
}

/// A new SQLite file without syncs. `casemate-testing` has the same for other crates, whose `Db` is a
/// different type than the one under test.
struct Fresh {
    db: Db,
    dir: TempDir,
}

impl Fresh {
    async fn reopen(&self) -> Db {
        Db::open_sqlite(&self.dir.path().join("casemate.db"), Durability::Off).await.unwrap()
    }

    fn url(&self) -> String {
        format!("sqlite://{}", self.dir.path().join("casemate.db").display())
    }

    async fn finish(self) {
        self.db.close().await;
    }
}

async fn fresh() -> (Fresh, Db) {
    let dir = TempDir::new().unwrap();
    let db = Db::open_sqlite(&dir.path().join("casemate.db"), Durability::Off).await.unwrap();
    (Fresh { db: db.clone(), dir }, db)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_meet_are_committed_together() {
    let (fresh, db) = fresh().await;
    let names = ["b", "c", "d", "e", "f", "g"];
    let (end, ends) = in_one_batch(&db, &names, async |tx| user(tx, "a").await.unwrap()).await;
    assert!(end.is_ok() && ends.iter().all(Result::is_ok), "{end:?} {ends:?}");
    assert_eq!(users(&db).await.len(), 7);
    fresh.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_fails_is_told_to_everybody_in_it() {
    let (fresh, db) = fresh().await;
    let (end, ends) = in_one_batch(&db, &["b", "c", "d"], async |tx| {
        // Checked at the `COMMIT` of the batch, not before.
        run(tx, "PRAGMA defer_foreign_keys = ON").await.unwrap();
        run(tx, "INSERT INTO api_keys (hash, user_id, workspace_id, name, created_at) VALUES ('h', 9, 9, 'k', 0)").await.unwrap();
    })
    .await;
    assert!(matches!(end, Err(Error::Commit(_))), "{end:?}");
    assert!(ends.iter().all(|end| matches!(end, Err(Error::Commit(_)))), "{ends:?}");
    assert_eq!(users(&db).await, [] as [&str; 0]);
    let mut tx = db.begin().await.unwrap();
    user(&mut tx, "later").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(users(&db).await, ["later"]);
    fresh.finish().await;
}

/// The member that should commit the batch is dropped, at any point.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_given_up_harms_nobody_else() {
    let (fresh, db) = fresh().await;
    for polls in 0..8 {
        let mut open = db.begin().await.unwrap();
        user(&mut open, &format!("first-{polls}")).await.unwrap();
        let mut others = Vec::new();
        for other in 0..3 {
            let (db, name) = (db.clone(), format!("other-{polls}-{other}"));
            let other = async move {
                let mut tx = db.begin().await?;
                user(&mut tx, &name).await?;
                tx.commit().await
            };
            others.push(queued(other).await);
        }
        given_up_after(polls, open.commit()).await;
        for other in others {
            other.await.unwrap().unwrap();
        }
        let there = users(&db).await;
        let others = there.iter().filter(|name| name.starts_with(&format!("other-{polls}-")));
        assert_eq!(others.count(), 3, "{there:?}");
    }
    fresh.finish().await;
}

/// Polls a future this many times and then drops it.
async fn given_up_after<F: Future>(polls: usize, future: F) {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        future.as_mut().poll(context).map(drop)
    })
    .await;
}

/// SQLite may end the whole batch then: no member may get a wrong result.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_in_a_batch_leaves_words_and_rows_agreeing() {
    let (fresh, db) = fresh().await;
    let mut tx = db.begin().await.unwrap();
    user(&mut tx, "before").await.unwrap();
    tx.commit().await.unwrap();
    let mut open = db.begin().await.unwrap();
    let pages = on_tx!(&mut open, |c| query_scalar::<_, i64>("PRAGMA page_count").fetch_one(c));
    let limit = format!("PRAGMA max_page_count = {}", pages.unwrap() + 4);
    exec_tx!(&mut open, query(sqlx::AssertSqlSafe(limit.as_str()))).unwrap();
    user(&mut open, "first").await.unwrap();
    let greedy = {
        let db = db.clone();
        queued(async move {
            let mut tx = db.begin().await.unwrap();
            let sql = "INSERT INTO documents (hash, body, created_at, used_at) VALUES ('h', HEX(ZEROBLOB(1000000)), 0, 0)";
            let full = run(&mut tx, sql).await.unwrap_err();
            assert!(format!("{full:?}").contains("full"), "{full:?}");
            user(&mut tx, "after the end").await.unwrap_err();
            tx.commit().await.unwrap_err();
        })
        .await
    };
    let end = open.commit().await;
    greedy.await.unwrap();
    let expected: &[&str] = if end.is_ok() { &["before", "first"] } else { &["before"] };
    assert_eq!(users(&db).await, expected, "{end:?}");
    let mut tx = db.begin().await.unwrap();
    run(&mut tx, "PRAGMA max_page_count = 1000000").await.unwrap();
    user(&mut tx, "later").await.unwrap();
    tx.commit().await.unwrap();
    assert!(users(&db).await.contains(&"later".to_owned()));
    fresh.finish().await;
}

/// The batch ends under a member: it must not continue statement by statement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_vanished_is_noticed() {
    let (fresh, db) = fresh().await;
    let mut open = db.begin().await.unwrap();
    user(&mut open, "lost").await.unwrap();
    run(&mut open, "ROLLBACK").await.unwrap();
    let end = open.commit().await;
    assert!(matches!(end, Err(Error::Commit(_))), "{end:?}");
    let mut tx = db.begin().await.unwrap();
    user(&mut tx, "later").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(users(&db).await, ["later"]);
    fresh.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_transaction_keeps_no_lock_on_the_file() {
    let (fresh, db) = fresh().await;
    let mut tx = db.begin().await.unwrap();
    user(&mut tx, "dropped").await.unwrap();
    drop(tx);
    let options: SqliteConnectOptions = fresh.url().parse().unwrap();
    let mut other =
        sqlx::SqliteConnection::connect_with(&options.busy_timeout(Duration::from_secs(5)))
            .await
            .unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE; COMMIT").execute(&mut other).await.unwrap();
    assert_eq!(users(&db).await, [] as [&str; 0]);
    fresh.finish().await;
}

/// Dropped outside of a runtime, as at the end of a process: the next transaction cleans up.
#[test]
fn a_transaction_dropped_without_a_runtime_is_undone() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (fresh, db) = runtime.block_on(fresh());
    let mut tx = runtime.block_on(db.begin()).unwrap();
    runtime.block_on(user(&mut tx, "dropped")).unwrap();
    drop(tx);
    runtime.block_on(async {
        let mut tx = db.begin().await.unwrap();
        user(&mut tx, "later").await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(users(&db).await, ["later"]);
        fresh.finish().await;
    });
}

/// Closing waits for the open transaction, and commits members that wait for their batch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_finishes_what_is_under_way() {
    let (fresh, db) = fresh().await;
    let mut open = db.begin().await.unwrap();
    user(&mut open, "last").await.unwrap();
    let closing = {
        let db = db.clone();
        queued(async move { db.close().await }).await
    };
    open.commit().await.unwrap();
    closing.await.unwrap();
    let late = db.begin().await;
    assert!(matches!(late, Err(Error::Unavailable(_))), "{late:?}");
    let again = fresh.reopen().await;
    assert_eq!(users(&again).await, ["last"]);
    again.close().await;
}
