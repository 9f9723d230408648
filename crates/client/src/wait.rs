//! Waiting for the end of what is under way.

use std::time::Duration;

use casemate_api::reply::CvmState;

use crate::{
    error::Error,
    http::Client,
    watch::{Watch, WatchEvent},
};

/// How waiting ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ended {
    /// In the state that was waited for.
    Reached(CvmState),
    /// What was under way failed; [`CvmState::failure`] says why.
    Failed(CvmState),
    /// Nothing is under way any more, and the state is another one: somebody changed what is desired.
    Elsewhere(CvmState),
    /// The CVM is gone, and that was not what was waited for.
    Gone,
}

/// The word for a CVM that is gone.
const DELETED: &str = "deleted";

impl Client {
    /// Waits until a CVM is in the target state (`running`, `stopped`, `deleted`) or what was under
    /// way has ended otherwise. `seen` is told of every change.
    pub async fn wait(
        &self,
        cvm: &str,
        target: &str,
        within: Duration,
        mut seen: impl FnMut(&WatchEvent),
    ) -> Result<Ended, Error> {
        let mut watch = self.watch(cvm, target, within);
        let mut judge = Judge { target, was_open: false };
        loop {
            let Some(event) = next(&mut watch, target).await? else { return Ok(judge.gone()) };
            seen(&event);
            let ended = match event {
                WatchEvent::Complete(state) => Some(judge.complete(state)),
                WatchEvent::State(state) => judge.state(state),
                WatchEvent::Lost { .. } => None,
            };
            if let Some(ended) = ended {
                return Ok(ended);
            }
        }
    }
}

/// `None`: the CVM is gone.
async fn next(watch: &mut Watch, target: &str) -> Result<Option<WatchEvent>, Error> {
    match watch.next().await {
        // While a deletion is waited for, a connection after the end of the CVM finds none.
        Err(error) if error.is_not_found() && target == DELETED => Ok(None),
        other => other,
    }
}

struct Judge<'a> {
    target: &'a str,
    was_open: bool,
}

impl Judge<'_> {
    fn gone(&self) -> Ended {
        if self.target != DELETED {
            return Ended::Gone;
        }
        Ended::Reached(CvmState {
            id: None,
            instance_id: None,
            name: String::new(),
            status: DELETED.to_owned(),
            in_progress: false,
            uptime: None,
            exited_at: None,
            boot_progress: None,
            boot_error: None,
            shutdown_progress: None,
            correlation_id: None,
            failure: None,
            waiting_for: None,
        })
    }

    /// Gone counts as complete for every target.
    fn complete(&self, state: CvmState) -> Ended {
        if state.status == self.target || state.status != DELETED {
            Ended::Reached(state)
        } else {
            Ended::Gone
        }
    }

    fn state(&mut self, state: CvmState) -> Option<Ended> {
        if state.in_progress {
            self.was_open = true;
            return None;
        }
        if state.status == self.target {
            // `complete` follows, unless the server has no such event.
            return None;
        }
        if state.status == "error" || state.failure.is_some() {
            return Some(Ended::Failed(state));
        }
        // Phala Cloud does not say `in_progress`; there this never holds.
        self.was_open.then_some(Ended::Elsewhere(state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(status: &str, in_progress: bool) -> CvmState {
        let json = serde_json::json!({ "status": status, "in_progress": in_progress });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn an_end_is_told_from_a_beginning() {
        let mut judge = Judge { target: "running", was_open: false };
        assert_eq!(judge.state(state("stopped", false)), None, "not yet begun");
        assert_eq!(judge.state(state("starting", true)), None);
        assert_eq!(judge.state(state("running", false)), None, "complete follows");
        let stopped = state("stopped", false);
        assert_eq!(judge.state(stopped.clone()), Some(Ended::Elsewhere(stopped)));
        let failed = state("error", false);
        assert_eq!(judge.state(failed.clone()), Some(Ended::Failed(failed)));
        assert_eq!(judge.complete(state("deleted", false)), Ended::Gone);
        assert_eq!(judge.gone(), Ended::Gone);
        let deleting = Judge { target: "deleted", was_open: false };
        assert!(matches!(deleting.gone(), Ended::Reached(state) if state.status == "deleted"));
    }
}
