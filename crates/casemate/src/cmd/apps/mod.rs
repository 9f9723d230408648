mod readiness;
mod revisions;

use casemate_api::reply::{App, AppCvm, AppsPage};
use casemate_client::AppsQuery;
use clap::Subcommand;

use crate::{cli::Global, connect, fail::Fail, table, ui};

/// Manage apps.
#[derive(Debug, Subcommand)]
pub enum Apps {
    /// List apps that have CVMs, newest first.
    #[command(
        visible_alias = "list",
        after_help = "Examples:\n  casemate apps ls\n  casemate apps ls --search shop --json"
    )]
    Ls {
        /// Only apps whose name or app id contains this text.
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
        /// Page number.
        #[arg(long, default_value_t = 1)]
        page: u32,
        /// Apps per page, at most 100.
        #[arg(long, default_value_t = 100)]
        page_size: u32,
    },
    /// List the revisions of an app, newest first, including those of deleted CVMs.
    #[command(
        visible_alias = "history",
        after_help = "Examples:\n  casemate apps revisions shop\n  casemate apps revisions shop --json | jq '.revisions[0].compose_hash'"
    )]
    Revisions(revisions::List),
    /// Show a revision with its compose file.
    #[command(
        after_help = "Examples:\n  casemate apps revision shop rev_1a2b3c4d5e\n  casemate apps revision shop rev_1a2b3c4d5e --raw | sha256sum"
    )]
    Revision(revisions::Show),
    /// Show the difference between two revisions. Of variables, only names are compared.
    #[command(after_help = "Examples:\n  casemate apps diff shop rev_1a2b3c4d5e rev_5e4d3c2b1a")]
    Diff(revisions::Compare),
    /// Redeploy an earlier revision.
    ///
    /// The CVM gets the document of the revision and keeps its other settings. The command shows the
    /// difference, asks before a restart, and waits for the result. A failed redeploy is rolled back.
    #[command(after_help = "Examples:
  casemate apps redeploy shop rev_1a2b3c4d5e
  casemate apps redeploy shop rev_1a2b3c4d5e --cvm shop-2 --yes
  casemate apps redeploy shop rev_1a2b3c4d5e --all --yes --json")]
    Redeploy(revisions::Redeploy),
    /// Show or set the readiness check of an app's instances.
    #[command(
        after_help = "Examples:\n  casemate apps readiness 5f4d… \n  casemate apps readiness 5f4d… --http 8080/healthz --interval 2\n  casemate apps readiness 5f4d… --off"
    )]
    Readiness(readiness::ReadinessArgs),
}

pub async fn run(global: &Global, command: Apps) -> Result<(), Fail> {
    let (search, page, page_size) = match command {
        Apps::Ls { search, page, page_size } => (search, page, page_size),
        Apps::Revisions(args) => return revisions::list(global, args).await,
        Apps::Revision(args) => return revisions::show(global, args).await,
        Apps::Diff(args) => return revisions::compare(global, args).await,
        Apps::Readiness(args) => return readiness::run(global, &args).await,
        Apps::Redeploy(args) => return Box::pin(revisions::redeploy(global, args)).await,
    };
    let query =
        AppsQuery { page: Some(page), page_size: Some(page_size), search, ..AppsQuery::default() };
    let found = connect::client(global)?.apps(&query).await?;
    if global.json {
        ui::json(&found);
        return Ok(());
    }
    table::print(
        &["name", "app id", "status", "cvms", "created"],
        found.dstack_apps.iter().map(row).collect(),
        "no apps",
    );
    more(&found);
    Ok(())
}

fn row(app: &App) -> Vec<String> {
    let status = app.current_cvm.as_ref().map(|cvm| match cvm {
        AppCvm::Nested(cvm) => cvm.status.to_string(),
        AppCvm::Basic(cvm) => cvm.status.to_string(),
    });
    vec![
        app.name.clone(),
        app.app_id.clone(),
        table::or_none(status),
        app.cvm_count.to_string(),
        app.created_at.clone(),
    ]
}

fn more(found: &AppsPage) {
    if u64::from(found.page) < found.total_pages {
        ui::print_note(format!(
            "{} apps in total; next page: --page {}",
            found.total,
            found.page + 1
        ));
    }
}
