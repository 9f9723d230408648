//! A new configuration of a CVM, with the desired state that brings it about; and its end at a set time.

use casemate_core::{
    cvm::{DesiredState, Phase, Spec, Status},
    id::{CvmId, UserId, WorkspaceId},
    time::Timestamp,
};
use sqlx::{query, query_as};

use super::{
    Cvm, UsageDelta,
    row::{bad, power_word, spec_text},
};
use crate::{Error, Tx, freshness::Subject};

/// A new configuration.
#[derive(Debug, Clone)]
pub struct Intent<'a> {
    /// The configuration.
    pub spec: &'a Spec,
    /// The sealed environment, hex.
    pub sealed_env: Option<&'a str>,
    /// The desired state.
    pub desired: &'a DesiredState,
    /// What is recorded, as it is to be from now on.
    pub status: &'a Status,
    /// The word users see.
    pub phase: Phase,
    /// Whether there is work to do for it now. A CVM at rest stays at rest otherwise.
    pub due: bool,
}

impl Tx {
    /// Writes a new configuration over the one that was read, with its desired state, and makes the CVM due if
    /// there is work to do. With the lease under way it is as in [`Tx::set_desired`]. [`Error::Stale`]:
    /// the CVM changed since it was read. A name must be known to be free.
    pub async fn set_intent(
        &mut self,
        read: &Cvm,
        intent: &Intent<'_>,
        now: Timestamp,
    ) -> Result<(), Error> {
        const SQL: &str = "UPDATE cvms SET power = $3, run = $4, generation = $5, stop_mode = $6, \
            status = $7, phase = $8, version = version + 1, fence = fence + 1, \
            again = FALSE, updated_at = $9, \
            lease_owner = CASE WHEN calling AND lease_until > $9 THEN lease_owner ELSE NULL END, \
            lease_until = CASE WHEN calling AND lease_until > $9 THEN lease_until ELSE NULL END, \
            due_at = CASE WHEN NOT $21 THEN due_at \
                WHEN calling AND lease_until > $9 THEN lease_until ELSE $9 END, \
            spec = $10, sealed_env = $11, name = $12, \
            compose_hash = $13, vcpu = $14, memory_mb = $15, disk_gb = $16, user_config = $17, \
            image = $18, instance_type = $19, listed = $20 \
            WHERE id = $1 AND fence = $2 AND deleted_at IS NULL";
        self.touch(Subject::Cvm(read.id));
        let id = read.id.0;
        let (spec, desired) = (intent.spec, intent.desired);
        let stop = serde_json::to_string(&desired.stop).map_err(bad("stop_mode", id))?;
        let status = serde_json::to_string(intent.status).map_err(bad("status", id))?;
        let text = spec_text(spec, id)?;
        let changed = exec_tx!(
            self,
            query(SQL)
                .bind(id)
                .bind(read.fence)
                .bind(power_word(desired.power))
                .bind(desired.run)
                .bind(desired.generation)
                .bind(stop)
                .bind(status)
                .bind(intent.phase.as_str())
                .bind(now.micros())
                .bind(text)
                .bind(intent.sealed_env)
                .bind(&spec.name)
                .bind(spec.compose_hash.to_string())
                .bind(i64::from(spec.resources.vcpu))
                .bind(i64::from(spec.resources.memory_mb))
                .bind(i64::from(spec.resources.disk_gb))
                .bind(&spec.user_config)
                .bind(&spec.image)
                .bind(&spec.resources.instance_type)
                .bind(spec.listed)
                .bind(intent.due)
        )?;
        if changed != 1 {
            return Err(Error::Stale);
        }
        if spec.compose_hash != read.spec.compose_hash {
            self.keep_for_good(&read.spec.compose_hash).await?;
            self.keep_for_good(&spec.compose_hash).await?;
        }
        let usage = |spec: &Spec| UsageDelta::of(read, spec);
        self.adjust_usage(&usage(&read.spec), &usage(spec)).await
    }

    /// Sets or clears the time at which a CVM is deleted by itself. [`Error::Stale`]: it is gone.
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

/// A CVM whose time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToDelete {
    /// Which.
    pub cvm: CvmId,
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// Who set the time.
    pub by: UserId,
}

/// The CVMs whose time of deletion has come, the longest waiting first, at most `limit`.
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
