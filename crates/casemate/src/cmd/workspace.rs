use casemate_api::{
    members::{AcceptRequest, InvitationRequest},
    reply::AuthMe,
    workspace::{EnvGuard, EvidenceGuard, PolicyPatch},
};
use casemate_client::Client;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use crate::{cli::Global, connect, fail::Fail, table, ui};

/// Show the workspace: its members, its policy; invite people.
#[derive(Debug, Subcommand)]
pub enum Workspace {
    /// Show or change the policy of the workspace.
    #[command(after_help = "Examples:
  casemate workspace policy
  casemate workspace policy --env-guard refuse   refuse updates that drop used variables
  casemate workspace policy --evidence require   only instances with accepted evidence get requests
  casemate workspace policy --json")]
    Policy(PolicyArgs),
    /// List your workspaces.
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  casemate workspace list\n  casemate workspace list --json"
    )]
    List,
    /// List the members of the workspace of the key.
    #[command(after_help = "Examples:\n  casemate workspace members")]
    Members,
    /// Give a member another role.
    #[command(after_help = "Examples:\n  casemate workspace set-role usr_2 admin")]
    SetRole(SetRoleArgs),
    /// Take a member out of the workspace and revoke their keys for it.
    #[command(after_help = "Examples:\n  casemate workspace remove usr_2")]
    Remove(UserArgs),
    /// Invite somebody and print the token of the invitation. No mail is sent.
    #[command(after_help = "Examples:\n  casemate workspace invite ada@example.org --role member")]
    Invite(InviteArgs),
    Accept(AcceptArgs),
}

#[derive(Debug, Args)]
pub struct UserArgs {
    /// Id of the member; see `casemate workspace members`.
    user: String,
}

#[derive(Debug, Args)]
pub struct SetRoleArgs {
    /// Id of the member; see `casemate workspace members`.
    user: String,
    /// viewer, member, admin or owner.
    role: String,
}

#[derive(Debug, Args)]
pub struct InviteArgs {
    /// E-mail address, for the list of invitations.
    email: String,
    /// viewer, member, admin or owner.
    #[arg(long, default_value = "member")]
    role: String,
}

/// Accept an invitation and print the API key for its workspace, once.
///
/// With --username a new user is made; without it, the user of the API key joins.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  casemate workspace accept inv_… --username ada --api-url https://casemate.example.org/api/v1
  casemate workspace accept inv_…")]
pub struct AcceptArgs {
    /// Token of the invitation.
    token: String,
    /// Name of the user to make: 1 to 40 characters of a-z, 0-9 and -.
    #[arg(long)]
    username: Option<String>,
}

