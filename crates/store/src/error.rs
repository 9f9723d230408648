//! Errors by what the caller does about them. Absence is not an error but `None`.

use casemate_core::stored::Unreadable;

/// Why a statement or transaction did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A unique row exists already. Which one follows from the statement that ran.
    #[error("row exists already")]
    Conflict(#[source] sqlx::Error),
    /// Somebody else changed the row since it was read, or took over its lease: drop everything
    /// that was concluded from it.
    #[error("row changed since it was read")]
    Stale,
    /// A row holds what this version cannot read.
    #[error("corrupt row: {table}.{column} of {row}: {reason}")]
    Corrupt {
        /// Table name.
        table: &'static str,
        /// Column name.
        column: &'static str,
        /// Primary key of the row.
        row: String,
        /// What the reader said.
        reason: String,
    },
    /// A row has a form that only a newer version knows. It is left as it is: a process of that version
    /// works on it.
    #[error("{table}.{column} of {row}: {reason}")]
    Newer {
        /// Table name.
        table: &'static str,
        /// Column name.
        column: &'static str,
        /// Primary key of the row.
        row: String,
        /// The versions.
        reason: String,
    },
    /// The database cannot be reached or is overloaded; worth another try.
    #[error("database unavailable")]
    Unavailable(#[source] sqlx::Error),
    /// The transaction was not committed, or its batch was not: not acknowledged ([`crate::db`] says
    /// what may be left of it).
    #[error("commit failed: {0}")]
    Commit(String),
    /// Migrations do not fit this database.
    #[error("migration failed")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// Anything else.
    #[error("database error")]
    Backend(#[source] sqlx::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(inner) if inner.is_unique_violation() => Self::Conflict(error),
            sqlx::Error::Database(inner) if passes(&**inner) => Self::Unavailable(error),
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => {
                Self::Unavailable(error)
            }
            _ => Self::Backend(error),
        }
    }
}

/// Whether the same transaction may go through when it is tried again.
fn passes(error: &dyn sqlx::error::DatabaseError) -> bool {
    let Some(code) = error.code() else { return false };
    if error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
        // SQLITE_BUSY and SQLITE_LOCKED, in any of their extended forms.
        return code.parse().is_ok_and(|code: u32| matches!(code & 0xff, 5 | 6));
    }
    // Connection lost, resources, operator's intervention; then serialisation, deadlock, time-outs.
    let classes = ["08", "53", "57"];
    classes.iter().any(|class| code.starts_with(class))
        || matches!(&*code, "40001" | "40P01" | "55P03" | "25P03")
}

/// Turns a value that does not parse into [`Error::Corrupt`].
pub(crate) fn corrupt<E: std::fmt::Display>(
    table: &'static str,
    column: &'static str,
    row: impl std::fmt::Display,
) -> impl FnOnce(E) -> Error {
    let row = row.to_string();
    move |reason| Error::Corrupt { table, column, row, reason: reason.to_string() }
}

/// Turns a text that is not read into [`Error::Newer`] or [`Error::Corrupt`].
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
