use casemate_api::workspace::{EnvGuard, PolicyPatch};
use clap::{Args, Subcommand, ValueEnum};

use crate::{cli::Global, connect, fail::Fail, table, ui};

/// The workspace that the API key belongs to.
#[derive(Debug, Subcommand)]
pub enum Workspace {
    /// Show or change what it says about changes of its CVMs.
    #[command(after_help = "Examples:
  casemate workspace policy
  casemate workspace policy --env-guard refuse   no update drops a variable that is in use
  casemate workspace policy --json")]
    Policy(PolicyArgs),
}

/// Without any option it is shown.
#[derive(Debug, Args)]
pub struct PolicyArgs {
    /// What becomes of a change that drops a variable which the compose file uses, where the change does
    /// not say.
    #[arg(long, value_name = "WHAT")]
    env_guard: Option<Guard>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Guard {
    /// It is applied, and reported.
    Report,
    /// It is refused.
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
        EnvGuard::Report => "report: applied, and told in reply, operation and event",
        EnvGuard::Refuse => "refuse: not applied",
    };
    table::facts(&[("a variable in use is dropped", what.to_owned())]);
    Ok(())
}
