//! One SQL text, two drivers: each macro expands its body once per arm, with `$c` an executor.
//!
//! Inside a transaction, a statement that failed, or whose future was dropped, makes every later one and the
//! commit fail. PostgreSQL would refuse them anyway, and SQLite may have rolled back more than the statement.

/// Runs a query inside a transaction: `on_tx!(tx, |c| query(SQL).bind(x).execute(c))`.
macro_rules! on_tx {
    ($tx:expr, |$c:ident| $query:expr) => {
        match $tx {
            $crate::db::Tx::Sqlite(tx) => match tx.connection() {
                Ok($c) => {
                    let result = $query.await;
                    tx.check(result)
                }
                Err(error) => Err(error),
            },
            $crate::db::Tx::Postgres(tx) => match tx.connection() {
                Ok($c) => {
                    let result = $query.await;
                    tx.check(result)
                }
                Err(error) => Err(error),
            },
        }
    };
}

/// Runs a query on any read connection: `on_read!(db, |c| query_as(SQL).bind(x).fetch_all(c))`.
macro_rules! on_read {
    ($db:expr, |$c:ident| $query:expr) => {
        match $db {
            $crate::db::Db::Sqlite(db) => {
                let $c = db.readers();
                $query.await.map_err($crate::error::Error::from)
            }
            $crate::db::Db::Postgres(db) => {
                let $c = db.readers();
                $query.await.map_err($crate::error::Error::from)
            }
        }
    };
}

/// Runs a statement inside a transaction and returns the number of changed rows: `exec_tx!(tx,
/// query(SQL).bind(x))`.
macro_rules! exec_tx {
    ($tx:expr, $query:expr) => {
        match $tx {
            $crate::db::Tx::Sqlite(tx) => match tx.connection() {
                Ok(c) => {
                    let result = $query.execute(c).await.map(|done| done.rows_affected());
                    tx.check(result)
                }
                Err(error) => Err(error),
            },
            $crate::db::Tx::Postgres(tx) => match tx.connection() {
                Ok(c) => {
                    let result = $query.execute(c).await.map(|done| done.rows_affected());
                    tx.check(result)
                }
                Err(error) => Err(error),
            },
        }
    };
}
