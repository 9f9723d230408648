//! Migrations from zero, and equal schemas on both databases.

use std::{collections::BTreeSet, os::unix::fs::PermissionsExt};

use casemate_store::{
    Db, Error,
    db::{MIGRATIONS, migrate},
};
use casemate_testing::database::{self, Fresh};
use sqlx::{Connection, PgConnection, SqliteConnection, migrate::MigrateError};

/// `table.column type`, with `not null`.
const SQLITE_COLUMNS: &str = "SELECT m.name || '.' || c.name || ' ' || LOWER(c.type) || \
    CASE WHEN c.\"notnull\" = 1 THEN ' not null' ELSE '' END \
    FROM sqlite_schema m JOIN pragma_table_info(m.name) c \
    WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%' AND m.name NOT LIKE '\\_sqlx%' ESCAPE '\\'";
const POSTGRES_COLUMNS: &str = "SELECT table_name || '.' || column_name || ' ' || data_type || \
    CASE WHEN is_nullable = 'NO' THEN ' not null' ELSE '' END \
    FROM information_schema.columns WHERE table_schema = 'public' AND table_name NOT LIKE '\\_sqlx%'";

/// Indexes and keys by their columns, not names: SQLite has no names for those of constraints.
const SQLITE_INDEXES: &str = "SELECT m.name || ' (' || (SELECT GROUP_CONCAT(k.name, ', ') FROM \
    (SELECT name FROM pragma_index_info(i.name) ORDER BY seqno) k) || ')' || \
    CASE WHEN i.\"unique\" = 1 THEN ' unique' ELSE '' END || \
    CASE WHEN i.partial = 1 THEN ' partial' ELSE '' END \
    FROM sqlite_schema m JOIN pragma_index_list(m.name) i \
    WHERE m.type = 'table' AND m.name NOT LIKE '\\_sqlx%' ESCAPE '\\'";
const POSTGRES_INDEXES: &str = "SELECT t.relname || ' (' || (SELECT STRING_AGG(a.attname, ', ' ORDER BY k.n) \
    FROM UNNEST(i.indkey) WITH ORDINALITY k(attnum, n) \
    JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.attnum) || ')' || \
    CASE WHEN i.indisunique THEN ' unique' ELSE '' END || \
    CASE WHEN i.indpred IS NOT NULL THEN ' partial' ELSE '' END \
    FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace n ON n.oid = t.relnamespace \
    WHERE n.nspname = 'public' AND t.relname NOT LIKE '\\_sqlx%'";

const SQLITE_KEYS: &str = "SELECT m.name || '.' || f.\"from\" || ' -> ' || f.\"table\" || '.' || f.\"to\" \
    FROM sqlite_schema m JOIN pragma_foreign_key_list(m.name) f WHERE m.type = 'table'";
const POSTGRES_KEYS: &str = "SELECT t.relname || '.' || a.attname || ' -> ' || r.relname || '.' || b.attname \
    FROM pg_constraint f JOIN pg_class t ON t.oid = f.conrelid JOIN pg_class r ON r.oid = f.confrelid \
    JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = f.conkey[1] \
    JOIN pg_attribute b ON b.attrelid = r.oid AND b.attnum = f.confkey[1] WHERE f.contype = 'f'";

async fn sqlite_facts(fresh: &Fresh) -> [BTreeSet<String>; 3] {
    let mut raw = SqliteConnection::connect(&fresh.url()).await.unwrap();
    let mut facts = [const { BTreeSet::new() }; 3];
    for (facts, sql) in facts.iter_mut().zip([SQLITE_COLUMNS, SQLITE_INDEXES, SQLITE_KEYS]) {
        facts.extend(sqlx::query_scalar::<_, String>(sql).fetch_all(&mut raw).await.unwrap());
    }
    facts
}

async fn postgres_facts(fresh: &Fresh) -> [BTreeSet<String>; 3] {
    let mut raw = PgConnection::connect(&fresh.url()).await.unwrap();
    let mut facts = [const { BTreeSet::new() }; 3];
    for (facts, sql) in facts.iter_mut().zip([POSTGRES_COLUMNS, POSTGRES_INDEXES, POSTGRES_KEYS]) {
        facts.extend(sqlx::query_scalar::<_, String>(sql).fetch_all(&mut raw).await.unwrap());
    }
    facts
}

