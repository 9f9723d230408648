//! Going back to the configuration from before a change that did not work. There is no undo: going
//! back is another desired state.

use serde::{Deserialize, Serialize};

use crate::cvm::{DesiredState, Spec, Status, StopMode};

/// The configuration from before a change; kept with the operation while it is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// Everything but the sealed environment.
    pub spec: Spec,
    /// The sealed environment, lower-case hex.
    pub sealed_env: Option<String>,
    /// Generation that the desired state had.
    pub generation: i64,
}

/// The configuration, desired state and status that lead back, on or off as now. Where the node was never
/// offered a newer configuration everything is as it was, and the guest, if it runs, is left alone;
/// else the old configuration gets a new revision, and the node is told again. A disk that may have
/// grown stays as large as it is, and a VM that may be gone is not gone back to.
#[must_use]
pub fn withdraw(
    now: &Spec,
    desired: &DesiredState,
    status: &Status,
    before: &Before,
) -> (Spec, DesiredState, Status) {
    let status = Status {
        stopping: None,
        drains_until: None,
        boot_until: None,
        attempts: 0,
        ..status.clone()
    };
    let never_offered = status.offered <= before.generation && status.pushed <= before.generation;
    let (spec, generation) = if never_offered {
        (before.spec.clone(), before.generation)
    } else {
        let revision = now.revision.max(desired.generation) + 1;
        let mut spec = Spec { revision, ..before.spec.clone() };
        spec.resources.disk_gb = spec.resources.disk_gb.max(now.resources.disk_gb);
        spec.vm = spec.vm.max(now.vm);
        (spec, revision)
    };
    // A guest that does not come up with the newer one has nothing to lose.
    let force = spec.allow_force_stop || !never_offered;
    let stop = StopMode::Graceful { timeout_s: spec.shutdown_timeout_s, force };
    (spec, DesiredState { generation, stop, ..*desired }, status)
}
