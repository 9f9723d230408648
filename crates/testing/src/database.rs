//! Fresh databases for tests: each body runs on both databases, and a missing one is a failure.
//!
//! PostgreSQL: migrations run once per schema in a template; a test gets a copy, which is dropped at its end.
//! The next run drops what a failed test left behind.

#![expect(clippy::expect_used, reason = "tests panic, they do not return errors")]

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

use casemate_store::{
    Db,
    db::{Durability, MIGRATIONS},
};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, postgres::PgConnectOptions,
};
use tempfile::TempDir;
use tokio::sync::OnceCell;

/// A new database, dropped by [`Fresh::finish`] or on drop (PostgreSQL: by the next run).
#[derive(Debug)]
pub struct Fresh {
    pub db: Db,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Sqlite(TempDir),
    Postgres { server: Box<PgConnectOptions>, name: String },
}

impl Fresh {
    /// Opens the same database again.
    pub async fn reopen(&self) -> Db {
        match &self.place {
            Place::Sqlite(dir) => {
                Db::open_sqlite(&file(dir), Durability::Off).await.expect("the file opens again")
            }
            Place::Postgres { server, name } => connect(server, name).await,
        }
    }

    /// The URL for [`Db::open`], and for access without the store.
    pub fn url(&self) -> String {
        match &self.place {
            Place::Sqlite(dir) => format!("sqlite://{}", file(dir).display()),
            Place::Postgres { server, name } => url(server, name),
        }
    }

    /// Closes and drops it.
    pub async fn finish(self) {
        self.db.close().await;
        if let Place::Postgres { server, name } = self.place {
            let mut admin = admin(&server).await;
            run(&mut admin, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
        }
    }
}

fn file(dir: &TempDir) -> std::path::PathBuf {
    dir.path().join("casemate.db")
}

/// A new SQLite file without syncs.
pub async fn sqlite() -> Fresh {
    let dir = TempDir::new().expect("a temporary directory");
    let db = Db::open_sqlite(&file(&dir), Durability::Off).await.expect("a fresh SQLite file");
    Fresh { db, place: Place::Sqlite(dir) }
}

/// A new PostgreSQL database on the server of `TEST_POSTGRES_URL`.
pub async fn postgres() -> Fresh {
    static TEMPLATE: OnceCell<String> = OnceCell::const_new();
    let server = server();
    let template = TEMPLATE.get_or_init(|| template(&server)).await;
    let name = create(&server, &format!("TEMPLATE {template}")).await;
    let db = connect(&server, &name).await;
    Fresh { db, place: Place::Postgres { server: Box::new(server), name } }
}

/// A new PostgreSQL database on which every migration is run instead of a copy.
pub async fn postgres_from_zero() -> Fresh {
    let server = server();
    let name = create(&server, "").await;
    let db = connect(&server, &name).await;
    Fresh { db, place: Place::Postgres { server: Box::new(server), name } }
}

/// The URL of a new PostgreSQL database without a schema; the next run of any test drops it.
pub async fn empty_postgres() -> String {
    let server = server();
    let name = create(&server, "").await;
    url(&server, &name)
}

fn url(server: &PgConnectOptions, name: &str) -> String {
    server.clone().database(name).to_url_lossy().to_string()
}

fn server() -> PgConnectOptions {
    #[expect(clippy::disallowed_methods, reason = "tests learn the server from the environment")]
    let url = std::env::var("TEST_POSTGRES_URL").expect(
        "TEST_POSTGRES_URL is not set: run `cargo xtask test`, or start a server with \
         `scripts/test-env.sh postgres` and set it from target/test-env/env",
    );
    url.parse().expect("TEST_POSTGRES_URL is a URL")
}

async fn admin(server: &PgConnectOptions) -> PgConnection {
    PgConnection::connect_with(server).await.expect("the test server answers")
}

async fn connect(server: &PgConnectOptions, name: &str) -> Db {
    Db::open(&url(server, name)).await.expect("a database that opens")
}

async fn run(admin: &mut PgConnection, sql: String) {
    admin.execute(AssertSqlSafe(sql)).await.expect("the test server does as told");
}

async fn create(server: &PgConnectOptions, how: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("casemate_test_{}_{number}", std::process::id());
    let mut admin = admin(server).await;
    run(&mut admin, format!("CREATE DATABASE {name} {how}")).await;
    admin.close().await.expect("the connection closes");
    name
}

/// The template database of the current schema, created by the first test process.
async fn template(server: &PgConnectOptions) -> String {
    let mut schema = DefaultHasher::new();
    for migration in MIGRATIONS.iter() {
        migration.checksum.hash(&mut schema);
    }
    let name = format!("casemate_template_{:016x}", schema.finish());
    let mut admin = admin(server).await;
    run(&mut admin, "SELECT pg_advisory_lock(20260901)".to_owned()).await;
    drop_leftovers(&mut admin).await;
    let there = sqlx::query("SELECT 1 FROM pg_database WHERE datname = $1").bind(&name);
    if there.fetch_optional(&mut admin).await.expect("a list of databases").is_none() {
        let draft = format!("{name}_draft");
        run(&mut admin, format!("DROP DATABASE IF EXISTS {draft} WITH (FORCE)")).await;
        run(&mut admin, format!("CREATE DATABASE {draft}")).await;
        connect(server, &draft).await.close().await;
        run(&mut admin, format!("ALTER DATABASE {draft} RENAME TO {name}")).await;
    }
    admin.close().await.expect("the connection closes");
    name
}

/// Drops the databases of test processes that have ended.
async fn drop_leftovers(admin: &mut PgConnection) {
    let sql = "SELECT datname FROM pg_database WHERE datname LIKE 'casemate\\_test\\_%'";
    let names: Vec<String> =
        sqlx::query_scalar(sql).fetch_all(&mut *admin).await.expect("a list of databases");
    for name in names {
        let process = name.split('_').nth(2).unwrap_or_default();
        if !Path::new("/proc").join(process).exists() {
            run(admin, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
        }
    }
}

/// Runs each async test body, given as `name: function`, on both databases.
#[macro_export]
macro_rules! each_backend {
    ($($name:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let fresh = $crate::database::sqlite().await;
                super::$name(fresh.db.clone()).await;
                fresh.finish().await;
            })+
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let fresh = $crate::database::postgres().await;
                super::$name(fresh.db.clone()).await;
                fresh.finish().await;
            })+
        }
    };
}
