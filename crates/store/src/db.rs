//! Connections and transactions.
//!
//! What both engines promise:
//!
//! - [`Tx::commit`] returned `Ok`: the changes are durable and every later read sees them.
//! - A [`Tx`] dropped before commit leaves nothing behind.
//! - `commit` returned an error: the changes are not acknowledged. They were rolled back where the
//!   database could still do so; where the connection or the disk failed in the middle of the commit
//!   they may yet be there after recovery. The caller looks, or repeats under an idempotency key.
//! - A `commit` whose future is dropped either happens whole or not at all; which is not known.
//! - A statement that failed, or whose future was dropped before it ended, spoils its transaction:
//!   later statements and the commit fail.
//!
//! What differs: SQLite runs write transactions one after the other and commits those that meet
//! together ([`sqlite`]); on PostgreSQL they run side by side under READ COMMITTED ([`postgres`]), so
//! every read that decides over a write takes a row first or is checked again by the write.
//!
//! Reads ([`Db`]) have connections of their own on both, so that a transaction may read beside itself
//! without waiting for one that waits for it. Such a read does not see what the transaction wrote.
//! Between [`Db::begin`] and commit nothing outside the database may be awaited, nor another
//! [`Db::begin`]: on SQLite everybody else waits for it, and the second would wait for the first.

use std::path::{Path, PathBuf};

use sqlx::{migrate::Migrator, postgres::PgConnectOptions};

use crate::error::Error;

pub mod migrate;
pub mod postgres;
pub mod sqlite;
#[cfg(test)]
mod tests;

pub use postgres::{Pg, PgTx};
pub use sqlite::{Durability, Sqlite, SqliteTx};

/// Every migration, in order; forward only.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// A database.
#[derive(Debug, Clone)]
pub enum Db {
    /// A file of our own.
    Sqlite(Sqlite),
    /// A server, shared by replicas.
    Postgres(Pg),
}

impl Db {
    /// Opens `sqlite://path` or `postgres://…` and brings its schema up to date.
    pub async fn open(url: &str) -> Result<Self, Error> {
        match Place::parse(url)? {
            Place::Sqlite(path) => Self::open_sqlite(&path, Durability::Full).await,
            Place::Postgres(options) => Ok(Self::Postgres(Pg::open(*options).await?)),
        }
    }

    /// Opens or makes a SQLite file and brings its schema up to date.
    pub async fn open_sqlite(path: &Path, durability: Durability) -> Result<Self, Error> {
        Ok(Self::Sqlite(Sqlite::open(path, durability).await?))
    }

    /// Begins a transaction. Dropped without [`Tx::commit`] it leaves nothing behind.
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

    /// Finishes what is under way and closes every connection; what comes later is
    /// [`Error::Unavailable`].
    pub async fn close(&self) {
        match self {
            Self::Sqlite(db) => db.close().await,
            Self::Postgres(db) => db.close().await,
        }
    }

    pub(crate) const fn engine(&self) -> Engine {
        match self {
            Self::Sqlite(_) => Engine::Sqlite,
            Self::Postgres(_) => Engine::Postgres,
        }
    }
}

/// Where a database is.
#[derive(Debug)]
enum Place {
    Sqlite(PathBuf),
    Postgres(Box<PgConnectOptions>),
}

impl Place {
    /// Reads `sqlite://path` or `postgres://…`.
    fn parse(url: &str) -> Result<Self, Error> {
        match url.split_once(':') {
            Some(("sqlite", path)) => {
                let path = path.strip_prefix("//").unwrap_or(path);
                // Several connections share it, so it must be a file; what is set on it we decide.
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

/// The few words that differ between the engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

impl Engine {
    /// A query for the elements, as text, of the JSON array in parameter 1: `… IN ({})`.
    pub(crate) fn elements(self) -> String {
        self.elements_of(1)
    }

    /// The same for the array in this parameter.
    pub(crate) fn elements_of(self, parameter: u8) -> String {
        match self {
            Self::Sqlite => format!("SELECT value FROM json_each(${parameter})"),
            Self::Postgres => format!(
                "SELECT value FROM json_array_elements_text(CAST(${parameter} AS JSON)) AS t(value)"
            ),
        }
    }

    /// What a `SELECT` says at its end to take the rows it reads until commit. SQLite needs no word:
    /// there is one writer. The weaker lock of PostgreSQL lets others refer to the row meanwhile.
    pub(crate) const fn for_update(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " FOR NO KEY UPDATE",
        }
    }

    /// The same, leaving out rows that somebody else has taken.
    pub(crate) const fn for_update_skip_locked(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " FOR NO KEY UPDATE SKIP LOCKED",
        }
    }
}

/// A transaction.
#[derive(Debug)]
pub enum Tx {
    /// A savepoint of the batch under way.
    Sqlite(SqliteTx),
    /// One of its own.
    Postgres(PgTx),
}

impl Tx {
    /// Makes the changes durable; returns when they are.
    pub async fn commit(self) -> Result<(), Error> {
        match self {
            Self::Sqlite(tx) => tx.commit().await,
            Self::Postgres(tx) => tx.commit().await,
        }
    }

    /// The next number of a counter; unique, and ordered by commit. The counter is taken until
    /// commit: draw as late as the transaction allows.
    pub(crate) async fn draw(&mut self, counter: &'static str) -> Result<i64, Error> {
        self.draw_many(counter, 1).await
    }

    /// The last of so many numbers in a row.
    pub(crate) async fn draw_many(
        &mut self,
        counter: &'static str,
        count: i64,
    ) -> Result<i64, Error> {
        const SQL: &str = "UPDATE counters SET value = value + $2 WHERE name = $1 RETURNING value";
        on_tx!(self, |c| sqlx::query_scalar::<_, i64>(SQL).bind(counter).bind(count).fetch_one(c))
    }

    pub(crate) const fn engine(&self) -> Engine {
        match self {
            Self::Sqlite(_) => Engine::Sqlite,
            Self::Postgres(_) => Engine::Postgres,
        }
    }
}

fn misnamed(what: &'static str) -> Error {
    sqlx::Error::Configuration(what.into()).into()
}

/// What a spoilt transaction answers.
fn spoilt() -> Error {
    Error::Commit("a statement of this transaction failed or was given up".to_owned())
}
