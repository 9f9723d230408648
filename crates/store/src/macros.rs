//! One SQL text, two drivers: each macro expands its body once per arm, with `$c` an executor.

/// Runs a query inside a transaction: `on_tx!(tx, |c| query(SQL).bind(x).execute(c))`.
macro_rules! on_tx {
    ($tx:expr, |$c:ident| $query:expr) => {
        match $tx {
            $crate::db::Tx::Sqlite(tx) => {
                let $c = tx.connection();
                $query.await.map_err($crate::error::Error::from)
            }
            $crate::db::Tx::Postgres(tx) => {
                let $c = &mut **tx;
                $query.await.map_err($crate::error::Error::from)
            }
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
            $crate::db::Db::Postgres(pool) => {
                let $c = pool;
                $query.await.map_err($crate::error::Error::from)
            }
        }
    };
}

/// Runs a statement inside a transaction and returns how many rows it changed:
/// `exec_tx!(tx, query(SQL).bind(x))`.
macro_rules! exec_tx {
    ($tx:expr, $query:expr) => {
        match $tx {
            $crate::db::Tx::Sqlite(tx) => $query
                .execute(tx.connection())
                .await
                .map(|done| done.rows_affected())
                .map_err($crate::error::Error::from),
            $crate::db::Tx::Postgres(tx) => $query
                .execute(&mut **tx)
                .await
                .map(|done| done.rows_affected())
                .map_err($crate::error::Error::from),
        }
    };
}
