//! The rollback of a failed change. There is no undo: a rollback is another desired state.

use serde::{Deserialize, Serialize};

use crate::cvm::{DesiredState, Spec, Status, StopMode};

/// The configuration before a change; stored with the operation while it is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// Everything except the sealed environment.
    pub spec: Spec,
    /// Sealed environment, lower-case hex.
    pub sealed_env: Option<String>,
    /// Generation of the desired state.
    pub generation: i64,
}

/// The configuration, desired state and status of the rollback; power stays as desired. If the node was never
/// offered a newer configuration, everything is as before and a running guest is left alone. Otherwise the
/// old configuration gets a new revision and is pushed again. A disk that may have grown keeps its size, and
/// a VM that may have been removed is not restored.
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
    // A guest that does not boot with the newer configuration has nothing to lose.
    let force = spec.allow_force_stop || !never_offered;
    let stop = StopMode::Graceful { timeout_s: spec.shutdown_timeout_s, force };
    (spec, DesiredState { generation, stop, ..*desired }, status)
}
