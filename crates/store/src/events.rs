//! Everything that happened, in one append-only table with a cursor.
//!
//! A reader that has seen everything up to `n` reads on from `n` and misses nothing: the number of an
//! event is drawn from a row that its writer keeps until commit, so event `n + 1` is never there
//! before event `n`, on either engine. The price is that writers of events commit one after the other.

use casemate_core::{
    id::{CvmId, EventSeq, OperationId, WorkspaceId},
    time::Timestamp,
};
use sqlx::{query, query_as, query_scalar};

use crate::{Db, Error, Tx};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Event {
    /// Its place; readers go on from here.
    pub seq: i64,
    /// When, in microseconds.
    pub at: i64,
    /// Where.
    pub workspace_id: i64,
    /// To which CVM.
    pub cvm_id: Option<i64>,
    /// In which operation.
    pub operation_id: Option<String>,
    /// What, for example `cvm.phase` or `step.started`.
    pub kind: String,
    /// More about it, as JSON.
    pub body: String,
}

/// An event to be written.
#[derive(Debug, Clone)]
pub struct NewEvent<'a> {
    /// Where.
    pub workspace: WorkspaceId,
    /// To which CVM.
    pub cvm: Option<CvmId>,
    /// In which operation.
    pub operation: Option<OperationId>,
    /// What.
    pub kind: &'a str,
    /// More about it; must hold no secret.
    pub body: serde_json::Value,
}

/// Events of one CVM after a cursor, oldest first, at most `limit`.
pub async fn of_cvm(db: &Db, cvm: CvmId, after: EventSeq, limit: i64) -> Result<Vec<Event>, Error> {
    const SQL: &str = "SELECT seq, at, workspace_id, cvm_id, operation_id, kind, body FROM events \
        WHERE cvm_id = $1 AND seq > $2 ORDER BY seq LIMIT $3";
    on_read!(db, |c| query_as::<_, Event>(SQL)
        .bind(cvm.0)
        .bind(after.0)
        .bind(limit.max(0))
        .fetch_all(c))
}

/// Events of these operations, oldest first, at most `limit`.
pub async fn of_operations(
    db: &Db,
    operations: &[OperationId],
    limit: i64,
) -> Result<Vec<Event>, Error> {
    let sql = format!(
        "SELECT seq, at, workspace_id, cvm_id, operation_id, kind, body FROM events \
         WHERE operation_id IN ({}) ORDER BY seq LIMIT $2",
        db.engine().elements()
    );
    let ids: Vec<String> = operations.iter().map(ToString::to_string).collect();
    let list = serde_json::to_string(&ids).unwrap_or_default();
    on_read!(db, |c| query_as::<_, Event>(sqlx::AssertSqlSafe(sql))
        .bind(list)
        .bind(limit.max(0))
        .fetch_all(c))
}

/// Events of a workspace after a cursor, oldest first, at most `limit`.
pub async fn of_workspace(
    db: &Db,
    workspace: WorkspaceId,
    after: EventSeq,
    limit: i64,
) -> Result<Vec<Event>, Error> {
    const SQL: &str = "SELECT seq, at, workspace_id, cvm_id, operation_id, kind, body FROM events \
        WHERE workspace_id = $1 AND seq > $2 ORDER BY seq LIMIT $3";
    on_read!(db, |c| query_as::<_, Event>(SQL)
        .bind(workspace.0)
        .bind(after.0)
        .bind(limit.max(0))
        .fetch_all(c))
}

/// Events of everybody after a cursor, oldest first, at most `limit`; for deliveries.
pub async fn of_all(db: &Db, after: EventSeq, limit: i64) -> Result<Vec<Event>, Error> {
    const SQL: &str = "SELECT seq, at, workspace_id, cvm_id, operation_id, kind, body FROM events \
        WHERE seq > $1 ORDER BY seq LIMIT $2";
    on_read!(db, |c| query_as::<_, Event>(SQL).bind(after.0).bind(limit.max(0)).fetch_all(c))
}

/// The place of the newest event of all.
pub async fn newest(db: &Db) -> Result<EventSeq, Error> {
    const SQL: &str = "SELECT value FROM counters WHERE name = 'event'";
    Ok(EventSeq(on_read!(db, |c| query_scalar::<_, i64>(SQL).fetch_one(c))?))
}

impl Tx {
    /// Writes an event. Do it last: the number drawn orders writers until they commit.
    pub async fn append_event(
        &mut self,
        event: &NewEvent<'_>,
        now: Timestamp,
    ) -> Result<EventSeq, Error> {
        const SQL: &str = "INSERT INTO events (seq, at, workspace_id, cvm_id, operation_id, kind, body) \
            VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let seq = self.draw("event").await?;
        exec_tx!(
            self,
            query(SQL)
                .bind(seq)
                .bind(now.micros())
                .bind(event.workspace.0)
                .bind(event.cvm.map(|cvm| cvm.0))
                .bind(event.operation.map(|operation| operation.to_string()))
                .bind(event.kind)
                .bind(event.body.to_string())
        )?;
        Ok(EventSeq(seq))
    }
}
