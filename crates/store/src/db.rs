//! Connections and transactions.
//!
//! Guarantees of both databases:
//!
//! - [`Tx::commit`] returned `Ok`: the changes are durable, and every later read sees them.
//! - A [`Tx`] dropped before commit has no effect.
//! - `commit` returned an error: the changes are not acknowledged. They were rolled back if the database
//!   could still do so. If the connection or the disk failed during the commit, they may be present after
//!   recovery. The caller reads again, or repeats the request under an idempotency key.
//! - A `commit` whose future is dropped takes effect completely or not at all; the caller cannot know which.
//! - A failed statement, or one whose future was dropped, invalidates its transaction: later statements and
//!   the commit fail.
//!
//! Differences: SQLite runs write transactions one after the other and commits concurrent ones together
//! ([`sqlite`]). PostgreSQL runs them concurrently under READ COMMITTED ([`postgres`]), so every read that
//! decides about a write must lock a row first, or the write must check it again.
//!
//! Reads ([`Db`]) use their own connections on both databases, so code inside a transaction can read outside
//! of it without a deadlock. Such a read does not see the transaction's writes. Between [`Db::begin`] and
//! commit, await nothing outside the database and no other [`Db::begin`]: on SQLite all writers wait for it,
//! and a second `begin` would deadlock.

use std::path::{Path, PathBuf};

use casemate_core::id::EventSeq;
use sqlx::{migrate::Migrator, postgres::PgConnectOptions};

use crate::error::Error;

mod append_only;
pub mod migrate;
pub mod postgres;
pub mod sqlite;
#[cfg(test)]
mod tests;

pub use postgres::{Pg, PgTx};
pub use sqlite::{Durability, Sqlite, SqliteTx};

/// All migrations in order; forward only.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

#[derive(Debug, Clone)]
pub enum Db {
    /// A file used by this process only.
    Sqlite(Sqlite),
    /// A server, possibly shared by replicas.
    Postgres(Pg),
}

impl Db {
    /// Opens `sqlite://path` or `postgres://…` and migrates its schema.
    pub async fn open(url: &str) -> Result<Self, Error> {
        match Place::parse(url)? {
            Place::Sqlite(path) => Self::open_sqlite(&path, Durability::Full).await,
            Place::Postgres(options) => Ok(Self::Postgres(Pg::open(*options).await?)),
        }
    }

    /// Opens or creates a SQLite file and migrates its schema.
    pub async fn open_sqlite(path: &Path, durability: Durability) -> Result<Self, Error> {
        Ok(Self::Sqlite(Sqlite::open(path, durability).await?))
    }

    /// Begins a transaction. Dropped without [`Tx::commit`], it has no effect.
    pub async fn begin(&self) -> Result<Tx, Error> {
        match self {
            Self::Sqlite(db) => Ok(Tx::Sqlite(db.begin().await?)),
            Self::Postgres(db) => Ok(Tx::Postgres(db.begin().await?)),
        }
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), Error> {
        const SQL: &str = "SELECT CAST(1 AS BIGINT)";
        on_read!(self, |c| sqlx::query_scalar::<_, i64>(SQL).fetch_one(c)).map(drop)
    }

    /// Finishes open transactions and closes all connections. Later calls return [`Error::Unavailable`].
    pub async fn close(&self) {
        match self {
            Self::Sqlite(db) => db.close().await,
            Self::Postgres(db) => db.close().await,
        }
    }

    pub(crate) const fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }
}

/// A parsed database URL.
#[derive(Debug)]
enum Place {
    Sqlite(PathBuf),
    Postgres(Box<PgConnectOptions>),
}

impl Place {
    /// Parses `sqlite://path` or `postgres://…`.
    fn parse(url: &str) -> Result<Self, Error> {
        match url.split_once(':') {
            Some(("sqlite", path)) => {
                let path = path.strip_prefix("//").unwrap_or(path);
                // Several connections share the database, so it must be a file. Options are set by this
                // crate.
                if path.is_empty() || path.contains(":memory:") || path.contains('?') {
                    return Err(misnamed(
                        "a SQLite URL names a file: sqlite://path, without options",
                    ));
                }
                Ok(Self::Sqlite(PathBuf::from(path)))
            }
            Some(("postgres" | "postgresql", _)) => Ok(Self::Postgres(Box::new(url.parse()?))),
            _ => Err(misnamed("a database URL begins with sqlite:// or postgres://")),
        }
    }
}

/// SQL fragments that differ between the databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    /// A subquery for the elements, as text, of the JSON array in parameter 1: `… IN ({})`.
    pub(crate) fn elements(self) -> String {
        self.elements_of(1)
    }

    /// The same for the array in the given parameter.
    pub(crate) fn elements_of(self, parameter: u8) -> String {
        match self {
            Self::Sqlite => format!("SELECT value FROM json_each(${parameter})"),
            Self::Postgres => format!(
                "SELECT value FROM json_array_elements_text(CAST(${parameter} AS JSON)) AS t(value)"
            ),
        }
    }

    /// Suffix of a `SELECT` that locks its rows until commit. SQLite needs none, because it has one writer.
    /// The weaker lock of PostgreSQL still lets others reference the row.
    pub(crate) const fn for_update(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " FOR NO KEY UPDATE",
        }
    }

    /// The same, skipping rows locked by others.
    pub(crate) const fn for_update_skip_locked(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " FOR NO KEY UPDATE SKIP LOCKED",
        }
    }
}

#[derive(Debug)]
pub enum Tx {
    /// A savepoint of the current batch.
    Sqlite(SqliteTx),
    /// A separate transaction.
    Postgres(PgTx),
}

impl Tx {
    /// Returns when the changes are durable.
    pub async fn commit(self) -> Result<(), Error> {
        match self {
            Self::Sqlite(tx) => tx.commit().await,
            Self::Postgres(tx) => tx.commit().await,
        }
    }

    /// The next number of a counter; unique, and ordered by commit. The counter is locked until commit, so
    /// draw as late as possible.
    pub(crate) async fn draw(&mut self, counter: &'static str) -> Result<i64, Error> {
        self.draw_many(counter, 1).await
    }

    /// The last of `count` consecutive numbers.
    pub(crate) async fn draw_many(
        &mut self,
        counter: &'static str,
        count: i64,
    ) -> Result<i64, Error> {
        const SQL: &str = "UPDATE counters SET value = value + $2 WHERE name = $1 RETURNING value";
        on_tx!(self, |c| sqlx::query_scalar::<_, i64>(SQL).bind(counter).bind(count).fetch_one(c))
    }

    /// Place of the last event that this transaction wrote; 0 for none.
    pub const fn last_event(&self) -> EventSeq {
        match self {
            Self::Sqlite(tx) => tx.last_event,
            Self::Postgres(tx) => tx.last_event,
        }
    }

    pub(crate) const fn wrote_events_to(&mut self, seq: EventSeq) {
        match self {
            Self::Sqlite(tx) => tx.last_event = seq,
            Self::Postgres(tx) => tx.last_event = seq,
        }
    }

    pub(crate) const fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }
}

fn misnamed(what: &'static str) -> Error {
    sqlx::Error::Configuration(what.into()).into()
}

/// The error of an invalidated transaction.
fn invalidated() -> Error {
    Error::Commit("a statement of this transaction failed or was given up".to_owned())
}
