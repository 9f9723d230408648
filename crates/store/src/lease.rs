//! Leases of CVMs. A lease is a row, claimed by one conditional `UPDATE … RETURNING` that increments the
//! fence. Every later write names the fence, and fails with [`Error::Stale`] if another claim or a new
//! desired state came in between. A lost lease loses no work: the next holder observes what was done on the
//! node.
//!
//! A new desired state revokes the lease, unless its holder may have a call in flight ([`Record::calling`]):
//! a node does not know the fences, and a late call would undo work for the newer desired state. Such a
//! holder gets [`Error::Stale`] from its next write and gives the lease back ([`give_back`]). Until then, or
//! until the lease expires, the newer desired state is not reconciled.
//!
//! `due_at` is when the next turn may begin, so one index answers which CVMs are due and when to check again.
//! A claim sets it to the end of the lease; a holder that gives the lease back sets it to the next turn.

use std::time::Duration;

use casemate_core::{
    cvm::{EngineState, Phase, Status},
    id::{CvmId, NodeId},
    time::Timestamp,
};
use sqlx::{query, query_as, query_scalar};

use crate::{
    Db, Error, Tx,
    cvms::{Cvm, Row, SELECT, UsageDelta},
    db::Dialect,
    error::corrupt,
    freshness::Subject,
};

/// The claiming worker and its nodes.
#[derive(Debug, Clone, Copy)]
pub struct Claimant<'a> {
    /// Owner of the lease.
    pub owner: &'a str,
    /// Only CVMs on these nodes; other processes serve the others.
    pub nodes: &'a [NodeId],
}

impl Claimant<'_> {
    fn node_list(&self) -> String {
        node_list(self.nodes)
    }
}

/// The JSON array for [`on_nodes`].
fn node_list(nodes: &[NodeId]) -> String {
    let ids: Vec<i64> = nodes.iter().map(|node| node.0).collect();
    serde_json::to_string(&ids).unwrap_or_default()
}

/// A condition on `cvms`: its node is in the JSON array of parameter 1, and this version can read it.
fn on_nodes(dialect: Dialect) -> String {
    let list = dialect.elements();
    let readable = crate::cvms::readable();
    format!("node_id IN (SELECT CAST(list.value AS BIGINT) FROM ({list}) AS list) AND {readable}")
}

/// Claims up to `limit` CVMs that are due and not leased, longest due first. This writes, so call
/// [`due_nodes`] first. CVMs that only a newer version can read are skipped.
pub async fn claim(
    db: &Db,
    claimant: &Claimant<'_>,
    now: Timestamp,
    term: Duration,
    limit: i64,
) -> Result<Vec<Cvm>, Error> {
    if limit <= 0 {
        return Ok(Vec::new());
    }
    let mut tx = db.begin().await?;
    let ids = tx.take_leases(claimant, now, term, limit).await?;
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = tx.leased(&ids).await?;
    tx.commit().await?;
    let mut claimed = Vec::with_capacity(rows.len());
    for row in rows {
        match row.read() {
            Ok(cvm) => claimed.push(Cvm { claimed: true, ..cvm }),
            Err(error) => tracing::error!(%error, "a CVM cannot be worked on"),
        }
    }
    Ok(claimed)
}

impl Tx {
    async fn take_leases(
        &mut self,
        claimant: &Claimant<'_>,
        now: Timestamp,
        term: Duration,
        limit: i64,
    ) -> Result<Vec<i64>, Error> {
        const FREE: &str = "due_at <= $2 AND (lease_until IS NULL OR lease_until <= $2)";
        // The condition is there twice: after a wait for a row, PostgreSQL checks only the outer one again.
        let sql = format!(
            "WITH due AS MATERIALIZED (SELECT id FROM cvms WHERE {FREE} AND {} ORDER BY due_at, id \
             LIMIT $5{}) UPDATE cvms SET lease_owner = $3, lease_until = $4, due_at = $4, \
             again = FALSE, calling = FALSE, fence = fence + 1, lease_fence = fence + 1 \
             WHERE id IN (SELECT id FROM due) AND {FREE} RETURNING id",
            on_nodes(self.dialect()),
            self.dialect().for_update_skip_locked()
        );
        on_tx!(self, |c| query_scalar::<_, i64>(sqlx::AssertSqlSafe(sql))
            .bind(claimant.node_list())
            .bind(now.micros())
            .bind(claimant.owner)
            .bind(now.plus(term).micros())
            .bind(limit)
            .fetch_all(c))
    }

