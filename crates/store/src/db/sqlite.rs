//! SQLite: one writer connection (`synchronous=FULL`, WAL) and a pool of read-only ones.
//!
//! # Group commit
//!
//! A transaction is a savepoint of one outer transaction, the *batch*. A commit releases the savepoint, gives
//! up the writer and queues for it again. The first member of a batch that gets the writer commits the batch,
//! and all members receive the result. The queue is fair, so everyone who was waiting at the first release
//! has run by then. A lone transaction pays one sync and waits for nobody; a burst shares few syncs; a batch
//! is never longer than the queue was.
//!
//! Invariants:
//!
//! - A member gets `Ok` only after the `COMMIT` of its batch returned. With `synchronous=FULL` that is after
//!   the sync of the WAL.
//! - If the `COMMIT` fails, the batch is rolled back and *all* members get the error. Only a crash at that
//!   moment can leave its commit record readable in the WAL; such a change may be present after recovery, as
//!   a whole.
//! - A dropped transaction is rolled back to its savepoint; the other members are not affected. The last one
//!   to leave an empty batch ends it, so that no lock on the file remains.
//! - After some errors (disk full, I/O) SQLite ends the outer transaction itself, and later statements would
//!   be committed one by one. So a transaction with a failed statement is never released. If its savepoint is
//!   missing, all members of the batch get an error.
//! - `BEGIN`, `RELEASE`, `COMMIT` and `ROLLBACK` run in their own tasks, so a dropped caller (a client that
//!   disconnects) does not interrupt them. Other statements may be dropped; the driver's thread runs them in
//!   order, so the rollback comes after them.

use std::{fs::File, io, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc, time::Duration};

use casemate_core::id::EventSeq;
use sqlx::{
    Connection, Executor, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::{
    runtime::Handle,
    sync::{Mutex, OwnedMutexGuard, watch},
};

use super::{MIGRATIONS, append_only, invalidated};
use crate::{
    error::Error,
    freshness::{TouchedSubjects, Writes},
};

const READERS: u32 = 4;
const ACQUIRE: Duration = Duration::from_secs(5);
/// The WAL is truncated to this size after a checkpoint, so that a burst does not keep its disk space.
const WAL_BYTES: &str = "67108864";

/// Fixed statistics for the query planner: rows per table, and rows per value of index prefixes. Without them
/// SQLite assumes ten rows per workspace and scans a workspace instead of sorting three rows. The figures are
/// those of a large installation, so that plans are the same everywhere; `plans.rs` in the tests checks the
/// plans.
const SELECTIVITY: &str = "BEGIN IMMEDIATE; ANALYZE counters; DELETE FROM sqlite_stat1; \
    INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES \
    ('cvms', 'cvms_listed', '100000 50000 1 1'), \
    ('cvms', 'cvms_listed_by_node', '100000 50000 500 1 1 1'), \
    ('cvms', 'cvms_listed_by_user', '100000 50000 25000 1 1'), \
    ('cvms', 'cvms_apps_by_phase', '100000 50000 5000 2 2'), \
    ('cvms', 'cvms_apps_by_image', '100000 50000 5000 2 2'), \
    ('cvms', 'cvms_apps_by_type', '100000 50000 5000 2 2'), \
    ('cvms', 'cvms_apps_by_listed', '100000 50000 25000 2 2'), \
    ('cvms', 'cvms_named', '100000 50000 1'), \
    ('cvms', 'cvms_name', '100000 50000 1'), \
    ('cvms', 'cvms_on_node', '100000 500 1'), \
    ('cvms', 'cvms_of_app', '100000 3 3 1'), \
    ('cvms', 'cvms_of_document', '100000 100'), \
    ('cvms', 'cvms_of_instance', '100000 1 1'), \
    ('cvms', 'cvms_due_on_node', '1000 500 1 1'), \
    ('apps', 'apps_listed', '100000 50000 1 1'), \
    ('apps', 'apps_listed_by_kms', '100000 50000 25000 1 1'), \
    ('apps', 'apps_nonce', '100000 50000 1'), \
    ('provisions', 'provisions_of_document', '100000 100 50 1 1'), \
    ('provisions', 'provisions_of_app', '100000 3 3 1 1'), \
    ('provisions', 'provisions_open', '100000 50000 10 3 1 1'), \
    ('provisions', 'provisions_expiry', '100000 1'), \
    ('operations', 'operations_one_running', '1000 1'), \
    ('operations', 'operations_of_cvm', '500000 5 1 1'), \
    ('revisions', 'revisions_of_app', '500000 15 1 1 1 1'), \
    ('revisions', 'revisions_of_cvm', '500000 5 1'), \
    ('revisions', 'revisions_of_document', '500000 5'), \
    ('webhooks', 'webhooks_of_workspace', '1000 5 1'), \
    ('webhook_deliveries', 'webhook_deliveries_by_event', '100000 1000 1'), \
    ('webhook_deliveries', 'webhook_deliveries_due', '1000 50 1'), \
    ('webhook_deliveries', 'webhook_deliveries_pending', '1000 50 2 1'), \
    ('webhook_deliveries', 'webhook_deliveries_by_age', '100000 1'), \
    ('events', 'events_of_cvm', '1000000 50 1'), \
    ('events', 'events_of_workspace', '1000000 500000 1'); \
    ANALYZE sqlite_schema; COMMIT";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// On disk before it is acknowledged.
    Full,
    /// Left to the operating system; for simulations only.
    Off,
}

