//! `casemate up --stop`: shuts down the CVM, and the local server after the last CVM.

use std::time::Duration;

use casemate_client::Client;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{
    UpArgs, instance,
    pid::LocalServerProcess,
    project::{Project, template_name},
};
use crate::{
    cli::Global,
    cmd::cvms::wait::{progress_printer, wait},
    connect,
    fail::Fail,
    local::DataDir,
    ui,
};

/// The server stops within ten seconds.
const ENDS_WITHIN: Duration = Duration::from_secs(15);
/// A guest has a minute to shut down before it is stopped.
const DOWN_WITHIN: Duration = Duration::from_mins(3);
/// CVM states that do not keep the server running.
const DOWN: [&str; 3] = ["stopped", "deleted", "error"];

/// Whether the server was stopped, and if not, why.
#[derive(Debug, PartialEq, Eq)]
enum ServerOutcome {
    Stopped,
    /// Other CVMs are running.
    InUse(Vec<String>),
    /// `up` did not start it.
    NotStartedByUp,
}

pub(super) async fn run(global: &Global, args: &UpArgs) -> Result<(), Fail> {
    let name = match &args.template {
        Some(template) => template_name(args.name.as_deref(), template)?,
        None => Project::name(&args.path, args.name.as_deref())?,
    };
    if let Some(client) = connect::client_from_flags(global)? {
        let status = shut_down(global, &client, &name, args.timeout).await?;
        print_result(global, &name, &status, &ServerOutcome::NotStartedByUp);
        return Ok(());
    }
    let dir = DataDir::find(global.data_dir.as_deref());
    if dir.admin_key().is_none() {
        return Err(Fail::new(
            "no-server",
            format!("nothing to stop: no server was started in {}", dir.path().display()),
        ));
    }
    // Containers outlive the server, so a stopped server is started again to stop them.
    let instance = instance::find_or_start(global, &args.node).await?;
    let status = shut_down(global, &instance.client, &name, args.timeout).await?;
    let outcome = end(&instance.client, &dir).await?;
    print_result(global, &name, &status, &outcome);
    Ok(())
}

/// Shuts down the CVM and returns its state.
async fn shut_down(
    global: &Global,
    client: &Client,
    name: &str,
    timeout: Option<u64>,
) -> Result<String, Fail> {
    let cvm = match client.cvm_info(name).await {
        Ok(cvm) if cvm.name == name => cvm,
        Ok(_) => return Ok("not there".to_owned()),
        Err(error) if error.is_not_found() => return Ok("not there".to_owned()),
        Err(error) => return Err(error.into()),
    };
    if cvm.status == "stopped" && !cvm.in_progress {
        return Ok(cvm.status.to_string());
    }
    client.shutdown(&cvm.id).await?;
    let within = timeout.map_or(DOWN_WITHIN, Duration::from_secs);
    let state = wait(client, &cvm.id, "stopped", within, progress_printer(global.json)).await?;
    Ok(state.status.to_string())
}

/// Stops the server that `up` started, unless a CVM needs it.
async fn end(client: &Client, dir: &DataDir) -> Result<ServerOutcome, Fail> {
    let all = client.all_cvms().await?;
    let busy = all.iter().filter(|cvm| cvm.in_progress || !DOWN.contains(&cvm.status.as_str()));
    let busy: Vec<String> = busy.map(|cvm| cvm.name.clone()).collect();
    if !busy.is_empty() {
        return Ok(ServerOutcome::InUse(busy));
    }
    let Some(process) = LocalServerProcess::find(dir) else {
        return Ok(ServerOutcome::NotStartedByUp);
    };
    let failed = |why: String| {
        Fail::new("stop", why).suggest(format!("Stop it yourself: kill {}", process.pid()))
    };
    process.terminate().map_err(|error| failed(format!("cannot stop the server: {error}")))?;
    let deadline = Instant::now() + ENDS_WITHIN;
    while process.is_running() {
        if Instant::now() > deadline {
            return Err(failed(format!(
                "the server did not stop within {} s",
                ENDS_WITHIN.as_secs()
            )));
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(ServerOutcome::Stopped)
}

fn print_result(global: &Global, name: &str, status: &str, outcome: &ServerOutcome) {
    if global.json {
        let running: &[String] =
            if let ServerOutcome::InUse(names) = outcome { names } else { &[] };
        ui::json(&json!({
            "name": name,
            "status": status,
            "instance_ended": *outcome == ServerOutcome::Stopped,
            "still_running": running,
        }));
        return;
    }
    ui::line(format!("{name} is {status}."));
    match outcome {
        ServerOutcome::Stopped => ui::line("The server was stopped too. Its data is kept."),
        ServerOutcome::InUse(names) => {
            ui::line(format!("The server keeps running for these CVMs: {}", names.join(", ")))
        }
        ServerOutcome::NotStartedByUp => {
            ui::line("The server keeps running, because `up` did not start it.")
        }
    };
}
