use casemate_api::webhook::{
    WebhookCreateRequest, WebhookDeliveryResponse, WebhookResponse, WebhookUpdateRequest,
};
use clap::{Args, Subcommand};
use secrecy::{ExposeSecret, SecretString};

use crate::{cli::Global, connect, fail::Fail, table, ui};

/// Manage webhooks: URLs that are sent what happens in the workspace.
#[derive(Debug, Subcommand)]
pub enum Webhooks {
    /// List webhooks.
    #[command(
        visible_alias = "list",
        after_help = "Examples:\n  casemate webhooks ls\n  casemate webhooks ls --json"
    )]
    Ls,
    /// Create a webhook and print its secret.
    #[command(after_help = "Examples:
  casemate webhooks create https://example.com/hook --event cvm.created --event cvm.deleted
  casemate webhooks create https://example.com/hook --event cvm.create_failed --name alerts
  casemate webhooks create https://example.com/hook --event cvm.created --json | jq -r .secret")]
    Create(CreateArgs),
    /// Show a webhook and what became of its deliveries.
    #[command(after_help = "Examples:
  casemate webhooks show wh_01JD
  casemate webhooks show wh_01JD --json")]
    Show(IdArgs),
    /// Change a webhook, or enable it again after failures.
    #[command(after_help = "Examples:
  casemate webhooks update wh_01JD --enable
  casemate webhooks update wh_01JD --url https://example.com/new
  casemate webhooks update wh_01JD --event cvm.created --event cvm.updated")]
    Update(UpdateArgs),
    /// Delete a webhook.
    #[command(
        visible_alias = "delete",
        after_help = "Examples:\n  casemate webhooks rm wh_01JD\n  casemate webhooks rm wh_01JD --json"
    )]
    Rm(IdArgs),
    /// Send a test event.
    #[command(after_help = "Examples:
  casemate webhooks test wh_01JD
  casemate webhooks deliveries wh_01JD     what became of it")]
    Test(IdArgs),
    /// List deliveries, newest first.
    #[command(after_help = "Examples:
  casemate webhooks deliveries wh_01JD
  casemate webhooks deliveries wh_01JD --limit 100 --offset 100
  casemate webhooks deliveries wh_01JD --json")]
    Deliveries(DeliveriesArgs),
    /// Send a delivery that has ended again.
    #[command(after_help = "Examples:\n  casemate webhooks resend wh_01JD evt_0193a5c1")]
    Resend(ResendArgs),
    /// Print the secret, which signs deliveries.
    #[command(after_help = "Examples:
  casemate webhooks secret wh_01JD
  casemate webhooks secret wh_01JD --rotate   make a new one; deliveries from now on are signed with it")]
    Secret(SecretArgs),
}

#[derive(Debug, Args)]
pub struct IdArgs {
    /// Id of the webhook.
    id: String,
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// URL that gets a POST for each event.
    url: String,
    /// Type of event to send, for example cvm.created; repeatable.
    #[arg(long = "event", value_name = "TYPE", required = true)]
    events: Vec<String>,
    /// Name for people.
    #[arg(long)]
    name: Option<String>,
    /// Secret that signs deliveries. Prefer the environment variable, because `ps` shows arguments [default: a random
    /// one].
    #[arg(long, env = "CASEMATE_WEBHOOK_SECRET", hide_env_values = true, value_name = "SECRET")]
    secret: Option<SecretString>,
}

#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// Id of the webhook.
    id: String,
    /// URL that gets a POST for each event.
    #[arg(long)]
    url: Option<String>,
    /// Types of events from now on, instead of those before; repeatable.
    #[arg(long = "event", value_name = "TYPE")]
    events: Vec<String>,
    /// Name for people.
    #[arg(long)]
    name: Option<String>,
    /// Send what waits, and what happens from now on.
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
    /// Send nothing.
    #[arg(long)]
    disable: bool,
}

#[derive(Debug, Args)]
pub struct DeliveriesArgs {
    /// Id of the webhook.
    id: String,
    /// Maximum number, 1 to 100.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=100))]
    limit: u16,
    /// Number to skip.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=10_000))]
    offset: u16,
}

#[derive(Debug, Args)]
pub struct ResendArgs {
    /// Id of the webhook.
    id: String,
    /// Event id of the delivery.
    event: String,
}

#[derive(Debug, Args)]
pub struct SecretArgs {
    /// Id of the webhook.
    id: String,
    /// Make a new secret.
    #[arg(long)]
    rotate: bool,
}

pub async fn run(global: &Global, command: Webhooks) -> Result<(), Fail> {
    match command {
        Webhooks::Ls => list(global).await,
        Webhooks::Create(args) => create(global, args).await,
        Webhooks::Show(args) => show(global, &args.id).await,
        Webhooks::Update(args) => update(global, args).await,
        Webhooks::Rm(args) => remove(global, &args.id).await,
        Webhooks::Test(args) => {
            let sent = connect::client(global)?.test_webhook(&args.id).await?;
            accepted(global, &args.id, &sent);
            Ok(())
        }
        Webhooks::Deliveries(args) => deliveries(global, &args).await,
        Webhooks::Resend(args) => {
            let client = connect::client(global)?;
            let sent = client.resend_webhook_delivery(&args.id, &args.event).await?;
            accepted(global, &args.id, &sent);
            Ok(())
        }
        Webhooks::Secret(args) => secret(global, &args).await,
    }
}

