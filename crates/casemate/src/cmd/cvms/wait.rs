//! Waiting, with a failure of what was waited for as a failure of ours.

use std::time::Duration;

use casemate_api::reply::CvmState;
use casemate_client::{Client, Ended, WatchEvent};

use super::show;
use crate::{fail::Fail, ui};

/// Waits until a CVM is in the target state.
pub async fn wait(
    client: &Client,
    cvm: &str,
    target: &str,
    within: Duration,
    seen: impl FnMut(&WatchEvent),
) -> Result<CvmState, Fail> {
    match client.wait(cvm, target, within, seen).await? {
        Ended::Reached(state) => Ok(state),
        Ended::Failed(state) => Err(failed(&state)),
        Ended::Elsewhere(state) => Err(Fail::new(
            "superseded",
            format!("it is {}, not {target}: another command came in between", state.status),
        )),
        Ended::Gone => Err(Fail::new("deleted", "the CVM is gone: it was deleted meanwhile")),
    }
}

fn failed(state: &CvmState) -> Fail {
    let mut fail = Fail::of_operation(state.failure.as_ref(), &state.status);
    let cause = fail.message.clone();
    let boot = state.boot_error.iter().filter(|error| !cause.contains(error.as_str()));
    for error in boot {
        fail = fail.detail("boot", error);
    }
    fail
}

/// Tells every change on stderr, a line each, unless it is to be quiet.
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

/// An event in a few words; `None`: nothing to say.
pub fn text(event: &WatchEvent) -> Option<String> {
    match event {
        WatchEvent::State(state) => Some(show::state(state)),
        WatchEvent::Complete(_) => None,
        WatchEvent::Lost { why } => Some(format!("connection lost, trying again: {why}")),
    }
}
