//! Sends deliveries to webhooks.
//!
//! Guarantees: a delivery that was committed with its event is sent at least once, after a crash too; every
//! attempt has the same body and `X-Webhook-Id`. Deliveries of one webhook about one CVM are sent in the order of
//! their events: the next one is sent when the one before has ended. At most `webhooks.concurrency` webhooks are
//! sent to at once, each with at most [`AT_ONCE`] requests, and one that hangs delays only itself.
//!
//! A process claims a webhook for a time that outlasts its turn. A process that dies in a turn leaves attempts
//! that were made and not recorded; they are made again, with the same id.
//!
//! Absent on purpose: order between CVMs, and deliveries that skip a failed one of the same CVM.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use casemate_core::{
    time::Timestamp,
    webhook::{Envelope, EnvelopeWorkspace, sign},
};
use casemate_engine::outbound::Reply;
use casemate_store::{
    Error as StoreError,
    webhooks::{self as stored, Attempt, Claimant, Claimed, DueDelivery, Outcome},
};
use futures_util::{StreamExt, stream};
use serde_json::{Map, Value};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    app::{Ctx, webhooks},
    crash,
};

/// Requests to one webhook at one time.
const AT_ONCE: usize = 4;
/// Deliveries of a webhook in one turn. Then others have theirs.
const BATCH: usize = 32;
const BATCH_I64: i64 = 32;
/// Maximum time from due to claimed without a wake-up.
const SCAN: Duration = Duration::from_secs(1);
/// Minimum time between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a request under way may take when the process is to end.
const GRACE: Duration = Duration::from_secs(2);
/// Characters of a failed reply that are shown.
const SHOWN: usize = 200;

