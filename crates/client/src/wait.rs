//! Waits for a state of a CVM.

use std::time::Duration;

use casemate_api::reply::{CvmPhase, CvmState};

use crate::{
    error::Error,
    http::Client,
    watch::{Watch, WatchEvent},
};

/// How waiting ended.
#[derive(Debug, Clone, PartialEq)]
pub enum WaitOutcome {
    /// The target state was reached.
    Reached(CvmState),
    /// The operation failed; [`CvmState::failure`] has the cause.
    Failed(CvmState),
    /// No operation is open and the state is another one: another request changed the desired state.
    Elsewhere(CvmState),
    /// The CVM was deleted, which was not the target.
    Gone,
}

/// The state of a deleted CVM.
const DELETED: &str = "deleted";

impl Client {
    /// Waits until a CVM is in the target state (`running`, `stopped`, `deleted`) or its operation ended
    /// otherwise. `seen` is called with every change.
    pub async fn wait(
        &self,
        cvm: &str,
        target: &str,
        within: Duration,
        mut seen: impl FnMut(&WatchEvent),
    ) -> Result<WaitOutcome, Error> {
        let mut watch = self.watch(cvm, target, within);
        let mut judge = OutcomeJudge { target, was_open: false };
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

/// `None`: the CVM is deleted.
async fn next(watch: &mut Watch, target: &str) -> Result<Option<WatchEvent>, Error> {
    match watch.next().await {
        // After a deletion, a new connection gets a 404.
        Err(error) if error.is_not_found() && target == DELETED => Ok(None),
        other => other,
    }
}

struct OutcomeJudge<'a> {
    target: &'a str,
    was_open: bool,
}

impl OutcomeJudge<'_> {
    fn gone(&self) -> WaitOutcome {
        if self.target != DELETED {
            return WaitOutcome::Gone;
        }
        WaitOutcome::Reached(CvmState {
            id: None,
            instance_id: None,
            name: String::new(),
            status: CvmPhase::Deleted,
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

    /// Deleted counts as complete for every target.
    fn complete(&self, state: CvmState) -> WaitOutcome {
        if state.status == self.target || state.status != DELETED {
            WaitOutcome::Reached(state)
        } else {
            WaitOutcome::Gone
        }
    }

    fn state(&mut self, state: CvmState) -> Option<WaitOutcome> {
        if state.in_progress {
            self.was_open = true;
            return None;
        }
        if state.status == self.target {
            // `complete` follows, unless the server has no such event.
            return None;
        }
        if state.status == "error" || state.failure.is_some() {
            return Some(WaitOutcome::Failed(state));
        }
        // Phala Cloud does not send `in_progress`; there this is never true.
        self.was_open.then_some(WaitOutcome::Elsewhere(state))
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
        let mut judge = OutcomeJudge { target: "running", was_open: false };
        assert_eq!(judge.state(state("stopped", false)), None, "not yet begun");
        assert_eq!(judge.state(state("starting", true)), None);
        assert_eq!(judge.state(state("running", false)), None, "complete follows");
        let stopped = state("stopped", false);
        assert_eq!(judge.state(stopped.clone()), Some(WaitOutcome::Elsewhere(stopped)));
        let failed = state("error", false);
        assert_eq!(judge.state(failed.clone()), Some(WaitOutcome::Failed(failed)));
        assert_eq!(judge.complete(state("deleted", false)), WaitOutcome::Gone);
        assert_eq!(judge.gone(), WaitOutcome::Gone);
        let deleting = OutcomeJudge { target: "deleted", was_open: false };
        assert!(
            matches!(deleting.gone(), WaitOutcome::Reached(state) if state.status == "deleted")
        );
    }
}
