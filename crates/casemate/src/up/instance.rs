//! The server that `up` uses: the one given by flags, the one running in the data directory, or a new one.

use std::time::Duration;

use casemate_client::{Client, Policy};
use tokio::time::{Instant, sleep};

use super::{child::ServerProcess, pid::LocalServerProcess};
use crate::{cli::Global, connect, fail::Fail, local::DataDir, serve::NodeArg, ui};

/// Time from start to first answer, including the search for a container engine.
const READY_WITHIN: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(50);
/// The server's log message when it falls back to a simulated node.
const NO_ENGINE: &str = "no container engine is usable: ";

/// A server that answers.
#[derive(Debug)]
pub struct Instance {
    pub client: Client,
    /// Whether this command started it.
    pub started: bool,
    /// Its process, if `up` started it, now or earlier.
    process: Option<LocalServerProcess>,
}

impl Instance {
    /// Returns when the process has exited; never if it is not known. `true`: it was asked to stop.
    pub async fn wait_for_exit(&self) -> bool {
        let Some(process) = &self.process else { return std::future::pending().await };
        while process.is_running() {
            sleep(Duration::from_millis(500)).await;
        }
        process.removed_pid_file()
    }
}

/// Returns the server, and starts it if needed.
pub async fn find_or_start(global: &Global, nodes: &[NodeArg]) -> Result<Instance, Fail> {
    if let Some(client) = connect::client_from_flags(global)? {
        return Ok(Instance { client, started: false, process: None });
    }
    let dir = DataDir::find(global.data_dir.as_deref());
    if let Some(client) = connect_to_running(&dir).await? {
        if !nodes.is_empty() && !global.json {
            ui::print_note("note: the server is already running, so --node is ignored.");
        }
        return Ok(Instance { client, started: false, process: LocalServerProcess::find(&dir) });
    }
    if !global.json {
        ui::print_note(format!("Starting Casemate in {} …", dir.path().display()));
    }
    let mut process = ServerProcess::start(&dir, nodes)?;
    let client = wait_until_ready(&dir, &mut process).await?;
    if !global.json {
        ui::print_note(format!("The server runs in the background at {}.", client.base_url()));
        let log = process.log();
        if let Some((_, why)) = log.lines().rev().find_map(|line| line.split_once(NO_ENGINE)) {
            ui::print_note(format!(
                "No container engine is available, so the node is simulated: {why}"
            ));
        }
    }
    Ok(Instance { client, started: true, process: wait_for_pid_file(&dir).await })
}

/// The process of a server that answers. It writes its pid file shortly after.
async fn wait_for_pid_file(dir: &DataDir) -> Option<LocalServerProcess> {
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        let found = LocalServerProcess::find(dir);
        if found.is_some() || Instant::now() > deadline {
            return found;
        }
        sleep(LOOK).await;
    }
}

/// A client of the server that runs in this data directory; `None` if there is none.
pub async fn connect_to_running(dir: &DataDir) -> Result<Option<Client>, Fail> {
    let (Some(url), Some(key)) = (dir.api_url(), dir.admin_key()) else { return Ok(None) };
    // One attempt with a short timeout: usually no server is running.
    let policy = Policy { attempts: 1, ..Policy::default() };
    let probe = Client::builder(&url, key).policy(policy).timeout(Duration::from_secs(5)).build();
    let Ok(probe) = probe else { return Ok(None) };
    if probe.ready().await.is_err() {
        return Ok(None);
    }
    match probe.auth_me().await {
        Ok(_) => dir.client(),
        // Another server listens at the recorded address.
        Err(error) if error.is_unauthenticated() || error.is_transport() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Waits until the started server answers. Another server that started first is accepted.
async fn wait_until_ready(dir: &DataDir, process: &mut ServerProcess) -> Result<Client, Fail> {
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        if let Some(client) = connect_to_running(dir).await? {
            return Ok(client);
        }
        if let Some(status) = process.ended() {
            // With two concurrent starts, the other server may be about to answer.
            sleep(Duration::from_secs(1)).await;
            return match connect_to_running(dir).await? {
                Some(client) => Ok(client),
                None => Err(process.fail(format!("casemate serve did not start ({status})"))),
            };
        }
        if Instant::now() > deadline {
            let seconds = READY_WITHIN.as_secs();
            return Err(process.fail(format!("casemate serve did not answer within {seconds} s")));
        }
        sleep(LOOK).await;
    }
}
