//! `casemate admin user`, `workspace`, `key`, `login`: who may do what.

use std::path::PathBuf;

use casemate_api::{
    device_login::DecideLoginRequest,
    people_admin::{
        AddKeyRequest, AddUserRequest, AddWorkspaceRequest, ChangeUserRequest, ManagedUser,
    },
};
use casemate_server::{config::Overrides, serve};
use clap::{Args, Subcommand};
use secrecy::ExposeSecret;
use serde_json::json;

use crate::{
    cli::Global,
    cmd::keys::{print_all, print_new, print_revoked},
    connect,
    fail::Fail,
    serve::load,
    table, ui,
};

/// Manage users and service accounts.
#[derive(Debug, Subcommand)]
pub enum User {
    /// List users.
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  casemate admin user list\n  casemate admin user list --json"
    )]
    List,
    Add(AddUserArgs),
    /// Disable a user: their keys are refused.
    #[command(after_help = "Examples:\n  casemate admin user disable ada")]
    Disable(UserArgs),
    /// Enable a user again.
    #[command(after_help = "Examples:\n  casemate admin user enable ada")]
    Enable(UserArgs),
    /// Make a user an operator of the installation.
    #[command(after_help = "Examples:\n  casemate admin user promote ada")]
    Promote(UserArgs),
    /// Make an operator an ordinary user.
    #[command(after_help = "Examples:\n  casemate admin user demote ada")]
    Demote(UserArgs),
}

/// Add a user. They can do nothing before they are a member of a workspace.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  casemate admin user add ada --email ada@example.org
  casemate admin user add ci --service")]
pub struct AddUserArgs {
    /// Unique name: 1 to 40 characters of a-z, 0-9 and -.
    username: String,
    /// E-mail address.
    #[arg(long, default_value = "")]
    email: String,
    /// A program, not a person.
    #[arg(long)]
    service: bool,
    /// An operator of the installation.
    #[arg(long)]
    operator: bool,
}

#[derive(Debug, Args)]
pub struct UserArgs {
    /// Name of the user; see `casemate admin user list`.
    username: String,
}

/// Manage workspaces and who is in them.
#[derive(Debug, Subcommand)]
pub enum Workspace {
    /// List workspaces.
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  casemate admin workspace list\n  casemate admin workspace list --json"
    )]
    List,
    /// Add a workspace with an owner.
    #[command(after_help = "Examples:\n  casemate admin workspace add research --owner ada")]
    Add(AddWorkspaceArgs),
    /// Make a user a member of a workspace, or give a member another role.
    #[command(
        after_help = "Examples:\n  casemate admin workspace add-member research ci --role member"
    )]
    AddMember(MemberArgs),
    /// Take a user out of a workspace and revoke their keys for it.
    #[command(after_help = "Examples:\n  casemate admin workspace remove-member research ci")]
    RemoveMember(MemberNameArgs),
}

#[derive(Debug, Args)]
pub struct AddWorkspaceArgs {
    /// Unique name in paths: 1 to 40 characters of a-z, 0-9 and -.
    slug: String,
    /// Name for people [default: the slug].
    #[arg(long, default_value = "")]
    name: String,
    /// User who owns it.
    #[arg(long, value_name = "USER")]
    owner: String,
}

#[derive(Debug, Args)]
pub struct MemberNameArgs {
    /// Slug of the workspace.
    workspace: String,
    /// Name of the user.
    username: String,
}

#[derive(Debug, Args)]
pub struct MemberArgs {
    #[command(flatten)]
    name: MemberNameArgs,
    /// viewer, member, admin or owner.
    #[arg(long)]
    role: String,
}

/// Manage API keys of anybody.
#[derive(Debug, Subcommand)]
pub enum Key {
    /// List the keys of a workspace.
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  casemate admin key list --workspace default"
    )]
    List(KeysArgs),
    Create(CreateKeyArgs),
    /// Revoke a key.
    #[command(after_help = "Examples:\n  casemate admin key revoke 3")]
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
pub struct KeysArgs {
    /// Slug of the workspace.
    #[arg(long, value_name = "SLUG", default_value = "default")]
    workspace: String,
}

