//! To which workspace an app that a contract is belongs, and since which proof.

use casemate_core::{
    id::{AppId, KmsId, WorkspaceId},
    time::Timestamp,
};
use sqlx::{query, query_as};

use crate::{Error, Tx, freshness::Subject};

/// To whom an app belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub workspace: WorkspaceId,
    pub kms: KmsId,
    /// Live CVMs.
    pub live: i64,
    /// When its contract's owner proved it last.
    pub proven_at: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct Row {
    workspace_id: i64,
    kms_id: String,
    live: i64,
    proven_at: Option<i64>,
}

impl Tx {
    /// The holder of an app id, locked until commit; `None`: nobody has it.
    pub async fn lock_holder(&mut self, app: &AppId) -> Result<Option<Holder>, Error> {
        let sql = format!(
            "SELECT workspace_id, kms_id, live, proven_at FROM apps WHERE app_id = $1{}",
            self.dialect().for_update()
        );
        let found = on_tx!(self, |c| query_as::<_, Row>(sqlx::AssertSqlSafe(sql))
            .bind(app.to_string())
            .fetch_optional(c))?;
        Ok(found.map(|row| Holder {
            workspace: WorkspaceId(row.workspace_id),
            kms: KmsId(row.kms_id),
            live: row.live,
            proven_at: row.proven_at.map(Timestamp::from_micros),
        }))
    }

    /// Records a proof for the workspace that has the app.
    pub async fn record_proof(&mut self, app: &AppId, proven_at: Timestamp) -> Result<(), Error> {
        const SQL: &str = "UPDATE apps SET proven_at = $2, used_at = $2 WHERE app_id = $1";
        exec_tx!(self, query(SQL).bind(app.to_string()).bind(proven_at.micros())).map(drop)
    }

    /// Gives an app without live CVMs to another workspace, which sees nothing of what was before. [`Error::Stale`]: it
    /// has live CVMs.
    pub async fn transfer_app(
        &mut self,
        app: &AppId,
        to: WorkspaceId,
        kms: &KmsId,
        (proven_at, now): (Timestamp, Timestamp),
    ) -> Result<(), Error> {
        const SQL: &str = "UPDATE apps SET workspace_id = $2, kms_id = $3, proven_at = $4, \
            transferred_at = $5, used_at = $5, committed_at = NULL, readiness = NULL \
            WHERE app_id = $1 AND live = 0 AND nonce IS NULL";
        self.touch(Subject::Accounts);
        let done = exec_tx!(
            self,
            query(SQL)
                .bind(app.to_string())
                .bind(to.0)
                .bind(kms.as_ref())
                .bind(proven_at.micros())
                .bind(now.micros())
        )?;
        if done == 1 { Ok(()) } else { Err(Error::Stale) }
    }

    /// Gives an app that has had no CVM of its workspace the name of its first one.
    pub async fn name_unused_app(&mut self, app: &AppId, name: &str) -> Result<(), Error> {
        const SQL: &str = "UPDATE apps SET name = $2 WHERE app_id = $1 AND committed_at IS NULL";
        exec_tx!(self, query(SQL).bind(app.to_string()).bind(name)).map(drop)
    }
}
