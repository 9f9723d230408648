//! Streams the logs of a CVM, across restarts of its containers and of the server.

use std::time::Duration;

use casemate_client::{Client, Error};
use tokio::time::sleep;

use crate::{fail::Fail, ui};

/// Time between the end of one stream and the next attempt.
const PAUSE: Duration = Duration::from_secs(1);
/// Number of failed attempts after which the server counts as gone.
const MAX_MISSES: u32 = 30;
/// Maximum size of a log that is read whole, in bytes.
const MAX_TEXT: usize = 1024 * 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Interrupted,
    /// Stdout was closed.
    Unread,
    /// The CVM is in this state, in which it writes no logs.
    Silent(String),
}

/// Copies the logs to stdout until Ctrl-C or until the CVM is down.
pub async fn follow(client: &Client, cvm: &str, tail: u32) -> Result<End, Fail> {
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => match interrupted {
            Ok(()) => Ok(End::Interrupted),
            Err(error) => Err(Fail::new("signals", error.to_string())),
        },
        end = copy(client, cvm, tail) => end,
    }
}

async fn copy(client: &Client, cvm: &str, mut tail: u32) -> Result<End, Fail> {
    let mut misses = 0;
    loop {
        match stream(client, cvm, tail).await {
            Ok(Copied::Unread) => return Ok(End::Unread),
            Ok(Copied::All) => (misses, tail) = (0, 0),
            Err(error) if is_temporary(&error) => {
                misses += 1;
                if misses == 1 {
                    ui::print_note(format!("log stream interrupted, retrying: {error}"));
                }
                if misses > MAX_MISSES {
                    return Err(error.into());
                }
            }
            Err(error) => return Err(error.into()),
        }
        match client.cvm_state(cvm).await {
            Ok(state) if !state.in_progress && state.status != "running" => {
                return Ok(End::Silent(state.status.to_string()));
            }
            Ok(_) => {}
            Err(error) if error.is_not_found() => return Ok(End::Silent("deleted".to_owned())),
            Err(error) if is_temporary(&error) => {}
            Err(error) => return Err(error.into()),
        }
        sleep(PAUSE).await;
    }
}

/// Whether the error is temporary: no answer, or a status that asks to retry.
fn is_temporary(error: &Error) -> bool {
    error.is_transport()
        || error.api().is_some_and(|error| matches!(error.status, 409 | 429 | 502..=504))
}

enum Copied {
    All,
    Unread,
}

async fn stream(client: &Client, cvm: &str, tail: u32) -> Result<Copied, Error> {
    let mut stream = client.logs(cvm, true, tail).await?;
    while let Some(bytes) = stream.next().await? {
        if !ui::raw(&bytes) {
            return Ok(Copied::Unread);
        }
    }
    Ok(Copied::All)
}

/// The last lines of the log.
pub async fn last_lines(client: &Client, cvm: &str, tail: u32) -> Result<String, Error> {
    let mut stream = client.logs(cvm, false, tail).await?;
    let mut text = Vec::new();
    while let Some(bytes) = stream.next().await? {
        if text.len() > MAX_TEXT {
            break;
        }
        text.extend_from_slice(&bytes);
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}
