//! Writes a new configuration of a CVM with its desired state, and its scheduled deletion.

use casemate_core::{
    cvm::{DesiredState, Phase, Spec, Status},
    id::{CvmId, UserId, WorkspaceId},
    place::Amount,
    time::Timestamp,
};
use sqlx::{query, query_as};

use super::{
    Cvm, UsageDelta,
    columns::{Columns, Configuration, Desired, bind_configuration, bind_desired},
};
use crate::{Error, Tx, freshness::Subject};

/// A new configuration with its desired state.
#[derive(Debug, Clone)]
pub struct Intent<'a> {
    pub spec: &'a Spec,
    /// Sealed environment, hex.
    pub sealed_env: Option<&'a str>,
    pub desired: &'a DesiredState,
    /// The new recorded status.
    pub status: &'a Status,
    /// The phase that users see.
    pub phase: Phase,
    /// Whether the CVM becomes due. If not, a CVM at rest stays at rest.
    pub due: bool,
}

impl Tx {
    /// Replaces the configuration that was read, with its desired state, and makes the CVM due if needed. The
    /// current lease is handled as in [`Tx::set_desired`]. [`Error::Stale`]: the CVM changed since it was
    /// read. The caller must have checked that a new name is free.
    pub async fn set_intent(
        &mut self,
        read: &Cvm,
        intent: &Intent<'_>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let sql = format!(
            "UPDATE cvms SET {}, {}, version = version + 1, fence = fence + 1, again = FALSE, \
             updated_at = $3, \
             lease_owner = CASE WHEN calling AND lease_until > $3 THEN lease_owner ELSE NULL END, \
             lease_until = CASE WHEN calling AND lease_until > $3 THEN lease_until ELSE NULL END, \
             due_at = CASE WHEN NOT $4 THEN due_at \
                 WHEN calling AND lease_until > $3 THEN lease_until ELSE $3 END \
             WHERE id = $1 AND fence = $2 AND deleted_at IS NULL",
            Columns::desired(5).assignments(),
            Columns::configuration(11).assignments()
        );
        self.touch(Subject::Cvm(read.id));
        let id = read.id.0;
        let spec = intent.spec;
        let desired = Desired::of(id, intent.desired, intent.status, intent.phase)?;
        let configuration = Configuration::of(id, spec, intent.sealed_env)?;
        let changed = exec_tx!(self, {
            let statement = query(sqlx::AssertSqlSafe(sql.as_str()))
                .bind(id)
                .bind(read.fence)
                .bind(now.micros())
                .bind(intent.due);
            bind_configuration!(bind_desired!(statement, desired), configuration)
        })?;
        if changed != 1 {
            return Err(Error::Stale);
        }
        if spec.compose_hash != read.spec.compose_hash {
            self.keep_for_good(&read.spec.compose_hash).await?;
            self.keep_for_good(&spec.compose_hash).await?;
        }
        let mut nodes = vec![read.node.0];
        nodes.extend(read.moves_to.map(|node| node.0));
        // Rows of nodes are taken by id.
        nodes.sort_unstable();
        for node_id in nodes {
            let usage = |spec: &Spec| UsageDelta { node_id, ..UsageDelta::of(read, spec) };
            self.adjust_usage(&usage(&read.spec), &usage(spec)).await?;
        }
        let (old, new) = (&read.spec.resources, &spec.resources);
        let more = |new: u32, old: u32| i64::from(new) - i64::from(old);
        let more = Amount {
            slots: 0,
            vcpu: more(new.vcpu, old.vcpu),
            memory_mb: more(new.memory_mb, old.memory_mb),
            disk_gb: more(new.disk_gb, old.disk_gb),
        };
        if more != Amount::default() {
            self.take_in_workspace(read.workspace.0, more).await?;
        }
        Ok(())
    }

    /// Sets or clears the time of the scheduled deletion. [`Error::Stale`]: the CVM is deleted.
    pub async fn schedule_deletion(
        &mut self,
        cvm: CvmId,
        at: Option<Timestamp>,
        by: UserId,
        now: Timestamp,
    ) -> Result<(), Error> {
        const SQL: &str = "UPDATE cvms SET delete_at = $2, delete_by = $3, updated_at = $4, \
            version = version + 1 \
            WHERE id = $1 AND deleted_at IS NULL";
        self.touch(Subject::Cvm(cvm));
        let changed = exec_tx!(
            self,
            query(SQL)
                .bind(cvm.0)
                .bind(at.map(Timestamp::micros))
                .bind(at.map(|_| by.0))
                .bind(now.micros())
        )?;
        if changed == 1 { Ok(()) } else { Err(Error::Stale) }
    }
}

/// A CVM whose scheduled deletion is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToDelete {
    pub cvm: CvmId,
    pub workspace: WorkspaceId,
    /// The user who scheduled the deletion.
    pub by: UserId,
}

/// CVMs whose scheduled deletion is due, earliest first, at most `limit`.
pub async fn to_delete(db: &crate::Db, now: Timestamp, limit: i64) -> Result<Vec<ToDelete>, Error> {
    const SQL: &str = "SELECT id, workspace_id, COALESCE(delete_by, created_by) FROM cvms \
        WHERE delete_at IS NOT NULL AND delete_at <= $1 ORDER BY delete_at, id LIMIT $2";
    let rows = on_read!(db, |c| query_as::<_, (i64, i64, i64)>(SQL)
        .bind(now.micros())
        .bind(limit.max(0))
        .fetch_all(c))?;
    let read = |(cvm, workspace, by)| ToDelete {
        cvm: CvmId(cvm),
        workspace: WorkspaceId(workspace),
        by: UserId(by),
    };
    Ok(rows.into_iter().map(read).collect())
}
