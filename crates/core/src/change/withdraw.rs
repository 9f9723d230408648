//! Going back to the configuration from before a change that did not work. There is no undo: going
//! back is another wish.

use serde::{Deserialize, Serialize};

use crate::cvm::{Power, Spec, Status, StopMode, Wish};

/// The configuration from before a change; kept with the operation while it is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// Everything but the sealed environment.
    pub spec: Spec,
    /// The sealed environment, lower-case hex.
    pub sealed_env: Option<String>,
    /// Generation that the wish had.
    pub generation: i64,
}

/// The wish and status that lead back: the old configuration under a new revision, on or off as
/// before. Where the node was never offered the newer configuration it has the old one still, and
/// the guest, if it runs, is left alone.
#[must_use]
pub fn withdraw(now: &Spec, wish: &Wish, status: &Status, before: &Before) -> (Spec, Wish, Status) {
    let revision = now.revision.max(wish.generation) + 1;
    let spec = Spec { revision, ..before.spec.clone() };
    let stop = match wish.power {
        Power::Deleted => StopMode::Hard,
        Power::Running | Power::Stopped => {
            StopMode::Graceful { timeout_s: spec.shutdown_timeout_s, force: true }
        }
    };
    let untouched = status.offered <= before.generation && status.pushed <= before.generation;
    let status = Status {
        stopping: None,
        boot_until: None,
        attempts: 0,
        pushed: if untouched && status.pushed == before.generation {
            revision
        } else {
            status.pushed
        },
        ..status.clone()
    };
    (spec, Wish { generation: revision, stop, ..*wish }, status)
}
