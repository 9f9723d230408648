//! The command line: global options and the top-level commands.

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
  casemate up                      deploy the compose file in this directory
  casemate up examples/hello -e GREETING=hi
  casemate cvms ls                 list CVMs
  casemate cvms logs hello -f      stream logs
  casemate up --stop               stop the CVM

Exit codes: 0 done, 1 refused or failed, 2 usage; `verify` adds 3, a claim that is not shown."
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Global options.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Base URL of the API, ending in /api/v1 [env: CASEMATE_API_URL, PHALA_CLOUD_API_PREFIX; default: the
    /// local server of the data directory].
    #[arg(long, global = true, value_name = "URL")]
    pub api_url: Option<String>,
    /// API key. Prefer the environment variable, because `ps` shows arguments [env: CASEMATE_API_KEY,
    /// PHALA_CLOUD_API_KEY; default: the key in the data directory].
    #[arg(long, global = true, value_name = "KEY")]
    pub api_key: Option<SecretString>,
    /// Data directory of the local server [env: CASEMATE_DATA_DIR; default: $XDG_DATA_HOME/casemate].
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Print one JSON document to stdout, and errors as JSON to stderr.
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::UpArgs),
    #[cfg(feature = "onchain")]
    Deploy(Box<cmd::deploy::Deploy>),
    Serve(serve::ServeArgs),
    /// Operator commands: migrate the database, manage KMS, nodes and people.
    #[command(subcommand)]
    Admin(admin::Admin),
    /// Manage CVMs: list, show, start, stop, update, replicate, delete.
    #[command(subcommand, visible_alias = "cvm")]
    Cvms(cmd::cvms::Cvms),
    /// Manage apps: list, show revisions, redeploy, readiness.
    #[command(subcommand, visible_alias = "app")]
    Apps(cmd::apps::Apps),
    /// Manage the CVMs of an app: list, add, remove.
    #[command(subcommand, visible_alias = "instance")]
    Instances(cmd::replicas::Instances),
    /// Show and export what CVMs prove about themselves.
    #[command(subcommand, visible_alias = "attestation")]
    Attest(cmd::attest::Attest),
    /// List nodes.
    #[command(subcommand, visible_alias = "node")]
    Nodes(cmd::nodes::Nodes),
    /// List key management services.
    #[command(subcommand)]
    Kms(cmd::kms::Kms),
    /// Show and change what the contracts of an app allow.
    #[command(subcommand, visible_alias = "gov")]
    Governance(cmd::governance::Governance),
    /// List OS images.
    #[command(subcommand, visible_alias = "image")]
    Images(cmd::images::Images),
    /// List instance types.
    #[command(subcommand, visible_alias = "size")]
    Sizes(cmd::sizes::Sizes),
    /// List app templates of the operator; `up --template` deploys one.
    #[command(subcommand, visible_alias = "template")]
    Templates(cmd::templates::Templates),
    /// Manage API keys: list, create, rotate, revoke.
    #[command(subcommand, visible_alias = "key")]
    Keys(cmd::keys::Keys),
    /// Manage webhooks: URLs that are sent what happens in the workspace.
    #[command(subcommand, visible_alias = "webhook")]
    Webhooks(cmd::webhooks::Webhooks),
    /// Show and export the audit log of the workspace.
    #[command(subcommand)]
    Audit(cmd::audit::Audit),
    /// Manage your SSH keys.
    #[command(subcommand, visible_alias = "ssh-key")]
    SshKeys(cmd::ssh_keys::SshKeys),
    /// Show the workspace: its members, its policy; invite people.
    #[command(subcommand)]
    Workspace(cmd::workspace::Workspace),
    Verify(Box<cmd::verify::Verify>),
}

impl Cli {
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
            Command::Attest(command) => cmd::attest::run(global, command).await,
            Command::Nodes(command) => cmd::nodes::run(global, command).await,
            Command::Kms(command) => cmd::kms::run(global, command).await,
            Command::Governance(command) => Box::pin(cmd::governance::run(global, command)).await,
            Command::Images(command) => cmd::images::run(global, command).await,
            Command::Sizes(command) => cmd::sizes::run(global, command).await,
            Command::Templates(command) => cmd::templates::run(global, command).await,
            Command::Keys(command) => cmd::keys::run(global, command).await,
            Command::Webhooks(command) => cmd::webhooks::run(global, command).await,
            Command::Audit(command) => cmd::audit::run(global, command, false).await,
            Command::SshKeys(command) => cmd::ssh_keys::run(global, command).await,
            Command::Workspace(command) => cmd::workspace::run(global, command).await,
            Command::Verify(args) => cmd::verify::run(global, &args),
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
