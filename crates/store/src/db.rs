//! Connections and transactions.
//!
//! PostgreSQL: a pool; every transaction is its own.
//!
//! SQLite: one writer connection (`synchronous=FULL`, WAL) and a pool of read-only ones. Transactions
//! that arrive together are committed together: each runs in a savepoint of one outer transaction,
//! releases it, and queues for the writer once more; whoever gets it first commits for all. The
//! queue is fair, so everybody who was waiting has run by then. [`Tx::commit`] returns after the
//! commit reached the disk: acknowledged means durable, and a burst pays for few syncs.

use std::{
    path::Path,
    str::FromStr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use sqlx::{
    Connection, Executor, PgPool, Postgres, SqliteConnection, SqlitePool,
    migrate::Migrator,
    postgres::PgPoolOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::error::Error;

/// Every migration, in order; forward only.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

const READERS: u32 = 4;
const POSTGRES_CONNECTIONS: u32 = 16;
const ACQUIRE: Duration = Duration::from_secs(5);

/// A database.
#[derive(Debug, Clone)]
pub enum Db {
    /// A file of our own.
    Sqlite(Sqlite),
    /// A server, shared by replicas.
    Postgres(PgPool),
}

/// The two sides of a SQLite file.
#[derive(Debug, Clone)]
pub struct Sqlite {
    writer: Arc<Mutex<Writer>>,
    readers: SqlitePool,
}

impl Sqlite {
    pub(crate) const fn readers(&self) -> &SqlitePool {
        &self.readers
    }
}

/// How durable a SQLite commit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// On disk before it is acknowledged.
    Full,
    /// Left to the operating system; for simulations only.
    Off,
}

impl Db {
    /// Opens `sqlite://path` or `postgres://…` and brings its schema up to date.
    pub async fn open(url: &str) -> Result<Self, Error> {
        match url.strip_prefix("sqlite://") {
            Some(path) => Self::open_sqlite(Path::new(path), Durability::Full).await,
            None => Self::open_postgres(url).await,
        }
    }

    /// Opens or makes a SQLite file and brings its schema up to date.
    pub async fn open_sqlite(path: &Path, durability: Durability) -> Result<Self, Error> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .foreign_keys(true)
            .busy_timeout(ACQUIRE)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(match durability {
                Durability::Full => SqliteSynchronous::Full,
                Durability::Off => SqliteSynchronous::Off,
            });
        let mut writer = SqliteConnection::connect_with(&options).await?;
        MIGRATIONS.run(&mut writer).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(ACQUIRE)
            .connect_with(options.read_only(true).create_if_missing(false))
            .await?;
        let writer = Writer { connection: writer, batch: None, torn: false };
        Ok(Self::Sqlite(Sqlite { writer: Arc::new(Mutex::new(writer)), readers }))
    }

    async fn open_postgres(url: &str) -> Result<Self, Error> {
        let options = sqlx::postgres::PgConnectOptions::from_str(url)?;
        let pool = PgPoolOptions::new()
            .max_connections(POSTGRES_CONNECTIONS)
            .acquire_timeout(ACQUIRE)
            .connect_with(options)
            .await?;
        MIGRATIONS.run(&pool).await?;
        Ok(Self::Postgres(pool))
    }

    /// Begins a transaction. Dropped without [`Tx::commit`] it leaves nothing behind.
    pub async fn begin(&self) -> Result<Tx, Error> {
        match self {
            Self::Sqlite(db) => Ok(Tx::Sqlite(SqliteTx::begin(db.writer.clone()).await?)),
            Self::Postgres(pool) => Ok(Tx::Postgres(pool.begin().await?)),
        }
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), Error> {
        on_read!(self, |c| sqlx::query_scalar::<_, i64>("SELECT CAST(1 AS BIGINT)").fetch_one(c)).map(drop)
    }

    /// Finishes what is under way and closes every connection.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(db) => {
                let mut writer = db.writer.lock().await;
                if let Err(error) = writer.flush().await {
                    tracing::warn!(%error, "the last batch could not be committed");
                }
                db.readers.close().await;
            }
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

