//! Operations: durable changes. One runs per CVM at a time; changes of the configuration may be queued behind
//! it ([`queue`]). Each closes exactly once.

pub mod queue;

use casemate_core::{
    change::EnvReport,
    cvm::FailureCode,
    id::{CvmId, OperationId, UserId},
    operation::{OperationKind, OperationState},
    stored,
    time::Timestamp,
};
use sqlx::{query, query_as, query_scalar};

use crate::{
    Db, Error, Tx,
    error::{corrupt, unreadable},
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// `correlation_id` on the wire.
    pub id: OperationId,
    pub cvm: CvmId,
    pub kind: OperationKind,
    pub state: OperationState,
    /// Number within its CVM, from 1, in the order of acceptance.
    pub seq: i64,
    /// The generation it leads to.
    pub generation: i64,
    pub created_by: UserId,
    pub username: String,
    pub email: String,
    /// Failure code and cause, if it failed.
    pub failure: Option<(String, String)>,
    /// The operation that carries out this one in a batch.
    pub joined_to: Option<OperationId>,
    /// Names of the changed fields.
    pub fields: Vec<String>,
    /// Changes of variable names.
    pub report: Option<EnvReport>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it started to run.
    pub started_at: Option<Timestamp>,
    /// When it closed.
    pub ended_at: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    cvm_id: i64,
    kind: String,
    state: String,
    seq: i64,
    generation: i64,
    created_by: i64,
    username: String,
    email: String,
    failure_code: Option<String>,
    failure: Option<String>,
    joined_to: Option<String>,
    fields: Option<String>,
    report: Option<String>,
    created_at: i64,
    started_at: Option<i64>,
    ended_at: Option<i64>,
}

/// Parses `operations.fields`.
pub(crate) fn field_names(text: Option<&str>) -> Vec<String> {
    text.map(|names| names.split(',').map(str::to_owned).collect()).unwrap_or_default()
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
            seq: self.seq,
            generation: self.generation,
            created_by: UserId(self.created_by),
            username: self.username,
            email: self.email,
            joined_to: self.joined_to.map(|id| id.parse()).transpose().map_err(corrupt(
                "operations",
                "joined_to",
                &self.id,
            ))?,
            fields: field_names(self.fields.as_deref()),
            report: self.report.map(|text| stored::read(&text)).transpose().map_err(unreadable(
                "operations",
                "report",
                &self.id,
            ))?,
            started_at: self.started_at.map(Timestamp::from_micros),
            failure: self.failure_code.zip(self.failure),
            created_at: Timestamp::from_micros(self.created_at),
            ended_at: self.ended_at.map(Timestamp::from_micros),
        })
    }
}

const COLUMNS: &str = "SELECT o.id, o.cvm_id, o.kind, o.state, o.seq, o.generation, o.created_by, \
    u.username, u.email, o.failure_code, o.failure, o.joined_to, o.fields, o.report, o.created_at, \
    o.started_at, o.ended_at FROM operations o JOIN users u ON u.id = o.created_by";

/// Filter of a CVM's operations.
#[derive(Debug, Clone, Default)]
pub struct OperationFilter {
    /// Numbers below this one.
    pub before: Option<i64>,
    /// Accepted at or after this time.
    pub from: Option<Timestamp>,
    /// Accepted before this time.
    pub until: Option<Timestamp>,
    /// Kinds; empty: all.
    pub kinds: Vec<OperationKind>,
}

const SHOWN: &str = "o.cvm_id = $2 AND (CAST($3 AS BIGINT) IS NULL OR o.created_at >= $3) \
    AND (CAST($4 AS BIGINT) IS NULL OR o.created_at < $4)";

