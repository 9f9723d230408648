//! The service that `up` talks to: the one that flags name, the one that runs in the data directory,
//! or one that is started there.

use std::time::Duration;

use casemate_client::{Client, Policy};
use tokio::time::{Instant, sleep};

use super::{child::Serving, pid::Embedded};
use crate::{cli::Global, connect, fail::Fail, local::DataDir, serve::NodeArg, ui};

/// From its start to its first answer; looking for a container engine is part of it.
const READY_WITHIN: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(50);
/// What the service says when it had to simulate.
const NO_ENGINE: &str = "no container engine is usable: ";

/// A service that answers.
#[derive(Debug)]
pub struct Instance {
    pub client: Client,
    /// Whether it was started just now.
    pub started: bool,
    /// Its process, if `up` started it, now or before.
    process: Option<Embedded>,
}

impl Instance {
    /// Returns when its process is gone; never, if it is not ours to know. `true`: it was asked to end.
    pub async fn gone(&self) -> bool {
        let Some(process) = &self.process else { return std::future::pending().await };
        while process.lives() {
            sleep(Duration::from_millis(500)).await;
        }
        process.took_its_leave()
    }
}

/// The service; started if need be.
pub async fn ready(global: &Global, nodes: &[NodeArg]) -> Result<Instance, Fail> {
    if let Some(client) = connect::by_flags(global)? {
        return Ok(Instance { client, started: false, process: None });
    }
    let dir = DataDir::find(global.data_dir.as_deref());
    if let Some(client) = running(&dir).await? {
        if !nodes.is_empty() && !global.json {
            ui::print_note(
                "note: Casemate runs already; --node counts only for one that is started.",
            );
        }
        return Ok(Instance { client, started: false, process: Embedded::find(&dir) });
    }
    if !global.json {
        ui::print_note(format!("Starting Casemate in {} …", dir.path().display()));
    }
    let mut serving = Serving::start(&dir, nodes)?;
    let client = answering(&dir, &mut serving).await?;
    if !global.json {
        ui::print_note(format!(
            "Casemate answers at {}; it goes on in the background.",
            client.base_url()
        ));
        let log = serving.log();
        if let Some((_, why)) = log.lines().rev().find_map(|line| line.split_once(NO_ENGINE)) {
            ui::print_note(format!(
                "No container engine is usable, so the node is simulated: {why}"
            ));
        }
    }
    Ok(Instance { client, started: true, process: process(&dir).await })
}

/// The process of an instance that answers already: it writes itself down a moment later.
async fn process(dir: &DataDir) -> Option<Embedded> {
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        let found = Embedded::find(dir);
        if found.is_some() || Instant::now() > deadline {
            return found;
        }
        sleep(LOOK).await;
    }
}

/// A client of the instance that runs in this data directory, if one does.
pub async fn running(dir: &DataDir) -> Result<Option<Client>, Fail> {
    let (Some(url), Some(key)) = (dir.api_url(), dir.admin_key()) else { return Ok(None) };
    // Asked once and not for long: most often nobody is there.
    let policy = Policy { attempts: 1, ..Policy::default() };
    let probe = Client::builder(&url, key).policy(policy).timeout(Duration::from_secs(5)).build();
    let Ok(probe) = probe else { return Ok(None) };
    if probe.ready().await.is_err() {
        return Ok(None);
    }
    match probe.auth_me().await {
        Ok(_) => dir.client(),
        // Another instance listens where this one did.
        Err(error) if error.is_unauthenticated() || error.is_transport() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Waits for the answer of an instance that was started. Another one that was quicker will do.
async fn answering(dir: &DataDir, serving: &mut Serving) -> Result<Client, Fail> {
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        if let Some(client) = running(dir).await? {
            return Ok(client);
        }
        if let Some(status) = serving.ended() {
            // Two at once: the other one may be about to answer.
            sleep(Duration::from_secs(1)).await;
            return match running(dir).await? {
                Some(client) => Ok(client),
                None => Err(serving.fail(format!("casemate serve did not start ({status})"))),
            };
        }
        if Instant::now() > deadline {
            let seconds = READY_WITHIN.as_secs();
            return Err(serving.fail(format!("casemate serve does not answer within {seconds} s")));
        }
        sleep(LOOK).await;
    }
}