/// A transaction.
#[derive(Debug)]
pub enum Tx {
    /// A savepoint of the batch under way.
    Sqlite(SqliteTx),
    /// One of its own.
    Postgres(sqlx::Transaction<'static, Postgres>),
}

impl Tx {
    /// Makes the changes durable; returns when they are.
    pub async fn commit(self) -> Result<(), Error> {
        match self {
            Self::Sqlite(tx) => tx.commit().await,
            Self::Postgres(tx) => Ok(tx.commit().await?),
        }
    }

    /// The next number of a counter; unique, and ordered by commit.
    pub(crate) async fn draw(&mut self, counter: &'static str) -> Result<i64, Error> {
        const SQL: &str = "UPDATE counters SET value = value + 1 WHERE name = $1 RETURNING value";
        on_tx!(self, |c| sqlx::query_scalar::<_, i64>(SQL).bind(counter).fetch_one(c))
    }
}

/// What everybody in a batch learns: `Ok` is durable.
type Outcome = Arc<OnceLock<Result<(), String>>>;

#[derive(Debug)]
struct Writer {
    connection: SqliteConnection,
    /// The outer transaction that is open, if one is.
    batch: Option<Outcome>,
    /// A savepoint was left open by a dropped transaction.
    torn: bool,
}

impl Writer {
    async fn run(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        self.connection.execute(sql).await.map(drop)
    }

    /// Opens a savepoint, and the outer transaction where none is open.
    async fn enter(&mut self) -> Result<Outcome, Error> {
        if std::mem::take(&mut self.torn)
            && self.run("ROLLBACK TO one; RELEASE one").await.is_err()
        {
            // SQLite gave up the whole transaction, and with it everybody in the batch.
            self.abandon("the transaction was rolled back by SQLite").await;
        }
        let outcome = match &self.batch {
            Some(outcome) => outcome.clone(),
            None => {
                self.run("BEGIN IMMEDIATE").await?;
                self.batch.insert(Outcome::default()).clone()
            }
        };
        if let Err(error) = self.run("SAVEPOINT one").await {
            self.abandon(&error.to_string()).await;
            return Err(error.into());
        }
        Ok(outcome)
    }

    /// Commits the open batch, if there is one, and tells everybody in it.
    async fn flush(&mut self) -> Result<(), Error> {
        if std::mem::take(&mut self.torn) {
            let _ = self.run("ROLLBACK TO one; RELEASE one").await;
        }
        let Some(outcome) = self.batch.take() else { return Ok(()) };
        let result = self.run("COMMIT").await.map_err(|error| error.to_string());
        if result.is_err() {
            let _ = self.run("ROLLBACK").await;
        }
        let _ = outcome.set(result.clone());
        result.map_err(Error::Commit)
    }

    async fn abandon(&mut self, why: &str) {
        let _ = self.run("ROLLBACK").await;
        if let Some(outcome) = self.batch.take() {
            let _ = outcome.set(Err(why.to_owned()));
        }
    }
}

/// A savepoint on the writer, held until commit or drop.
#[derive(Debug)]
pub struct SqliteTx {
    writer: Arc<Mutex<Writer>>,
    held: OwnedMutexGuard<Writer>,
    outcome: Outcome,
    released: bool,
}

impl SqliteTx {
    async fn begin(writer: Arc<Mutex<Writer>>) -> Result<Self, Error> {
        let mut held = writer.clone().lock_owned().await;
        let outcome = held.enter().await?;
        Ok(Self { writer, held, outcome, released: false })
    }

    pub(crate) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.held.connection
    }

    async fn commit(mut self) -> Result<(), Error> {
        self.held.run("RELEASE one").await?;
        self.released = true;
        let (writer, outcome) = (self.writer.clone(), self.outcome.clone());
        drop(self);
        let mut held = writer.lock_owned().await;
        if outcome.get().is_none() {
            held.flush().await?;
        }
        drop(held);
        match outcome.get() {
            Some(Ok(())) => Ok(()),
            Some(Err(why)) => Err(Error::Commit(why.clone())),
            None => Err(Error::Commit("the batch was lost".to_owned())),
        }
    }
}

impl Drop for SqliteTx {
    fn drop(&mut self) {
        if !self.released {
            self.held.torn = true;
        }
    }
}
