//! What live CVMs add up to: capacity taken per node, lengths of lists.
//!
//! Every statement that makes a CVM live, ends it, moves it, or changes its resources tallies in the
//! same transaction. The order of the rows, which is the order in which PostgreSQL takes them: the
//! CVM, its node, its tally, its app, the tally of apps; counters last.

use casemate_core::{cvm::Spec, time::Timestamp};
use sqlx::{query, query_as, query_scalar};

use super::Cvm;
use crate::{Error, Tx, nodes::Taken};

/// What a live CVM takes, and where it is counted.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct UsageDelta {
    pub(crate) workspace_id: i64,
    pub(crate) node_id: i64,
    pub(crate) created_by: i64,
    pub(crate) app_id: String,
    pub(crate) vcpu: i64,
    pub(crate) memory_mb: i64,
    pub(crate) disk_gb: i64,
}

impl UsageDelta {
    /// What this CVM takes with this configuration.
    pub(super) fn of(cvm: &Cvm, spec: &Spec) -> Self {
        Self {
            workspace_id: cvm.workspace.0,
            node_id: cvm.node.0,
            created_by: cvm.created_by.0,
            app_id: spec.app_id.to_string(),
            vcpu: spec.resources.vcpu.into(),
            memory_mb: spec.resources.memory_mb.into(),
            disk_gb: spec.resources.disk_gb.into(),
        }
    }
}

/// What live CVMs add up to after one was counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counted {
    pub(crate) node: Taken,
    /// How many its app has.
    pub(crate) of_app: i64,
}

impl Tx {
    /// Counts a live CVM that takes something else from now on.
    pub(super) async fn adjust_usage(
        &mut self,
        old: &UsageDelta,
        new: &UsageDelta,
    ) -> Result<(), Error> {
        const SQL: &str = "UPDATE nodes SET vcpu = vcpu + $2, memory_mb = memory_mb + $3, \
            disk_gb = disk_gb + $4 WHERE id = $1";
        if old == new {
            return Ok(());
        }
        exec_tx!(
            self,
            query(SQL)
                .bind(old.node_id)
                .bind(new.vcpu - old.vcpu)
                .bind(new.memory_mb - old.memory_mb)
                .bind(new.disk_gb - old.disk_gb)
        )
        .map(drop)
    }

    /// Counts a CVM that is live from now on (`by` 1) or no longer (`by` −1). Two admissions to one node
    /// run one after the other on both engines: the node's row is taken until commit.
    pub(crate) async fn count_usage(
        &mut self,
        usage: &UsageDelta,
        by: i64,
        now: Timestamp,
    ) -> Result<Counted, Error> {
        const NODE: &str = "UPDATE nodes SET slots = slots + $2, vcpu = vcpu + $3, \
            memory_mb = memory_mb + $4, disk_gb = disk_gb + $5 WHERE id = $1 \
            RETURNING id AS node_id, slots, vcpu, memory_mb, disk_gb, state";
        const LIST: &str = "INSERT INTO cvm_tallies (workspace_id, node_id, created_by, cvms) \
            VALUES ($1, $2, $3, $4) ON CONFLICT (workspace_id, node_id, created_by) \
            DO UPDATE SET cvms = cvm_tallies.cvms + excluded.cvms";
        const LIST_LESS: &str = "UPDATE cvm_tallies SET cvms = cvms + $4 \
            WHERE workspace_id = $1 AND node_id = $2 AND created_by = $3";
        let node = on_tx!(self, |c| query_as::<_, Taken>(NODE)
            .bind(usage.node_id)
            .bind(by)
            .bind(by * usage.vcpu)
            .bind(by * usage.memory_mb)
            .bind(by * usage.disk_gb)
            .fetch_one(c))?;
        // PostgreSQL checks the row to be inserted before it sees the conflict: −1 would not pass.
        let list = if by > 0 { LIST } else { LIST_LESS };
        exec_tx!(
            self,
            query(list)
                .bind(usage.workspace_id)
                .bind(usage.node_id)
                .bind(usage.created_by)
                .bind(by)
        )?;
        let of_app = self.count_app_usage(usage, by, now).await?;
        Ok(Counted { node, of_app })
    }

    /// An app is listed while it has live CVMs, and committed once it had one.
    async fn count_app_usage(
        &mut self,
        usage: &UsageDelta,
        by: i64,
        now: Timestamp,
    ) -> Result<i64, Error> {
        const APP: &str = "UPDATE apps SET live = live + $2, \
            committed_at = COALESCE(committed_at, $3) WHERE app_id = $1 RETURNING live";
        const FIRST: &str = "INSERT INTO app_tallies (workspace_id, apps) VALUES ($1, 1) \
            ON CONFLICT (workspace_id) DO UPDATE SET apps = app_tallies.apps + 1";
        const LAST: &str = "UPDATE app_tallies SET apps = apps - 1 WHERE workspace_id = $1";
        let live = on_tx!(self, |c| query_scalar::<_, i64>(APP)
            .bind(&usage.app_id)
            .bind(by)
            .bind(now.micros())
            .fetch_one(c))?;
        let listed = match (live, by) {
            (1, 1) => FIRST,
            (0, -1) => LAST,
            _ => return Ok(live),
        };
        exec_tx!(self, query(listed).bind(usage.workspace_id))?;
        Ok(live)
    }
}
