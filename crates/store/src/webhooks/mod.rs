//! Webhooks and their deliveries.
//!
//! A delivery is written in the transaction of its event ([`outbox`]). A process claims a webhook for a time and
//! sends its due deliveries ([`sending`]). Deliveries of one webhook about one CVM are sent one after the other:
//! only the first that has not ended has a `due_at`. To keep that, each statement that adds or ends a delivery
//! holds the row of its webhook. The counter of events is locked before webhooks, never after.

mod outbox;
mod sending;

use casemate_core::{
    id::{EventSeq, WorkspaceId},
    stored,
    time::Timestamp,
};
use sqlx::{query, query_as, query_scalar};

pub use self::sending::{
    Attempt, Claimant, Claimed, DueDelivery, Outcome, claim, due, next_due, release_all,
};
use crate::{
    Db, Error, Tx,
    error::{corrupt, unreadable},
};

/// A webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// `wh_…`.
    pub id: String,
    pub workspace: WorkspaceId,
    pub url: String,
    pub name: Option<String>,
    /// Types of events.
    pub events: Vec<String>,
    /// Sealed.
    pub secret: String,
    pub enabled: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub stats: Stats,
}

/// What became of the deliveries of a webhook since it was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct Stats {
    pub total: i64,
    pub succeeded: i64,
    pub failed: i64,
    pub pending: i64,
    /// Of attempts that ended a delivery, milliseconds.
    pub duration_ms_sum: i64,
    pub duration_ms_max: i64,
    /// When one last ended, microseconds.
    pub last_delivery_at: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct WebhookRow {
    id: String,
    workspace_id: i64,
    url: String,
    name: Option<String>,
    events: String,
    secret: String,
    enabled: bool,
    created_at: i64,
    updated_at: i64,
    #[sqlx(flatten)]
    stats: Stats,
}

impl WebhookRow {
    fn read(self) -> Result<Webhook, Error> {
        Ok(Webhook {
            events: stored::read(&self.events)
                .map_err(unreadable("webhooks", "events", &self.id))?,
            id: self.id,
            workspace: WorkspaceId(self.workspace_id),
            url: self.url,
            name: self.name,
            secret: self.secret,
            enabled: self.enabled,
            created_at: Timestamp::from_micros(self.created_at),
            updated_at: Timestamp::from_micros(self.updated_at),
            stats: self.stats,
        })
    }
}

/// A webhook to insert.
#[derive(Debug, Clone, Copy)]
pub struct NewWebhook<'a> {
    pub id: &'a str,
    pub workspace: WorkspaceId,
    pub url: &'a str,
    pub name: Option<&'a str>,
    pub events: &'a [String],
    /// Sealed.
    pub secret: &'a str,
}

/// A change of a webhook; `None` leaves a field alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct WebhookChange<'a> {
    pub url: Option<&'a str>,
    pub name: Option<&'a str>,
    pub events: Option<&'a [String]>,
    /// Sealed.
    pub secret: Option<&'a str>,
    pub enabled: Option<bool>,
}

/// Whether a delivery has ended, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryStatus {
    /// It waits for its first or next attempt.
    Pending,
    Success,
    Failed,
}

impl DeliveryStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Success => "success",
            Self::Failed => "failed",
        }
    }

    fn parse(word: &str) -> Result<Self, String> {
        [Self::Pending, Self::Success, Self::Failed]
            .into_iter()
            .find(|status| status.as_str() == word)
            .ok_or_else(|| format!("{word} is no status"))
    }
}

/// A delivery as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub seq: EventSeq,
    pub event_id: String,
    /// The delivery that this one repeats.
    pub original_event_id: Option<String>,
    pub event: String,
    pub status: DeliveryStatus,
    pub attempts: u32,
    /// URL of the last attempt; of the webhook before the first one.
    pub request_url: String,
    /// HTTP status; 0: none.
    pub response_status: u16,
    /// What was wrong with the last attempt; empty: nothing.
    pub error: String,
    pub duration_ms: i64,
    pub created_at: Timestamp,
    pub delivered_at: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct DeliveryRow {
    seq: i64,
    event_id: String,
    original_event_id: Option<String>,
    event: String,
    status: String,
    attempts: i64,
    request_url: String,
    response_status: i64,
    error: String,
    duration_ms: i64,
    created_at: i64,
    delivered_at: Option<i64>,
}