/// The writer and the readers of a SQLite file.
#[derive(Debug, Clone)]
pub struct Sqlite {
    writer: Arc<Mutex<Writer>>,
    readers: SqlitePool,
    writes: Arc<Writes>,
}

impl Sqlite {
    pub(super) async fn open(path: &Path, durability: Durability) -> Result<Self, Error> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .foreign_keys(true)
            .busy_timeout(ACQUIRE)
            .journal_mode(SqliteJournalMode::Wal)
            .pragma("journal_size_limit", WAL_BYTES)
            .synchronous(match durability {
                Durability::Full => SqliteSynchronous::Full,
                Durability::Off => SqliteSynchronous::Off,
            });
        make_private(path).map_err(sqlx::Error::Io)?;
        let one = SqlitePoolOptions::new().max_connections(1);
        let migrating = one.connect_with(options.clone()).await?;
        MIGRATIONS.run(&migrating).await?;
        let mut connection = migrating.acquire().await?.detach();
        connection.execute(SELECTIVITY).await?;
        append_only::sqlite(&mut connection).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(ACQUIRE)
            .test_before_acquire(false)
            .connect_with(options.read_only(true).create_if_missing(false))
            .await?;
        let writer = Writer { connection: Some(connection), batch: None, torn: false };
        Ok(Self { writer: Arc::new(Mutex::new(writer)), readers, writes: Arc::default() })
    }

    pub(super) async fn begin(&self) -> Result<SqliteTx, Error> {
        let writer = self.writer.clone();
        let touched = TouchedSubjects::none(self.writes.clone());
        let mut held = writer.clone().lock_owned().await;
        to_the_end(async move {
            let outcome = held.enter().await?;
            let last_event = EventSeq(0);
            Ok(SqliteTx {
                writer,
                held: Some(held),
                outcome,
                invalidated: false,
                touched,
                last_event,
            })
        })
        .await
    }

    /// The writer closes last: only then can the whole WAL be checkpointed into the file.
    pub(super) async fn close(&self) {
        let mut held = self.writer.clone().lock_owned().await;
        self.readers.close().await;
        let closed = to_the_end(async move {
            held.flush().await;
            if let Some(mut connection) = held.connection.take() {
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").await?;
                connection.close().await?;
            }
            Ok(())
        });
        if let Err(error) = closed.await {
            tracing::warn!(%error, "the SQLite file was not closed cleanly");
        }
    }

    pub(crate) const fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    pub(crate) fn writes(&self) -> &Writes {
        &self.writes
    }
}

/// Creates the file with mode 0600. SQLite gives its side files the same mode.
fn make_private(path: &Path) -> io::Result<()> {
    let made = File::options().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Runs control statements to completion, even if the caller is dropped.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::Commit(error.to_string())),
    }
}

/// The result of a batch; `Ok` means durable, `None` means not decided yet.
pub(super) type Outcome = Option<Result<(), Arc<str>>>;

/// An open outer transaction.
#[derive(Debug)]
struct Batch {
    outcome: watch::Sender<Outcome>,
    /// Number of transactions that released their savepoint and wait for the commit.
    members: usize,
}

#[derive(Debug)]
pub(super) struct Writer {
    /// `None`: closed.
    connection: Option<SqliteConnection>,
    batch: Option<Batch>,
    /// A transaction was dropped and its savepoint is still open.
    torn: bool,
}

impl Writer {
    fn connection(&mut self) -> Result<&mut SqliteConnection, sqlx::Error> {
        self.connection.as_mut().ok_or(sqlx::Error::PoolClosed)
    }

    async fn run(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        self.connection()?.execute(sql).await.map(drop)
    }

    /// Opens a savepoint, and the outer transaction if none is open.
    async fn enter(&mut self) -> Result<watch::Receiver<Outcome>, Error> {
        self.roll_back_dropped().await;
        let (sql, batch) = match self.batch.take() {
            Some(batch) => ("SAVEPOINT one", batch),
            None => (
                "BEGIN IMMEDIATE; SAVEPOINT one",
                Batch { outcome: watch::Sender::new(None), members: 0 },
            ),
        };
        let outcome = batch.outcome.subscribe();
        self.batch = Some(batch);
        match self.run(sql).await {
            Ok(()) => Ok(outcome),
            Err(error) => {
                self.abandon(&error.to_string()).await;
                Err(error.into())
            }
        }
    }