/// The operations of a CVM that match the filter, newest first, at most `limit`.
pub async fn of_cvm(
    db: &Db,
    cvm: CvmId,
    filter: &OperationFilter,
    limit: i64,
) -> Result<Vec<Operation>, Error> {
    let sql = format!(
        "{COLUMNS} WHERE {SHOWN} AND o.seq < $5 AND {} ORDER BY o.seq DESC LIMIT $6",
        of_kinds(db)
    );
    let rows = on_read!(db, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql))
        .bind(kinds(filter))
        .bind(cvm.0)
        .bind(filter.from.map(Timestamp::micros))
        .bind(filter.until.map(Timestamp::micros))
        .bind(filter.before.unwrap_or(i64::MAX))
        .bind(limit.max(0))
        .fetch_all(c))?;
    rows.into_iter().map(Row::read).collect()
}

/// Number of operations of a CVM that match the filter, ignoring [`OperationFilter::before`].
pub async fn count(db: &Db, cvm: CvmId, filter: &OperationFilter) -> Result<i64, Error> {
    let sql = format!("SELECT COUNT(*) FROM operations o WHERE {SHOWN} AND {}", of_kinds(db));
    on_read!(db, |c| query_scalar::<_, i64>(sqlx::AssertSqlSafe(sql))
        .bind(kinds(filter))
        .bind(cvm.0)
        .bind(filter.from.map(Timestamp::micros))
        .bind(filter.until.map(Timestamp::micros))
        .fetch_one(c))
}

fn of_kinds(db: &Db) -> String {
    format!("($1 = '[]' OR o.kind IN ({}))", db.dialect().elements())
}

fn kinds(filter: &OperationFilter) -> String {
    let words: Vec<&str> = filter.kinds.iter().map(|kind| kind.as_str()).collect();
    serde_json::to_string(&words).unwrap_or_default()
}

pub async fn get(db: &Db, id: OperationId) -> Result<Option<Operation>, Error> {
    let sql = format!("{COLUMNS} WHERE o.id = $1");
    let row = on_read!(db, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql))
        .bind(id.to_string())
        .fetch_optional(c))?;
    row.map(Row::read).transpose()
}

/// How an operation closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    Succeeded,
    /// Code and cause.
    Failed(FailureCode, String),
    /// A later desired state replaced it.
    Superseded,
    /// Cancelled by a user.
    Cancelled,
}

/// Removes null characters, which messages of a node or guest may contain and PostgreSQL rejects.
fn plain(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', " ").into() } else { text.into() }
}

impl Tx {
    /// Opens a running operation. [`Error::Conflict`]: another one is open.
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
            (id, cvm_id, kind, state, generation, created_by, created_at, started_at, seq) \
            VALUES ($1, $2, $3, 'running', $4, $5, $6, $6, \
            (SELECT COALESCE(MAX(seq), 0) + 1 FROM operations WHERE cvm_id = $2))";
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

    /// Closes an operation and those joined to it; returns them in the order of acceptance. Empty: it was
    /// already closed.
    pub async fn close_operation(
        &mut self,
        id: OperationId,
        ending: &Ending,
        now: Timestamp,
    ) -> Result<Vec<OperationId>, Error> {
        const SQL: &str = "UPDATE operations SET state = $2, failure_code = $3, failure = $4, \
            ended_at = $5, change = NULL, before = NULL \
            WHERE (id = $1 OR joined_to = $1) AND state IN ('running', 'pending') \
            RETURNING seq, id";
        let (state, code, cause) = match ending {
            Ending::Succeeded => (OperationState::Succeeded, None, None),
            Ending::Superseded => (OperationState::Superseded, None, None),
            Ending::Cancelled => (OperationState::Cancelled, None, None),
            Ending::Failed(code, cause) => {
                (OperationState::Failed, Some(code.as_str()), Some(cause.as_str()))
            }
        };
        let mut closed = on_tx!(self, |c| query_as::<_, (i64, String)>(SQL)
            .bind(id.to_string())
            .bind(state.as_str())
            .bind(code)
            .bind(cause.map(plain))
            .bind(now.micros())
            .fetch_all(c))?;
        closed.sort_unstable();
        let read = |(_, id): &(i64, String)| id.parse().map_err(corrupt("operations", "id", id));
        closed.iter().map(read).collect()
    }
}
