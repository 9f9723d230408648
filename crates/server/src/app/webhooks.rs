//! Webhooks of a workspace. A request stores what is to be sent; `work::webhook_delivery` sends it.

use std::sync::Arc;

use casemate_api::{
    error::{ErrorCode, ErrorDetail},
    webhook::{
        WebhookCreateRequest, WebhookDeliveryResponse, WebhookDeliveryStatus, WebhookResponse,
        WebhookStatsResponse, WebhookUpdateRequest,
    },
};
use casemate_core::{
    time::Timestamp,
    webhook::{self, EventType, MAX_PENDING, TargetPolicy},
};
use casemate_engine::outbound::{Limits, Outbound, SystemLookup};
use casemate_store::webhooks::{
    self as stored, Delivery, DeliveryStatus, NewWebhook, Webhook, WebhookChange,
};
use secrecy::{ExposeSecret, SecretString};

use super::{Caller, Ctx, Error, audit, mutation::Mutation};
use crate::config::Config;

/// Bytes of a reply that are read. Of a failure its beginning is shown.
const REPLY: usize = 4096;
/// Keys of a GitHub account: 1,000 RSA keys of the usual length are half of this.
const GITHUB_REPLY: usize = 1024 * 1024;
const MAX_NAME: usize = 100;

/// The clients for webhooks and for GitHub.
pub fn clients(config: &Config) -> Result<(Outbound, Outbound), String> {
    let timeout = config.webhooks.timeout();
    let limits = Limits { timeout, reply: REPLY };
    let hooks = Outbound::new(config.webhooks.policy(), limits, Arc::new(SystemLookup))?;
    // The operator chose its URL.
    let anywhere = TargetPolicy { allow_private: true, allow_http: true, any_port: true };
    let limits = Limits { timeout, reply: GITHUB_REPLY };
    Ok((hooks, Outbound::new(anywhere, limits, Arc::new(SystemLookup))?))
}

pub async fn list(ctx: &Ctx, caller: &Caller) -> Result<Vec<WebhookResponse>, Error> {
    // The configured maximum may have been higher.
    let all = stored::of_workspace(&ctx.db, caller.workspace.id, 1000).await?;
    all.iter().map(|webhook| masked(ctx, webhook)).collect()
}

pub async fn get(ctx: &Ctx, caller: &Caller, id: &str) -> Result<WebhookResponse, Error> {
    masked(ctx, &find(ctx, caller, id).await?)
}

/// The same with its secret.
pub async fn reveal(ctx: &Ctx, caller: &Caller, id: &str) -> Result<WebhookResponse, Error> {
    let webhook = find(ctx, caller, id).await?;
    Ok(whole(&webhook, &open(ctx, &webhook)?))
}

/// A request that was checked, before its transaction.
#[derive(Debug)]
pub struct CheckedWebhook {
    url: String,
    name: Option<String>,
    events: Vec<String>,
    secret: SecretString,
}

/// Checks a request to create a webhook. Its host is resolved.
pub async fn check_create(
    ctx: &Ctx,
    request: WebhookCreateRequest,
) -> Result<CheckedWebhook, Error> {
    let WebhookCreateRequest { url, events, name, secret } = request;
    check_name(name.as_deref())?;
    let events = check_events(events)?;
    let secret = match secret {
        Some(text) => {
            webhook::checked_secret(&text).map_err(|why| Error::invalid("secret", why))?
        }
        None => new_secret(ctx),
    };
    check_url(ctx, &url).await?;
    Ok(CheckedWebhook { url, name, events, secret })
}