    /// Releases the savepoint into the batch.
    async fn release(&mut self) -> Result<(), Error> {
        match self.run("RELEASE one").await {
            Ok(()) => {
                if let Some(batch) = &mut self.batch {
                    batch.members += 1;
                }
                Ok(())
            }
            Err(error) => {
                self.abandon(&error.to_string()).await;
                Err(Error::Commit(error.to_string()))
            }
        }
    }

    /// Commits the open batch, if any, and sends the result to all members.
    async fn flush(&mut self) {
        self.roll_back_dropped().await;
        let Some(batch) = self.batch.take() else { return };
        let result = self.run("COMMIT").await.map_err(|error| Arc::from(error.to_string()));
        if let Err(why) = &result {
            tracing::error!(%why, members = batch.members, "a batch could not be committed");
            // Fails if SQLite has already rolled back.
            let _ = self.run("ROLLBACK").await;
        }
        batch.outcome.send_replace(Some(result));
    }

    /// Rolls back a dropped transaction, and ends a batch without members.
    async fn roll_back_dropped(&mut self) {
        if !self.torn {
            return;
        }
        let undone = self.run("ROLLBACK TO one; RELEASE one").await;
        self.torn = false;
        match undone {
            Ok(()) if self.batch.as_ref().is_none_or(|batch| batch.members == 0) => {
                self.abandon("nobody is in this batch").await;
            }
            Ok(()) => {}
            Err(error) => self.abandon(&error.to_string()).await,
        }
    }

    /// Rolls back the batch and sends the error to all members.
    async fn abandon(&mut self, why: &str) {
        let _ = self.run("ROLLBACK").await;
        if let Some(batch) = self.batch.take() {
            if batch.members > 0 {
                tracing::error!(%why, members = batch.members, "a batch was rolled back");
            }
            batch.outcome.send_replace(Some(Err(why.into())));
        }
    }
}

/// A savepoint on the writer, held until commit or drop.
#[derive(Debug)]
pub struct SqliteTx {
    writer: Arc<Mutex<Writer>>,
    /// `None` after a commit gave up the writer.
    held: Option<OwnedMutexGuard<Writer>>,
    pub(super) outcome: watch::Receiver<Outcome>,
    invalidated: bool,
    pub(crate) touched: TouchedSubjects,
    pub(super) last_event: EventSeq,
}

impl SqliteTx {
    /// The connection for one statement. Its result must be passed to [`Self::note`].
    pub(crate) fn connection(&mut self) -> Result<&mut SqliteConnection, Error> {
        if std::mem::replace(&mut self.invalidated, true) {
            return Err(invalidated());
        }
        let held = self.held.as_mut().ok_or_else(invalidated)?;
        Ok(held.connection()?)
    }

    pub(crate) fn check<T>(&mut self, result: Result<T, sqlx::Error>) -> Result<T, Error> {
        self.invalidated = result.is_err();
        Ok(result?)
    }

    pub(super) async fn commit(mut self) -> Result<(), Error> {
        if self.invalidated {
            return Err(invalidated());
        }
        let Some(mut held) = self.held.take() else { return Err(invalidated()) };
        let (writer, outcome) = (self.writer.clone(), self.outcome.clone());
        let touched = self.touched.take();
        to_the_end(async move {
            held.release().await?;
            drop(held);
            let end = wait_for_commit(writer, outcome).await;
            // Invalidates what readers keep, before the result is sent.
            drop(touched);
            end
        })
        .await
    }
}

/// Waits until the batch is committed. The first member to get the writer commits it.
async fn wait_for_commit(
    writer: Arc<Mutex<Writer>>,
    outcome: watch::Receiver<Outcome>,
) -> Result<(), Error> {
    let mut news = outcome.clone();
    let told = async { news.wait_for(Option::is_some).await.map(drop) };
    let held = tokio::select! {
        biased;
        // An error here means that the batch was lost; the outcome is read below.
        _ = told => None,
        held = writer.lock_owned() => Some(held),
    };
    if let Some(mut held) = held
        && outcome.borrow().is_none()
    {
        held.flush().await;
    }
    match &*outcome.borrow() {
        Some(Ok(())) => Ok(()),
        Some(Err(why)) => Err(Error::Commit(why.to_string())),
        None => Err(Error::Commit("the batch was lost".to_owned())),
    }
}

impl Drop for SqliteTx {
    fn drop(&mut self) {
        let Some(mut held) = self.held.take() else { return };
        held.torn = true;
        // Without a runtime, the next transaction to enter does it.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { held.roll_back_dropped().await });
        }
    }
}
