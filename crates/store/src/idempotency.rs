//! The first answer to a request with an `Idempotency-Key`, written in that request's transaction.

use std::time::Duration;

use casemate_core::{id::WorkspaceId, time::Timestamp};
use sqlx::{query, query_as};

use crate::{Error, Tx};

/// A remembered answer.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Remembered {
    /// Hash of route and body of the first request.
    pub fingerprint: String,
    /// HTTP status of the answer.
    pub status: i64,
    /// Body of the answer.
    pub body: String,
}

impl Tx {
    /// The answer under this key. Takes the key for this transaction, so that of two requests at
    /// the same time the second waits for the first one's answer.
    pub async fn remembered(
        &mut self,
        workspace: WorkspaceId,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<Remembered>, Error> {
        const TAKE: &str = "INSERT INTO idempotency \
            (workspace_id, key, fingerprint, status, body, created_at) VALUES ($1, $2, '', 0, '', $3) \
            ON CONFLICT (workspace_id, key) DO NOTHING";
        const READ: &str = "SELECT fingerprint, status, body FROM idempotency \
            WHERE workspace_id = $1 AND key = $2 AND status <> 0";
        exec_tx!(self, query(TAKE).bind(workspace.0).bind(key).bind(now.micros()))?;
        on_tx!(self, |c| query_as::<_, Remembered>(READ)
            .bind(workspace.0)
            .bind(key)
            .fetch_optional(c))
    }

    /// Keeps the answer under a key taken by [`Tx::remembered`].
    pub async fn remember(
        &mut self,
        workspace: WorkspaceId,
        key: &str,
        answer: &Remembered,
    ) -> Result<(), Error> {
        const SQL: &str = "UPDATE idempotency SET fingerprint = $3, status = $4, body = $5 \
            WHERE workspace_id = $1 AND key = $2";
        exec_tx!(self, query(SQL)
            .bind(workspace.0)
            .bind(key)
            .bind(&answer.fingerprint)
            .bind(answer.status)
            .bind(&answer.body))
        .map(drop)
    }

    /// Forgets answers older than `age`, a bounded number at a time; returns how many.
    pub async fn forget_answers(&mut self, now: Timestamp, age: Duration) -> Result<u64, Error> {
        const SQL: &str = "DELETE FROM idempotency WHERE created_at < $1 AND key IN \
            (SELECT key FROM idempotency WHERE created_at < $1 ORDER BY created_at LIMIT 500)";
        let before = now.micros() - i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        exec_tx!(self, query(SQL).bind(before))
    }
}
