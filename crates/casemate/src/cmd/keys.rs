//! `casemate keys`: the caller's API keys.

use casemate_api::keys::{ApiKey, CreateKeyRequest, RefreshKeyRequest, RotateKeyRequest};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::{cli::Global, connect, fail::Fail, table, ui};

/// Manage API keys: list, create, rotate, revoke.
#[derive(Debug, Subcommand)]
pub enum Keys {
    /// List your keys for the workspace.
    #[command(
        visible_alias = "ls",
        after_help = "Examples:
  casemate keys list
  casemate keys list --everybody   those of all members, for admins
  casemate keys list --json"
    )]
    List(ListArgs),
    Create(CreateArgs),
    /// Let a key expire so many days from now. Its secret stays.
    #[command(after_help = "Examples:\n  casemate keys refresh 3 --expires-in-days 90")]
    Refresh(RefreshArgs),
    Rotate(RotateArgs),
    /// Revoke a key; requests with it are refused at once.
    #[command(after_help = "Examples:\n  casemate keys revoke 3")]
    Revoke(IdArgs),
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Keys of all members of the workspace; for admins.
    #[arg(long)]
    everybody: bool,
}

/// Create a key for yourself and print its secret, once.
///
/// Scopes: admin, cvms:exec, cvms:read, cvms:write, keys, logs:read, secrets:write, ssh-keys, webhooks, workspace. The
/// role of its user limits a key, whatever its scopes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  casemate keys create ci --scope cvms:read --scope cvms:write --expires-in-days 90
  casemate keys create dashboard --scope cvms:read --json")]
pub struct CreateArgs {
    /// Name of the key, for people.
    name: String,
    /// What it may do; may be repeated [default: as the key that asks].
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// Days until it expires, 1 to 365 [default: never].
    #[arg(long, value_name = "DAYS")]
    expires_in_days: Option<u32>,
}

#[derive(Debug, Args)]
pub struct RefreshArgs {
    /// Id of the key; see `casemate keys list`.
    id: i64,
    /// Days until it expires, 1 to 365.
    #[arg(long, value_name = "DAYS")]
    expires_in_days: u32,
}

/// Replace the secret of a key and print the new one, once.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  casemate keys rotate 3
  casemate keys rotate 3 --grace-minutes 60   the old secret works on for an hour")]
pub struct RotateArgs {
    /// Id of the key; see `casemate keys list`.
    id: i64,
    /// Minutes for which the old secret works on, at most 10080.
    #[arg(long, value_name = "MINUTES", default_value_t = 0)]
    grace_minutes: u32,
}

#[derive(Debug, Args)]
pub struct IdArgs {
    /// Id of the key; see `casemate keys list`.
    id: i64,
}

pub async fn run(global: &Global, command: Keys) -> Result<(), Fail> {
    let client = connect::client(global)?;
    match command {
        Keys::List(args) => print_all(global, &client.keys(args.everybody).await?),
        Keys::Create(args) => {
            let request = CreateKeyRequest {
                name: args.name,
                expires_in_days: args.expires_in_days,
                scopes: (!args.scopes.is_empty()).then_some(args.scopes),
            };
            print_new(global, &client.create_key(&request).await?);
        }
        Keys::Refresh(args) => {
            let request = RefreshKeyRequest { expires_in_days: Some(args.expires_in_days) };
            print_all(global, &[client.refresh_key(args.id, &request).await?]);
        }
        Keys::Rotate(args) => {
            let request = RotateKeyRequest { grace_minutes: Some(args.grace_minutes) };
            print_new(global, &client.rotate_key(args.id, &request).await?);
        }
        Keys::Revoke(args) => {
            client.revoke_key(args.id).await?;
            print_revoked(global, args.id);
        }
    }
    Ok(())
}

pub fn print_all(global: &Global, keys: &[ApiKey]) {
    if global.json {
        ui::json(&keys);
        return;
    }
    let row = |key: &ApiKey| {
        vec![
            key.id.to_string(),
            key.username.clone(),
            key.name.clone(),
            table::or_none(key.token_prefix.as_ref()),
            key.scopes.join(" "),
            table::or_none(key.last_used_at.as_ref()),
            table::or_none(key.expires_at.as_ref()),
        ]
    };
    let header = ["id", "user", "name", "begins with", "scopes", "last used", "expires"];
    table::print(&header, keys.iter().map(row).collect(), "no keys");
}

/// The secret alone goes to stdout, so that it can be piped.
pub fn print_new(global: &Global, key: &ApiKey) {
    if global.json {
        ui::json(key);
        return;
    }
    let scopes = key.scopes.join(" ");
    ui::print_note(format!("Key {} of {} ({scopes}). It is shown once:", key.id, key.username));
    ui::line(key.token.as_deref().unwrap_or_default());
}

pub fn print_revoked(global: &Global, id: i64) {
    if global.json {
        ui::json(&json!({ "revoked": id }));
    } else {
        ui::line(format!("Key {id} was revoked."));
    }
}
