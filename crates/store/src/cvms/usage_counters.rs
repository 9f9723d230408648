//! Sums over live CVMs: used capacity per node, lengths of lists.
//!
//! Every statement that creates, deletes, moves or resizes a live CVM updates the counters in the same
//! transaction. PostgreSQL locks the rows in this order: the CVM, its node, its counter, its workspace's, its app, the counter
//! of apps, and `counters` last.

use casemate_core::{cvm::Spec, id::WorkspaceId, place::Amount, quota::Quota, time::Timestamp};
use sqlx::{query, query_as, query_scalar};

use super::Cvm;
use crate::{Db, Error, Tx, nodes::NodeUsage};

/// The resources of a live CVM, and the counters they belong to.
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
    /// The usage of this CVM with this configuration.
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

/// What the live CVMs of a workspace take, and what it may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WorkspaceUsage {
    pub taken: Amount,
    /// Its own; what it leaves open is as configured.
    pub quota: Quota,
}

#[derive(sqlx::FromRow)]
pub(super) struct WorkspaceRow {
    cvms: i64,
    vcpu: i64,
    memory_mb: i64,
    disk_gb: i64,
    max_cvms: Option<i64>,
    max_vcpu: Option<i64>,
    max_memory_mb: Option<i64>,
    max_disk_gb: Option<i64>,
}

impl WorkspaceRow {
    fn read(self) -> WorkspaceUsage {
        let Self { cvms, vcpu, memory_mb, disk_gb, .. } = self;
        WorkspaceUsage {
            taken: Amount { slots: cvms, vcpu, memory_mb, disk_gb },
            quota: Quota {
                cvms: self.max_cvms,
                vcpu: self.max_vcpu,
                memory_mb: self.max_memory_mb,
                disk_gb: self.max_disk_gb,
            },
        }
    }
}

const OF_WORKSPACE: &str = "SELECT cvms, vcpu, memory_mb, disk_gb, max_cvms, max_vcpu, max_memory_mb, \
    max_disk_gb FROM workspace_usage WHERE workspace_id = $1";

/// What a workspace takes and may take.
pub async fn workspace_usage(db: &Db, workspace: WorkspaceId) -> Result<WorkspaceUsage, Error> {
    let found = on_read!(db, |c| query_as::<_, WorkspaceRow>(OF_WORKSPACE)
        .bind(workspace.0)
        .fetch_optional(c))?;
    Ok(found.map(WorkspaceRow::read).unwrap_or_default())
}

/// Sums after a CVM was counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UsageTotals {
    pub(crate) node: NodeUsage,
    pub(crate) workspace: WorkspaceUsage,
    /// Number of live CVMs of its app.
    pub(crate) of_app: i64,
}

impl Tx {
    /// Updates the counters of a live CVM whose resources change.
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

    /// Counts a new live CVM (`by` 1) or a deleted one (`by` −1). Admissions to one node are serialised on
    /// both databases: the node's row is locked until commit.
    pub(crate) async fn count_usage(
        &mut self,
        usage: &UsageDelta,
        by: i64,
        now: Timestamp,
    ) -> Result<UsageTotals, Error> {
        let node = self.count_on_node(usage, by).await?;
        self.count_in_list(usage, by).await?;
        let workspace = self.count_in_workspace(usage, by).await?;
        let of_app = self.count_app_usage(usage, by, now).await?;
        Ok(UsageTotals { node, workspace, of_app })
    }

    /// Takes room on a node (`by` 1) or frees it (−1). Returns what is taken there now.
    pub(super) async fn count_on_node(
        &mut self,
        usage: &UsageDelta,
        by: i64,
    ) -> Result<NodeUsage, Error> {
        const NODE: &str = "UPDATE nodes SET slots = slots + $2, vcpu = vcpu + $3, \
            memory_mb = memory_mb + $4, disk_gb = disk_gb + $5 WHERE id = $1 \
            RETURNING id AS node_id, slots, vcpu, memory_mb, disk_gb, state";
        on_tx!(self, |c| query_as::<_, NodeUsage>(NODE)
            .bind(usage.node_id)
            .bind(by)
            .bind(by * usage.vcpu)
            .bind(by * usage.memory_mb)
            .bind(by * usage.disk_gb)
            .fetch_one(c))
    }

    /// Counts a CVM in the list of its node.
    pub(super) async fn count_in_list(&mut self, usage: &UsageDelta, by: i64) -> Result<(), Error> {
        const LIST: &str = "INSERT INTO cvm_tallies (workspace_id, node_id, created_by, cvms) \
            VALUES ($1, $2, $3, $4) ON CONFLICT (workspace_id, node_id, created_by) \
            DO UPDATE SET cvms = cvm_tallies.cvms + excluded.cvms";
        const LIST_LESS: &str = "UPDATE cvm_tallies SET cvms = cvms + $4 \
            WHERE workspace_id = $1 AND node_id = $2 AND created_by = $3";
        // PostgreSQL checks the row to insert before it detects the conflict, so −1 would fail.
        let list = if by > 0 { LIST } else { LIST_LESS };
        exec_tx!(
            self,
            query(list)
                .bind(usage.workspace_id)
                .bind(usage.node_id)
                .bind(usage.created_by)
                .bind(by)
        )
        .map(drop)
    }