    async fn leased(&mut self, ids: &[i64]) -> Result<Vec<Row>, Error> {
        let list = serde_json::to_string(ids).unwrap_or_default();
        let sql = format!(
            "{SELECT} WHERE c.id IN (SELECT CAST(list.value AS BIGINT) FROM ({}) AS list) ORDER BY c.id",
            self.dialect().elements()
        );
        on_tx!(self, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql)).bind(list).fetch_all(c))
    }
}

/// The nodes among these that have a due CVM.
pub async fn due_nodes(db: &Db, nodes: &[NodeId], now: Timestamp) -> Result<Vec<NodeId>, Error> {
    let sql = format!(
        "SELECT CAST(list.value AS BIGINT) AS id FROM ({}) AS list WHERE EXISTS (SELECT 1 FROM cvms \
         WHERE node_id = CAST(list.value AS BIGINT) AND due_at <= $2 AND {})",
        db.dialect().elements(),
        crate::cvms::readable()
    );
    let ids = on_read!(db, |c| query_scalar::<_, i64>(sqlx::AssertSqlSafe(sql))
        .bind(node_list(nodes))
        .bind(now.micros())
        .fetch_all(c))?;
    Ok(ids.into_iter().map(NodeId).collect())
}

/// When the next CVM of these nodes becomes due, or a lease expires, whichever is first.
pub async fn next_due(db: &Db, nodes: &[NodeId]) -> Result<Option<Timestamp>, Error> {
    let sql = format!(
        "SELECT MIN(first.due_at) FROM (SELECT (SELECT due_at FROM cvms \
         WHERE node_id = CAST(list.value AS BIGINT) AND due_at IS NOT NULL AND {} \
         ORDER BY due_at LIMIT 1) AS due_at FROM ({}) AS list) AS first",
        crate::cvms::readable(),
        db.dialect().elements()
    );
    let due = on_read!(db, |c| query_scalar::<_, Option<i64>>(sqlx::AssertSqlSafe(sql))
        .bind(node_list(nodes))
        .fetch_one(c))?;
    Ok(due.map(Timestamp::from_micros))
}

/// Gives back all leases of an owner at shutdown. The CVMs are due at once.
pub async fn release_all(db: &Db, owner: &str) -> Result<(), Error> {
    const SQL: &str = "UPDATE cvms SET lease_owner = NULL, lease_until = NULL, due_at = updated_at, \
        again = FALSE, calling = FALSE, fence = fence + 1 \
        WHERE due_at IS NOT NULL AND lease_owner = $1";
    let mut tx = db.begin().await?;
    exec_tx!(&mut tx, query(SQL).bind(owner))?;
    tx.commit().await
}

/// Gives back the lease of a stale holder that has no call in flight. Work for the newer desired state is due
/// at once. A lease of another holder is not affected.
pub async fn give_back(db: &Db, cvm: &Cvm, now: Timestamp) -> Result<(), Error> {
    const SQL: &str = "UPDATE cvms SET lease_owner = NULL, lease_until = NULL, again = FALSE, \
        calling = FALSE, due_at = CASE WHEN due_at IS NULL THEN NULL ELSE $3 END \
        WHERE id = $1 AND lease_fence = $2 AND lease_until IS NOT NULL";
    let mut tx = db.begin().await?;
    exec_tx!(&mut tx, query(SQL).bind(cvm.id.0).bind(cvm.fence).bind(now.micros()))?;
    tx.commit().await
}

/// A write of a reconciler.
#[derive(Debug, Clone)]
pub struct Record<'a> {
    pub status: &'a Status,
    /// The phase that users see.
    pub phase: Phase,
    /// Keep the lease until then; `None`: give it back.
    pub lease_until: Option<Timestamp>,
    /// From now until the next record the holder may have a call in flight.
    pub calling: bool,
    /// When the CVM is due again; `None`: at rest. While the lease is kept, that is when it ends.
    pub due_at: Option<Timestamp>,
    /// The CVM is deleted.
    pub deleted: bool,
}

