//! `casemate up`: deploys a compose file, and starts a local server if there is none.
//!
//! 1. [`project`]: the compose file, the CVM's name, the variables
//! 2. [`instance`]: the server, found or started as a detached process
//! 3. [`deploy`]: create the CVM, or update the one of that name
//! 4. [`boot`], then the logs until Ctrl-C
//!
//! Running it again is safe: it resumes what was accepted, and asks before it changes a CVM. [`stop`]
//! implements `--stop`.

mod boot;
mod child;
pub mod deploy;
mod instance;
pub mod pid;
pub mod project;
mod stop;
mod template;

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
        log_stream::{End, follow},
        show,
    },
    fail::Fail,
    serve::NodeArg,
    ui,
    vars::{self, Vars},
};

/// The server's own boot limit, which includes pulling large images.
const BOOT: Duration = Duration::from_mins(30);

/// Run a compose file as a CVM.
///
/// Starts a local server in the background if none is running, deploys the compose file, waits for the boot,
/// prints the URLs, and streams the logs until Ctrl-C. Variables are encrypted to the app's key before they
/// are sent. If a CVM of that name runs another file, the command shows the difference and asks before it
/// updates the CVM.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  casemate up                                  the compose file in this directory
  casemate up examples/hello                   another directory
  casemate up app.yml --name my-shop -e TOKEN=secret --env-file prod.env
  casemate up --template web -e GREETING=hi    a template of the operator
  casemate up --node sim --no-follow --json    for scripts
  casemate up --yes --no-follow                update without confirmation
  casemate up --stop                           shut the CVM down

Ctrl-C ends this command only. `casemate up` again picks up where it was; the CVM ends with
`casemate up --stop`, its data with `casemate cvms delete NAME`.")]
pub struct UpArgs {
    /// Compose file, or a directory that contains one.
    #[arg(value_name = "DIR|FILE", default_value = ".")]
    path: PathBuf,
    /// Deploy this template of the operator; its parameters are given like variables.
    #[arg(long, value_name = "NAME", conflicts_with = "path")]
    template: Option<String>,
    /// Name of the CVM [default: the template, or `name:` of the compose file, else the directory's name].
    #[arg(long)]
    name: Option<String>,
    /// Variable for the app, taken literally; overrides the file.
    #[arg(short = 'e', long = "env", value_name = "KEY=VALUE")]
    env: Vec<SecretString>,
    /// File with variables [default: .env beside the compose file, if it exists].
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// Kind of node of a server that is started, now and later [default: docker if a container engine is
    /// available, else sim].
    #[arg(long, value_enum)]
    node: Vec<NodeArg>,
    /// Return once the CVM is running, without its logs.
    #[arg(long, visible_alias = "detach", short = 'd')]
    no_follow: bool,
    /// Skip the confirmation before an update.
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    drop_env: DropEnv,
    /// Shut down this CVM, and the local server if no other CVM is running.
    #[arg(long, conflicts_with_all = ["env", "env_file", "no_follow"])]
    stop: bool,
    /// Timeout in seconds [default: 1800 to start, 180 to stop].
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

pub async fn run(global: &Global, args: UpArgs) -> Result<(), Fail> {
    if args.stop {
        return stop::run(global, &args).await;
    }
    let (instance, project, vars) = begin(global, &args).await?;
    let within = args.timeout.map_or(BOOT, Duration::from_secs);
    let done = deploy::deploy(global, &instance.client, &project, &vars, &args, within).await?;
    if let Outcome::Adopted { .. } = done.outcome
        && !vars.is_empty()
        && !global.json
    {
        ui::print_note(
            "note: the CVM already exists and keeps the values of its variables. To replace them: casemate cvms envs update.",
        );
    }
    boot::follow(&instance, &done.cvm, &project.name, within, global.json).await?;
    let cvm = instance.client.cvm_info(&done.cvm).await?;
    print_result(global, &instance, done.outcome, &cvm);
    if global.json || args.no_follow {
        return Ok(());
    }
    logs(&instance, &args, &cvm).await
}

/// Finds or starts the server, and reads what is to be deployed: a file before, a template after.
async fn begin(global: &Global, args: &UpArgs) -> Result<(Instance, Project, Vars), Fail> {
    if let Some(template) = &args.template {
        let given = vars::given(args.env_file.as_deref(), &args.env)?;
        let instance = instance::find_or_start(global, &args.node).await?;
        let template = instance.client.template(template).await?;
        let (project, vars) = template::fill(&template, args.name.as_deref(), given)?;
        return Ok((instance, project, vars));
    }
    let project = Project::read(&args.path, args.name.as_deref())?;
    let vars = vars::collect(&project.dir, args.env_file.as_deref(), &args.env)?;
    Ok((instance::find_or_start(global, &args.node).await?, project, vars))
}

/// Prints the CVM and its URLs.
fn print_result(global: &Global, instance: &Instance, outcome: Outcome, cvm: &CvmInfo) {
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
    ui::print_note("Showing logs. Ctrl-C stops the output, not the CVM.");
    let end = tokio::select! {
        end = follow(&instance.client, &cvm.id, 20) => end?,
        asked = instance.wait_for_exit() => {
            if !asked {
                return Err(boot::server_exited());
            }
            ui::print_note("The server was stopped.");
            return Ok(());
        }
    };
    let way_out = || stop_command(args);
    match end {
        End::Interrupted => {
            ui::print_note(format!("\n{} keeps running. To stop it: {}", cvm.name, way_out()));
        }
        End::Silent(status) => ui::print_note(format!("{} is {status}.", cvm.name)),
        End::Unread => {}
    }
    Ok(())
}

fn stop_command(args: &UpArgs) -> String {
    let name = args.name.as_ref().map(|name| format!(" --name {name}")).unwrap_or_default();
    match &args.template {
        Some(template) => format!("casemate up --stop --template {template}{name}"),
        None => format!("casemate up --stop {}{name}", args.path.display()),
    }
}
