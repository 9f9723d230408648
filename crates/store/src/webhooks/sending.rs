//! Claiming webhooks and recording what became of attempts.

use std::time::Duration;

use casemate_core::{
    id::{CvmId, WorkspaceId},
    time::Timestamp,
    webhook::{self, AfterFailure},
};
use sqlx::{query, query_as, query_scalar};

use super::outbox::disabled;
use crate::{Db, Error, Tx};

/// The process that claims, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Claimant<'a> {
    /// Its id.
    pub owner: &'a str,
    pub term: Duration,
}

/// A claimed webhook, with what its deliveries need.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Claimed {
    pub id: String,
    pub workspace_id: i64,
    pub url: String,
    /// Sealed.
    pub secret: String,
    /// Slug of its workspace.
    pub workspace_slug: String,
    pub workspace_name: String,
}

/// A delivery to send.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct DueDelivery {
    pub seq: i64,
    pub event_id: String,
    pub original_event_id: Option<String>,
    pub event: String,
    /// Microseconds.
    pub event_at: i64,
    pub cvm_id: i64,
    pub vm_uuid: Option<String>,
    pub cvm_name: Option<String>,
    pub app_id: Option<String>,
    pub phase: Option<String>,
    /// Details, JSON.
    pub data: String,
    pub attempts: i64,
}

/// How an attempt went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Success,
    /// Why not, for people.
    Failure(String),
}

/// An attempt that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    pub outcome: Outcome,
    pub url: String,
    /// HTTP status; 0: none.
    pub response_status: u16,
    pub duration: Duration,
}

/// Claims webhooks that are due, at most `limit`. Each is one process's until the end of the term.
pub async fn claim(
    db: &Db,
    claimant: Claimant<'_>,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<Claimed>, Error> {
    let mut tx = db.begin().await?;
    let sql = format!(
        "UPDATE webhooks SET lease_owner = $1, lease_until = $2, due_at = $2 WHERE id IN \
         (SELECT id FROM webhooks WHERE due_at <= $3 AND (lease_until IS NULL OR lease_until <= $3) \
         ORDER BY due_at LIMIT $4{}) RETURNING id, workspace_id, url, secret, \
         (SELECT w.slug FROM workspaces w WHERE w.id = workspace_id) AS workspace_slug, \
         (SELECT w.name FROM workspaces w WHERE w.id = workspace_id) AS workspace_name",
        tx.dialect().for_update_skip_locked()
    );
    let claimed = on_tx!(&mut tx, |c| query_as::<_, Claimed>(sqlx::AssertSqlSafe(sql))
        .bind(claimant.owner)
        .bind(now.plus(claimant.term).micros())
        .bind(now.micros())
        .bind(limit)
        .fetch_all(c))?;
    if !claimed.is_empty() {
        tx.commit().await?;
    }
    Ok(claimed)
}

/// When the next webhook is due; `None`: none is.
pub async fn next_due(db: &Db) -> Result<Option<Timestamp>, Error> {
    const SQL: &str =
        "SELECT due_at FROM webhooks WHERE due_at IS NOT NULL ORDER BY due_at LIMIT 1";
    let due = on_read!(db, |c| query_scalar::<_, i64>(SQL).fetch_optional(c))?;
    Ok(due.map(Timestamp::from_micros))
}

