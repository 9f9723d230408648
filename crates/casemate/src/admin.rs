//! `casemate admin`: operator commands. They work on the database, the configuration and the fleet.

mod fleet;
mod gateway;
mod kms;
mod moving;
mod node;
mod people;
mod quota;

pub use self::fleet::label;

use std::path::PathBuf;

use casemate_server::{config::Overrides, serve};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::{cli::Global, fail::Fail, serve::load, ui};

/// Operator commands.
#[derive(Debug, Subcommand)]
pub enum Admin {
    Migrate(MigrateArgs),
    /// List the KMS; add and check contract-governed ones.
    #[command(subcommand)]
    Kms(kms::Kms),
    /// Show clusters of dstack-gateway, and set their domains and port policies.
    #[command(subcommand)]
    Gateway(gateway::Gateway),
    /// Manage the nodes of the fleet.
    #[command(subcommand)]
    Node(node::Node),
    /// Show and set what a workspace may take.
    #[command(subcommand)]
    Quota(quota::Quota),
    /// Work on CVMs of any workspace.
    #[command(subcommand)]
    Cvm(moving::Cvm),
    /// Manage users and service accounts.
    #[command(subcommand)]
    User(people::User),
    /// Manage workspaces and who is in them.
    #[command(subcommand)]
    Workspace(people::Workspace),
    /// Manage API keys of anybody; replace a lost admin key.
    #[command(subcommand)]
    Key(people::Key),
    /// Show and export the audit log of all workspaces and of the installation.
    #[command(subcommand)]
    Audit(crate::cmd::audit::AdminAudit),
    /// Approve and deny logins by device code.
    #[command(subcommand)]
    Login(people::Login),
}

/// Migrate the database schema.
///
/// `casemate serve` also migrates when it starts. Concurrent migrations of one PostgreSQL database wait for
/// each other. A SQLite file must not be in use.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  casemate admin migrate --check           exit 1 if migrations are pending
  casemate admin migrate
  CASEMATE_DATABASE_URL=postgres://… casemate admin migrate --json")]
pub struct MigrateArgs {
    /// Only list pending migrations; exit 1 if there are any.
    #[arg(long)]
    check: bool,
    /// Configuration file, in the format of config.default.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub async fn run(global: &Global, command: Admin) -> Result<(), Fail> {
    match command {
        Admin::Migrate(args) => migrate(global, args).await,
        Admin::Gateway(command) => gateway::run(global, command).await,
        Admin::Kms(command) => kms::run(global, command).await,
        Admin::Node(command) => node::run(global, command).await,
        Admin::Quota(command) => quota::run(global, command).await,
        Admin::Cvm(command) => moving::run(global, command).await,
        Admin::User(command) => people::user(global, command).await,
        Admin::Workspace(command) => people::workspace(global, command).await,
        Admin::Key(command) => people::key(global, command).await,
        Admin::Audit(command) => crate::cmd::audit::run(global, command.into(), true).await,
        Admin::Login(command) => people::login(global, command).await,
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
        let what = format!("pending migrations: {}", migrations.len());
        return Err(Fail::new("pending-migrations", what).suggest("casemate admin migrate"));
    }
    Ok(())
}
