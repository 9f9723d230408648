//! `casemate up --stop`: the CVM down, and the embedded instance with the last one.

use std::time::Duration;

use casemate_client::Client;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{UpArgs, instance, pid::Embedded, project::Project};
use crate::{
    cli::Global,
    cmd::cvms::wait::{progress_printer, wait},
    connect,
    fail::Fail,
    local::DataDir,
    ui,
};

/// The instance promises ten seconds.
const ENDS_WITHIN: Duration = Duration::from_secs(15);
/// A guest gets a minute; then it is forced.
const DOWN_WITHIN: Duration = Duration::from_mins(3);
/// States in which a CVM does not keep the instance.
const DOWN: [&str; 3] = ["stopped", "deleted", "error"];

/// What became of the instance.
#[derive(Debug, PartialEq, Eq)]
enum Kept {
    Ended,
    /// Other CVMs run.
    Needed(Vec<String>),
    /// `up` did not start it.
    NotOurs,
}

pub(super) async fn run(global: &Global, args: &UpArgs) -> Result<(), Fail> {
    let name = Project::name(&args.path, args.name.as_deref())?;
    if let Some(client) = connect::by_flags(global)? {
        let status = shut_down(global, &client, &name, args.timeout).await?;
        tell(global, &name, &status, &Kept::NotOurs);
        return Ok(());
    }
    let dir = DataDir::find(global.data_dir.as_deref());
    if dir.admin_key().is_none() {
        return Err(Fail::new(
            "no-server",
            format!("nothing runs: no Casemate was started in {}", dir.path().display()),
        ));
    }
    // Containers outlive the instance, so one that is gone is started to stop them.
    let instance = instance::ready(global, &args.node).await?;
    let status = shut_down(global, &instance.client, &name, args.timeout).await?;
    let kept = end(&instance.client, &dir).await?;
    tell(global, &name, &status, &kept);
    Ok(())
}

/// The state it is in then.
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
        return Ok(cvm.status);
    }
    client.shutdown(&cvm.id).await?;
    let within = timeout.map_or(DOWN_WITHIN, Duration::from_secs);
    let state = wait(client, &cvm.id, "stopped", within, progress_printer(global.json)).await?;
    Ok(state.status)
}

/// Ends the instance that `up` started, unless a CVM needs it.
async fn end(client: &Client, dir: &DataDir) -> Result<Kept, Fail> {
    let all = client.all_cvms().await?;
    let busy = all.iter().filter(|cvm| cvm.in_progress || !DOWN.contains(&cvm.status.as_str()));
    let busy: Vec<String> = busy.map(|cvm| cvm.name.clone()).collect();
    if !busy.is_empty() {
        return Ok(Kept::Needed(busy));
    }
    let Some(process) = Embedded::find(dir) else { return Ok(Kept::NotOurs) };
    let failed = |why: String| {
        Fail::new("stop", why).suggest(format!("End it yourself: kill {}", process.number()))
    };
    process.terminate().map_err(|error| failed(format!("Casemate cannot be ended: {error}")))?;
    let deadline = Instant::now() + ENDS_WITHIN;
    while process.lives() {
        if Instant::now() > deadline {
            return Err(failed(format!(
                "Casemate does not end within {} s",
                ENDS_WITHIN.as_secs()
            )));
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(Kept::Ended)
}

fn tell(global: &Global, name: &str, status: &str, kept: &Kept) {
    if global.json {
        let running: &[String] = if let Kept::Needed(names) = kept { names } else { &[] };
        ui::json(&json!({
            "name": name,
            "status": status,
            "instance_ended": *kept == Kept::Ended,
            "still_running": running,
        }));
        return;
    }
    ui::line(format!("{name} is {status}."));
    match kept {
        Kept::Ended => ui::line("Casemate ended with it; the data stay."),
        Kept::Needed(names) => {
            ui::line(format!("Casemate goes on, because these run: {}", names.join(", ")))
        }
        Kept::NotOurs => ui::line("Casemate goes on: `up` did not start it."),
    };
}
