use casemate_api::workspace::{EnvGuard, PolicyPatch};
use clap::{Args, Subcommand, ValueEnum};

use crate::{cli::Global, connect, fail::Fail, table, ui};

/// Show and change the policy of the workspace.
#[derive(Debug, Subcommand)]
pub enum Workspace {
    /// Show or change the update policy of the workspace.
    #[command(after_help = "Examples:
  casemate workspace policy
  casemate workspace policy --env-guard refuse   refuse updates that drop used variables
  casemate workspace policy --json")]
    Policy(PolicyArgs),
}

/// Without options, the current policy is shown.
#[derive(Debug, Args)]
pub struct PolicyArgs {
    /// Default for updates that drop a variable which the compose file uses.
    #[arg(long, value_name = "WHAT")]
    env_guard: Option<Guard>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Guard {
    /// Apply the update and report the dropped variables.
    Report,
    /// Refuse the update.
    Refuse,
}

pub async fn run(global: &Global, command: Workspace) -> Result<(), Fail> {
    let Workspace::Policy(args) = command;
    let client = connect::client(global)?;
    let found = match args.env_guard {
        None => client.workspace_policy().await?,
        Some(guard) => {
            let env_guard = Some(match guard {
                Guard::Report => EnvGuard::Report,
                Guard::Refuse => EnvGuard::Refuse,
            });
            client.patch_workspace_policy(&PolicyPatch { env_guard }).await?
        }
    };
    if global.json {
        ui::json(&found);
        return Ok(());
    }
    let what = match found.env_guard {
        EnvGuard::Report => "report: applied; the reply, operation and event list them",
        EnvGuard::Refuse => "refuse: not applied",
    };
    table::facts(&[("dropped variables in use", what.to_owned())]);
    Ok(())
}
