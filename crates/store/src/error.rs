//! Errors, grouped by what the caller does about them. Absence is not an error but `None`.

use casemate_core::stored::Unreadable;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A unique row already exists. The statement determines which.
    #[error("row exists already")]
    Conflict(#[source] sqlx::Error),
    /// The row changed since it was read, or its lease was taken over. The caller must discard everything it
    /// concluded from the row.
    #[error("row changed since it was read")]
    Stale,
    /// A row has a value that this version cannot read.
    #[error("corrupt row: {table}.{column} of {row}: {reason}")]
    Corrupt {
        table: &'static str,
        column: &'static str,
        /// Primary key of the row.
        row: String,
        /// The parser's message.
        reason: String,
    },
    /// A row has a format of a newer version. It is left to processes of that version.
    #[error("{table}.{column} of {row}: {reason}")]
    Newer {
        table: &'static str,
        column: &'static str,
        /// Primary key of the row.
        row: String,
        /// The versions.
        reason: String,
    },
    /// The database is unreachable or overloaded; worth a retry.
    #[error("database unavailable")]
    Unavailable(#[source] sqlx::Error),
    /// The transaction or its batch was not committed and is not acknowledged. [`crate::db`] says what may
    /// remain of it.
    #[error("commit failed: {0}")]
    Commit(String),
    /// The migrations do not match this database.
    #[error("migration failed")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// Any other database error.
    #[error("database error")]
    Backend(#[source] sqlx::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(inner) if inner.is_unique_violation() => Self::Conflict(error),
            sqlx::Error::Database(inner) if is_transient(&**inner) => Self::Unavailable(error),
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => {
                Self::Unavailable(error)
            }
            _ => Self::Backend(error),
        }
    }
}

/// Whether the same transaction may succeed when it is retried.
fn is_transient(error: &dyn sqlx::error::DatabaseError) -> bool {
    let Some(code) = error.code() else { return false };
    if error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
        // SQLITE_BUSY and SQLITE_LOCKED, including extended codes.
        return code.parse().is_ok_and(|code: u32| matches!(code & 0xff, 5 | 6));
    }
    // Connection lost, resources, operator intervention; then serialisation, deadlock, timeouts.
    let classes = ["08", "53", "57"];
    classes.iter().any(|class| code.starts_with(class))
        || matches!(&*code, "40001" | "40P01" | "55P03" | "25P03")
}

/// Maps a value that does not parse to [`Error::Corrupt`].
pub(crate) fn corrupt<E: std::fmt::Display>(
    table: &'static str,
    column: &'static str,
    row: impl std::fmt::Display,
) -> impl FnOnce(E) -> Error {
    let row = row.to_string();
    move |reason| Error::Corrupt { table, column, row, reason: reason.to_string() }
}

/// Maps an unreadable text to [`Error::Newer`] or [`Error::Corrupt`].
pub(crate) fn unreadable(
    table: &'static str,
    column: &'static str,
    row: impl std::fmt::Display,
) -> impl FnOnce(Unreadable) -> Error {
    let row = row.to_string();
    move |why| {
        let reason = why.to_string();
        match why {
            Unreadable::Newer { .. } => Error::Newer { table, column, row, reason },
            Unreadable::Corrupt(_) => Error::Corrupt { table, column, row, reason },
        }
    }
}