impl Tx {
    /// Records what a lease holder did or observed. [`Error::Stale`]: the lease is lost. An observer
    /// ([`Cvm::claimed`] is false) may also record; it gets [`Error::Stale`] if somebody holds a lease, and
    /// does not change when the CVM is due.
    ///
    /// Giving the lease back increments the fence, so it is the last write under it. If another
    /// reconciliation was requested meanwhile, the CVM is due at once.
    pub async fn record(
        &mut self,
        cvm: &Cvm,
        record: &Record<'_>,
        now: Timestamp,
    ) -> Result<(), Error> {
        const SQL: &str = "UPDATE cvms SET status = $3, phase = $4, version = version + 1, \
            instance_id = CASE WHEN $12 THEN $5 ELSE instance_id END, \
            lease_until = $6, \
            lease_owner = CASE WHEN CAST($6 AS BIGINT) IS NULL THEN NULL ELSE lease_owner END, \
            fence = CASE WHEN CAST($6 AS BIGINT) IS NULL THEN fence + 1 ELSE fence END, \
            due_at = CASE WHEN $8 THEN NULL WHEN NOT $10 THEN COALESCE(due_at, $7) \
                WHEN CAST($6 AS BIGINT) IS NOT NULL THEN $6 WHEN again THEN $9 ELSE $7 END, \
            again = CASE WHEN CAST($6 AS BIGINT) IS NULL THEN FALSE ELSE again END, calling = $11, \
            deleted_at = CASE WHEN $8 THEN $9 ELSE deleted_at END, updated_at = $9 \
            WHERE id = $1 AND fence = $2 AND deleted_at IS NULL AND ($10 OR lease_owner IS NULL) \
            RETURNING workspace_id, node_id, created_by, app_id, vcpu, memory_mb, disk_gb";
        let status = casemate_core::stored::write(record.status)
            .map_err(corrupt("cvms", "status", cvm.id))?;
        self.touch(Subject::Cvm(cvm.id));
        let gone = record.deleted;
        // Reported by the guest. If the VM is not observed, the last known id stays.
        let observed = record.status.observed.as_ref();
        let told = observed.and_then(|vm| vm.instance_id);
        let kept = record.lease_until.filter(|_| cvm.claimed && !gone);
        let changed = on_tx!(self, |c| query_as::<_, UsageDelta>(SQL)
            .bind(cvm.id.0)
            .bind(cvm.fence)
            .bind(status)
            .bind(record.phase.as_str())
            .bind(told.map(|id| id.to_string()))
            .bind(kept.map(Timestamp::micros))
            .bind(record.due_at.map(Timestamp::micros))
            .bind(gone)
            .bind(now.micros())
            .bind(cvm.claimed)
            .bind(record.calling && kept.is_some())
            .bind(observed.is_some() || record.status.engine == EngineState::Absent)
            .fetch_optional(c))?;
        match changed {
            None => Err(Error::Stale),
            Some(usage) if gone => {
                self.free_move(cvm.id, &usage).await?;
                self.count_usage(&usage, -1, now).await.map(drop)
            }
            Some(_) => Ok(()),
        }
    }
}

/// Number of CVMs that are due or leased; for metrics and tests.
pub async fn busy(db: &Db) -> Result<i64, Error> {
    const SQL: &str = "SELECT COUNT(*) FROM cvms WHERE due_at IS NOT NULL";
    on_read!(db, |c| query_scalar::<_, i64>(SQL).fetch_one(c))
}

/// Ids of the CVMs that are due or leased, longest due first, at most `limit`.
pub async fn busy_ids(db: &Db, limit: i64) -> Result<Vec<CvmId>, Error> {
    const SQL: &str = "SELECT id FROM cvms WHERE due_at IS NOT NULL ORDER BY due_at, id LIMIT $1";
    let ids = on_read!(db, |c| query_scalar::<_, i64>(SQL).bind(limit.max(0)).fetch_all(c))?;
    Ok(ids.into_iter().map(CvmId).collect())
}