impl DeliveryRow {
    fn read(self) -> Result<Delivery, Error> {
        let wrong = || corrupt("webhook_deliveries", "status", &self.event_id);
        Ok(Delivery {
            status: DeliveryStatus::parse(&self.status).map_err(wrong())?,
            seq: EventSeq(self.seq),
            event_id: self.event_id,
            original_event_id: self.original_event_id,
            event: self.event,
            attempts: u32::try_from(self.attempts).unwrap_or(u32::MAX),
            request_url: self.request_url,
            response_status: u16::try_from(self.response_status).unwrap_or(0),
            error: self.error,
            duration_ms: self.duration_ms,
            created_at: Timestamp::from_micros(self.created_at),
            delivered_at: self.delivered_at.map(Timestamp::from_micros),
        })
    }
}

const WEBHOOK: &str = "SELECT id, workspace_id, url, name, events, secret, enabled, created_at, updated_at, \
    total, succeeded, failed, pending, duration_ms_sum, duration_ms_max, last_delivery_at FROM webhooks";
const DELIVERY: &str = "SELECT seq, event_id, original_event_id, event, status, attempts, request_url, \
    response_status, error, duration_ms, created_at, delivered_at FROM webhook_deliveries";

/// The webhooks of a workspace, oldest first, at most `limit`.
pub async fn of_workspace(
    db: &Db,
    workspace: WorkspaceId,
    limit: i64,
) -> Result<Vec<Webhook>, Error> {
    let sql =
        format!("{WEBHOOK} WHERE workspace_id = $1 AND deleted_at IS NULL ORDER BY id LIMIT $2");
    let rows = on_read!(db, |c| query_as::<_, WebhookRow>(sqlx::AssertSqlSafe(sql))
        .bind(workspace.0)
        .bind(limit)
        .fetch_all(c))?;
    rows.into_iter().map(WebhookRow::read).collect()
}

/// A webhook of a workspace.
pub async fn get(db: &Db, workspace: WorkspaceId, id: &str) -> Result<Option<Webhook>, Error> {
    let sql = format!("{WEBHOOK} WHERE id = $1 AND workspace_id = $2 AND deleted_at IS NULL");
    let row = on_read!(db, |c| query_as::<_, WebhookRow>(sqlx::AssertSqlSafe(sql))
        .bind(id)
        .bind(workspace.0)
        .fetch_optional(c))?;
    row.map(WebhookRow::read).transpose()
}

/// Deliveries of a webhook, newest first.
pub async fn deliveries(
    db: &Db,
    webhook: &str,
    limit: i64,
    offset: i64,
) -> Result<Vec<Delivery>, Error> {
    let sql = format!("{DELIVERY} WHERE webhook_id = $1 ORDER BY seq DESC LIMIT $2 OFFSET $3");
    let rows = on_read!(db, |c| query_as::<_, DeliveryRow>(sqlx::AssertSqlSafe(sql))
        .bind(webhook)
        .bind(limit)
        .bind(offset)
        .fetch_all(c))?;
    rows.into_iter().map(DeliveryRow::read).collect()
}

impl Tx {
    /// Inserts an enabled webhook. `false`: the workspace has `limit` of them. The caller has locked the
    /// workspace.
    pub async fn insert_webhook(
        &mut self,
        new: &NewWebhook<'_>,
        limit: i64,
        now: Timestamp,
    ) -> Result<bool, Error> {
        const COUNT: &str = "SELECT COUNT(*) FROM (SELECT id FROM webhooks WHERE workspace_id = $1 \
            AND deleted_at IS NULL LIMIT $2) AS counted";
        const INSERT: &str = "INSERT INTO webhooks \
            (id, workspace_id, url, name, events, secret, enabled, created_at, updated_at) \
            VALUES ($1, $2, $3, $4, $5, $6, TRUE, $7, $7)";
        let count = on_tx!(self, |c| query_scalar::<_, i64>(COUNT)
            .bind(new.workspace.0)
            .bind(limit)
            .fetch_one(c))?;
        if count >= limit {
            return Ok(false);
        }
        let events = written(new.events, new.id)?;
        exec_tx!(
            self,
            query(INSERT)
                .bind(new.id)
                .bind(new.workspace.0)
                .bind(new.url)
                .bind(new.name)
                .bind(&events)
                .bind(new.secret)
                .bind(now.micros())
        )?;
        Ok(true)
    }

