//! The audit log: one row for each change that was asked for. Rows are added and read, never changed; triggers refuse
//! the rest (`db/append_only.rs`).

use casemate_core::{
    audit::{ActorKind, TargetKind},
    id::{KeyId, UserId, WorkspaceId},
    time::Timestamp,
};
use sqlx::{query, query_as};

use crate::{Db, Error, Tx};

/// A row to add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAuditEntry {
    /// A version 7 UUID of the time.
    pub id: String,
    pub at: Timestamp,
    /// `None`: the installation.
    pub workspace: Option<WorkspaceId>,
    pub actor: ActorKind,
    pub user: Option<UserId>,
    /// As it is now; empty where there is none.
    pub username: String,
    pub key: Option<KeyId>,
    /// Of the client.
    pub address: Option<String>,
    pub request_id: Option<String>,
    /// An operation id, or a command of the host.
    pub action: String,
    pub target: TargetKind,
    pub target_id: Option<String>,
    /// JSON without secrets.
    pub before: Option<String>,
    /// JSON without secrets.
    pub after: Option<String>,
    /// HTTP status; 0 for a command of the host.
    pub status: u16,
    pub error_code: Option<String>,
    /// Answered as before under the same idempotency key.
    pub replayed: bool,
}

/// A stored row.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct AuditRow {
    pub id: String,
    /// Microseconds.
    pub at: i64,
    pub workspace_id: Option<i64>,
    /// Slug of the workspace.
    pub workspace: Option<String>,
    /// `user`, `host` or `none`.
    pub actor: String,
    pub user_id: Option<i64>,
    pub username: String,
    /// `person` or `service`.
    pub user_kind: Option<String>,
    pub key_id: Option<i64>,
    pub address: Option<String>,
    pub request_id: Option<String>,
    pub action: String,
    pub target_kind: String,
    pub target_id: Option<String>,
    pub state_before: Option<String>,
    pub state_after: Option<String>,
    pub status: i64,
    pub error_code: Option<String>,
    pub replayed: bool,
}

/// A part of the log: ids from `from`, before `before`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRange {
    pub workspace: Option<WorkspaceId>,
    pub from: String,
    pub before: String,
}

const COLUMNS: &str = "SELECT a.id, a.at, a.workspace_id, w.slug AS workspace, a.actor, a.user_id, a.username, \
    u.kind AS user_kind, a.key_id, a.address, a.request_id, a.action, a.target_kind, a.target_id, a.state_before, \
    a.state_after, a.status, a.error_code, a.replayed FROM audit_log a \
    LEFT JOIN workspaces w ON w.id = a.workspace_id LEFT JOIN users u ON u.id = a.user_id";

/// Rows of the range, newest first, at most `limit`.
pub async fn newest(db: &Db, range: &AuditRange, limit: i64) -> Result<Vec<AuditRow>, Error> {
    if let Some(workspace) = range.workspace {
        let sql = format!(
            "{COLUMNS} WHERE a.workspace_id = $1 AND a.id >= $2 AND a.id < $3 \
             ORDER BY a.id DESC LIMIT $4"
        );
        return on_read!(db, |c| query_as::<_, AuditRow>(sqlx::AssertSqlSafe(sql))
            .bind(workspace.0)
            .bind(&range.from)
            .bind(&range.before)
            .bind(limit)
            .fetch_all(c));
    }
    let sql = format!("{COLUMNS} WHERE a.id >= $1 AND a.id < $2 ORDER BY a.id DESC LIMIT $3");
    on_read!(db, |c| query_as::<_, AuditRow>(sqlx::AssertSqlSafe(sql))
        .bind(&range.from)
        .bind(&range.before)
        .bind(limit)
        .fetch_all(c))
}

impl Tx {
    /// Adds a row.
    pub async fn append_audit(&mut self, entry: &NewAuditEntry) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO audit_log (id, at, workspace_id, actor, user_id, username, key_id, \
            address, request_id, action, target_kind, target_id, state_before, state_after, status, error_code, \
            replayed) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)";
        exec_tx!(
            self,
            query(SQL)
                .bind(&entry.id)
                .bind(entry.at.micros())
                .bind(entry.workspace.map(|id| id.0))
                .bind(entry.actor.word())
                .bind(entry.user.map(|id| id.0))
                .bind(&entry.username)
                .bind(entry.key.map(|id| id.0))
                .bind(&entry.address)
                .bind(&entry.request_id)
                .bind(&entry.action)
                .bind(entry.target.word())
                .bind(&entry.target_id)
                .bind(&entry.before)
                .bind(&entry.after)
                .bind(i64::from(entry.status))
                .bind(&entry.error_code)
                .bind(entry.replayed)
        )
        .map(drop)
    }
}
