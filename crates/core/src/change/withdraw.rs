//! The rollback of a failed change. There is no undo: a rollback is another desired state.

use serde::{Deserialize, Serialize};

use crate::{
    cvm::{DesiredState, Spec, Status, StopMode},
    node::Capabilities,
};

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

/// The outcome of [`withdraw`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawn {
    pub spec: Spec,
    /// Sealed environment, lower-case hex.
    pub sealed_env: Option<String>,
    pub desired: DesiredState,
    pub status: Status,
}

/// The configuration, desired state and status of the rollback; power stays as desired. If the node was never
/// offered a newer configuration, everything is as before and a running guest is left alone. Otherwise the
/// old configuration gets a new revision and is pushed again. A disk that may have grown keeps its size, a VM
/// that may have been removed is not restored, and a user config or sealed environment that was not there
/// before stays on a node that cannot remove it ([`Capabilities::clears_files`]).
#[must_use]
pub fn withdraw(
    now: (&Spec, Option<&str>),
    desired: &DesiredState,
    status: &Status,
    before: &Before,
    node: &Capabilities,
) -> Withdrawn {
    let (now, now_sealed_env) = now;
    let status = Status {
        stopping: None,
        drains_until: None,
        boot_until: None,
        attempts: 0,
        ..status.clone()
    };
    let never_offered = status.offered <= before.generation && status.pushed <= before.generation;
    let mut spec = before.spec.clone();
    let mut sealed_env = before.sealed_env.clone();
    let mut generation = before.generation;
    if !never_offered {
        generation = now.revision.max(desired.generation) + 1;
        spec.revision = generation;
        spec.resources.disk_gb = spec.resources.disk_gb.max(now.resources.disk_gb);
        spec.vm = spec.vm.max(now.vm);
        if !node.clears_files {
            if spec.user_config.is_none() {
                spec.user_config.clone_from(&now.user_config);
            }
            if sealed_env.is_none() && now_sealed_env.is_some() {
                sealed_env = now_sealed_env.map(str::to_owned);
                spec.env_keys.clone_from(&now.env_keys);
            }
        }
    }
    // A guest that does not boot with the newer configuration has nothing to lose.
    let force = spec.allow_force_stop || !never_offered;
    let stop = StopMode::Graceful { timeout_s: spec.shutdown_timeout_s, force };
    let desired = DesiredState { generation, stop, ..*desired };
    Withdrawn { spec, sealed_env, desired, status }
}
