//! Which reconciler steps need approval by the contracts first.

use crate::{
    cvm::{DesiredState, Power, Status, VmPower},
    plan::Step,
};

/// The kind of approval that a step needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// A running guest is stopped in order to boot again: the boot must be allowed.
    BringDown,
    /// A guest boots: its KMS will ask the same.
    Boot,
}

/// The approval needed before a step for a governed app. Stop and delete are never gated, nor is a started
/// step, because it cannot be undone.
#[must_use]
pub fn gate(step: &Step, desired: &DesiredState, status: &Status) -> Option<Gate> {
    let runs = status.observed.as_ref().is_some_and(|vm| vm.power == VmPower::Running);
    let again = desired.power == Power::Running;
    match step {
        Step::Start(_) => Some(Gate::Boot),
        Step::Shutdown(..) | Step::ForceStop(..) if again && runs && status.stopping.is_none() => {
            Some(Gate::BringDown)
        }
        Step::Remove(_) if again && status.vm < desired.vm => Some(Gate::BringDown),
        Step::Shutdown(..)
        | Step::ForceStop(..)
        | Step::Remove(_)
        | Step::CreateStopped
        | Step::Adopt(_)
        | Step::Push(_)
        | Step::Forget
        | Step::Wait(_)
        | Step::Done
        | Step::Fail(..) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cvm::{Boot, ObservedVm, StopMode, Stopping},
        id::EngineVmId,
        time::Timestamp,
    };

    const SOON: Timestamp = Timestamp::from_micros(9);

    fn desired(power: Power) -> DesiredState {
        DesiredState { power, run: 1, generation: 2, stop: StopMode::Hard, vm: 1 }
    }

    fn observed(power: VmPower) -> Status {
        let vm = ObservedVm {
            id: EngineVmId("a".to_owned()),
            power,
            boot: Boot::Done,
            boot_error: None,
            shutdown_progress: None,
            instance_id: None,
            started_at: None,
            exited_at: None,
            faults: Vec::new(),
            published: None,
        };
        Status { observed: Some(vm), ..Status::new() }
    }

    #[test]
    fn what_comes_up_again_is_asked_about_before_it_goes_down() {
        let a = || EngineVmId("a".to_owned());
        let down = Stopping { until: SOON, forced: false, sent: false };
        let up = observed(VmPower::Running);
        for step in [Step::Shutdown(a(), down), Step::ForceStop(a(), down)] {
            assert_eq!(gate(&step, &desired(Power::Running), &up), Some(Gate::BringDown));
            assert_eq!(gate(&step, &desired(Power::Stopped), &up), None);
            assert_eq!(gate(&step, &desired(Power::Deleted), &up), None);
            let begun = Status { stopping: Some(down), ..up.clone() };
            assert_eq!(gate(&step, &desired(Power::Running), &begun), None);
            assert_eq!(gate(&step, &desired(Power::Running), &observed(VmPower::Exited)), None);
        }
        let another = DesiredState { vm: 2, ..desired(Power::Running) };
        assert_eq!(gate(&Step::Remove(a()), &another, &up), Some(Gate::BringDown));
        assert_eq!(gate(&Step::Remove(a()), &desired(Power::Running), &up), None, "a duplicate");
        assert_eq!(gate(&Step::Remove(a()), &desired(Power::Deleted), &up), None);
        assert_eq!(gate(&Step::Start(a()), &desired(Power::Running), &up), Some(Gate::Boot));
        assert_eq!(gate(&Step::Push(a()), &desired(Power::Running), &up), None);
    }
}