/// Creates a webhook; returns it with its secret, and without.
pub async fn create(
    ctx: &Ctx,
    mutation: &mut Mutation,
    caller: &Caller,
    new: &CheckedWebhook,
) -> Result<(WebhookResponse, WebhookResponse), Error> {
    let (now, workspace) = (ctx.now(), caller.workspace.id);
    let id = format!("wh_{}", ctx.entropy.uuid_v7(now).simple());
    let secret = seal(ctx, &id, &new.secret);
    let row = NewWebhook {
        id: &id,
        workspace,
        url: &new.url,
        name: new.name.as_deref(),
        events: &new.events,
        secret: &secret,
    };
    let limit = ctx.config.webhooks.per_workspace;
    mutation.tx.lock_workspace(workspace).await?;
    if !mutation.tx.insert_webhook(&row, limit.into(), now).await? {
        let why = format!("The workspace has {limit} webhooks, which is its limit");
        return Err(Error::because(ErrorCode::ResourceLimitExceeded, why)
            .suggest("Delete a webhook that is no longer used."));
    }
    let webhook = lock(mutation, caller, &id).await?;
    Ok((whole(&webhook, &new.secret), masked(ctx, &webhook)?))
}

/// Checks a request to change a webhook. Its host is resolved.
pub async fn check_update(
    ctx: &Ctx,
    request: WebhookUpdateRequest,
) -> Result<WebhookUpdateRequest, Error> {
    let WebhookUpdateRequest { url, events, name, enabled } = request;
    check_name(name.as_deref())?;
    let events = events.map(check_events).transpose()?;
    if let Some(url) = &url {
        check_url(ctx, url).await?;
    }
    Ok(WebhookUpdateRequest { url, events, name, enabled })
}

pub async fn update(
    ctx: &Ctx,
    mutation: &mut Mutation,
    caller: &Caller,
    id: &str,
    change: &WebhookUpdateRequest,
) -> Result<WebhookResponse, Error> {
    let webhook = lock(mutation, caller, id).await?;
    audit::before(&masked(ctx, &webhook)?);
    let id = webhook.id;
    let change = WebhookChange {
        url: change.url.as_deref(),
        name: change.name.as_deref(),
        events: change.events.as_deref(),
        secret: None,
        enabled: change.enabled,
    };
    mutation.tx.change_webhook(&id, &change, ctx.now()).await?;
    masked(ctx, &lock(mutation, caller, &id).await?)
}

/// Gives a webhook a new secret; returns it with the secret, and without. Deliveries from now on are signed with
/// the new one.
pub async fn rotate(
    ctx: &Ctx,
    mutation: &mut Mutation,
    caller: &Caller,
    id: &str,
) -> Result<(WebhookResponse, WebhookResponse), Error> {
    let id = lock(mutation, caller, id).await?.id;
    let secret = new_secret(ctx);
    let sealed = seal(ctx, &id, &secret);
    let change = WebhookChange { secret: Some(&sealed), ..WebhookChange::default() };
    mutation.tx.change_webhook(&id, &change, ctx.now()).await?;
    let webhook = lock(mutation, caller, &id).await?;
    Ok((whole(&webhook, &secret), masked(ctx, &webhook)?))
}

pub async fn delete(
    ctx: &Ctx,
    mutation: &mut Mutation,
    caller: &Caller,
    id: &str,
) -> Result<(), Error> {
    let webhook = lock(mutation, caller, id).await?;
    audit::before(&masked(ctx, &webhook)?);
    Ok(mutation.tx.delete_webhook(&webhook.id, ctx.now()).await?)
}

/// Stores a delivery of `webhook.test`. It has one attempt.
pub async fn test(
    ctx: &Ctx,
    mutation: &mut Mutation,
    caller: &Caller,
    id: &str,
) -> Result<WebhookDeliveryResponse, Error> {
    mutation.tx.lock_events().await?;
    let webhook = lock_for_delivery(mutation, caller, id).await?;
    let event_id = mutation.tx.insert_test_delivery(&webhook, ctx.now()).await?;
    inserted(mutation, &webhook, &event_id).await
}