/// Create a key for a member of a workspace and print its secret, once.
///
/// With --owner no key is needed: the command works on the database of this host, and stores the new key in the data
/// directory, so that a lost admin key is replaced. Its user becomes an owner of the workspace and an operator. A SQLite
/// file must not be in use: stop the server first.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  casemate admin key create deploy --user ci --scope cvms:write --scope cvms:read
  casemate admin key create --owner                  the admin key is lost
  casemate admin key create --owner --user ada --config /etc/casemate.toml")]
pub struct CreateKeyArgs {
    /// Name of the key, for people.
    #[arg(required_unless_present = "owner")]
    name: Option<String>,
    /// Whose key [with --owner: the first operator].
    #[arg(long, required_unless_present = "owner")]
    user: Option<String>,
    /// Slug of the workspace [default: default; with --owner: the first one].
    #[arg(long, value_name = "SLUG")]
    workspace: Option<String>,
    /// What it may do; may be repeated [default: all that the role of the user allows].
    #[arg(long = "scope", value_name = "SCOPE", conflicts_with = "owner")]
    scopes: Vec<String>,
    /// Days until it expires, 1 to 365 [default: never].
    #[arg(long, value_name = "DAYS", conflicts_with = "owner")]
    expires_in_days: Option<u32>,
    /// Replace a lost admin key, on the host.
    #[arg(long, conflicts_with = "name")]
    owner: bool,
    /// With --owner: configuration file of the server.
    #[arg(long, value_name = "FILE", requires = "owner")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// Id of the key; see `casemate admin key list`.
    id: i64,
}

/// Approve and deny logins by device code.
#[derive(Debug, Subcommand)]
pub enum Login {
    /// Approve a login: the client that shows the code gets a key.
    #[command(after_help = "Examples:
  casemate admin login approve BCDF-GHJK
  casemate admin login approve BCDF-GHJK --user ada --workspace research")]
    Approve(LoginArgs),
    /// Deny a login.
    #[command(after_help = "Examples:\n  casemate admin login deny BCDF-GHJK")]
    Deny(CodeArgs),
}

#[derive(Debug, Args)]
pub struct LoginArgs {
    #[command(flatten)]
    code: CodeArgs,
    /// Whom the client gets a key of [default: you].
    #[arg(long)]
    user: Option<String>,
    /// Slug of the workspace of the key [default: yours].
    #[arg(long, value_name = "SLUG")]
    workspace: Option<String>,
}

#[derive(Debug, Args)]
pub struct CodeArgs {
    /// The code that the client shows.
    code: String,
}

fn user_row(user: &ManagedUser) -> Vec<String> {
    vec![
        user.id.clone(),
        user.username.clone(),
        user.email.clone(),
        if user.is_service { "service" } else { "person" }.to_owned(),
        if user.is_operator { "operator" } else { "" }.to_owned(),
        table::or_none(user.disabled_at.as_ref()),
    ]
}

fn print_users(global: &Global, users: &[ManagedUser]) {
    if global.json {
        ui::json(&json!({ "users": users }));
        return;
    }
    let header = ["id", "name", "email", "kind", "operator", "disabled"];
    table::print(&header, users.iter().map(user_row).collect(), "no users");
}

pub async fn user(global: &Global, command: User) -> Result<(), Fail> {
    let client = connect::client(global)?;
    let change = |is_disabled, is_operator| ChangeUserRequest { is_operator, is_disabled };
    let (user, change) = match command {
        User::List => {
            let (mut all, mut after) = (Vec::new(), 0);
            loop {
                let part = client.managed_users(after).await?;
                all.extend(part.users);
                let Some(next) = part.next else { break };
                after = next;
            }
            print_users(global, &all);
            return Ok(());
        }
        User::Add(args) => {
            let request = AddUserRequest {
                username: args.username,
                email: args.email,
                is_service: args.service,
                is_operator: args.operator,
            };
            print_users(global, &[client.add_user(&request).await?]);
            return Ok(());
        }
        User::Disable(args) => (args.username, change(Some(true), None)),
        User::Enable(args) => (args.username, change(Some(false), None)),
        User::Promote(args) => (args.username, change(None, Some(true))),
        User::Demote(args) => (args.username, change(None, Some(false))),
    };
    print_users(global, &[client.change_user(&user, &change).await?]);
    Ok(())
}

