//! Who works on which CVM. A lease is a row, taken by one conditional `UPDATE … RETURNING` that
//! raises the fence; every later write names the fence and fails as [`Error::Stale`] when another
//! claim or a new wish came in between. Losing a lease loses no work: whatever was done on the node
//! is seen by the next holder's first look.

use std::time::Duration;

use casemate_core::{
    cvm::{Phase, Status},
    id::{CvmId, InstanceId},
    time::Timestamp,
};
use sqlx::{query, query_as, query_scalar};

use crate::{
    Db, Error, Tx,
    cvms::{Cvm, Row, SELECT},
    error::corrupt,
};

/// Claims up to `limit` CVMs that are due and free, the longest waiting first.
pub async fn claim(
    db: &Db,
    owner: &str,
    now: Timestamp,
    term: Duration,
    limit: i64,
) -> Result<Vec<Cvm>, Error> {
    const ANY: &str = "SELECT id FROM cvms WHERE due_at <= $1 \
        AND (lease_until IS NULL OR lease_until <= $1) ORDER BY due_at LIMIT $2";
    const CLAIM: &str = "UPDATE cvms SET lease_owner = $2, lease_until = $3, fence = fence + 1 \
        WHERE id = $1 AND due_at <= $4 AND (lease_until IS NULL OR lease_until <= $4) RETURNING id";
    let due = on_read!(db, |c| query_scalar::<_, i64>(ANY).bind(now.micros()).bind(limit).fetch_all(c))?;
    if due.is_empty() {
        return Ok(Vec::new());
    }
    let mut tx = db.begin().await?;
    let mut claimed = Vec::with_capacity(due.len());
    for id in due {
        let won = on_tx!(&mut tx, |c| query_scalar::<_, i64>(CLAIM)
            .bind(id)
            .bind(owner)
            .bind(now.plus(term).micros())
            .bind(now.micros())
            .fetch_optional(c))?;
        if won.is_some() {
            let sql = format!("{SELECT} WHERE c.id = $1");
            let row = on_tx!(&mut tx, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql))
                .bind(id)
                .fetch_one(c))?;
            claimed.push(row.read()?);
        }
    }
    tx.commit().await?;
    Ok(claimed)
}

/// When the next CVM falls due, if any does.
pub async fn next_due(db: &Db) -> Result<Option<Timestamp>, Error> {
    const SQL: &str = "SELECT MIN(due_at) FROM cvms WHERE due_at IS NOT NULL";
    let due = on_read!(db, |c| query_scalar::<_, Option<i64>>(SQL).fetch_one(c))?;
    Ok(due.map(Timestamp::from_micros))
}

/// Gives back every lease of an owner; at shutdown.
pub async fn release_all(db: &Db, owner: &str) -> Result<(), Error> {
    const SQL: &str = "UPDATE cvms SET lease_owner = NULL, lease_until = NULL, fence = fence + 1 \
        WHERE lease_owner = $1";
    let mut tx = db.begin().await?;
    exec_tx!(&mut tx, query(SQL).bind(owner))?;
    tx.commit().await
}

/// What a holder writes down.
#[derive(Debug, Clone)]
pub struct Record<'a> {
    /// The new status.
    pub status: &'a Status,
    /// The word users see.
    pub phase: Phase,
    /// Once the guest has told it.
    pub instance_id: Option<InstanceId>,
    /// Keep the lease until then, or give it back.
    pub lease_until: Option<Timestamp>,
    /// When the CVM is due again; `None`: at rest.
    pub due_at: Option<Timestamp>,
    /// The CVM is gone.
    pub deleted: bool,
}

impl Tx {
    /// Writes down what a holder of the lease did or saw. [`Error::Stale`]: the lease is lost.
    pub async fn record(&mut self, cvm: &Cvm, record: &Record<'_>, now: Timestamp) -> Result<(), Error> {
        const SQL: &str = "UPDATE cvms SET status = $3, phase = $4, \
            instance_id = COALESCE($5, instance_id), lease_until = CAST($6 AS BIGINT), \
            lease_owner = CASE WHEN CAST($6 AS BIGINT) IS NULL THEN NULL ELSE lease_owner END, \
            due_at = $7, deleted_at = CASE WHEN $8 THEN CAST($9 AS BIGINT) ELSE deleted_at END, \
            updated_at = $9 WHERE id = $1 AND fence = $2";
        let status = serde_json::to_string(record.status)
            .map_err(corrupt("cvms", "status", cvm.id))?;
        let changed = exec_tx!(
            self,
            query(SQL)
                .bind(cvm.id.0)
                .bind(cvm.fence)
                .bind(status)
                .bind(record.phase.as_str())
                .bind(record.instance_id.map(|id| id.to_string()))
                .bind(record.lease_until.map(Timestamp::micros))
                .bind(record.due_at.map(Timestamp::micros))
                .bind(record.deleted)
                .bind(now.micros())
        )?;
        if changed == 1 { Ok(()) } else { Err(Error::Stale) }
    }
}

/// How many CVMs are due or leased; for metrics and for tests that wait until nothing is left.
pub async fn busy(db: &Db) -> Result<i64, Error> {
    const SQL: &str = "SELECT COUNT(*) FROM cvms WHERE due_at IS NOT NULL";
    on_read!(db, |c| query_scalar::<_, i64>(SQL).fetch_one(c))
}

/// Ids of the CVMs that are due or leased, at most `limit`.
pub async fn busy_ids(db: &Db, limit: i64) -> Result<Vec<CvmId>, Error> {
    const SQL: &str = "SELECT id FROM cvms WHERE due_at IS NOT NULL ORDER BY id LIMIT $1";
    let ids = on_read!(db, |c| query_scalar::<_, i64>(SQL).bind(limit).fetch_all(c))?;
    Ok(ids.into_iter().map(CvmId).collect())
}
