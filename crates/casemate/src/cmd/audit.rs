use casemate_api::audit::{AuditActorKind, AuditEntry};
use casemate_client::AuditQuery;
use clap::{Args, Subcommand};

use crate::{cli::Global, connect, fail::Fail, table, ui};

/// Show and export the audit log of the workspace.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// List what was done, newest first.
    #[command(
        visible_alias = "list",
        after_help = "Examples:
  casemate audit ls
  casemate audit ls --actor ada --from 2026-01-31T00:00:00Z
  casemate audit ls --target cvm --result refused --json"
    )]
    Ls(ListArgs),
    /// Print the whole log as JSON, one object a line, newest first.
    #[command(after_help = "Examples:
  casemate audit export > audit.ndjson
  casemate audit export --action delete_cvm --to 2026-02-01T00:00:00Z")]
    Export(FilterArgs),
}

/// Show and export the audit log of all workspaces and of the installation.
#[derive(Debug, Subcommand)]
pub enum AdminAudit {
    /// List what was done, newest first.
    #[command(
        visible_alias = "list",
        after_help = "Examples:\n  casemate admin audit ls --actor host\n  casemate admin audit ls --limit 500 --json"
    )]
    Ls(ListArgs),
    /// Print the whole log as JSON, one object a line, newest first.
    #[command(after_help = "Examples:\n  casemate admin audit export > audit.ndjson")]
    Export(FilterArgs),
}

impl From<AdminAudit> for Audit {
    fn from(command: AdminAudit) -> Self {
        match command {
            AdminAudit::Ls(args) => Self::Ls(args),
            AdminAudit::Export(args) => Self::Export(args),
        }
    }
}

#[derive(Debug, Args)]
pub struct FilterArgs {
    /// Who did it: a username, a `usr_…` id, or host.
    #[arg(long, value_name = "USER")]
    actor: Option<String>,
    /// What was done: an operation id of the API.
    #[arg(long, value_name = "OPERATION")]
    action: Option<String>,
    /// On what: an id, a kind such as cvm, or KIND/ID.
    #[arg(long, value_name = "TARGET")]
    target: Option<String>,
    /// At or after this time, RFC 3339.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Before this time, RFC 3339.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// ok or refused.
    #[arg(long, value_parser = ["ok", "refused"])]
    result: Option<String>,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// At most so many, 1 to 10000.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

impl From<FilterArgs> for AuditQuery {
    fn from(args: FilterArgs) -> Self {
        let FilterArgs { actor, action, target, from, to, result } = args;
        Self { actor, action, target, from, to, result }
    }
}

/// Rows of one page.
const PAGE: u32 = 200;

pub async fn run(global: &Global, command: Audit, everywhere: bool) -> Result<(), Fail> {
    match command {
        Audit::Ls(args) => list(global, args, everywhere).await,
        Audit::Export(filter) => {
            let client = connect::client(global)?;
            let mut lines = client.audit_export(everywhere, &filter.into()).await?;
            while let Some(bytes) = lines.next().await? {
                if !ui::raw(&bytes) {
                    break;
                }
            }
            Ok(())
        }
    }
}

async fn list(global: &Global, args: ListArgs, everywhere: bool) -> Result<(), Fail> {
    let client = connect::client(global)?;
    let wanted = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let (query, mut rows) = (AuditQuery::from(args.filter), Vec::new());
    let mut cursor: Option<String> = None;
    while rows.len() < wanted {
        let page = client.audit_page(everywhere, &query, cursor.as_deref(), PAGE.min(args.limit));
        let page = page.await?;
        rows.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    rows.truncate(wanted);
    if global.json {
        ui::json(&rows);
        return Ok(());
    }
    let header = ["time", "actor", "address", "workspace", "action", "target", "status", "code"];
    table::print(&header, rows.into_iter().map(row).collect(), "nothing was done");
    Ok(())
}

fn row(entry: AuditEntry) -> Vec<String> {
    let actor = match (entry.actor.kind, entry.actor.username) {
        (AuditActorKind::Host, _) => "(host)".to_owned(),
        (_, username) => table::or_none(username),
    };
    let target = match entry.target.id {
        Some(id) => format!("{}/{}", entry.target.kind, ui::clean(&id)),
        None => entry.target.kind,
    };
    let status = if entry.status == 0 { table::NONE.to_owned() } else { entry.status.to_string() };
    vec![
        entry.at,
        actor,
        table::or_none(entry.address),
        table::or_none(entry.workspace),
        entry.action,
        target,
        status,
        table::or_none(entry.error_code),
    ]
}
