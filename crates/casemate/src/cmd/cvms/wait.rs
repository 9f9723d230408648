//! Waits for a CVM to reach a state; a failed operation becomes a failed command.

use std::time::Duration;

use casemate_api::reply::CvmState;
use casemate_client::{Client, WaitOutcome, WatchEvent};

use super::show;
use crate::{fail::Fail, ui};

pub async fn wait(
    client: &Client,
    cvm: &str,
    target: &str,
    within: Duration,
    seen: impl FnMut(&WatchEvent),
) -> Result<CvmState, Fail> {
    match client.wait(cvm, target, within, seen).await? {
        WaitOutcome::Reached(state) => Ok(state),
        WaitOutcome::Failed(state) => Err(failed(&state)),
        WaitOutcome::Elsewhere(state) => Err(Fail::new(
            "superseded",
            format!("it is {}, not {target}: another command superseded this one", state.status),
        )),
        WaitOutcome::Gone => Err(Fail::new("deleted", "the CVM was deleted in the meantime")),
    }
}

fn failed(state: &CvmState) -> Fail {
    let mut fail = Fail::from_failed_operation(state.failure.as_ref(), state.status.as_str());
    let cause = fail.message.clone();
    let boot = state.boot_error.iter().filter(|error| !cause.contains(error.as_str()));
    for error in boot {
        fail = fail.detail("boot", error);
    }
    fail
}

/// A callback that prints every event as one line on stderr, or nothing if `quiet`.
pub fn progress_printer(quiet: bool) -> impl FnMut(&WatchEvent) {
    let mut last = String::new();
    move |event| {
        let Some(text) = text(event) else { return };
        if !quiet && text != last {
            ui::print_note(format!("  {text}"));
            last = text;
        }
    }
}

/// An event in a few words; `None` if it is not worth a line.
pub fn text(event: &WatchEvent) -> Option<String> {
    match event {
        WatchEvent::State(state) => Some(show::state(state)),
        WatchEvent::Complete(_) => None,
        WatchEvent::Lost { why } => Some(format!("connection lost, retrying: {why}")),
    }
}
