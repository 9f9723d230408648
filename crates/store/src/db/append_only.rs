//! Triggers that refuse to change or delete rows of the audit log. Their syntax differs between the databases, so they
//! are no migration: every start makes them where they are missing.

use sqlx::{Connection, Executor, PgConnection, SqliteConnection};

use crate::error::Error;

const SQLITE: &str = "\
    CREATE TRIGGER IF NOT EXISTS audit_log_no_update BEFORE UPDATE ON audit_log \
        BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END; \
    CREATE TRIGGER IF NOT EXISTS audit_log_no_delete BEFORE DELETE ON audit_log \
        BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;";

/// Number of the lock under which one process makes them.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7361930150)";
const MADE: &str = "SELECT COUNT(*) FROM pg_trigger \
    WHERE tgrelid = 'audit_log'::regclass AND tgname = 'audit_log_append_only'";
const POSTGRES: &str = "\
    CREATE OR REPLACE FUNCTION audit_log_refuse() RETURNS trigger LANGUAGE plpgsql AS \
        $$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$; \
    CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log \
        FOR EACH STATEMENT EXECUTE FUNCTION audit_log_refuse();";

pub(super) async fn sqlite(connection: &mut SqliteConnection) -> Result<(), Error> {
    Ok(connection.execute(SQLITE).await.map(drop)?)
}

pub(super) async fn postgres(connection: &mut PgConnection) -> Result<(), Error> {
    let mut tx = connection.begin().await?;
    tx.execute(LOCK).await?;
    let made = sqlx::query_scalar::<_, i64>(MADE).fetch_one(&mut *tx).await?;
    if made == 0 {
        tx.execute(POSTGRES).await?;
    }
    Ok(tx.commit().await?)
}