#[tokio::test]
async fn both_engines_have_the_same_schema() {
    let sqlite = database::sqlite().await;
    let postgres = database::postgres_from_zero().await;
    let [ours, theirs] = [sqlite_facts(&sqlite).await, postgres_facts(&postgres).await];
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert!(ours.len() > 15, "{ours:?}");
        let differ: Vec<_> = ours.symmetric_difference(theirs).collect();
        assert!(differ.is_empty(), "on one database only: {differ:#?}");
    }
    sqlite.finish().await;
    postgres.finish().await;
}

#[tokio::test]
async fn migrations_run_twice_are_migrations_run_once() {
    let sqlite = database::sqlite().await;
    let before = sqlite_facts(&sqlite).await;
    let again = sqlite.reopen().await;
    again.ping().await.unwrap();
    again.close().await;
    assert_eq!(sqlite_facts(&sqlite).await, before);
    sqlite.finish().await;

    let postgres = database::postgres_from_zero().await;
    let before = postgres_facts(&postgres).await;
    let again = postgres.reopen().await;
    again.ping().await.unwrap();
    again.close().await;
    assert_eq!(postgres_facts(&postgres).await, before);
    postgres.finish().await;
}

/// Replicas start together.
#[tokio::test]
async fn migrations_run_at_the_same_time_wait_for_each_other() {
    let postgres = database::postgres_from_zero().await;
    let mut raw = PgConnection::connect(&postgres.url()).await.unwrap();
    sqlx::raw_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        .execute(&mut raw)
        .await
        .unwrap();
    let starts: Vec<_> = (0..4)
        .map(|_| {
            let url = postgres.url();
            tokio::spawn(async move { Db::open(&url).await })
        })
        .collect();
    for start in starts {
        let db = start.await.unwrap().unwrap();
        db.ping().await.unwrap();
        db.close().await;
    }
    postgres.finish().await;
}

/// `pending` changes nothing, and leaves out migrations that have run; migrations of a newer version are an
/// error.
async fn what_is_pending_is_told_without_doing_it(url: &str) {
    let first = migrate::pending(url).await.unwrap();
    assert_eq!(first[0].version, 1);
    assert_eq!(migrate::pending(url).await.unwrap(), first);
    assert_eq!(migrate::migrate(url).await.unwrap(), first);
    assert_eq!(migrate::pending(url).await.unwrap(), []);
    assert_eq!(migrate::migrate(url).await.unwrap(), []);
}

const NEWER: &str = "INSERT INTO _sqlx_migrations \
    (version, description, success, checksum, execution_time) VALUES (9999, 'later', TRUE, ";

#[track_caller]
fn is_newer(looked: &Result<Vec<migrate::Pending>, Error>) {
    let missing = matches!(looked, Err(Error::Migrate(MigrateError::VersionMissing(9999))));
    assert!(missing, "{looked:?}");
}

#[tokio::test]
async fn a_sqlite_file_tells_what_is_pending() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", dir.path().join("casemate.db").display());
    what_is_pending_is_told_without_doing_it(&url).await;
    let mut raw = SqliteConnection::connect(&url).await.unwrap();
    let newer = sqlx::AssertSqlSafe(format!("{NEWER} x'00', 0)"));
    sqlx::raw_sql(newer).execute(&mut raw).await.unwrap();
    is_newer(&migrate::pending(&url).await);
    is_newer(&migrate::migrate(&url).await);
}

#[tokio::test]
async fn a_postgres_database_tells_what_is_pending() {
    let postgres = database::postgres_from_zero().await;
    let mut raw = PgConnection::connect(&postgres.url()).await.unwrap();
    let empty = "DROP SCHEMA public CASCADE; CREATE SCHEMA public";
    sqlx::raw_sql(empty).execute(&mut raw).await.unwrap();
    what_is_pending_is_told_without_doing_it(&postgres.url()).await;
    let newer = sqlx::AssertSqlSafe(format!("{NEWER} '\\x00', 0)"));
    sqlx::raw_sql(newer).execute(&mut raw).await.unwrap();
    is_newer(&migrate::pending(&postgres.url()).await);
    is_newer(&migrate::migrate(&postgres.url()).await);
    postgres.finish().await;
}

const BEFORE_PEOPLE: &str = "INSERT INTO users (id, username, email, created_at) \
    VALUES (1, 'admin', '', 5), (2, 'idle', '', 6); \
    INSERT INTO workspaces (id, slug, name, wallet, next_nonce, created_at) \
    VALUES (1, 'default', 'default', 'aa', 0, 5); \
    INSERT INTO api_keys (hash, user_id, workspace_id, name, created_at) \
    VALUES ('h1', 1, 1, 'admin', 7), ('h0', 1, 1, 'second', 8)";
