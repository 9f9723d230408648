//! Following the output of a CVM over restarts of its containers and of the server.

use std::time::Duration;

use casemate_client::{Client, Error};
use tokio::time::sleep;

use crate::{fail::Fail, ui};

/// Between the end of one stream and the next.
const PAUSE: Duration = Duration::from_secs(1);
/// A server that is away for longer than this many pauses is gone.
const MAX_MISSES: u32 = 30;
/// More than this is not kept of what is read whole.
const MAX_TEXT: usize = 1024 * 1024;

/// Why following ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Ctrl-C.
    Interrupted,
    /// Nobody reads stdout any more.
    Unread,
    /// The CVM is in this state, in which it says nothing.
    Silent(String),
}

/// Copies the output to stdout until Ctrl-C or the CVM is down.
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
            Err(error) if comes_back(&error) => {
                misses += 1;
                if misses == 1 {
                    ui::print_note(format!("lost the logs, trying again: {error}"));
                }
                if misses > MAX_MISSES {
                    return Err(error.into());
                }
            }
            Err(error) => return Err(error.into()),
        }
        match client.cvm_state(cvm).await {
            Ok(state) if !state.in_progress && state.status != "running" => {
                return Ok(End::Silent(state.status));
            }
            Ok(_) => {}
            Err(error) if error.is_not_found() => return Ok(End::Silent("deleted".to_owned())),
            Err(error) if comes_back(&error) => {}
            Err(error) => return Err(error.into()),
        }
        sleep(PAUSE).await;
    }
}

/// No answer, or one that says: not just now.
fn comes_back(error: &Error) -> bool {
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

/// The last lines as text.
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