/// Sends until stopped.
pub async fn run(ctx: Ctx, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(ctx.config.webhooks.concurrency));
    let (turns, ended) = (TaskTracker::new(), Arc::new(Notify::new()));
    let mut events = ctx.last_event.subscribe();
    while !stop.is_cancelled() {
        while let Some((webhook, permit)) = claim_one(&ctx, &permits).await {
            let (ctx, stop, ended) = (ctx.clone(), stop.clone(), ended.clone());
            turns.spawn(async move {
                turn(&ctx, &webhook, &stop).await;
                drop(permit);
                ended.notify_one();
            });
        }
        let pause = next_pause(&ctx, permits.available_permits()).await;
        tokio::select! {
            () = stop.cancelled() => break,
            () = ended.notified() => {}
            changed = events.changed() => if changed.is_err() { break },
            () = tokio::time::sleep(pause) => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
    turns.close();
    turns.wait().await;
    if let Err(error) = stored::release_all(&ctx.db, &ctx.instance.id).await {
        tracing::warn!(%error, "webhooks were not given back; their claims run out by themselves");
    }
}

/// Sends everything that is due now in this task; returns the number of turns. For tests with their own clock.
pub async fn send_now(ctx: &Ctx) -> usize {
    let permits = Arc::new(Semaphore::new(1));
    let mut turns = 0;
    while let Some((webhook, _permit)) = claim_one(ctx, &permits).await {
        turn(ctx, &webhook, &ctx.stop).await;
        turns += 1;
    }
    turns
}

/// Claims the webhook that is due longest, if there is a permit.
async fn claim_one(ctx: &Ctx, permits: &Arc<Semaphore>) -> Option<(Claimed, OwnedSemaphorePermit)> {
    let permit = permits.clone().try_acquire_owned().ok()?;
    let now = ctx.now();
    // Claiming is a write, so it is first asked whether there is anything.
    match stored::next_due(&ctx.db).await {
        Ok(due) => due.filter(|due| *due <= now)?,
        Err(error) => {
            tracing::warn!(%error, "webhooks were not looked at; the next look does");
            return None;
        }
    };
    let rounds = u32::try_from(BATCH.div_ceil(AT_ONCE)).unwrap_or(u32::MAX);
    let term = ctx.config.webhooks.timeout() * rounds + Duration::from_secs(30);
    let claimant = Claimant { owner: &ctx.instance.id, term };
    match stored::claim(&ctx.db, claimant, now, 1).await {
        Ok(claimed) => claimed.into_iter().next().map(|webhook| (webhook, permit)),
        Err(error) => {
            tracing::warn!(%error, "no webhook could be claimed; the next look does");
            None
        }
    }
}

async fn next_pause(ctx: &Ctx, permits: usize) -> Duration {
    if permits == 0 {
        return SCAN;
    }
    match stored::next_due(&ctx.db).await {
        Ok(Some(due)) => due.since(ctx.now()).clamp(PAUSE, SCAN),
        Ok(None) | Err(_) => SCAN,
    }
}

/// Sends the due deliveries of a claimed webhook and gives it back.
async fn turn(ctx: &Ctx, webhook: &Claimed, stop: &CancellationToken) {
    let end = async {
        stop.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        sent = send_due(ctx, webhook, stop) => if let Err(error) = sent {
            tracing::warn!(webhook = webhook.id, %error, "deliveries were not recorded; they are made again");
        },
        () = end => {}
    }
    if let Err(error) = release(ctx, webhook).await {
        tracing::warn!(webhook = webhook.id, %error, "a webhook was not given back; its claim runs out by itself");
    }
}

async fn release(ctx: &Ctx, webhook: &Claimed) -> Result<(), StoreError> {
    let mut tx = ctx.db.begin().await?;
    tx.release_webhook(&webhook.id, &ctx.instance.id).await?;
    tx.commit().await
}

async fn send_due(
    ctx: &Ctx,
    webhook: &Claimed,
    stop: &CancellationToken,
) -> Result<(), StoreError> {
    let due = stored::due(&ctx.db, &webhook.id, ctx.now(), BATCH_I64).await?;
    let is_enabled = AtomicBool::new(true);
    let goes_on = || !stop.is_cancelled() && is_enabled.load(Ordering::Relaxed);
    let mut sent = stream::iter(due)
        .take_while(|_| std::future::ready(goes_on()))
        .map(|delivery| async move { send(ctx, webhook, &delivery).await })
        .buffer_unordered(AT_ONCE);
    while let Some(recorded) = sent.next().await {
        // Requests under way end, and are recorded.
        if !recorded? {
            is_enabled.store(false, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// Makes one attempt and records it; `false`: the webhook was disabled for it.
async fn send(ctx: &Ctx, webhook: &Claimed, delivery: &DueDelivery) -> Result<bool, StoreError> {
    crash::point(|| "webhook.before_send".to_owned());
    let began = Instant::now();
    let (outcome, response_status) = attempt(ctx, webhook, delivery).await;
    let duration = began.elapsed();
    crash::point(|| "webhook.after_send".to_owned());
    let word = if outcome == Outcome::Success { "success" } else { "failure" };
    metrics::counter!("casemate_webhook_attempts_total", "outcome" => word).increment(1);
    let attempt = Attempt { outcome, url: webhook.url.clone(), response_status, duration };
    let mut tx = ctx.db.begin().await?;
    tx.record_attempt(webhook, delivery, &attempt, ctx.now()).await?;
    let last_event = tx.last_event();
    tx.commit().await?;
    let disabled = last_event.0 > 0;
    if disabled {
        tracing::info!(webhook = webhook.id, "a webhook was disabled: it does not take deliveries");
        ctx.publish(last_event);
    }
    Ok(!disabled)
}

async fn attempt(ctx: &Ctx, webhook: &Claimed, delivery: &DueDelivery) -> (Outcome, u16) {
    let secret = match webhooks::open_secret(ctx, &webhook.id, &webhook.secret) {
        Ok(secret) => secret,
        Err(error) => {
            tracing::error!(webhook = webhook.id, %error, "a webhook cannot be signed for");
            return (Outcome::Failure("its secret cannot be read".to_owned()), 0);
        }
    };
    let id = delivery.original_event_id.as_deref().unwrap_or(&delivery.event_id);
    let body = body(webhook, delivery, id);
    let timestamp = ctx.now().unix_seconds();
    let headers = [
        ("user-agent", "Casemate-Webhook/1.0".to_owned()),
        ("x-webhook-id", id.to_owned()),
        ("x-webhook-event", delivery.event.clone()),
        ("x-webhook-timestamp", timestamp.to_string()),
        ("x-webhook-signature", sign(&secret, timestamp, &body)),
    ];
    match ctx.outbound.post(&webhook.url, &headers, body).await {
        Ok(reply) if (200..300).contains(&reply.status) => (Outcome::Success, reply.status),
        Ok(reply) => (Outcome::Failure(refusal(&reply)), reply.status),
        Err(error) => (Outcome::Failure(error.to_string()), 0),
    }
}

/// What is shown of a failed reply. The reply of a private host is not for those who chose its URL.
fn refusal(reply: &Reply) -> String {
    let status = reply.status;
    let redirect = if (300..400).contains(&status) { ", redirects are not followed" } else { "" };
    if !reply.is_public {
        return format!("HTTP {status}{redirect}");
    }
    let text = String::from_utf8_lossy(&reply.body);
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let shown: String = text.trim().chars().take(SHOWN).map(clean).collect();
    if shown.is_empty() {
        format!("HTTP {status}{redirect}")
    } else {
        format!("HTTP {status}{redirect}: {shown}")
    }
}

/// The body of a delivery; the same bytes in every attempt.
fn body(webhook: &Claimed, delivery: &DueDelivery, id: &str) -> Vec<u8> {
    let mut data = Map::new();
    for (name, value) in [
        ("cvm_id", &delivery.vm_uuid),
        ("cvm_name", &delivery.cvm_name),
        ("app_id", &delivery.app_id),
        ("status", &delivery.phase),
    ] {
        if let Some(value) = value {
            data.insert(name.to_owned(), Value::String(value.clone()));
        }
    }
    if let Ok(Value::Object(details)) = serde_json::from_str(&delivery.data) {
        data.extend(details);
    }
    let envelope = Envelope {
        id,
        event: &delivery.event,
        version: "1",
        created_at: Timestamp::from_micros(delivery.event_at).to_string(),
        workspace: EnvelopeWorkspace { id: &webhook.workspace_slug, name: &webhook.workspace_name },
        data,
    };
    // Maps with text keys and plain values always serialise.
    serde_json::to_vec(&envelope).unwrap_or_default()
}