    /// A webhook of a workspace, as this transaction sees it; locked.
    pub async fn lock_webhook(
        &mut self,
        workspace: WorkspaceId,
        id: &str,
    ) -> Result<Option<Webhook>, Error> {
        let lock = self.dialect().for_update();
        let sql =
            format!("{WEBHOOK} WHERE id = $1 AND workspace_id = $2 AND deleted_at IS NULL{lock}");
        let row = on_tx!(self, |c| query_as::<_, WebhookRow>(sqlx::AssertSqlSafe(sql))
            .bind(id)
            .bind(workspace.0)
            .fetch_optional(c))?;
        row.map(WebhookRow::read).transpose()
    }

    /// Changes a locked webhook. An enabled one goes on with the deliveries that wait.
    pub async fn change_webhook(
        &mut self,
        id: &str,
        change: &WebhookChange<'_>,
        now: Timestamp,
    ) -> Result<(), Error> {
        const SQL: &str = "UPDATE webhooks SET url = COALESCE($2, url), name = COALESCE($3, name), \
            events = COALESCE($4, events), secret = COALESCE($5, secret), \
            enabled = COALESCE($6, enabled), updated_at = $7 WHERE id = $1";
        let events = change.events.map(|events| written(events, id)).transpose()?;
        exec_tx!(
            self,
            query(SQL)
                .bind(id)
                .bind(change.url)
                .bind(change.name)
                .bind(&events)
                .bind(change.secret)
                .bind(change.enabled)
                .bind(now.micros())
        )?;
        self.find_due(id).await
    }

    /// Deletes a locked webhook; the janitor removes what is left of it. Its secret is gone at once.
    pub async fn delete_webhook(&mut self, id: &str, now: Timestamp) -> Result<(), Error> {
        const SQL: &str = "UPDATE webhooks SET deleted_at = $2, enabled = FALSE, secret = '', \
            due_at = NULL, updated_at = $2 WHERE id = $1";
        exec_tx!(self, query(SQL).bind(id).bind(now.micros())).map(drop)
    }

    /// A delivery of a locked webhook.
    pub async fn delivery(
        &mut self,
        webhook: &str,
        event_id: &str,
    ) -> Result<Option<Delivery>, Error> {
        let sql = format!("{DELIVERY} WHERE webhook_id = $1 AND event_id = $2");
        let row = on_tx!(self, |c| query_as::<_, DeliveryRow>(sqlx::AssertSqlSafe(sql))
            .bind(webhook)
            .bind(event_id)
            .fetch_optional(c))?;
        row.map(DeliveryRow::read).transpose()
    }

    /// Deletes deliveries that ended and were created before this time, and what is left of deleted webhooks.
    /// The number per call is bounded; returns how many were deleted, so 0 when there are no more.
    pub async fn forget_deliveries(&mut self, before: Timestamp) -> Result<u64, Error> {
        const OLD: &str = "DELETE FROM webhook_deliveries WHERE (webhook_id, seq) IN \
            (SELECT webhook_id, seq FROM webhook_deliveries WHERE status <> 'pending' \
            AND created_at < $1 ORDER BY created_at LIMIT 500)";
        const OF_DELETED: &str = "DELETE FROM webhook_deliveries WHERE (webhook_id, seq) IN \
            (SELECT d.webhook_id, d.seq FROM webhook_deliveries d WHERE d.webhook_id = \
            (SELECT w.id FROM webhooks w WHERE w.deleted_at IS NOT NULL ORDER BY w.deleted_at LIMIT 1) \
            LIMIT 500)";
        const DELETED: &str = "DELETE FROM webhooks WHERE deleted_at IS NOT NULL AND NOT EXISTS \
            (SELECT 1 FROM webhook_deliveries d WHERE d.webhook_id = webhooks.id)";
        let old = exec_tx!(self, query(OLD).bind(before.micros()))?;
        let of_deleted = exec_tx!(self, query(OF_DELETED))?;
        let deleted = exec_tx!(self, query(DELETED))?;
        Ok(old + of_deleted + deleted)
    }
}

fn written(events: &[String], id: &str) -> Result<String, Error> {
    stored::write(&events.to_vec()).map_err(corrupt("webhooks", "events", id))
}
