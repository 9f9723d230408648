use casemate_api::workspace::{EnvGuard, EvidenceGuard, PolicyPatch};
use clap::{Args, Subcommand, ValueEnum};

use crate::{cli::Global, connect, fail::Fail, table, ui};

/// Show and change the policy of the workspace.
#[derive(Debug, Subcommand)]
pub enum Workspace {
    /// Show or change the policy of the workspace.
    #[command(after_help = "Examples:
  casemate workspace policy
  casemate workspace policy --env-guard refuse   refuse updates that drop used variables
  casemate workspace policy --evidence require   only instances with accepted evidence get requests
  casemate workspace policy --json")]
    Policy(PolicyArgs),
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
    let Workspace::Policy(args) = command;
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