async fn list(global: &Global) -> Result<(), Fail> {
    let found = connect::client(global)?.webhooks().await?;
    if global.json {
        ui::json(&found);
        return Ok(());
    }
    let row = |webhook: &WebhookResponse| {
        vec![
            webhook.id.clone(),
            table::or_none(webhook.name.as_ref()),
            state(webhook).to_owned(),
            webhook.url.clone(),
            webhook.events.join(" "),
        ]
    };
    let rows = found.iter().map(row).collect();
    table::print(&["id", "name", "state", "url", "events"], rows, "no webhooks");
    Ok(())
}

async fn create(global: &Global, args: CreateArgs) -> Result<(), Fail> {
    let CreateArgs { url, events, name, secret } = args;
    let secret = secret.map(|secret| secret.expose_secret().to_owned());
    let request = WebhookCreateRequest { url, events, name, secret };
    let webhook = connect::client(global)?.create_webhook(&request).await?;
    if global.json {
        ui::json(&webhook);
        return Ok(());
    }
    table::facts(&facts(&webhook));
    Ok(())
}

async fn show(global: &Global, id: &str) -> Result<(), Fail> {
    let client = connect::client(global)?;
    let (webhook, stats) = (client.webhook(id).await?, client.webhook_stats(id).await?);
    if global.json {
        ui::json(&serde_json::json!({ "webhook": webhook, "stats": stats }));
        return Ok(());
    }
    let mut facts = facts(&webhook);
    let ended = format!("{} delivered, {} failed", stats.success_count, stats.failed_count);
    facts.push(("deliveries", format!("{ended}, {} wait", stats.pending_count)));
    facts.push((
        "duration",
        format!("{} ms, at most {} ms", stats.avg_duration_ms, stats.max_duration_ms),
    ));
    facts.push(("last", table::or_none(stats.last_delivery_at)));
    table::facts(&facts);
    Ok(())
}

async fn update(global: &Global, args: UpdateArgs) -> Result<(), Fail> {
    let request = WebhookUpdateRequest {
        url: args.url,
        events: Some(args.events).filter(|events| !events.is_empty()),
        name: args.name,
        enabled: (args.enable || args.disable).then_some(args.enable),
    };
    if request == WebhookUpdateRequest::default() {
        return Err(Fail::usage(
            "nothing to change: give --url, --event, --name, --enable or --disable",
        ));
    }
    let webhook = connect::client(global)?.update_webhook(&args.id, &request).await?;
    if global.json {
        ui::json(&webhook);
    } else {
        table::facts(&facts(&webhook));
    }
    Ok(())
}

async fn remove(global: &Global, id: &str) -> Result<(), Fail> {
    connect::client(global)?.delete_webhook(id).await?;
    if global.json {
        ui::json(&serde_json::json!({ "id": id, "deleted": true }));
    } else {
        ui::print_note(format!("webhook {id} is deleted"));
    }
    Ok(())
}

async fn deliveries(global: &Global, args: &DeliveriesArgs) -> Result<(), Fail> {
    let client = connect::client(global)?;
    let found = client.webhook_deliveries(&args.id, args.limit, args.offset).await?;
    if global.json {
        ui::json(&found);
        return Ok(());
    }
    let row = |delivery: &WebhookDeliveryResponse| {
        vec![
            delivery.event_id.clone(),
            delivery.event_type.clone(),
            delivery.status.as_str().to_owned(),
            delivery.attempts.to_string(),
            delivery.created_at.clone(),
            delivery.error_message.clone(),
        ]
    };
    let rows = found.iter().map(row).collect();
    table::print(
        &["event", "type", "status", "attempts", "created", "error"],
        rows,
        "no deliveries",
    );
    Ok(())
}

async fn secret(global: &Global, args: &SecretArgs) -> Result<(), Fail> {
    let client = connect::client(global)?;
    let webhook = if args.rotate {
        client.rotate_webhook_secret(&args.id).await?
    } else {
        client.reveal_webhook_secret(&args.id).await?
    };
    if global.json {
        ui::json(&webhook);
    } else {
        ui::line(webhook.secret.unwrap_or_default());
    }
    Ok(())
}

/// A delivery that was asked for.
fn accepted(global: &Global, id: &str, delivery: &WebhookDeliveryResponse) {
    if global.json {
        ui::json(delivery);
        return;
    }
    table::facts(&[
        ("event", delivery.event_id.clone()),
        ("status", delivery.status.as_str().to_owned()),
    ]);
    ui::print_note(format!("`casemate webhooks deliveries {id}` shows what became of it"));
}

const fn state(webhook: &WebhookResponse) -> &'static str {
    if webhook.enabled { "enabled" } else { "disabled" }
}

fn facts(webhook: &WebhookResponse) -> Vec<(&'static str, String)> {
    vec![
        ("id", webhook.id.clone()),
        ("name", table::or_none(webhook.name.as_ref())),
        ("url", webhook.url.clone()),
        ("events", webhook.events.join(" ")),
        ("state", state(webhook).to_owned()),
        ("secret", table::or_none(webhook.secret.as_ref())),
    ]
}
