//! `casemate cvms …`.

pub mod follow;
mod look;
mod power;
pub mod show;
pub mod wait;

use clap::{Args, Subcommand};

use crate::{cli::Global, fail::Fail};

/// CVMs. CVM is a name, `cvm_…`, a uuid, an app id or an instance id.
#[derive(Debug, Subcommand)]
pub enum Cvms {
    /// List the CVMs, newest first.
    #[command(
        visible_alias = "list",
        after_help = "Examples:\n  casemate cvms ls\n  casemate cvms ls --json | jq '.[].status'"
    )]
    Ls,
    /// Show one CVM.
    #[command(
        after_help = "Examples:\n  casemate cvms get hello\n  casemate cvms get cvm_a1b2c3 --json"
    )]
    Get(One),
    /// Boot a CVM.
    #[command(after_help = "Examples:\n  casemate cvms start hello --wait")]
    Start(Power),
    /// Power a CVM off at once; its data stay.
    #[command(after_help = "Examples:\n  casemate cvms stop hello --wait --timeout 60")]
    Stop(Power),
    /// Ask a CVM to shut down by itself; its data stay.
    #[command(after_help = "Examples:\n  casemate cvms shutdown hello --wait")]
    Shutdown(Power),
    /// Shut a CVM down and boot it again.
    #[command(
        after_help = "Examples:\n  casemate cvms restart hello --wait\n  casemate cvms restart hello --force"
    )]
    Restart {
        #[command(flatten)]
        power: Power,
        /// Without asking it to shut down first.
        #[arg(long)]
        force: bool,
    },
    /// Delete a CVM and its data.
    #[command(
        visible_alias = "rm",
        after_help = "Examples:\n  casemate cvms delete hello\n  casemate cvms delete hello --yes --wait"
    )]
    Delete {
        #[command(flatten)]
        power: Power,
        /// Do not ask.
        #[arg(long, short)]
        yes: bool,
    },
    /// Show what the containers of a CVM write.
    #[command(
        after_help = "Examples:\n  casemate cvms logs hello --tail 20\n  casemate cvms logs hello -f"
    )]
    Logs {
        #[command(flatten)]
        one: One,
        /// Go on until Ctrl-C.
        #[arg(long, short)]
        follow: bool,
        /// How many lines of the past.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=10_000))]
        tail: u32,
    },
}

/// Which CVM.
#[derive(Debug, Args)]
pub struct One {
    /// Name or id.
    #[arg(value_name = "CVM")]
    cvm: String,
}

/// Which CVM, and whether to wait for it.
#[derive(Debug, Args)]
pub struct Power {
    #[command(flatten)]
    one: One,
    /// Wait until it is done.
    #[arg(long, short)]
    wait: bool,
    /// Wait this many seconds at most.
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    timeout: u64,
}

pub async fn run(global: &Global, command: Cvms) -> Result<(), Fail> {
    match command {
        Cvms::Ls => look::list(global).await,
        Cvms::Get(one) => look::get(global, &one.cvm).await,
        Cvms::Start(args) => power::act(global, args, power::Verb::Start).await,
        Cvms::Stop(args) => power::act(global, args, power::Verb::Stop).await,
        Cvms::Shutdown(args) => power::act(global, args, power::Verb::Shutdown).await,
        Cvms::Restart { power, force } => {
            power::act(global, power, power::Verb::Restart { force }).await
        }
        Cvms::Delete { power, yes } => power::delete(global, power, yes).await,
        Cvms::Logs { one, follow, tail } => look::logs(global, &one.cvm, follow, tail).await,
    }
}
