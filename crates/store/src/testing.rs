//! Fresh databases for tests: each body runs on both engines, and a missing engine fails.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use sqlx::{Connection, Executor, PgConnection};
use tempfile::TempDir;

use crate::{
    Db,
    db::Durability,
};

/// A database of its own, gone when dropped (PostgreSQL: with the server of the test run).
#[derive(Debug)]
pub struct Fresh {
    /// The database.
    pub db: Db,
    _dir: Option<TempDir>,
}

/// A new SQLite file without syncs.
pub async fn sqlite() -> Fresh {
    let dir = TempDir::new().expect("a temporary directory");
    let path: PathBuf = dir.path().join("casemate.db");
    let db = Db::open_sqlite(&path, Durability::Off).await.expect("a fresh SQLite file");
    Fresh { db, _dir: Some(dir) }
}

/// A new PostgreSQL database on the server of `TEST_POSTGRES_URL`.
pub async fn postgres() -> Fresh {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    #[expect(clippy::disallowed_methods, reason = "tests learn the server from the environment")]
    let server = std::env::var("TEST_POSTGRES_URL").expect(
        "TEST_POSTGRES_URL is not set: run `cargo xtask test`, or start a server with \
         `scripts/test-env.sh postgres` and set it from target/test-env/env",
    );
    let name = format!("casemate_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let mut admin = PgConnection::connect(&server).await.expect("the test server answers");
    for sql in [format!("DROP DATABASE IF EXISTS {name}"), format!("CREATE DATABASE {name}")] {
        admin.execute(sqlx::AssertSqlSafe(sql)).await.expect("a fresh PostgreSQL database");
    }
    let (base, _) = server.rsplit_once('/').expect("a URL with a database name");
    let db = Db::open(&format!("{base}/{name}")).await.expect("migrations run");
    Fresh { db, _dir: None }
}

/// Runs each async test body, given as `name: function`, on both engines.
#[macro_export]
macro_rules! each_backend {
    ($($name:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let fresh = $crate::testing::sqlite().await;
                super::$name(fresh.db.clone()).await;
            })+
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let fresh = $crate::testing::postgres().await;
                super::$name(fresh.db.clone()).await;
            })+
        }
    };
}