/// Stores a delivery that repeats one that has ended.
pub async fn resend(
    ctx: &Ctx,
    mutation: &mut Mutation,
    caller: &Caller,
    id: &str,
    event_id: &str,
) -> Result<WebhookDeliveryResponse, Error> {
    mutation.tx.lock_events().await?;
    let webhook = lock_for_delivery(mutation, caller, id).await?;
    let before =
        if is_id(event_id) { mutation.tx.delivery(&webhook.id, event_id).await? } else { None };
    let before = before.ok_or_else(|| {
        Error::because(ErrorCode::NotFound, "The requested delivery was not found")
            .detail(ErrorDetail::value("event_id", event_id))
    })?;
    if before.status == DeliveryStatus::Pending {
        let why = "The delivery has not ended: it is sent without being asked to";
        return Err(Error::because(ErrorCode::StateConflict, why));
    }
    let event_id = mutation.tx.insert_resend(&webhook, event_id, ctx.now()).await?;
    inserted(mutation, &webhook, &event_id).await
}

/// Deliveries of a webhook, newest first.
pub async fn deliveries(
    ctx: &Ctx,
    caller: &Caller,
    id: &str,
    (limit, offset): (u16, u16),
) -> Result<Vec<WebhookDeliveryResponse>, Error> {
    let webhook = find(ctx, caller, id).await?;
    let all = stored::deliveries(&ctx.db, &webhook.id, limit.into(), offset.into()).await?;
    Ok(all.into_iter().map(delivery).collect())
}

pub async fn stats(ctx: &Ctx, caller: &Caller, id: &str) -> Result<WebhookStatsResponse, Error> {
    let stats = find(ctx, caller, id).await?.stats;
    let ended = stats.succeeded + stats.failed;
    #[expect(clippy::cast_precision_loss, reason = "a rate needs few digits")]
    let success_rate = if ended == 0 { 0.0 } else { stats.succeeded as f64 / ended as f64 };
    Ok(WebhookStatsResponse {
        total: stats.total,
        success_count: stats.succeeded,
        failed_count: stats.failed,
        success_rate,
        avg_duration_ms: stats.duration_ms_sum.checked_div(ended).unwrap_or(0),
        max_duration_ms: stats.duration_ms_max,
        last_delivery_at: stats.last_delivery_at.map(|at| Timestamp::from_micros(at).to_string()),
        pending_count: stats.pending,
    })
}

/// The secret of a webhook, opened.
pub fn open_secret(
    ctx: &Ctx,
    id: &str,
    sealed: &str,
) -> Result<SecretString, casemate_core::at_rest::DoesNotOpen> {
    ctx.at_rest.open(sealed, id)
}

fn open(ctx: &Ctx, webhook: &Webhook) -> Result<SecretString, Error> {
    open_secret(ctx, &webhook.id, &webhook.secret)
        .map_err(|error| Error::Internal(format!("webhook {}: {error}", webhook.id)))
}

fn seal(ctx: &Ctx, id: &str, secret: &SecretString) -> String {
    let mut nonce = [0; 12];
    ctx.entropy.fill(&mut nonce);
    ctx.at_rest.seal(secret, id, nonce)
}

fn new_secret(ctx: &Ctx) -> SecretString {
    let mut random = [0; 32];
    ctx.entropy.fill(&mut random);
    webhook::new_secret(&random)
}

async fn find(ctx: &Ctx, caller: &Caller, id: &str) -> Result<Webhook, Error> {
    if !is_id(id) {
        return Err(not_found(id));
    }
    let found = stored::get(&ctx.db, caller.workspace.id, id).await?;
    found.ok_or_else(|| not_found(id))
}

async fn lock(mutation: &mut Mutation, caller: &Caller, id: &str) -> Result<Webhook, Error> {
    if !is_id(id) {
        return Err(not_found(id));
    }
    let found = mutation.tx.lock_webhook(caller.workspace.id, id).await?;
    found.ok_or_else(|| not_found(id))
}