/// Without options, the current policy is shown.
#[derive(Debug, Args)]
pub struct PolicyArgs {
    /// Default for updates that drop a variable which the compose file uses.
    #[arg(long, value_name = "WHAT")]
    env_guard: Option<Guard>,
    /// Which instances get requests for their app.
    #[arg(long, value_name = "WHAT")]
    evidence: Option<Evidence>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Evidence {
    /// Those that are ready; an app can require more.
    Report,
    /// Those whose evidence is accepted, of every app.
    Require,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Guard {
    /// Apply the update and report the dropped variables.
    Report,
    /// Refuse the update.
    Refuse,
}

pub async fn run(global: &Global, command: Workspace) -> Result<(), Fail> {
    match command {
        Workspace::Policy(args) => policy(global, &args).await,
        Workspace::Accept(args) => accept(global, args).await,
        Workspace::List => list(global, &connect::client(global)?).await,
        command => {
            let client = connect::client(global)?;
            let slug = slug(&client).await?;
            match command {
                Workspace::SetRole(args) => {
                    client.change_member(&slug, &args.user, &args.role).await?;
                }
                Workspace::Remove(args) => client.remove_member(&slug, &args.user).await?,
                Workspace::Invite(args) => return invite(global, &client, &slug, args).await,
                _ => {}
            }
            members(global, &client, &slug).await
        }
    }
}

/// The workspace of the key.
async fn slug(client: &Client) -> Result<String, Fail> {
    let slug = match client.auth_me().await? {
        AuthMe::Nested(me) => me.workspace.slug,
        AuthMe::Flat(_) => None,
    };
    slug.ok_or_else(|| Fail::new("no-workspace", "the server names no workspace of the key"))
}

async fn list(global: &Global, client: &Client) -> Result<(), Fail> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let part = client.workspaces(cursor.as_deref()).await?;
        all.extend(part.data);
        cursor = part.pagination.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    if global.json {
        ui::json(&json!({ "workspaces": all }));
        return Ok(());
    }
    let rows = all.into_iter().map(|one| {
        let mark = if one.is_default { "of this key" } else { "" };
        vec![one.slug.unwrap_or_default(), one.name, one.role, mark.to_owned()]
    });
    table::print(&["slug", "name", "role", ""], rows.collect(), "no workspaces");
    Ok(())
}

async fn members(global: &Global, client: &Client, slug: &str) -> Result<(), Fail> {
    let (mut all, mut page) = (Vec::new(), 1);
    loop {
        let part = client.members(slug, page).await?;
        all.extend(part.items);
        if u64::from(page) >= part.pages {
            break;
        }
        page += 1;
    }
    if global.json {
        ui::json(&json!({ "members": all }));
        return Ok(());
    }
    let rows = all.into_iter().map(|one| {
        vec![one.user_id, one.username, one.email.unwrap_or_default(), one.role.to_lowercase()]
    });
    table::print(&["id", "name", "email", "role"], rows.collect(), "no members");
    Ok(())
}

async fn invite(
    global: &Global,
    client: &Client,
    slug: &str,
    args: InviteArgs,
) -> Result<(), Fail> {
    let request = InvitationRequest { email: args.email, role: args.role };
    let made = client.invite(slug, &request).await?;
    if global.json {
        ui::json(&made);
        return Ok(());
    }
    ui::print_note(format!("It expires at {}. The token is shown once:", made.expires_at));
    ui::line(made.token);
    Ok(())
}

async fn accept(global: &Global, args: AcceptArgs) -> Result<(), Fail> {
    let client = if args.username.is_some() {
        connect::client_without_any_key(global)?
    } else {
        connect::client(global)?
    };
    let request =
        AcceptRequest { token: args.token, username: args.username, ..AcceptRequest::default() };
    let accepted = client.accept_invitation(&request).await?;
    if global.json {
        ui::json(&accepted);
        return Ok(());
    }
    let name = &accepted.workspace_slug;
    ui::print_note(format!("You are in {name}. Your API key is shown once:"));
    ui::line(accepted.api_key);
    Ok(())
}

async fn policy(global: &Global, args: &PolicyArgs) -> Result<(), Fail> {
    let client = connect::client(global)?;
    let patch = PolicyPatch {
        env_guard: args.env_guard.map(|guard| match guard {
            Guard::Report => EnvGuard::Report,
            Guard::Refuse => EnvGuard::Refuse,
        }),
        evidence: args.evidence.map(|guard| match guard {
            Evidence::Report => EvidenceGuard::Report,
            Evidence::Require => EvidenceGuard::Require,
        }),
    };
    let found = if patch == PolicyPatch::default() {
        client.workspace_policy().await?
    } else {
        client.patch_workspace_policy(&patch).await?
    };
    if global.json {
        ui::json(&found);
        return Ok(());
    }
    let dropped = match found.env_guard {
        EnvGuard::Report => "report: applied; the reply, operation and event list them",
        EnvGuard::Refuse => "refuse: not applied",
    };
    let evidence = match found.evidence {
        EvidenceGuard::Report => "report: refused evidence is an event; an app can require more",
        EvidenceGuard::Require => "require: only instances with accepted evidence get requests",
    };
    table::facts(&[
        ("dropped variables in use", dropped.to_owned()),
        ("evidence", evidence.to_owned()),
    ]);
    Ok(())
}
