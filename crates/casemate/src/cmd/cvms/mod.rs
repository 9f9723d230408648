//! `casemate cvms …`.

pub mod approval;
mod batch;
pub mod change;
mod envs;
mod guest;
mod inspect;
mod instance_id;
pub mod log_stream;
mod operations;
mod ports;
mod power;
mod schedule;
pub mod show;
mod update;
pub mod wait;

use clap::{Args, Subcommand};

use super::replicas;
use crate::{cli::Global, fail::Fail};

/// Manage CVMs. CVM is a name, a `cvm_…` id, a UUID, an app id or an instance id.
#[derive(Debug, Subcommand)]
pub enum Cvms {
    /// List CVMs, newest first.
    #[command(
        visible_alias = "list",
        after_help = "Examples:\n  casemate cvms ls\n  casemate cvms ls --json | jq '.[].status'"
    )]
    Ls,
    /// Show a CVM.
    #[command(
        after_help = "Examples:\n  casemate cvms get hello\n  casemate cvms get cvm_a1b2c3 --json"
    )]
    Get(CvmArg),
    /// Start a CVM.
    #[command(after_help = "Examples:\n  casemate cvms start hello --wait")]
    Start(Power),
    /// Stop a CVM immediately (data is kept).
    #[command(after_help = "Examples:\n  casemate cvms stop hello --wait --timeout 60")]
    Stop(Power),
    /// Shut down a CVM gracefully (data is kept).
    #[command(after_help = "Examples:\n  casemate cvms shutdown hello --wait")]
    Shutdown(Power),
    /// Restart a CVM.
    #[command(
        after_help = "Examples:\n  casemate cvms restart hello --wait\n  casemate cvms restart hello --force"
    )]
    Restart {
        #[command(flatten)]
        power: Power,
        /// Stop it immediately instead of shutting it down.
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
        /// Skip the confirmation.
        #[arg(long, short)]
        yes: bool,
    },
    /// Create another CVM of the same app, with the same document, variables and size.
    #[command(after_help = "Examples:
  casemate cvms replicate hello --wait
  casemate cvms replicate hello --node sim-2 --name hello-eu
  casemate cvms replicate hello -e prod.env -e TOKEN=secret --json")]
    Replicate(Box<replicas::Replicate>),
    /// Update a CVM. All changes are applied together, or none.
    ///
    /// The command shows the difference, asks before a restart, and waits for the result. A failed update is
    /// rolled back to the previous configuration.
    #[command(after_help = "Examples:
  casemate cvms update hello -c docker-compose.yml
  casemate cvms update hello -c docker-compose.yml -e prod.env -e TOKEN=secret --yes
  casemate cvms update hello --public-logs=false --listed
  casemate cvms update hello --image dstack-0.5.5 --memory 4G --yes --json")]
    Update(Box<update::Update>),
    /// Commit an update that was prepared for approval by the app's contract.
    #[command(after_help = "Examples:
  casemate cvms update hello -c docker-compose.yml --prepare-only
  casemate cvms commit-update hello --token 1c2f3c0e-7c8d-4a43-9a51-6c9d8a1d3f10
  casemate cvms commit-update hello --compose-hash 0x3a1f… --transaction 0x9c4e… --wait")]
    CommitUpdate(approval::CommitUpdate),
    /// Change CPU, memory, disk or instance type. A disk can only grow.
    #[command(after_help = "Examples:
  casemate cvms resize hello --vcpu 2 --memory 4G
  casemate cvms resize hello --instance-type tdx.medium --yes
  casemate cvms resize hello --disk 40 --no-wait")]
    Resize(update::Resize),
    /// Rename a CVM.
    #[command(after_help = "Examples:\n  casemate cvms rename hello hello-old")]
    Rename(update::Rename),
    /// List or replace the variables of a CVM. Values are encrypted and cannot be shown.
    #[command(subcommand)]
    Envs(envs::Envs),
    /// List the operations of a CVM, newest first.
    #[command(
        visible_alias = "ops",
        after_help = "Examples:
  casemate cvms operations hello
  casemate cvms operations hello --steps --limit 1
  casemate cvms operations hello --json | jq '.items[0].error_message'"
    )]
    Operations(operations::List),
    /// Cancel the current operation, or a queued one.
    #[command(after_help = "Examples:
  casemate cvms cancel hello
  casemate cvms cancel hello 01890a5d-ac96-774b-bcce-b302099a8057 --no-wait")]
    Cancel(operations::Cancel),
    /// Give a CVM a new instance id. The old id stops working.
    #[command(after_help = "Examples:
  casemate cvms new-instance-id hello
  casemate cvms new-instance-id hello --allow-data-loss --yes --json")]
    NewInstanceId(instance_id::NewInstanceId),
    /// Schedule the deletion of a CVM and its data, or cancel it.
    #[command(after_help = "Examples:
  casemate cvms schedule-delete hello --in 7d
  casemate cvms schedule-delete hello --at 2027-01-31T12:00:00Z --yes
  casemate cvms schedule-delete hello --never")]
    ScheduleDelete(schedule::Schedule),
    /// List or replace the host ports of a CVM.
    #[command(subcommand)]
    Ports(ports::Ports),
    /// Run one command on several CVMs.
    #[command(subcommand)]
    Batch(batch::Batch),
    /// List the containers of a running CVM.
    #[command(after_help = "Examples:\n  casemate cvms ps hello\n  casemate cvms ps hello --json")]
    Ps(CvmArg),
    /// Show memory, CPU, load and disks of a running CVM.
    #[command(after_help = "Examples:\n  casemate cvms stats hello")]
    Stats(CvmArg),
    /// Show the address of a running CVM behind its gateway, and its URLs.
    #[command(after_help = "Examples:\n  casemate cvms network hello")]
    Network(CvmArg),
    /// Show the logs of a CVM's containers.
    #[command(
        after_help = "Examples:\n  casemate cvms logs hello --tail 20\n  casemate cvms logs hello -f"
    )]
    Logs {
        #[command(flatten)]
        one: CvmArg,
        /// Stream new lines until Ctrl-C.
        #[arg(long, short)]
        follow: bool,
        /// Number of past lines to show.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=10_000))]
        tail: u32,
    },
}

