use std::path::PathBuf;

use casemate_api::ssh_key::SshKeyResponse;
use clap::{Args, Subcommand};

use crate::{cli::Global, connect, fail::Fail, table, ui};

/// Manage your SSH keys, which guests with a development image let in.
#[derive(Debug, Subcommand)]
pub enum SshKeys {
    /// List keys.
    #[command(
        visible_alias = "list",
        after_help = "Examples:\n  casemate ssh-keys ls\n  casemate ssh-keys ls --json"
    )]
    Ls,
    /// Add a public key.
    #[command(after_help = "Examples:
  casemate ssh-keys add                              the key in ~/.ssh/id_ed25519.pub or id_rsa.pub
  casemate ssh-keys add --file laptop.pub --name laptop
  casemate ssh-keys add --key \"ssh-ed25519 AAAA… me@laptop\"")]
    Add(AddArgs),
    /// Remove a key. Guests that have it keep it.
    #[command(
        visible_alias = "delete",
        after_help = "Examples:\n  casemate ssh-keys rm sshkey_01JD\n  casemate ssh-keys rm sshkey_01JD --json"
    )]
    Rm(RmArgs),
    /// Add the public keys of a GitHub user.
    #[command(after_help = "Examples:
  casemate ssh-keys import-github octocat
  casemate ssh-keys import-github octocat --json")]
    ImportGithub(ImportArgs),
    /// Read imported GitHub users again: add new keys, remove those that are gone.
    #[command(after_help = "Examples:
  casemate ssh-keys sync-github
  casemate ssh-keys sync-github --json")]
    SyncGithub,
}

#[derive(Debug, Args)]
pub struct AddArgs {
    /// File with the public key.
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    file: Option<PathBuf>,
    /// The public key itself.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Name for people [default: the comment of the key].
    #[arg(long)]
    name: Option<String>,
}

#[derive(Debug, Args)]
pub struct RmArgs {
    /// Id of the key.
    id: String,
}

#[derive(Debug, Args)]
pub struct ImportArgs {
    /// User name at GitHub.
    username: String,
}

pub async fn run(global: &Global, command: SshKeys) -> Result<(), Fail> {
    match command {
        SshKeys::Ls => list(global).await,
        SshKeys::Add(args) => add(global, args).await,
        SshKeys::Rm(args) => remove(global, &args.id).await,
        SshKeys::ImportGithub(args) => import(global, &args.username).await,
        SshKeys::SyncGithub => sync(global).await,
    }
}

async fn list(global: &Global) -> Result<(), Fail> {
    let found = connect::client(global)?.ssh_keys().await?;
    if global.json {
        ui::json(&found);
        return Ok(());
    }
    let row = |key: &SshKeyResponse| {
        vec![
            key.id.clone(),
            key.name.clone(),
            key.key_type.clone(),
            key.fingerprint.clone(),
            key.source.as_str().to_owned(),
        ]
    };
    let rows = found.iter().map(row).collect();
    table::print(&["id", "name", "type", "fingerprint", "source"], rows, "no SSH keys");
    Ok(())
}

async fn add(global: &Global, args: AddArgs) -> Result<(), Fail> {
    let text = match (args.key, args.file) {
        (Some(key), _) => key,
        (None, Some(file)) => read(&file)?,
        (None, None) => read(&default_key()?)?,
    };
    let text = text.trim();
    let comment = text.splitn(3, char::is_whitespace).nth(2).map(str::trim);
    let comment = comment.filter(|comment| !comment.is_empty());
    let name = args.name.as_deref().or(comment);
    let name =
        name.ok_or_else(|| Fail::usage("the key has no comment: give it a name with --name"))?;
    let key = connect::client(global)?.create_ssh_key(name, text).await?;
    if global.json {
        ui::json(&key);
        return Ok(());
    }
    table::facts(&[
        ("id", key.id),
        ("name", key.name),
        ("type", key.key_type),
        ("fingerprint", key.fingerprint),
    ]);
    Ok(())
}

async fn remove(global: &Global, id: &str) -> Result<(), Fail> {
    connect::client(global)?.delete_ssh_key(id).await?;
    if global.json {
        ui::json(&serde_json::json!({ "id": id, "deleted": true }));
    } else {
        ui::print_note(format!("SSH key {id} is removed; guests that have it keep it"));
    }
    Ok(())
}

async fn import(global: &Global, username: &str) -> Result<(), Fail> {
    let done = connect::client(global)?.import_github_ssh_keys(username).await?;
    if global.json {
        ui::json(&done);
        return Ok(());
    }
    table::facts(&[
        ("added", done.keys_added.to_string()),
        ("present before", done.keys_skipped.to_string()),
    ]);
    done.errors.iter().for_each(ui::print_note);
    Ok(())
}

async fn sync(global: &Global) -> Result<(), Fail> {
    let done = connect::client(global)?.sync_github_ssh_keys().await?;
    if global.json {
        ui::json(&done);
        return Ok(());
    }
    table::facts(&[
        ("read", done.synced_count.to_string()),
        ("added", done.keys_added.to_string()),
        ("updated", done.keys_updated.to_string()),
        ("removed", done.keys_removed.to_string()),
    ]);
    done.errors.iter().for_each(ui::print_note);
    Ok(())
}

fn read(file: &std::path::Path) -> Result<String, Fail> {
    std::fs::read_to_string(file)
        .map_err(|error| Fail::new("file", format!("cannot read {}: {error}", file.display())))
}

/// The first of the usual public keys that exists.
fn default_key() -> Result<PathBuf, Fail> {
    let home = casemate_server::config::variable("HOME").unwrap_or_default();
    let names = ["id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub"];
    let mut files = names.iter().map(|name| PathBuf::from(&home).join(".ssh").join(name));
    files
        .find(|file| file.exists())
        .ok_or_else(|| Fail::usage("~/.ssh has no public key: give one with --file or --key"))
}
