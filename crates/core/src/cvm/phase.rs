//! The phase of a CVM, which users see as its status.

use serde::{Deserialize, Serialize};

use super::{Boot, DesiredState, Power, Status, VmPower, status::EngineState};
use crate::operation::OperationKind;

/// `status` on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Starting,
    /// Up, boot finished.
    Running,
    /// Being powered off or removed.
    Stopping,
    /// Asked to shut down gracefully.
    ShuttingDown,
    Restarting,
    /// Being changed, with a restart if needed.
    Updating,
    /// Off, data kept.
    Stopped,
    /// Not as desired, and no operation is open.
    Error,
    Deleted,
}

impl Phase {
    pub const ALL: [Self; 9] = [
        Self::Starting,
        Self::Running,
        Self::Stopping,
        Self::ShuttingDown,
        Self::Restarting,
        Self::Updating,
        Self::Stopped,
        Self::Error,
        Self::Deleted,
    ];

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == word)
    }

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::ShuttingDown => "shutting_down",
            Self::Restarting => "restarting",
            Self::Updating => "updating",
            Self::Stopped => "stopped",
            Self::Error => "error",
            Self::Deleted => "deleted",
        }
    }
}

/// The phase of a CVM from its desired state, its status and the open operation.
///
/// While an operation is open, the phase is the operation's: a new CVM is `starting` even while its VM is
/// still stopped on the node, because clients take `stopped` for failure.
#[must_use]
pub fn phase(power: Power, status: &Status, open: Option<OperationKind>) -> Phase {
    if let Some(kind) = open {
        return kind.phase();
    }
    let observed = status.observed.as_ref().map(|vm| vm.power);
    match (power, observed) {
        (Power::Deleted, _) => Phase::Deleted,
        (Power::Running, _) if status.failure.as_ref().is_some_and(|why| !why.rolled_back) => {
            Phase::Error
        }
        (Power::Running, Some(VmPower::Running)) if has_faults(status) => Phase::Error,
        (Power::Running | Power::Stopped, Some(VmPower::Running)) => Phase::Running,
        (Power::Running, _) | (Power::Stopped, Some(VmPower::Removing)) => Phase::Error,
        (Power::Stopped, None) if matches!(status.engine, EngineState::Present { .. }) => {
            Phase::Error
        }
        (Power::Stopped, _) => Phase::Stopped,
    }
}

/// Whether a service that should run does not.
fn has_faults(status: &Status) -> bool {
    status.observed.as_ref().is_some_and(|vm| !vm.faults.is_empty())
}

/// Whether the gateway may send requests to a CVM: it is up, and no desired state brings it down. It stops
/// serving with the commit of such a desired state. An operation that leaves the guest alone (a start of a
/// running one) changes nothing. A failed service does not affect the others.
#[must_use]
pub fn serves(phase: Phase, desired: &DesiredState, status: &Status) -> bool {
    if !matches!(status.engine, EngineState::Present { .. }) {
        return false;
    }
    let up = status
        .observed
        .as_ref()
        .is_some_and(|vm| vm.power == VmPower::Running && vm.boot == Boot::Done);
    match phase {
        Phase::Running => true,
        Phase::Starting | Phase::Restarting | Phase::Updating => {
            up && desired.power == Power::Running
                && status.run >= desired.run
                && status.pushed >= desired.generation
                && status.vm >= desired.vm
                && status.stopping.is_none()
        }
        Phase::Error => {
            up && desired.power == Power::Running
                && has_faults(status)
                && status.failure.as_ref().is_none_or(|failure| failure.rolled_back)
        }
        Phase::Stopping | Phase::ShuttingDown | Phase::Stopped | Phase::Deleted => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cvm::{FaultKind, ObservedVm, ServiceFault, StopMode},
        id::EngineVmId,
        time::Timestamp,
    };

    #[test]
    fn a_guest_that_is_to_go_down_serves_nobody() {
        let vm = ObservedVm {
            id: EngineVmId("a".to_owned()),
            power: VmPower::Running,
            boot: Boot::Done,
            boot_error: None,
            shutdown_progress: None,
            instance_id: None,
            started_at: None,
            exited_at: None,
            faults: Vec::new(),
            published: None,
        };
        let engine = EngineState::Present { vm: vm.id.clone() };
        let up = Status { engine, pushed: 3, run: 2, observed: Some(vm.clone()), ..Status::new() };
        let desired = DesiredState {
            power: Power::Running,
            run: 2,
            generation: 3,
            vm: 1,
            stop: StopMode::Hard,
        };
        assert!(serves(Phase::Running, &desired, &up));
        assert!(serves(Phase::Starting, &desired, &up), "started twice");
        assert!(!serves(Phase::Restarting, &DesiredState { run: 3, ..desired }, &up));
        assert!(!serves(Phase::Updating, &DesiredState { generation: 4, ..desired }, &up));
        assert!(!serves(Phase::Updating, &DesiredState { vm: 2, ..desired }, &up), "another VM");
        assert!(!serves(Phase::Stopping, &DesiredState { power: Power::Stopped, ..desired }, &up));
        assert!(!serves(Phase::Updating, &DesiredState { power: Power::Stopped, ..desired }, &up));
        let fault = ServiceFault {
            service: "job".to_owned(),
            kind: FaultKind::Exited { code: 9 },
            log: Vec::new(),
            at: Timestamp::from_micros(0),
        };
        let failing = ObservedVm { faults: vec![fault], ..vm.clone() };
        let failing = Status { observed: Some(failing), ..up.clone() };
        assert_eq!(phase(Power::Running, &failing, None), Phase::Error);
        assert!(serves(Phase::Error, &desired, &failing), "the other services go on");
        assert!(!serves(Phase::Error, &desired, &up), "an operation failed");
        let booting = ObservedVm { boot: Boot::Progress("pulling".to_owned()), ..vm };
        let booting = Status { observed: Some(booting), ..up };
        assert!(!serves(Phase::Restarting, &desired, &booting));
        assert!(!serves(Phase::Running, &desired, &Status::new()), "no VM");
    }
}