const AFTER_PEOPLE: &str = "SELECT k.hash || ' ' || k.id || ' ' || k.scopes || ' ' || m.role || ' ' || \
    m.created_at || ' ' || CASE WHEN u.operator THEN 'operator' ELSE '' END \
    FROM api_keys k JOIN users u ON u.id = k.user_id JOIN members m ON m.user_id = u.id ORDER BY k.hash";
const MEMBERS: &str = "SELECT COUNT(*) FROM members";
const COUNTER: &str = "SELECT value FROM counters WHERE name = 'api_key'";

/// The migrations before number 12, the rows of an earlier version, and then number 12.
fn with_people() -> Vec<String> {
    let (old, new): (Vec<_>, Vec<_>) =
        MIGRATIONS.iter().filter(|one| one.version <= 12).partition(|one| one.version < 12);
    let sql = |one: &sqlx::migrate::Migration| one.sql.as_str().to_owned();
    let rows = std::iter::once(BEFORE_PEOPLE.to_owned());
    old.into_iter().map(sql).chain(rows).chain(new.into_iter().map(sql)).collect()
}

/// So far every key could do everything: it still can.
#[tokio::test]
async fn earlier_keys_keep_their_rights() {
    let expected = ["h0 1 * owner 7 operator", "h1 2 * owner 7 operator"];
    let mut sqlite = SqliteConnection::connect("sqlite::memory:").await.unwrap();
    for sql in with_people() {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut sqlite).await.unwrap();
    }
    let rows: Vec<String> = sqlx::query_scalar(AFTER_PEOPLE).fetch_all(&mut sqlite).await.unwrap();
    assert_eq!(rows, expected);
    let count: i64 = sqlx::query_scalar(MEMBERS).fetch_one(&mut sqlite).await.unwrap();
    assert_eq!(count, 1, "nobody without a key becomes a member");
    let next: i64 = sqlx::query_scalar(COUNTER).fetch_one(&mut sqlite).await.unwrap();
    assert_eq!(next, 2);

    let postgres = database::postgres_from_zero().await;
    let mut raw = PgConnection::connect(&postgres.url()).await.unwrap();
    let empty = "DROP SCHEMA public CASCADE; CREATE SCHEMA public";
    sqlx::raw_sql(empty).execute(&mut raw).await.unwrap();
    for sql in with_people() {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut raw).await.unwrap();
    }
    let rows: Vec<String> = sqlx::query_scalar(AFTER_PEOPLE).fetch_all(&mut raw).await.unwrap();
    assert_eq!(rows, expected);
    postgres.finish().await;
}

/// The file has mode 0600, and is complete without side files after a clean close.
#[tokio::test]
async fn a_sqlite_file_is_private_and_closed_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("casemate.db");
    let db = Db::open(&format!("sqlite://{}", path.display())).await.unwrap();
    let names = || {
        let entries = std::fs::read_dir(dir.path()).unwrap().map(Result::unwrap);
        let modes = entries.map(|entry| {
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            (entry.file_name().into_string().unwrap(), mode)
        });
        modes.collect::<std::collections::BTreeMap<_, _>>()
    };
    db.ping().await.unwrap();
    let open = names();
    assert!(open.len() > 1 && open.values().all(|mode| *mode == 0o600), "{open:?}");
    db.close().await;
    assert_eq!(names(), [("casemate.db".to_owned(), 0o600)].into());
}

#[tokio::test]
async fn a_url_that_is_no_file_and_no_server_is_refused() {
    for url in ["sqlite::memory:", "sqlite://", "sqlite://x.db?mode=memory", "mysql://localhost/x"]
    {
        let opened = Db::open(url).await;
        assert!(matches!(opened, Err(Error::Backend(_))), "{url}: {opened:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_said_so_at_once() {
    let before = std::time::Instant::now();
    let opened = Db::open("postgres://nobody@127.0.0.1:1/none").await;
    let Err(Error::Unavailable(cause)) = opened else { panic!("{opened:?}") };
    assert!(matches!(cause, sqlx::Error::Io(_)), "{cause:?}");
    assert!(before.elapsed() < std::time::Duration::from_secs(4));
}
