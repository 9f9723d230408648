//! The queue of configuration changes, and the running one.
//!
//! Several changes may be applied together: the newest runs, the others are joined to it and end with it. If
//! such a batch fails, its changes are queued again and tried one by one, so that one bad change fails alone.

use casemate_core::{
    change::{Before, Change, EnvReport},
    id::{CvmId, OperationId, UserId},
    operation::OperationKind,
    stored,
    time::Timestamp,
};
use sqlx::{query, query_as, query_scalar};

use crate::{
    Error, Tx,
    cvms::Cvm,
    error::{corrupt, unreadable},
};

/// Maximum number of changes in a batch.
pub const MAX_BATCH: i64 = 64;

/// A queued change.
#[derive(Debug, Clone, PartialEq)]
pub struct Queued {
    /// `correlation_id` on the wire.
    pub id: OperationId,
    pub change: Change,
    /// Maximum size of the batch it may be part of, including itself.
    pub batch: i64,
    pub created_by: UserId,
}

/// A change to enqueue.
#[derive(Debug, Clone)]
pub struct NewChange<'a> {
    /// `correlation_id` on the wire.
    pub id: OperationId,
    pub cvm: CvmId,
    pub by: UserId,
    pub change: &'a Change,
    /// Names of the changed fields.
    pub fields: &'a [&'a str],
    /// Changes of variable names.
    pub report: Option<&'a EnvReport>,
    /// Generation of the configuration that it was accepted on.
    pub generation: i64,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    change: String,
    batch: i64,
    created_by: i64,
}

impl Row {
    fn read(self) -> Result<Queued, Error> {
        Ok(Queued {
            change: stored::read(&self.change).map_err(unreadable(
                "operations",
                "change",
                &self.id,
            ))?,
            id: self.id.parse().map_err(corrupt("operations", "id", &self.id))?,
            batch: self.batch,
            created_by: UserId(self.created_by),
        })
    }
}

impl Tx {
    /// A CVM as this transaction sees it, locked until commit.
    pub async fn lock_cvm(&mut self, id: CvmId) -> Result<Option<Cvm>, Error> {
        let take = self.dialect().for_update();
        if !take.is_empty() {
            let sql = format!("SELECT id FROM cvms WHERE id = $1{take}");
            on_tx!(self, |c| query_scalar::<_, i64>(sqlx::AssertSqlSafe(sql))
                .bind(id.0)
                .fetch_optional(c))?;
        }
        self.cvm(id).await
    }