#[derive(Debug, Args)]
pub struct CvmArg {
    /// Name or id of the CVM.
    #[arg(value_name = "CVM")]
    pub cvm: String,
}

#[derive(Debug, Args)]
pub struct Power {
    #[command(flatten)]
    one: CvmArg,
    /// Wait until the CVM has reached the state.
    #[arg(long, short)]
    wait: bool,
    /// Timeout in seconds.
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    timeout: u64,
}

pub async fn run(global: &Global, command: Cvms) -> Result<(), Fail> {
    match command {
        Cvms::Ls => inspect::list(global).await,
        Cvms::Get(one) => inspect::get(global, &one.cvm).await,
        Cvms::Start(args) => power::act(global, args, power::Verb::Start).await,
        Cvms::Stop(args) => power::act(global, args, power::Verb::Stop).await,
        Cvms::Shutdown(args) => power::act(global, args, power::Verb::Shutdown).await,
        Cvms::Restart { power, force } => {
            power::act(global, power, power::Verb::Restart { force }).await
        }
        Cvms::Delete { power, yes } => power::delete(global, power, yes).await,
        Cvms::Replicate(args) => Box::pin(replicas::replicate(global, *args)).await,
        Cvms::Update(args) => update::update(global, *args).await,
        Cvms::CommitUpdate(args) => approval::commit(global, &args).await,
        Cvms::Resize(args) => update::resize(global, args).await,
        Cvms::Rename(args) => update::rename(global, args).await,
        Cvms::Envs(command) => envs::run(global, command).await,
        Cvms::Operations(args) => operations::list(global, args).await,
        Cvms::Cancel(args) => operations::cancel(global, args).await,
        Cvms::NewInstanceId(args) => instance_id::run(global, args).await,
        Cvms::ScheduleDelete(args) => schedule::run(global, args).await,
        Cvms::Ports(command) => ports::run(global, command).await,
        Cvms::Batch(command) => batch::run(global, command).await,
        Cvms::Ps(one) => guest::containers(global, &one.cvm).await,
        Cvms::Stats(one) => guest::stats(global, &one.cvm).await,
        Cvms::Network(one) => guest::network(global, &one.cvm).await,
        Cvms::Logs { one, follow, tail } => inspect::logs(global, &one.cvm, follow, tail).await,
    }
}
