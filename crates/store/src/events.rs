//! The append-only event log with a cursor.
//!
//! A reader that has read up to event `n` continues after `n` and misses nothing. The number of an event is
//! drawn from a row that its writer locks until commit, so event `n + 1` never becomes visible before event
//! `n`, on either database. The cost is that writers of events commit one after the other.

use casemate_core::{
    id::{CvmId, EventSeq, NodeId, OperationId, WorkspaceId},
    time::Timestamp,
};
use sqlx::{query, query_as, query_scalar};

use crate::{Db, Error, Tx};

#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Event {
    /// Its number; the cursor of readers.
    pub seq: i64,
    /// When, in microseconds.
    pub at: i64,
    pub workspace_id: i64,
    pub cvm_id: Option<i64>,
    pub operation_id: Option<String>,
    /// For example `cvm.phase` or `step.started`.
    pub kind: String,
    /// Details, as JSON.
    pub body: String,
}

/// An event to append.
#[derive(Debug, Clone)]
pub struct NewEvent<'a> {
    pub workspace: WorkspaceId,
    pub cvm: Option<CvmId>,
    pub operation: Option<OperationId>,
    pub kind: &'a str,
    /// Details; must not contain secrets.
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
        db.dialect().elements()
    );
    let ids: Vec<String> = operations.iter().map(ToString::to_string).collect();
    let list = serde_json::to_string(&ids).unwrap_or_default();
    on_read!(db, |c| query_as::<_, Event>(sqlx::AssertSqlSafe(sql))
        .bind(list)
        .bind(limit.max(0))
        .fetch_all(c))
}

/// Filter of the event history of an app.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Kind of event.
    pub kind: Option<String>,
    /// Kind of the operation that the event belongs to.
    pub operation: Option<String>,
    /// At or after this time.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
}

/// An event with its operation.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct RecordedEvent {
    /// Its number.
    pub seq: i64,
    /// When, in microseconds.
    pub at: i64,
    pub cvm_id: i64,
    pub operation_id: Option<String>,
    pub kind: String,
    /// Details, as JSON.
    pub body: String,
    pub operation_kind: Option<String>,
    /// The user who requested the operation.
    pub asked_by: Option<i64>,
}