    /// Appends a change to the queue of its CVM.
    pub async fn enqueue_change(
        &mut self,
        new: &NewChange<'_>,
        now: Timestamp,
    ) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO operations \
            (id, cvm_id, kind, state, generation, created_by, created_at, change, fields, report, \
            batch, seq) VALUES ($1, $2, $3, 'pending', $4, $5, $6, $7, $8, $9, $10, \
            (SELECT COALESCE(MAX(seq), 0) + 1 FROM operations WHERE cvm_id = $2))";
        let json = |text: Result<String, serde_json::Error>| {
            text.map_err(corrupt("operations", "change", new.id))
        };
        let change = json(stored::write(new.change))?;
        let report =
            json(new.report.map(stored::write).transpose().map(Option::unwrap_or_default))?;
        exec_tx!(
            self,
            query(SQL)
                .bind(new.id.to_string())
                .bind(new.cvm.0)
                .bind(OperationKind::Update.as_str())
                .bind(new.generation)
                .bind(new.by.0)
                .bind(now.micros())
                .bind(change)
                .bind(Some(new.fields.join(",")).filter(|names| !names.is_empty()))
                .bind(Some(report).filter(|text| !text.is_empty()))
                .bind(MAX_BATCH)
        )
        .map(drop)
    }

    /// The queued changes of a CVM in order, at most `limit`.
    pub async fn queued_changes(&mut self, cvm: CvmId, limit: i64) -> Result<Vec<Queued>, Error> {
        const SQL: &str = "SELECT id, change, batch, created_by FROM operations \
            WHERE cvm_id = $1 AND state = 'pending' AND joined_to IS NULL AND change IS NOT NULL \
            ORDER BY seq LIMIT $2";
        let rows =
            on_tx!(self, |c| query_as::<_, Row>(SQL).bind(cvm.0).bind(limit.max(0)).fetch_all(c))?;
        rows.into_iter().map(Row::read).collect()
    }

    /// Starts `leader`, with `others` joined to it. `before` is the configuration that a failure rolls back
    /// to. [`Error::Conflict`]: another operation of the CVM is running.
    pub async fn run_changes(
        &mut self,
        leader: OperationId,
        others: &[OperationId],
        generation: i64,
        before: Option<&Before>,
        now: Timestamp,
    ) -> Result<(), Error> {
        const LEAD: &str = "UPDATE operations SET state = 'running', generation = $2, before = $3, \
            started_at = $4 WHERE id = $1 AND state = 'pending'";
        const JOIN: &str = "UPDATE operations SET joined_to = $2, generation = $3, started_at = $4 \
            WHERE id = $1 AND state = 'pending'";
        let before = before.map(stored::write).transpose().map_err(corrupt(
            "operations",
            "before",
            leader,
        ))?;
        let lead = leader.to_string();
        exec_tx!(self, query(LEAD).bind(&lead).bind(generation).bind(before).bind(now.micros()))?;
        for other in others {
            exec_tx!(
                self,
                query(JOIN).bind(other.to_string()).bind(&lead).bind(generation).bind(now.micros())
            )?;
        }
        Ok(())
    }

    /// The configuration that a failed operation rolls back to.
    pub async fn before(&mut self, operation: OperationId) -> Result<Option<Before>, Error> {
        const SQL: &str = "SELECT before FROM operations WHERE id = $1";
        let text = on_tx!(self, |c| query_scalar::<_, Option<String>>(SQL)
            .bind(operation.to_string())
            .fetch_optional(c))?;
        text.flatten().map(|text| stored::read(&text)).transpose().map_err(unreadable(
            "operations",
            "before",
            operation,
        ))
    }

    /// The user who requested an operation.
    pub async fn asked_by(&mut self, operation: OperationId) -> Result<Option<UserId>, Error> {
        const SQL: &str = "SELECT created_by FROM operations WHERE id = $1";
        let user = on_tx!(self, |c| query_scalar::<_, i64>(SQL)
            .bind(operation.to_string())
            .fetch_optional(c))?;
        Ok(user.map(UserId))
    }

    /// Queues the changes of a failed batch again, to be tried one by one. `false`: it was a single change
    /// and nothing was done.
    pub async fn retry_singly(&mut self, leader: OperationId) -> Result<bool, Error> {
        const OTHERS: &str =
            "SELECT COUNT(*) FROM operations WHERE joined_to = $1 AND state = 'pending'";
        const REQUEUE: &str = "UPDATE operations SET state = 'pending', joined_to = NULL, batch = 1, \
            before = NULL, started_at = NULL \
            WHERE (id = $1 OR joined_to = $1) AND state IN ('running', 'pending')";
        let lead = leader.to_string();
        let others = on_tx!(self, |c| query_scalar::<_, i64>(OTHERS).bind(&lead).fetch_one(c))?;
        if others == 0 {
            return Ok(false);
        }
        exec_tx!(self, query(REQUEUE).bind(&lead))?;
        Ok(true)
    }

    /// Ids of the open changes of a CVM, queued or joined, in order.
    pub async fn open_changes(&mut self, cvm: CvmId) -> Result<Vec<OperationId>, Error> {
        const SQL: &str = "SELECT id FROM operations WHERE cvm_id = $1 AND state = 'pending' \
            ORDER BY seq";
        let ids = on_tx!(self, |c| query_scalar::<_, String>(SQL).bind(cvm.0).fetch_all(c))?;
        ids.iter().map(|id| id.parse().map_err(corrupt("operations", "id", id))).collect()
    }
}