pub async fn workspace(global: &Global, command: Workspace) -> Result<(), Fail> {
    let client = connect::client(global)?;
    let (name, role) = match command {
        Workspace::List => {
            let (mut all, mut after) = (Vec::new(), 0);
            loop {
                let part = client.managed_workspaces(after).await?;
                all.extend(part.workspaces);
                let Some(next) = part.next else { break };
                after = next;
            }
            if global.json {
                ui::json(&json!({ "workspaces": all }));
                return Ok(());
            }
            let rows = all.into_iter().map(|one| vec![one.id, one.slug, one.name, one.created_at]);
            table::print(&["id", "slug", "name", "created"], rows.collect(), "no workspaces");
            return Ok(());
        }
        Workspace::Add(args) => {
            let request =
                AddWorkspaceRequest { slug: args.slug, name: args.name, owner: args.owner };
            let made = client.add_workspace(&request).await?;
            if global.json {
                ui::json(&made);
            } else {
                ui::line(format!("Workspace {} belongs to {}.", made.slug, request.owner));
            }
            return Ok(());
        }
        Workspace::AddMember(args) => (args.name, Some(args.role)),
        Workspace::RemoveMember(name) => (name, None),
    };
    let MemberNameArgs { workspace, username } = name;
    let role = if let Some(role) = role {
        client.set_membership(&workspace, &username, &role).await?.role
    } else {
        client.end_membership(&workspace, &username).await?;
        "no member".to_owned()
    };
    if global.json {
        ui::json(&json!({ "workspace": workspace, "username": username, "role": role }));
    } else {
        ui::line(format!("{username} in {workspace}: {role}"));
    }
    Ok(())
}

pub async fn key(global: &Global, command: Key) -> Result<(), Fail> {
    match command {
        Key::List(args) => {
            print_all(global, &connect::client(global)?.managed_keys(&args.workspace).await?);
        }
        Key::Create(args) if args.owner => owner_key(global, args).await?,
        Key::Create(args) => {
            let request = AddKeyRequest {
                username: args.user.unwrap_or_default(),
                workspace: args.workspace.unwrap_or_else(|| "default".to_owned()),
                name: args.name.unwrap_or_default(),
                scopes: (!args.scopes.is_empty()).then_some(args.scopes),
                expires_in_days: args.expires_in_days,
            };
            print_new(global, &connect::client(global)?.add_key(&request).await?);
        }
        Key::Revoke(args) => {
            connect::client(global)?.revoke_any_key(args.id).await?;
            print_revoked(global, args.id);
        }
    }
    Ok(())
}

/// Works on the database itself: for whoever has the host and no key.
async fn owner_key(global: &Global, args: CreateKeyArgs) -> Result<(), Fail> {
    let overrides = Overrides { data_dir: global.data_dir.clone(), ..Overrides::default() };
    let config = load(args.config, &overrides)?;
    let made = serve::owner_key(&config, args.user.as_deref(), args.workspace.as_deref()).await;
    let made = made.map_err(|error| Fail::new("database", error.to_string()))?;
    let token = made.token.expose_secret();
    if global.json {
        ui::json(&json!({
            "username": made.username, "workspace": made.workspace, "token": token
        }));
        return Ok(());
    }
    ui::print_note(format!(
        "Key of {}, an owner of {}, also stored in {}. It is shown once:",
        made.username,
        made.workspace,
        config.data_dir.join("admin.key").display()
    ));
    ui::line(token);
    Ok(())
}

pub async fn login(global: &Global, command: Login) -> Result<(), Fail> {
    let request = match command {
        Login::Approve(args) => DecideLoginRequest {
            user_code: args.code.code,
            username: args.user,
            workspace: args.workspace,
            deny: false,
        },
        Login::Deny(args) => {
            DecideLoginRequest { user_code: args.code, deny: true, ..DecideLoginRequest::default() }
        }
    };
    let decided = connect::client(global)?.decide_login(&request).await?;
    if global.json {
        ui::json(&decided);
    } else if request.deny {
        ui::line("The login was denied.");
    } else {
        let scopes = decided.scopes.join(" ");
        ui::line(format!(
            "{} gets a key of {} for {} ({scopes}).",
            decided.client, decided.username, decided.workspace
        ));
    }
    Ok(())
}
