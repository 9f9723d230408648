//! A SQLite file: one writer connection (`synchronous=FULL`, WAL) and a pool of read-only ones.
//!
//! # Group commit
//!
//! A transaction is a savepoint of one outer transaction, the *batch*. Committing releases the
//! savepoint, gives the writer away and queues for it once more; whoever of a batch gets it first
//! commits for all, and everybody else of the batch is told. The queue is fair, so whoever was
//! waiting when the first one released has run by then: a lone transaction pays one sync and waits for
//! nobody, a burst pays few, and the batch is never longer than the queue was.
//!
//! What must stay true:
//!
//! - Nobody is told `Ok` before the `COMMIT` of their batch returned, and with `synchronous=FULL` it
//!   returns after the WAL was synced.
//! - When the `COMMIT` fails the batch is rolled back and *everybody* in it is told. Only a crash at
//!   that very moment can leave its commit record readable in the WAL, so such a change may yet be
//!   there after recovery, whole.
//! - A dropped transaction is rolled back to its savepoint; the others of the batch keep theirs. The
//!   last one to leave an empty batch ends it, so that no lock on the file is kept.
//! - After some errors (disk full, I/O) SQLite ends the outer transaction by itself, and what comes
//!   after would be committed statement by statement. So a transaction with a failed statement is
//!   never released, and when its savepoint turns out to be gone, everybody in the batch is told.
//! - `BEGIN`, `RELEASE`, `COMMIT` and `ROLLBACK` run in tasks of their own: a caller that goes away in
//!   the middle (a client that hangs up) leaves none of them half done. Statements in between may be
//!   given up; the driver's thread runs them in order, so the rollback comes after them.

use std::{fs::File, io, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc, time::Duration};

use sqlx::{
    Connection, Executor, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::{
    runtime::Handle,
    sync::{Mutex, OwnedMutexGuard, watch},
};

use super::{MIGRATIONS, spoilt};
use crate::{
    error::Error,
    freshness::{Touched, Writes},
};

const READERS: u32 = 4;
const ACQUIRE: Duration = Duration::from_secs(5);
/// The WAL is cut back to this after a checkpoint, so that a burst does not keep its disk.
const WAL_BYTES: &str = "67108864";

/// How many rows a table has, and how many of them share a value of the first column of an index, of
/// the first two, and so on. Without that SQLite takes ten rows per workspace for granted and reads a
/// whole one rather than sort three rows. Fixed figures of a large installation keep plans the same on
/// every installation; `plans.rs` in the tests says what they must lead to.
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
    ('events', 'events_of_cvm', '1000000 50 1'), \
    ('events', 'events_of_workspace', '1000000 500000 1'); \
    ANALYZE sqlite_schema; COMMIT";

/// How durable a SQLite commit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// On disk before it is acknowledged.
    Full,
    /// Left to the operating system; for simulations only.
    Off,
}

/// The two sides of a SQLite file.
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
        let touched = Touched::none(self.writes.clone());
        let mut held = writer.clone().lock_owned().await;
        to_the_end(async move {
            let outcome = held.enter().await?;
            Ok(SqliteTx { writer, held: Some(held), outcome, spoilt: false, touched })
        })
        .await
    }

    /// The writer goes last and alone: only then can the whole WAL be brought into the file.
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

/// Makes the file, if there is none, for its owner only; what SQLite puts beside it gets its mode.
fn make_private(path: &Path) -> io::Result<()> {
    let made = File::options().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Runs control statements to their end, also when the caller goes away meanwhile.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::Commit(error.to_string())),
    }
}

/// What everybody in a batch learns: `Ok` is durable. `None`: not yet.
pub(super) type Outcome = Option<Result<(), Arc<str>>>;

/// An outer transaction that is open.
#[derive(Debug)]
struct Batch {
    outcome: watch::Sender<Outcome>,
    /// How many transactions released their savepoint and wait for the commit.
    members: usize,
}

#[derive(Debug)]
pub(super) struct Writer {
    /// `None`: closed.
    connection: Option<SqliteConnection>,
    batch: Option<Batch>,
    /// A transaction was dropped and its savepoint is still there.
    torn: bool,
}

impl Writer {
    fn connection(&mut self) -> Result<&mut SqliteConnection, sqlx::Error> {
        self.connection.as_mut().ok_or(sqlx::Error::PoolClosed)
    }

    async fn run(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        self.connection()?.execute(sql).await.map(drop)
    }

    /// Opens a savepoint, and the outer transaction where none is open.
    async fn enter(&mut self) -> Result<watch::Receiver<Outcome>, Error> {
        self.mend().await;
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

    /// Makes the savepoint a part of the batch.
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

    /// Commits the open batch, if there is one, and tells everybody in it.
    async fn flush(&mut self) {
        self.mend().await;
        let Some(batch) = self.batch.take() else { return };
        let result = self.run("COMMIT").await.map_err(|error| Arc::from(error.to_string()));
        if let Err(why) = &result {
            tracing::error!(%why, members = batch.members, "a batch could not be committed");
            // Fails where SQLite has rolled back by itself.
            let _ = self.run("ROLLBACK").await;
        }
        batch.outcome.send_replace(Some(result));
    }

    /// Undoes what a dropped transaction did, and ends a batch that nobody waits for.
    async fn mend(&mut self) {
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

    /// Rolls the batch back and tells everybody in it.
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
    /// `None`: given away by commit.
    held: Option<OwnedMutexGuard<Writer>>,
    pub(super) outcome: watch::Receiver<Outcome>,
    spoilt: bool,
    pub(crate) touched: Touched,
}

impl SqliteTx {
    /// The connection for one statement, whose result is to be given to [`Self::note`].
    pub(crate) fn connection(&mut self) -> Result<&mut SqliteConnection, Error> {
        if std::mem::replace(&mut self.spoilt, true) {
            return Err(spoilt());
        }
        let held = self.held.as_mut().ok_or_else(spoilt)?;
        Ok(held.connection()?)
    }

    pub(crate) fn check<T>(&mut self, result: Result<T, sqlx::Error>) -> Result<T, Error> {
        self.spoilt = result.is_err();
        Ok(result?)
    }

    pub(super) async fn commit(mut self) -> Result<(), Error> {
        if self.spoilt {
            return Err(spoilt());
        }
        let Some(mut held) = self.held.take() else { return Err(spoilt()) };
        let (writer, outcome) = (self.writer.clone(), self.outcome.clone());
        let touched = self.touched.take();
        to_the_end(async move {
            held.release().await?;
            drop(held);
            let end = told(writer, outcome).await;
            // Readers look again before anybody is told.
            drop(touched);
            end
        })
        .await
    }
}

/// Waits until the batch is committed, by us if we are the first to get the writer.
async fn told(writer: Arc<Mutex<Writer>>, outcome: watch::Receiver<Outcome>) -> Result<(), Error> {
    let mut news = outcome.clone();
    let told = async { news.wait_for(Option::is_some).await.map(drop) };
    let held = tokio::select! {
        biased;
        // An error here is a batch that was lost; it is read below.
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
        // Without a runtime, or when it ends, the next one to enter does it.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { held.mend().await });
        }
    }
}
