//! `casemate up`: from a compose file to a running CVM, with an embedded service if there is none.
//!
//! 1. [`project`]: which compose file, which name, which variables
//! 2. [`instance`]: the service, found or started (detached, so that it outlives this command)
//! 3. [`deploy`]: provision, then commit; or adopt the CVM of that name, updated if the file changed
//! 4. [`boot`], then the logs, until Ctrl-C
//!
//! Running it again is always safe: what was accepted before goes on, and nothing is changed unasked.
//! `--stop` ([`stop`]) is the way back.

mod boot;
mod child;
pub mod deploy;
mod instance;
pub mod pid;
pub mod project;
mod stop;

use std::{path::PathBuf, time::Duration};

use casemate_api::reply::CvmInfo;
use clap::Args;
use secrecy::SecretString;
use serde_json::json;

use self::{deploy::Outcome, instance::Instance, project::Project};
use crate::{
    cli::Global,
    cmd::cvms::{
        change::DropEnv,
        follow::{End, follow},
        show,
    },
    fail::Fail,
    serve::NodeArg,
    ui, vars,
};

/// As long as the service itself puts up with; pulling large images counts.
const BOOT: Duration = Duration::from_mins(30);

/// Run a compose file as a CVM and follow it.
///
/// Starts a Casemate on this machine if none runs yet (it goes on in the background), deploys the
/// compose file, follows its boot, prints its URLs, and then its output until Ctrl-C. Variables are
/// sealed to the app before they are sent. A CVM of that name with another file is updated: the
/// difference is shown, and asked.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  casemate up                                  the compose file of this directory
  casemate up examples/hello                   of another one
  casemate up app.yml --name my-shop -e TOKEN=secret --env-file prod.env
  casemate up --node sim --no-follow --json    for scripts
  casemate up --yes --no-follow                update it if the file changed, without asking
  casemate up --stop                           shut it down again

Ctrl-C ends this command only. `casemate up` again picks up where it was; the CVM ends with
`casemate up --stop`, its data with `casemate cvms delete NAME`.")]
pub struct UpArgs {
    /// A directory with a compose file, or the file itself.
    #[arg(value_name = "DIR|FILE", default_value = ".")]
    path: PathBuf,
    /// Name of the CVM [default: `name:` of the compose file, else the directory's name].
    #[arg(long)]
    name: Option<String>,
    /// A variable for the app, taken literally; wins over the file.
    #[arg(short = 'e', long = "env", value_name = "KEY=VALUE")]
    env: Vec<SecretString>,
    /// File with variables [default: .env beside the compose file, if there is one].
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// Kind of node for an instance that is started, then and later [default: docker if an engine
    /// answers, else sim].
    #[arg(long, value_enum)]
    node: Vec<NodeArg>,
    /// Do not follow the logs: end as soon as it runs.
    #[arg(long, visible_alias = "detach", short = 'd')]
    no_follow: bool,
    /// Do not ask before a CVM is updated whose file changed.
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    drop_env: DropEnv,
    /// Shut this CVM down, and the embedded instance with the last one.
    #[arg(long, conflicts_with_all = ["env", "env_file", "no_follow"])]
    stop: bool,
    /// Wait this many seconds at most for it to run, or to stop [default: 1800, or 180].
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

pub async fn run(global: &Global, args: UpArgs) -> Result<(), Fail> {
    if args.stop {
        return stop::run(global, &args).await;
    }
    let project = Project::read(&args.path, args.name.as_deref())?;
    let vars = vars::collect(&project.dir, args.env_file.as_deref(), &args.env)?;
    let instance = instance::ready(global, &args.node).await?;
    let within = args.timeout.map_or(BOOT, Duration::from_secs);
    let done = deploy::deploy(global, &instance.client, &project, &vars, &args, within).await?;
    if let Outcome::Adopted { .. } = done.outcome
        && !vars.is_empty()
        && !global.json
    {
        ui::print_note(
            "note: the CVM exists already; it keeps the values of its variables, they are not sent again. To send them: casemate cvms envs update.",
        );
    }
    boot::follow(&instance, &done.cvm, &project.name, within, global.json).await?;
    let cvm = instance.client.cvm_info(&done.cvm).await?;
    tell(global, &instance, done.outcome, &cvm);
    if global.json || args.no_follow {
        return Ok(());
    }
    logs(&instance, &args, &cvm).await
}

/// Says what runs now and where.
fn tell(global: &Global, instance: &Instance, outcome: Outcome, cvm: &CvmInfo) {
    let urls = show::urls(cvm);
    if global.json {
        ui::json(&json!({
            "id": cvm.id,
            "name": cvm.name,
            "app_id": cvm.app_id,
            "vm_uuid": cvm.vm_uuid,
            "status": cvm.status,
            "compose_hash": cvm.compose_hash,
            "urls": urls,
            "tee": show::tee(cvm),
            "outcome": outcome.as_str(),
            "api_url": instance.client.base_url(),
            "instance_started": instance.started,
        }));
        return;
    }
    let app = cvm.app_id.as_deref().unwrap_or("-");
    ui::line(format!("{} is {} ({}, app {app})", cvm.name, cvm.status, cvm.id));
    for url in &urls {
        ui::line(format!("  {url}"));
    }
    if urls.is_empty() {
        ui::line("  no URL: the compose file publishes no port");
    }
    if let Some(warning) = show::warning(cvm) {
        ui::print_note(warning);
    }
}

async fn logs(instance: &Instance, args: &UpArgs, cvm: &CvmInfo) -> Result<(), Fail> {
    ui::print_note("Its output follows; Ctrl-C stops following, not the CVM.");
    let end = tokio::select! {
        end = follow(&instance.client, &cvm.id, 20) => end?,
        asked = instance.gone() => {
            if !asked {
                return Err(boot::gone());
            }
            ui::print_note("Casemate was stopped.");
            return Ok(());
        }
    };
    let way_out = || stop_command(args);
    match end {
        End::Interrupted => {
            ui::print_note(format!("\n{} goes on. To stop it: {}", cvm.name, way_out()));
        }
        End::Silent(status) => ui::print_note(format!("{} is {status}.", cvm.name)),
        End::Unread => {}
    }
    Ok(())
}

fn stop_command(args: &UpArgs) -> String {
    let name = args.name.as_ref().map(|name| format!(" --name {name}")).unwrap_or_default();
    format!("casemate up --stop {}{name}", args.path.display())
}
