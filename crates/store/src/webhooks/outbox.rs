//! Deliveries are written in the transaction of the event that they send, after the event: nothing that was
//! acknowledged is not sent, and nothing is sent that was rolled back.

use std::collections::{BTreeMap, btree_map::Entry};

use casemate_core::{
    event::Event,
    id::{CvmId, EventSeq, WorkspaceId},
    stored,
    time::Timestamp,
    webhook::{self, EventType, MAX_PENDING, Notice},
};
use serde_json::{Map, Value};
use sqlx::{query, query_as};

use crate::{Error, Tx, error::unreadable, events::NewEvent};

/// Maximum number of webhooks of a workspace, whatever is configured.
const MOST: i64 = 1000;

/// A webhook that takes deliveries.
struct Target {
    id: String,
    url: String,
    events: Vec<String>,
    pending: i64,
}

/// A delivery to insert.
struct NewDelivery<'a> {
    webhook: &'a Target,
    seq: EventSeq,
    event_id: &'a str,
    notice: &'a Notice,
    cvm: Option<CvmId>,
}

impl Tx {
    /// Inserts the deliveries of events, which have the numbers from `first` on. Returns the events of webhooks
    /// that were disabled because too many deliveries wait; the caller appends them.
    pub(crate) async fn insert_deliveries(
        &mut self,
        events: &[NewEvent<'_>],
        first: i64,
        now: Timestamp,
    ) -> Result<Vec<NewEvent<'static>>, Error> {
        let mut full = Vec::new();
        let mut targets: BTreeMap<i64, Vec<Target>> = BTreeMap::new();
        for (event, seq) in events.iter().zip(first..) {
            let Some(notice) = webhook::notice(event.kind, &event.body) else { continue };
            let workspace = event.workspace;
            let targets = match targets.entry(workspace.0) {
                Entry::Occupied(locked) => locked.into_mut(),
                Entry::Vacant(free) => free.insert(self.lock_targets(workspace).await?),
            };
            for index in (0..targets.len()).rev() {
                let word = notice.event.as_str();
                if !targets[index].events.iter().any(|subscribed| subscribed == word) {
                    continue;
                }
                if targets[index].pending >= MAX_PENDING {
                    full.push(self.disable_full(workspace, &targets.remove(index), now).await?);
                    continue;
                }
                let new = NewDelivery {
                    webhook: &targets[index],
                    seq: EventSeq(seq),
                    event_id: &webhook::event_id(EventSeq(seq), now),
                    notice: &notice,
                    cvm: event.cvm,
                };
                self.insert_delivery(&new, now).await?;
                targets[index].pending += 1;
            }
        }
        Ok(full)
    }

    /// The enabled webhooks of a workspace, locked until commit.
    async fn lock_targets(&mut self, workspace: WorkspaceId) -> Result<Vec<Target>, Error> {
        let sql = format!(
            "SELECT id, url, events, pending FROM webhooks \
             WHERE workspace_id = $1 AND deleted_at IS NULL AND enabled ORDER BY id LIMIT $2{}",
            self.dialect().for_update()
        );
        let rows = on_tx!(self, |c| query_as::<_, (String, String, String, i64)>(
            sqlx::AssertSqlSafe(sql)
        )
        .bind(workspace.0)
        .bind(MOST)
        .fetch_all(c))?;
        let read = |(id, url, events, pending): (String, String, String, i64)| {
            let events: Vec<String> =
                stored::read(&events).map_err(unreadable("webhooks", "events", &id))?;
            Ok(Target { id, url, events, pending })
        };
        rows.into_iter().map(read).collect()
    }

