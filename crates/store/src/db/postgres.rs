//! A PostgreSQL server: one pool for reads and one for transactions, each transaction its own.
//!
//! Two pools, because a transaction may read beside itself: with one pool, as many transactions as it
//! has connections would wait for each other's. Time limits are set on the server, so that a replica
//! that is cut off cannot hold rows for long: what it holds is the way of everybody through the
//! `event` counter.

use std::time::Duration;

use sqlx::{
    Connection, Executor, PgConnection, PgPool, Postgres, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{MIGRATIONS, spoilt};
use crate::error::Error;

const WRITERS: u32 = 12;
const READERS: u32 = 8;
const ACQUIRE: Duration = Duration::from_secs(5);
/// A connection that rested longer is asked whether it lives before it is used again.
const FRESH: Duration = Duration::from_secs(1);
/// Every argument in this crate is about READ COMMITTED, whatever the server's default is.
const SESSION: &str = "SET default_transaction_isolation = 'read committed'; \
    SET statement_timeout = '30s'; SET lock_timeout = '10s'; \
    SET idle_in_transaction_session_timeout = '10s'";

/// The two pools of a server.
#[derive(Debug, Clone)]
pub struct Pg {
    writers: PgPool,
    readers: PgPool,
}

impl Pg {
    pub(crate) async fn open(options: PgConnectOptions) -> Result<Self, Error> {
        hello(&options).await?.close().await?;
        // Without the limits of a session: a migration may take long.
        let migrating =
            PgPoolOptions::new().max_connections(1).connect_with(options.clone()).await?;
        MIGRATIONS.run(&migrating).await?;
        migrating.close().await;
        let writers = pool(WRITERS).connect_with(options.clone()).await?;
        let readers = pool(READERS).connect_with(options).await?;
        Ok(Self { writers, readers })
    }

    pub(super) async fn begin(&self) -> Result<PgTx, Error> {
        Ok(PgTx { inner: self.writers.begin().await?, spoilt: false })
    }

    pub(super) async fn close(&self) {
        self.writers.close().await;
        self.readers.close().await;
    }

    pub(crate) const fn readers(&self) -> &PgPool {
        &self.readers
    }
}

/// One connection. A pool tries for long and then forgets why it could not.
pub(super) async fn hello(options: &PgConnectOptions) -> Result<PgConnection, Error> {
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

/// A transaction of its own.
#[derive(Debug)]
pub struct PgTx {
    inner: Transaction<'static, Postgres>,
    spoilt: bool,
}

impl PgTx {
    /// The connection for one statement, whose result is to be given to [`Self::note`].
    pub(crate) fn connection(&mut self) -> Result<&mut PgConnection, Error> {
        if std::mem::replace(&mut self.spoilt, true) {
            return Err(spoilt());
        }
        Ok(&mut self.inner)
    }

    pub(crate) fn check<T>(&mut self, result: Result<T, sqlx::Error>) -> Result<T, Error> {
        self.spoilt = result.is_err();
        Ok(result?)
    }

    /// PostgreSQL answers the `COMMIT` of a failed transaction with a rollback and no error, so one
    /// that is spoilt is never sent.
    pub(super) async fn commit(self) -> Result<(), Error> {
        if self.spoilt {
            return Err(spoilt());
        }
        Ok(self.inner.commit().await?)
    }
}
