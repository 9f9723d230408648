//! PostgreSQL: one pool for reads and one for transactions.
//!
//! Two pools, because code inside a transaction may also read outside of it: with one pool, as many
//! transactions as it has connections would deadlock. Timeouts are set on the server, so that a replica that
//! is cut off cannot hold row locks for long. Its lock on the `event` counter would block all writers.

use std::time::Duration;

use casemate_core::id::EventSeq;
use sqlx::{
    Connection, Executor, PgConnection, PgPool, Postgres, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{MIGRATIONS, append_only, invalidated};
use crate::error::Error;

const WRITERS: u32 = 12;
const READERS: u32 = 8;
const ACQUIRE: Duration = Duration::from_secs(5);
/// A connection that was idle for longer is tested before it is used again.
const FRESH: Duration = Duration::from_secs(1);
/// This crate relies on READ COMMITTED, so it overrides the server's default.
const SESSION: &str = "SET default_transaction_isolation = 'read committed'; \
    SET statement_timeout = '30s'; SET lock_timeout = '10s'; \
    SET idle_in_transaction_session_timeout = '10s'";

#[derive(Debug, Clone)]
pub struct Pg {
    writers: PgPool,
    readers: PgPool,
}

impl Pg {
    pub(crate) async fn open(options: PgConnectOptions) -> Result<Self, Error> {
        connect_once(&options).await?.close().await?;
        // Without the session's timeouts: a migration may take long.
        let migrating =
            PgPoolOptions::new().max_connections(1).connect_with(options.clone()).await?;
        MIGRATIONS.run(&migrating).await?;
        append_only::postgres(&mut *migrating.acquire().await?).await?;
        migrating.close().await;
        let writers = pool(WRITERS).connect_with(options.clone()).await?;
        let readers = pool(READERS).connect_with(options).await?;
        Ok(Self { writers, readers })
    }

    pub(super) async fn begin(&self) -> Result<PgTx, Error> {
        let inner = self.writers.begin().await?;
        Ok(PgTx { inner, invalidated: false, last_event: EventSeq(0) })
    }

    pub(super) async fn close(&self) {
        self.writers.close().await;
        self.readers.close().await;
    }

    pub(crate) const fn readers(&self) -> &PgPool {
        &self.readers
    }
}

/// A single connection. A pool retries for long and then does not report the cause.
pub(super) async fn connect_once(options: &PgConnectOptions) -> Result<PgConnection, Error> {
    let hello = tokio::time::timeout(ACQUIRE, PgConnection::connect_with(options)).await;
    Ok(hello.map_err(|_| sqlx::Error::PoolTimedOut)??)
}

fn pool(connections: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE)
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for > FRESH {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .after_connect(|connection, _| {
            Box::pin(async move { connection.execute(SESSION).await.map(drop) })
        })
}

#[derive(Debug)]
pub struct PgTx {
    inner: Transaction<'static, Postgres>,
    invalidated: bool,
    pub(super) last_event: EventSeq,
}

impl PgTx {
    /// The connection for one statement. Its result must be passed to [`Self::note`].
    pub(crate) fn connection(&mut self) -> Result<&mut PgConnection, Error> {
        if std::mem::replace(&mut self.invalidated, true) {
            return Err(invalidated());
        }
        Ok(&mut self.inner)
    }

    pub(crate) fn check<T>(&mut self, result: Result<T, sqlx::Error>) -> Result<T, Error> {
        self.invalidated = result.is_err();
        Ok(result?)
    }

    /// An invalidated transaction is not committed: PostgreSQL answers the `COMMIT` of a failed transaction
    /// with a rollback and no error.
    pub(super) async fn commit(self) -> Result<(), Error> {
        if self.invalidated {
            return Err(invalidated());
        }
        Ok(self.inner.commit().await?)
    }
}
