//! The first response to a request with an `Idempotency-Key`, written in that request's transaction.

use std::time::Duration;

use casemate_core::{id::WorkspaceId, time::Timestamp};
use sqlx::{query, query_as};

use crate::{Error, Tx};

/// A stored response.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredReply {
    /// Hash of the route and body of the first request.
    pub fingerprint: String,
    /// HTTP status.
    pub status: i64,
    pub body: String,
}

impl Tx {
    /// The response stored under this key. Locks the key for this transaction: of two concurrent requests,
    /// the second waits for the first one's response, or for its end without one.
    pub async fn remembered(
        &mut self,
        workspace: WorkspaceId,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<StoredReply>, Error> {
        // The update changes nothing: it locks an existing row and returns it as the first request left it.
        // Status 0 means that a transaction committed without a response.
        const TAKE: &str = "INSERT INTO idempotency \
            (workspace_id, key, fingerprint, status, body, created_at) VALUES ($1, $2, '', 0, '', $3) \
            ON CONFLICT (workspace_id, key) DO UPDATE SET status = idempotency.status \
            RETURNING fingerprint, status, body";
        let answer = on_tx!(self, |c| query_as::<_, StoredReply>(TAKE)
            .bind(workspace.0)
            .bind(key)
            .bind(now.micros())
            .fetch_one(c))?;
        Ok(Some(answer).filter(|answer| answer.status != 0))
    }

    /// Stores the response under a key locked by [`Tx::remembered`]; [`Error::Stale`] if it is not locked.
    pub async fn remember(
        &mut self,
        workspace: WorkspaceId,
        key: &str,
        answer: &StoredReply,
    ) -> Result<(), Error> {
        const SQL: &str = "UPDATE idempotency SET fingerprint = $3, status = $4, body = $5 \
            WHERE workspace_id = $1 AND key = $2";
        let kept = exec_tx!(
            self,
            query(SQL)
                .bind(workspace.0)
                .bind(key)
                .bind(&answer.fingerprint)
                .bind(answer.status)
                .bind(&answer.body)
        )?;
        if kept == 1 { Ok(()) } else { Err(Error::Stale) }
    }

    /// Deletes responses older than `age`. The number per call is bounded; returns how many were deleted.
    pub async fn forget_answers(&mut self, now: Timestamp, age: Duration) -> Result<u64, Error> {
        const SQL: &str = "DELETE FROM idempotency WHERE (workspace_id, key) IN \
            (SELECT workspace_id, key FROM idempotency WHERE created_at < $1 \
            ORDER BY created_at LIMIT 500)";
        let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        let before = now.micros().saturating_sub(age);
        exec_tx!(self, query(SQL).bind(before))
    }
}