/// Whether a text may be an id of a webhook or delivery; PostgreSQL takes not every text.
fn is_id(text: &str) -> bool {
    text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A webhook that can be sent something on request.
async fn lock_for_delivery(
    mutation: &mut Mutation,
    caller: &Caller,
    id: &str,
) -> Result<Webhook, Error> {
    let webhook = lock(mutation, caller, id).await?;
    if !webhook.enabled {
        return Err(Error::because(ErrorCode::StateConflict, "The webhook is disabled")
            .suggest("Enable it: PUT it with enabled = true."));
    }
    if webhook.stats.pending >= MAX_PENDING {
        let why = format!("{MAX_PENDING} deliveries of this webhook wait, which is the limit");
        return Err(Error::because(ErrorCode::StateConflict, why));
    }
    Ok(webhook)
}

async fn inserted(
    mutation: &mut Mutation,
    webhook: &Webhook,
    event_id: &str,
) -> Result<WebhookDeliveryResponse, Error> {
    let found = mutation.tx.delivery(&webhook.id, event_id).await?;
    found.map(delivery).ok_or_else(|| Error::Internal("an inserted delivery is missing".to_owned()))
}

fn not_found(id: &str) -> Error {
    Error::because(ErrorCode::NotFound, "The requested webhook was not found")
        .detail(ErrorDetail::value("webhook_id", id))
}

async fn check_url(ctx: &Ctx, url: &str) -> Result<(), Error> {
    ctx.outbound.check(url).await.map_err(|why| {
        Error::field(ErrorCode::UrlNotAllowed, "url", why)
            .suggest("Use an https:// URL of a host on the public network. An operator can allow others under [webhooks].")
    })
}

fn check_name(name: Option<&str>) -> Result<(), Error> {
    if name.is_some_and(|name| name.chars().count() > MAX_NAME || name.contains('\0')) {
        return Err(Error::invalid("name", format!("must have at most {MAX_NAME} characters")));
    }
    Ok(())
}

/// The types without repetitions.
fn check_events(events: Vec<String>) -> Result<Vec<String>, Error> {
    let mut checked: Vec<String> = Vec::new();
    for event in events {
        if EventType::parse(&event).is_none() {
            let known: Vec<&str> = EventType::ALL.iter().map(|event| event.as_str()).collect();
            let shown: String = event.chars().take(64).collect();
            let why = format!("has no type {shown}: use some of {}", known.join(", "));
            return Err(Error::invalid("events", why));
        }
        if !checked.contains(&event) {
            checked.push(event);
        }
    }
    if checked.is_empty() {
        return Err(Error::invalid("events", "must have at least one type"));
    }
    Ok(checked)
}

fn masked(ctx: &Ctx, webhook: &Webhook) -> Result<WebhookResponse, Error> {
    Ok(rendered(webhook, webhook::mask(&open(ctx, webhook)?)))
}

fn whole(webhook: &Webhook, secret: &SecretString) -> WebhookResponse {
    rendered(webhook, secret.expose_secret().to_owned())
}

fn rendered(webhook: &Webhook, secret: String) -> WebhookResponse {
    WebhookResponse {
        id: webhook.id.clone(),
        url: webhook.url.clone(),
        secret: Some(secret),
        events: webhook.events.clone(),
        name: webhook.name.clone(),
        enabled: webhook.enabled,
        created_at: webhook.created_at.to_string(),
        updated_at: webhook.updated_at.to_string(),
    }
}

fn delivery(delivery: Delivery) -> WebhookDeliveryResponse {
    WebhookDeliveryResponse {
        snowflake_id: delivery.seq.0,
        event_id: delivery.event_id,
        event_type: delivery.event,
        status: match delivery.status {
            DeliveryStatus::Pending => WebhookDeliveryStatus::Pending,
            DeliveryStatus::Success => WebhookDeliveryStatus::Success,
            DeliveryStatus::Failed => WebhookDeliveryStatus::Failed,
        },
        attempts: delivery.attempts,
        request_url: delivery.request_url,
        response_status: delivery.response_status,
        error_message: delivery.error,
        duration_ms: delivery.duration_ms,
        created_at: delivery.created_at.to_string(),
        delivered_at: delivery.delivered_at.map(|at| at.to_string()),
        original_event_id: delivery.original_event_id.unwrap_or_default(),
    }
}