    /// Inserts a delivery of a locked webhook. It is due at once, unless an earlier one about its CVM waits.
    async fn insert_delivery(
        &mut self,
        new: &NewDelivery<'_>,
        now: Timestamp,
    ) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO webhook_deliveries (webhook_id, seq, event_id, event, event_at, \
            cvm_id, vm_uuid, cvm_name, app_id, phase, data, status, attempts, due_at, request_url, \
            response_status, error, duration_ms, created_at) \
            SELECT $1, $2, $3, $4, $5, $6, c.vm_uuid, c.name, c.app_id, c.phase, $7, 'pending', 0, \
            CASE WHEN EXISTS (SELECT 1 FROM webhook_deliveries d WHERE d.webhook_id = $1 \
            AND d.cvm_id = $6 AND d.status = 'pending') THEN NULL ELSE $5 END, $8, 0, '', 0, $5 \
            FROM (SELECT 1 AS one) AS one LEFT JOIN cvms c ON c.id = $6";
        exec_tx!(
            self,
            query(SQL)
                .bind(&new.webhook.id)
                .bind(new.seq.0)
                .bind(new.event_id)
                .bind(new.notice.event.as_str())
                .bind(now.micros())
                .bind(new.cvm.map_or(0, |cvm| cvm.0))
                .bind(Value::Object(new.notice.data.clone()).to_string())
                .bind(&new.webhook.url)
        )?;
        self.count_new_delivery(&new.webhook.id, now).await
    }

    /// Counts an inserted delivery and has its webhook looked at; a claimed one when it is given back.
    async fn count_new_delivery(&mut self, webhook: &str, now: Timestamp) -> Result<(), Error> {
        const SQL: &str = "UPDATE webhooks SET total = total + 1, pending = pending + 1, \
            due_at = CASE WHEN lease_until IS NOT NULL THEN lease_until \
            WHEN due_at < $2 THEN due_at ELSE $2 END WHERE id = $1";
        exec_tx!(self, query(SQL).bind(webhook).bind(now.micros())).map(drop)
    }

    async fn disable_full(
        &mut self,
        workspace: WorkspaceId,
        webhook: &Target,
        now: Timestamp,
    ) -> Result<NewEvent<'static>, Error> {
        self.disable_webhook(&webhook.id, now).await?;
        let cause = format!("{MAX_PENDING} deliveries wait");
        Ok(disabled(workspace, &webhook.id, None, cause))
    }

    /// Disables a locked webhook; `false`: it was disabled. What waits is sent when it is enabled again.
    pub(super) async fn disable_webhook(
        &mut self,
        id: &str,
        now: Timestamp,
    ) -> Result<bool, Error> {
        const SQL: &str = "UPDATE webhooks SET enabled = FALSE, due_at = NULL, updated_at = $2 \
            WHERE id = $1 AND enabled";
        Ok(exec_tx!(self, query(SQL).bind(id).bind(now.micros()))? == 1)
    }

    /// Inserts a test delivery of a locked webhook; returns its event id. The caller has locked the counter of
    /// events ([`Tx::lock_events`]).
    pub async fn insert_test_delivery(
        &mut self,
        webhook: &super::Webhook,
        now: Timestamp,
    ) -> Result<String, Error> {
        let seq = EventSeq(self.draw("event").await?);
        let event_id = webhook::event_id(seq, now);
        let target = Target {
            id: webhook.id.clone(),
            url: webhook.url.clone(),
            events: Vec::new(),
            pending: webhook.stats.pending,
        };
        let mut data = Map::new();
        data.insert("webhook_id".to_owned(), Value::String(webhook.id.clone()));
        let notice = Notice { event: EventType::Test, data };
        let new =
            NewDelivery { webhook: &target, seq, event_id: &event_id, notice: &notice, cvm: None };
        self.insert_delivery(&new, now).await?;
        Ok(event_id)
    }

    /// Inserts a delivery of a locked webhook that sends again what this one sent; returns its event id. The
    /// caller has locked the counter of events.
    pub async fn insert_resend(
        &mut self,
        webhook: &super::Webhook,
        event_id: &str,
        now: Timestamp,
    ) -> Result<String, Error> {
        const SQL: &str = "INSERT INTO webhook_deliveries (webhook_id, seq, event_id, \
            original_event_id, event, event_at, cvm_id, vm_uuid, cvm_name, app_id, phase, data, status, \
            attempts, due_at, request_url, response_status, error, duration_ms, created_at) \
            SELECT o.webhook_id, $3, $4, COALESCE(o.original_event_id, o.event_id), o.event, \
            o.event_at, o.cvm_id, o.vm_uuid, o.cvm_name, o.app_id, o.phase, o.data, 'pending', 0, \
            CASE WHEN EXISTS (SELECT 1 FROM webhook_deliveries d WHERE d.webhook_id = o.webhook_id \
            AND d.cvm_id = o.cvm_id AND d.status = 'pending') THEN NULL ELSE $5 END, $6, 0, '', 0, $5 \
            FROM webhook_deliveries o WHERE o.webhook_id = $1 AND o.event_id = $2";
        let seq = EventSeq(self.draw("event").await?);
        let new_id = webhook::event_id(seq, now);
        exec_tx!(
            self,
            query(SQL)
                .bind(&webhook.id)
                .bind(event_id)
                .bind(seq.0)
                .bind(&new_id)
                .bind(now.micros())
                .bind(&webhook.url)
        )?;
        self.count_new_delivery(&webhook.id, now).await?;
        Ok(new_id)
    }

    /// Locks the counter of events until commit. Called before a webhook is locked by a transaction that will
    /// draw a number.
    pub async fn lock_events(&mut self) -> Result<(), Error> {
        self.draw_many("event", 0).await.map(drop)
    }
}

/// The event of a disabled webhook.
pub(super) fn disabled(
    workspace: WorkspaceId,
    webhook: &str,
    event: Option<String>,
    cause: String,
) -> NewEvent<'static> {
    let event = Event::WebhookDisabled { webhook: webhook.to_owned(), event, cause };
    NewEvent { workspace, cvm: None, operation: None, kind: event.kind(), body: event.body() }
}
