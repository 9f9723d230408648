//! What can be said, and who answers it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use secrecy::SecretString;

use crate::{admin, cmd, fail::Fail, serve, up};

/// The open control plane for confidential VMs.
#[derive(Debug, Parser)]
#[command(
    name = "casemate",
    version,
    propagate_version = true,
    max_term_width = 100,
    after_help = "Examples:
  casemate up                      run the compose file of this directory
  casemate up examples/hello -e GREETING=hi
  casemate cvms ls                 what runs
  casemate cvms logs hello -f      what it says
  casemate up --stop               end it again

Exit codes: 0 done, 1 refused or failed, 2 usage."
)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Base URL of the API, with /api/v1 [env: CASEMATE_API_URL, PHALA_CLOUD_API_PREFIX; else the
    /// instance of the data directory].
    #[arg(long, global = true, value_name = "URL")]
    pub api_url: Option<String>,
    /// API key; better given by the environment, where `ps` does not show it [env: CASEMATE_API_KEY,
    /// PHALA_CLOUD_API_KEY; else the key in the data directory].
    #[arg(long, global = true, value_name = "KEY")]
    pub api_key: Option<SecretString>,
    /// Data directory of the local instance [env: CASEMATE_DATA_DIR; default:
    /// $XDG_DATA_HOME/casemate].
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// One JSON document on stdout and nothing else; errors as JSON on stderr.
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a compose file as a CVM and follow it.
    Up(up::UpArgs),
    /// Deploy a compose file to a server, or update what is there; also where contracts decide.
    #[cfg(feature = "onchain")]
    Deploy(Box<cmd::deploy::Deploy>),
    /// Run the service.
    Serve(serve::ServeArgs),
    /// Chores of whoever runs the service.
    #[command(subcommand)]
    Admin(admin::Admin),
    /// CVMs: list, look, start, stop, update, replicate, logs, delete.
    #[command(subcommand, visible_alias = "cvm")]
    Cvms(cmd::cvms::Cvms),
    /// Apps.
    #[command(subcommand, visible_alias = "app")]
    Apps(cmd::apps::Apps),
    /// CVMs of an app: list, add, remove.
    #[command(subcommand, visible_alias = "instance")]
    Instances(cmd::replicas::Instances),
    /// Nodes that run CVMs.
    #[command(subcommand, visible_alias = "node")]
    Nodes(cmd::nodes::Nodes),
    /// Key management services.
    #[command(subcommand)]
    Kms(cmd::kms::Kms),
    /// Contracts that govern apps: what is missing, what they say, changes of them.
    #[command(subcommand, visible_alias = "gov")]
    Governance(cmd::governance::Governance),
    /// OS images.
    #[command(subcommand, visible_alias = "image")]
    Images(cmd::images::Images),
    /// Sizes of CVMs.
    #[command(subcommand, visible_alias = "size")]
    Sizes(cmd::sizes::Sizes),
    /// The workspace of the API key.
    #[command(subcommand)]
    Workspace(cmd::workspace::Workspace),
}

impl Cli {
    /// Does what was said.
    pub async fn run(self) -> Result<(), Fail> {
        let global = &self.global;
        match self.command {
            Command::Up(args) => Box::pin(up::run(global, args)).await,
            #[cfg(feature = "onchain")]
            Command::Deploy(args) => Box::pin(cmd::deploy::run(global, *args)).await,
            Command::Serve(args) => serve::run(global, args).await,
            Command::Admin(command) => admin::run(global, command).await,
            Command::Cvms(command) => cmd::cvms::run(global, command).await,
            Command::Apps(command) => cmd::apps::run(global, command).await,
            Command::Instances(command) => cmd::replicas::run(global, command).await,
            Command::Nodes(command) => cmd::nodes::run(global, command).await,
            Command::Kms(command) => cmd::kms::run(global, command).await,
            Command::Governance(command) => Box::pin(cmd::governance::run(global, command)).await,
            Command::Images(command) => cmd::images::run(global, command).await,
            Command::Sizes(command) => cmd::sizes::run(global, command).await,
            Command::Workspace(command) => cmd::workspace::run(global, command).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_commands_are_well_formed_and_each_has_examples() {
        let mut root = Cli::command();
        root.build();
        root.clone().debug_assert();
        let mut open = vec![root];
        while let Some(command) = open.pop() {
            if command.get_name() == "help" {
                continue;
            }
            let children: Vec<_> = command.get_subcommands().cloned().collect();
            if children.is_empty() {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("casemate "), "{} has no examples", command.get_name());
            }
            open.extend(children);
        }
    }
}
