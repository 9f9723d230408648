//! Whether the stored configuration is in force.

use crate::{
    cvm::{DesiredState, Power, Spec, Status},
    operation::OperationKind,
};

/// Whether an operation that succeeds now brings the stored configuration in force: the node has it, and the
/// guest booted with it or, if off, got it from an update. A rollback of a stopped guest brings nothing new
/// in force, and an operation that only stops a guest does not show which configuration it had.
#[must_use]
pub const fn brings_in_force(
    kind: OperationKind,
    desired: &DesiredState,
    spec: &Spec,
    status: &Status,
) -> bool {
    let is_used = match desired.power {
        Power::Running => true,
        Power::Stopped => matches!(kind, OperationKind::Update),
        Power::Deleted => false,
    };
    is_used && status.pushed == spec.revision
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{change::tests::configuration, cvm::StopMode};

    #[test]
    fn what_the_guest_came_up_with_is_in_force() {
        use OperationKind::{Create, Delete, Restart, Rollback, Shutdown, Start, Stop, Update};
        use Power::{Deleted, Running, Stopped};
        let spec = Spec { revision: 3, ..configuration().spec };
        let holds = |kind, power, pushed| {
            let desired =
                DesiredState { power, run: 1, generation: 3, vm: 1, stop: StopMode::Hard };
            brings_in_force(kind, &desired, &spec, &Status { pushed, ..Status::new() })
        };
        for kind in [Create, Start, Restart, Update, Rollback] {
            assert!(holds(kind, Running, 3), "{kind:?}");
            assert!(!holds(kind, Running, 2), "{kind:?}: the rest counts from the next start");
        }
        assert!(holds(Update, Stopped, 3));
        for kind in [Stop, Shutdown, Rollback] {
            assert!(!holds(kind, Stopped, 3), "{kind:?}");
        }
        assert!(!holds(Delete, Deleted, 3));
    }
}