/// The due deliveries of a webhook, longest due first, at most `limit`; one for each CVM.
pub async fn due(
    db: &Db,
    webhook: &str,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<DueDelivery>, Error> {
    const SQL: &str = "SELECT seq, event_id, original_event_id, event, event_at, cvm_id, vm_uuid, \
        cvm_name, app_id, phase, data, attempts FROM webhook_deliveries \
        WHERE webhook_id = $1 AND due_at <= $2 ORDER BY due_at LIMIT $3";
    on_read!(db, |c| query_as::<_, DueDelivery>(SQL)
        .bind(webhook)
        .bind(now.micros())
        .bind(limit)
        .fetch_all(c))
}

/// Gives back the claims of a process, when it starts and ends.
pub async fn release_all(db: &Db, owner: &str) -> Result<(), Error> {
    const SQL: &str = "SELECT id FROM webhooks WHERE lease_owner = $1 LIMIT 1000";
    let held = on_read!(db, |c| query_scalar::<_, String>(SQL).bind(owner).fetch_all(c))?;
    for id in held {
        let mut tx = db.begin().await?;
        tx.release_webhook(&id, owner).await?;
        tx.commit().await?;
    }
    Ok(())
}

impl Tx {
    /// Records an attempt. A delivery that has ended lets the next one about its CVM go; one that failed for good
    /// disables its webhook, with an event. Returns whether it counted: another process may have recorded one.
    pub async fn record_attempt(
        &mut self,
        webhook: &Claimed,
        delivery: &DueDelivery,
        attempt: &Attempt,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let made = u32::try_from(delivery.attempts).unwrap_or(u32::MAX).saturating_add(1);
        let is_test = delivery.event == webhook::EventType::Test.as_str();
        let (status, due_at, error) = match &attempt.outcome {
            Outcome::Success => ("success", None, ""),
            Outcome::Failure(why) => match webhook::after_failure(made) {
                AfterFailure::Retry(pause) if !is_test => {
                    ("pending", Some(now.plus(pause)), why.as_str())
                }
                AfterFailure::Retry(_) | AfterFailure::GiveUp => ("failed", None, why.as_str()),
            },
        };
        let disables = status == "failed" && !is_test;
        if disables {
            self.lock_events().await?;
        }
        self.lock_webhook_row(&webhook.id).await?;
        if !self.end_attempt(webhook, delivery, attempt, (status, due_at, error), now).await? {
            return Ok(false);
        }
        if due_at.is_none() {
            self.count_ended(&webhook.id, status == "success", attempt.duration, now).await?;
            self.unblock(&webhook.id, CvmId(delivery.cvm_id), now).await?;
        }
        if disables && self.disable_webhook(&webhook.id, now).await? {
            let cause = format!("{made} attempts failed: {error}");
            let workspace = WorkspaceId(webhook.workspace_id);
            let event = disabled(workspace, &webhook.id, Some(delivery.event_id.clone()), cause);
            self.append_events(&[event], now).await?;
        }
        Ok(true)
    }

    async fn end_attempt(
        &mut self,
        webhook: &Claimed,
        delivery: &DueDelivery,
        attempt: &Attempt,
        (status, due_at, error): (&str, Option<Timestamp>, &str),
        now: Timestamp,
    ) -> Result<bool, Error> {
        const SQL: &str = "UPDATE webhook_deliveries SET status = $4, attempts = attempts + 1, \
            due_at = $5, request_url = $6, response_status = $7, error = $8, duration_ms = $9, \
            delivered_at = $10 WHERE webhook_id = $1 AND seq = $2 AND attempts = $3 \
            AND status = 'pending'";
        let delivered = (status == "success").then_some(now.micros());
        let changed = exec_tx!(
            self,
            query(SQL)
                .bind(&webhook.id)
                .bind(delivery.seq)
                .bind(delivery.attempts)
                .bind(status)
                .bind(due_at.map(Timestamp::micros))
                .bind(&attempt.url)
                .bind(i64::from(attempt.response_status))
                .bind(error)
                .bind(millis(attempt.duration))
                .bind(delivered)
        )?;
        Ok(changed == 1)
    }

    async fn lock_webhook_row(&mut self, id: &str) -> Result<(), Error> {
        let sql = format!("SELECT id FROM webhooks WHERE id = $1{}", self.dialect().for_update());
        on_tx!(self, |c| query_scalar::<_, String>(sqlx::AssertSqlSafe(sql))
            .bind(id)
            .fetch_optional(c))
        .map(drop)
    }

    async fn count_ended(
        &mut self,
        id: &str,
        success: bool,
        duration: Duration,
        now: Timestamp,
    ) -> Result<(), Error> {
        const SQL: &str = "UPDATE webhooks SET pending = pending - 1, \
            succeeded = succeeded + $2, failed = failed + 1 - $2, \
            duration_ms_sum = duration_ms_sum + $3, \
            duration_ms_max = CASE WHEN duration_ms_max < $3 THEN $3 ELSE duration_ms_max END, \
            last_delivery_at = $4 WHERE id = $1";
        exec_tx!(
            self,
            query(SQL).bind(id).bind(i64::from(success)).bind(millis(duration)).bind(now.micros())
        )
        .map(drop)
    }

    /// Lets the next delivery about a CVM go.
    async fn unblock(&mut self, webhook: &str, cvm: CvmId, now: Timestamp) -> Result<(), Error> {
        const SQL: &str = "UPDATE webhook_deliveries SET due_at = $3 WHERE webhook_id = $1 \
            AND seq = (SELECT d.seq FROM webhook_deliveries d WHERE d.webhook_id = $1 \
            AND d.cvm_id = $2 AND d.status = 'pending' ORDER BY d.seq LIMIT 1)";
        exec_tx!(self, query(SQL).bind(webhook).bind(cvm.0).bind(now.micros())).map(drop)
    }

    /// Gives a claim back; `false`: another process has it.
    pub async fn release_webhook(&mut self, id: &str, owner: &str) -> Result<bool, Error> {
        const SQL: &str = "UPDATE webhooks SET lease_owner = NULL, lease_until = NULL \
            WHERE id = $1 AND lease_owner = $2";
        self.lock_webhook_row(id).await?;
        let released = exec_tx!(self, query(SQL).bind(id).bind(owner))? == 1;
        if released {
            self.find_due(id).await?;
        }
        Ok(released)
    }

    /// Sets when a locked webhook is due to when its next delivery is, or to the end of its claim.
    pub(super) async fn find_due(&mut self, id: &str) -> Result<(), Error> {
        const SQL: &str = "UPDATE webhooks SET due_at = CASE WHEN NOT enabled THEN NULL \
            WHEN lease_until IS NOT NULL THEN lease_until ELSE (SELECT d.due_at \
            FROM webhook_deliveries d WHERE d.webhook_id = $1 AND d.due_at IS NOT NULL \
            ORDER BY d.due_at LIMIT 1) END WHERE id = $1";
        exec_tx!(self, query(SQL).bind(id)).map(drop)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
