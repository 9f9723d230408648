//! Durable changes. One runs per CVM at a time; it closes exactly once.

use casemate_core::{
    cvm::FailureCode,
    id::{CvmId, OperationId, UserId},
    operation::{OperationKind, OperationState},
    time::Timestamp,
};
use sqlx::{query, query_as};

use crate::{Db, Error, Tx, error::corrupt};

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// `correlation_id`.
    pub id: OperationId,
    /// Of which CVM.
    pub cvm: CvmId,
    /// What it does.
    pub kind: OperationKind,
    /// How far it is.
    pub state: OperationState,
    /// Generation it wants.
    pub generation: i64,
    /// Failure code and cause, when it failed.
    pub failure: Option<(String, String)>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it closed.
    pub ended_at: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    cvm_id: i64,
    kind: String,
    state: String,
    generation: i64,
    failure_code: Option<String>,
    failure: Option<String>,
    created_at: i64,
    ended_at: Option<i64>,
}

impl Row {
    fn read(self) -> Result<Operation, Error> {
        let unknown = |column, word: &str| {
            corrupt("operations", column, &self.id)(format!("unknown word {word:?}"))
        };
        Ok(Operation {
            id: self.id.parse().map_err(corrupt("operations", "id", &self.id))?,
            cvm: CvmId(self.cvm_id),
            kind: OperationKind::parse(&self.kind).ok_or_else(|| unknown("kind", &self.kind))?,
            state: OperationState::parse(&self.state)
                .ok_or_else(|| unknown("state", &self.state))?,
            generation: self.generation,
            failure: self.failure_code.zip(self.failure),
            created_at: Timestamp::from_micros(self.created_at),
            ended_at: self.ended_at.map(Timestamp::from_micros),
        })
    }
}

const COLUMNS: &str = "SELECT id, cvm_id, kind, state, generation, failure_code, failure, \
    created_at, ended_at FROM operations";

/// The operations of a CVM, newest first, at most `limit`.
pub async fn of_cvm(db: &Db, cvm: CvmId, limit: i64) -> Result<Vec<Operation>, Error> {
    let sql = format!("{COLUMNS} WHERE cvm_id = $1 ORDER BY created_at DESC, id DESC LIMIT $2");
    let rows = on_read!(db, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql))
        .bind(cvm.0)
        .bind(limit.max(0))
        .fetch_all(c))?;
    rows.into_iter().map(Row::read).collect()
}

/// One operation.
pub async fn get(db: &Db, id: OperationId) -> Result<Option<Operation>, Error> {
    let sql = format!("{COLUMNS} WHERE id = $1");
    let row = on_read!(db, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql))
        .bind(id.to_string())
        .fetch_optional(c))?;
    row.map(Row::read).transpose()
}

/// How an operation ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// As wished.
    Succeeded,
    /// Otherwise.
    Failed(FailureCode, String),
    /// A later wish took its place.
    Superseded,
}

/// What a node or guest said may hold the null character, which PostgreSQL refuses in a text.
fn plain(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', " ").into() } else { text.into() }
}

impl Tx {
    /// Opens an operation that is under way at once. [`Error::Conflict`]: another one is.
    pub async fn open_operation(
        &mut self,
        id: OperationId,
        cvm: CvmId,
        kind: OperationKind,
        generation: i64,
        by: UserId,
        now: Timestamp,
    ) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO operations \
            (id, cvm_id, kind, state, generation, created_by, created_at) \
            VALUES ($1, $2, $3, 'running', $4, $5, $6)";
        exec_tx!(
            self,
            query(SQL)
                .bind(id.to_string())
                .bind(cvm.0)
                .bind(kind.as_str())
                .bind(generation)
                .bind(by.0)
                .bind(now.micros())
        )
        .map(drop)
    }

    /// Closes an operation. `false` when it was closed already.
    pub async fn close_operation(
        &mut self,
        id: OperationId,
        ending: &Ending,
        now: Timestamp,
    ) -> Result<bool, Error> {
        const SQL: &str = "UPDATE operations SET state = $2, failure_code = $3, failure = $4, \
            ended_at = $5 WHERE id = $1 AND state IN ('running', 'pending')";
        let (state, code, cause) = match ending {
            Ending::Succeeded => (OperationState::Succeeded, None, None),
            Ending::Superseded => (OperationState::Superseded, None, None),
            Ending::Failed(code, cause) => {
                (OperationState::Failed, Some(code.as_str()), Some(cause.as_str()))
            }
        };
        let closed = exec_tx!(
            self,
            query(SQL)
                .bind(id.to_string())
                .bind(state.as_str())
                .bind(code)
                .bind(cause.map(plain))
                .bind(now.micros())
        )?;
        Ok(closed == 1)
    }
}