    /// Counts a CVM in its workspace (`by` 1 or −1). Admissions to one workspace are serialised on both
    /// databases: its row is locked until commit.
    async fn count_in_workspace(
        &mut self,
        usage: &UsageDelta,
        by: i64,
    ) -> Result<WorkspaceUsage, Error> {
        let more = Amount {
            slots: by,
            vcpu: by * usage.vcpu,
            memory_mb: by * usage.memory_mb,
            disk_gb: by * usage.disk_gb,
        };
        self.take_in_workspace(usage.workspace_id, more).await
    }

    /// Adds to what a workspace takes. Returns what it takes then.
    pub(super) async fn take_in_workspace(
        &mut self,
        workspace: i64,
        more: Amount,
    ) -> Result<WorkspaceUsage, Error> {
        const ADD: &str = "UPDATE workspace_usage SET cvms = cvms + $2, vcpu = vcpu + $3, \
            memory_mb = memory_mb + $4, disk_gb = disk_gb + $5 WHERE workspace_id = $1 \
            RETURNING cvms, vcpu, memory_mb, disk_gb, max_cvms, max_vcpu, max_memory_mb, max_disk_gb";
        let row = on_tx!(self, |c| query_as::<_, WorkspaceRow>(ADD)
            .bind(workspace)
            .bind(more.slots)
            .bind(more.vcpu)
            .bind(more.memory_mb)
            .bind(more.disk_gb)
            .fetch_one(c))?;
        Ok(row.read())
    }

    /// What a workspace takes and may take, as this transaction sees it.
    pub async fn workspace_usage(
        &mut self,
        workspace: WorkspaceId,
    ) -> Result<WorkspaceUsage, Error> {
        let found = on_tx!(self, |c| query_as::<_, WorkspaceRow>(OF_WORKSPACE)
            .bind(workspace.0)
            .fetch_optional(c))?;
        Ok(found.map(WorkspaceRow::read).unwrap_or_default())
    }

    /// The same, locked until commit.
    pub async fn lock_workspace_usage(
        &mut self,
        workspace: WorkspaceId,
    ) -> Result<WorkspaceUsage, Error> {
        let sql = format!("{OF_WORKSPACE}{}", self.dialect().for_update());
        let found = on_tx!(self, |c| query_as::<_, WorkspaceRow>(sqlx::AssertSqlSafe(sql))
            .bind(workspace.0)
            .fetch_optional(c))?;
        Ok(found.map(WorkspaceRow::read).unwrap_or_default())
    }

    /// Sets what a workspace may take.
    pub async fn set_quota(&mut self, workspace: WorkspaceId, quota: Quota) -> Result<(), Error> {
        const SQL: &str = "UPDATE workspace_usage SET max_cvms = $2, max_vcpu = $3, \
            max_memory_mb = $4, max_disk_gb = $5 WHERE workspace_id = $1";
        exec_tx!(
            self,
            query(SQL)
                .bind(workspace.0)
                .bind(quota.cvms)
                .bind(quota.vcpu)
                .bind(quota.memory_mb)
                .bind(quota.disk_gb)
        )
        .map(drop)
    }

    /// An app is listed while it has live CVMs. It stays committed after its first CVM.
    async fn count_app_usage(
        &mut self,
        usage: &UsageDelta,
        by: i64,
        now: Timestamp,
    ) -> Result<i64, Error> {
        const APP: &str = "UPDATE apps SET live = live + $2, \
            committed_at = COALESCE(committed_at, $3) WHERE app_id = $1 AND workspace_id = $4 RETURNING live";
        const FIRST: &str = "INSERT INTO app_tallies (workspace_id, apps) VALUES ($1, 1) \
            ON CONFLICT (workspace_id) DO UPDATE SET apps = app_tallies.apps + 1";
        const LAST: &str = "UPDATE app_tallies SET apps = apps - 1 WHERE workspace_id = $1";
        let live = on_tx!(self, |c| query_scalar::<_, i64>(APP)
            .bind(&usage.app_id)
            .bind(by)
            .bind(now.micros())
            .bind(usage.workspace_id)
            .fetch_optional(c))?;
        // Of another workspace by now.
        let live = live.ok_or(Error::Stale)?;
        let listed = match (live, by) {
            (1, 1) => FIRST,
            (0, -1) => LAST,
            _ => return Ok(live),
        };
        exec_tx!(self, query(listed).bind(usage.workspace_id))?;
        Ok(live)
    }
}
