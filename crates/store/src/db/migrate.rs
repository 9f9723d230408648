//! Lists or runs pending migrations without serving. [`super::Db::open`] also migrates.

use sqlx::{
    ConnectOptions, Connection,
    migrate::{Migrate, MigrateError, Migration},
    sqlite::SqliteConnectOptions,
};

use super::{Db, MIGRATIONS, Place};
use crate::error::Error;

/// A migration that has not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    pub version: i64,
    pub description: String,
}

impl From<&Migration> for Pending {
    fn from(migration: &Migration) -> Self {
        Self { version: migration.version, description: migration.description.to_string() }
    }
}

/// The pending migrations in order. Changes nothing and does not create a missing SQLite file.
/// [`Error::Migrate`]: the database was migrated by a newer version of Casemate, or a migration failed
/// halfway.
pub async fn pending(url: &str) -> Result<Vec<Pending>, Error> {
    match Place::parse(url)? {
        Place::Sqlite(path) if !path.exists() => Ok(missing(&[])),
        Place::Sqlite(path) => {
            let options = SqliteConnectOptions::new().filename(path).read_only(true);
            let mut connection = options.connect().await?;
            let sql = "SELECT CAST(COUNT(*) AS BIGINT) FROM sqlite_schema WHERE name = '_sqlx_migrations'";
            let tables = sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut connection).await?;
            let pending = compare(&mut connection, tables > 0).await;
            connection.close().await?;
            pending
        }
        Place::Postgres(options) => {
            let mut connection = super::postgres::connect_once(&options).await?;
            let sql = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL";
            let there = sqlx::query_scalar::<_, bool>(sql).fetch_one(&mut connection).await?;
            let pending = compare(&mut connection, there).await;
            connection.close().await?;
            pending
        }
    }
}

/// Runs and returns the [`pending`] migrations. Concurrent calls wait for each other.
pub async fn migrate(url: &str) -> Result<Vec<Pending>, Error> {
    let pending = pending(url).await?;
    Db::open(url).await?.close().await;
    Ok(pending)
}

async fn compare(connection: &mut impl Migrate, began: bool) -> Result<Vec<Pending>, Error> {
    if !began {
        return Ok(missing(&[]));
    }
    let table = &MIGRATIONS.table_name;
    if let Some(version) = connection.dirty_version(table).await? {
        return Err(MigrateError::Dirty(version).into());
    }
    let applied = connection.list_applied_migrations(table).await?;
    for row in &applied {
        match MIGRATIONS.iter().find(|ours| ours.version == row.version) {
            None => return Err(MigrateError::VersionMissing(row.version).into()),
            Some(ours) if ours.checksum != row.checksum => {
                return Err(MigrateError::VersionMismatch(row.version).into());
            }
            Some(_) => {}
        }
    }
    let versions: Vec<i64> = applied.iter().map(|row| row.version).collect();
    Ok(missing(&versions))
}

fn missing(applied: &[i64]) -> Vec<Pending> {
    let all = MIGRATIONS.iter().filter(|ours| !ours.migration_type.is_down_migration());
    all.filter(|ours| !applied.contains(&ours.version)).map(Pending::from).collect()
}