/// Events of these CVMs that match the query, newest first, at most `limit`.
pub async fn of_cvms(
    db: &Db,
    cvms: &[CvmId],
    query: &EventQuery,
    limit: i64,
) -> Result<Vec<RecordedEvent>, Error> {
    let sql = format!(
        "SELECT e.seq, e.at, e.cvm_id, e.operation_id, e.kind, e.body, o.kind AS operation_kind, \
         o.created_by AS asked_by FROM events e LEFT JOIN operations o ON o.id = e.operation_id \
         WHERE e.cvm_id IN (SELECT CAST(list.value AS BIGINT) FROM ({}) AS list) \
         AND (CAST($2 AS TEXT) IS NULL OR e.kind = $2) \
         AND (CAST($3 AS TEXT) IS NULL OR o.kind = $3) \
         AND (CAST($4 AS BIGINT) IS NULL OR e.at >= $4) \
         AND (CAST($5 AS BIGINT) IS NULL OR e.at < $5) ORDER BY e.seq DESC LIMIT $6",
        db.dialect().elements()
    );
    let ids: Vec<i64> = cvms.iter().map(|cvm| cvm.0).collect();
    let list = serde_json::to_string(&ids).unwrap_or_default();
    on_read!(db, |c| query_as::<_, RecordedEvent>(sqlx::AssertSqlSafe(sql))
        .bind(list)
        .bind(&query.kind)
        .bind(&query.operation)
        .bind(query.from.map(Timestamp::micros))
        .bind(query.until.map(Timestamp::micros))
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

/// Events of all workspaces after a cursor, oldest first, at most `limit`; for deliveries.
pub async fn of_all(db: &Db, after: EventSeq, limit: i64) -> Result<Vec<Event>, Error> {
    const SQL: &str = "SELECT seq, at, workspace_id, cvm_id, operation_id, kind, body FROM events \
        WHERE seq > $1 ORDER BY seq LIMIT $2";
    on_read!(db, |c| query_as::<_, Event>(SQL).bind(after.0).bind(limit.max(0)).fetch_all(c))
}

/// The CVMs with events after one number, up to another, each with its node.
pub async fn cvms_between(
    db: &Db,
    after: EventSeq,
    to: EventSeq,
) -> Result<Vec<(CvmId, NodeId)>, Error> {
    const SQL: &str = "SELECT DISTINCT e.cvm_id, c.node_id FROM events e \
        JOIN cvms c ON c.id = e.cvm_id WHERE e.seq > $1 AND e.seq <= $2";
    let found =
        on_read!(db, |c| query_as::<_, (i64, i64)>(SQL).bind(after.0).bind(to.0).fetch_all(c))?;
    Ok(found.into_iter().map(|(cvm, node)| (CvmId(cvm), NodeId(node))).collect())
}

/// The number of the newest event.
pub async fn newest(db: &Db) -> Result<EventSeq, Error> {
    const SQL: &str = "SELECT value FROM counters WHERE name = 'event'";
    Ok(EventSeq(on_read!(db, |c| query_scalar::<_, i64>(SQL).fetch_one(c))?))
}

/// Number of events per statement. Drawing the numbers is another statement.
const ROWS: usize = 8;

/// `($1, …, $7)` for the first row, and so on.
fn row_of_parameters(row: usize) -> String {
    let numbers: Vec<String> = (1..=7).map(|column| format!("${}", row * 7 + column)).collect();
    format!("({})", numbers.join(", "))
}

impl Tx {
    /// Appends events in this order, with their deliveries to webhooks, and returns the number of the last one, 0
    /// for none. Call it last in a transaction: the counter is locked until commit.
    pub async fn append_events(
        &mut self,
        events: &[NewEvent<'_>],
        now: Timestamp,
    ) -> Result<EventSeq, Error> {
        if events.is_empty() {
            return Ok(EventSeq(0));
        }
        let (mut newest, mut more) = self.append_some(events, now).await?;
        // Each webhook is disabled once, so this ends.
        while !more.is_empty() {
            (newest, more) = self.append_some(&more, now).await?;
        }
        self.wrote_events_to(newest);
        Ok(newest)
    }

    /// Returns the number of the last one, and the events that followed from their deliveries.
    async fn append_some(
        &mut self,
        events: &[NewEvent<'_>],
        now: Timestamp,
    ) -> Result<(EventSeq, Vec<NewEvent<'static>>), Error> {
        let count = i64::try_from(events.len()).unwrap_or(i64::MAX);
        let newest = self.draw_many("event", count).await?;
        let first = newest - count + 1;
        for (chunk, seq) in events.chunks(ROWS).zip((first..).step_by(ROWS)) {
            self.insert_events(chunk, seq, now).await?;
        }
        Ok((EventSeq(newest), self.insert_deliveries(events, first, now).await?))
    }

    /// Inserts at most [`ROWS`] events, numbered from `first`.
    async fn insert_events(
        &mut self,
        events: &[NewEvent<'_>],
        first: i64,
        now: Timestamp,
    ) -> Result<(), Error> {
        let rows: Vec<String> = (0..events.len()).map(row_of_parameters).collect();
        let sql = format!(
            "INSERT INTO events (seq, at, workspace_id, cvm_id, operation_id, kind, body) VALUES {}",
            rows.join(", ")
        );
        exec_tx!(self, {
            let mut statement = query(sqlx::AssertSqlSafe(sql.as_str()));
            for (event, seq) in events.iter().zip(first..) {
                statement = statement
                    .bind(seq)
                    .bind(now.micros())
                    .bind(event.workspace.0)
                    .bind(event.cvm.map(|cvm| cvm.0))
                    .bind(event.operation.map(|operation| operation.to_string()))
                    .bind(event.kind)
                    .bind(event.body.to_string());
            }
            statement
        })
        .map(drop)
    }
}
