//! `casemate admin`: chores of whoever runs the service, done beside it.

mod kms;
mod node;

use std::path::PathBuf;

use casemate_server::{config::Overrides, serve};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::{cli::Global, fail::Fail, serve::load, ui};

/// Chores of whoever runs the service.
#[derive(Debug, Subcommand)]
pub enum Admin {
    /// Bring the database's schema up to date, or say what is missing.
    Migrate(MigrateArgs),
    /// KMS that contracts govern: add one to the configuration, check them.
    #[command(subcommand)]
    Kms(kms::Kms),
    /// Nodes: add, look, cordon, remove.
    #[command(subcommand)]
    Node(node::Node),
}

/// Bring the database's schema up to date.
///
/// `casemate serve` does the same when it starts. Processes that do it at once on one PostgreSQL wait
/// for each other; a SQLite file must not be in use.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  casemate admin migrate --check           exit 0: nothing to do; exit 1: something, or an error
  casemate admin migrate
  CASEMATE_DATABASE_URL=postgres://… casemate admin migrate --json")]
pub struct MigrateArgs {
    /// Only say what would be done; exit 1 if anything would.
    #[arg(long)]
    check: bool,
    /// Settings, in the form of config.default.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Does what was said.
pub async fn run(global: &Global, command: Admin) -> Result<(), Fail> {
    match command {
        Admin::Migrate(args) => migrate(global, args).await,
        Admin::Kms(command) => kms::run(global, command).await,
        Admin::Node(command) => node::run(global, command).await,
    }
}

async fn migrate(global: &Global, args: MigrateArgs) -> Result<(), Fail> {
    let overrides = Overrides { data_dir: global.data_dir.clone(), ..Overrides::default() };
    let config = load(args.config, &overrides)?;
    let migrations = if args.check {
        serve::pending_migrations(&config).await
    } else {
        serve::migrate(&config).await
    };
    let migrations = migrations.map_err(|error| Fail::new("database", error.to_string()))?;
    if global.json {
        let list: Vec<_> = migrations
            .iter()
            .map(|one| json!({ "version": one.version, "description": one.description }))
            .collect();
        let word = if args.check { "pending" } else { "migrated" };
        ui::json(&json!({ word: list }));
    } else {
        let word = if args.check { "pending" } else { "done" };
        for one in &migrations {
            ui::line(format!("{word}: {:04} {}", one.version, one.description));
        }
        if migrations.is_empty() {
            ui::line("The schema is up to date.");
        }
    }
    if args.check && !migrations.is_empty() {
        let what = format!("migrations that have not run: {}", migrations.len());
        return Err(Fail::new("pending-migrations", what).suggest("casemate admin migrate"));
    }
    Ok(())
}
