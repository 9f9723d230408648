use casemate_api::reply::{App, AppCvm, AppsPage};
use casemate_client::AppsQuery;
use clap::Subcommand;

use crate::{cli::Global, connect, fail::Fail, table, ui};

/// Apps.
#[derive(Debug, Subcommand)]
pub enum Apps {
    /// List the apps that have CVMs, newest first.
    #[command(
        visible_alias = "list",
        after_help = "Examples:\n  casemate apps ls\n  casemate apps ls --search shop --json"
    )]
    Ls {
        /// Only those with this in their name or app id.
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
        /// Which page.
        #[arg(long, default_value_t = 1)]
        page: u32,
        /// Apps per page, at most 100.
        #[arg(long, default_value_t = 100)]
        page_size: u32,
    },
}

pub async fn run(global: &Global, command: Apps) -> Result<(), Fail> {
    let Apps::Ls { search, page, page_size } = command;
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
        AppCvm::Nested(cvm) => cvm.status.clone(),
        AppCvm::Basic(cvm) => cvm.status.clone(),
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
        ui::note(format!("{} apps in all; next: --page {}", found.total, found.page + 1));
    }
}
