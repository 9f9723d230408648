//! Which steps of a reconciler need the contracts' word first.

use crate::{
    cvm::{Power, Status, VmPower, Wish},
    plan::Step,
};

/// What contracts have to allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// A guest that runs is brought down, to come up again: it must be able to.
    BringDown,
    /// A guest boots: its KMS will ask the same.
    Boot,
}

/// What has to be allowed before a step of a governed app is done. Whoever wants it down or gone is never
/// held up; nor is what was begun, since it cannot be undone.
#[must_use]
pub fn gate(step: &Step, wish: &Wish, status: &Status) -> Option<Gate> {
    let runs = status.seen.as_ref().is_some_and(|vm| vm.power == VmPower::Running);
    let again = wish.power == Power::Running;
    match step {
        Step::Start(_) => Some(Gate::Boot),
        Step::Shutdown(..) | Step::ForceStop(..) if again && runs && status.stopping.is_none() => {
            Some(Gate::BringDown)
        }
        Step::Remove(_) if again && status.vm < wish.vm => Some(Gate::BringDown),
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
        cvm::{Boot, SeenVm, StopMode, Stopping},
        id::EngineVmId,
        time::Timestamp,
    };

    const SOON: Timestamp = Timestamp::from_micros(9);

    fn wish(power: Power) -> Wish {
        Wish { power, run: 1, generation: 2, stop: StopMode::Hard, vm: 1 }
    }

    fn seen(power: VmPower) -> Status {
        let vm = SeenVm {
            id: EngineVmId("a".to_owned()),
            power,
            boot: Boot::Done,
            boot_error: None,
            shutdown_progress: None,
            instance_id: None,
            started_at: None,
            exited_at: None,
        };
        Status { seen: Some(vm), ..Status::new() }
    }

    #[test]
    fn what_comes_up_again_is_asked_about_before_it_goes_down() {
        let a = || EngineVmId("a".to_owned());
        let down = Stopping { until: SOON, forced: false, sent: false };
        let up = seen(VmPower::Running);
        for step in [Step::Shutdown(a(), down), Step::ForceStop(a(), down)] {
            assert_eq!(gate(&step, &wish(Power::Running), &up), Some(Gate::BringDown));
            assert_eq!(gate(&step, &wish(Power::Stopped), &up), None);
            assert_eq!(gate(&step, &wish(Power::Deleted), &up), None);
            let begun = Status { stopping: Some(down), ..up.clone() };
            assert_eq!(gate(&step, &wish(Power::Running), &begun), None);
            assert_eq!(gate(&step, &wish(Power::Running), &seen(VmPower::Exited)), None);
        }
        let another = Wish { vm: 2, ..wish(Power::Running) };
        assert_eq!(gate(&Step::Remove(a()), &another, &up), Some(Gate::BringDown));
        assert_eq!(gate(&Step::Remove(a()), &wish(Power::Running), &up), None, "a duplicate");
        assert_eq!(gate(&Step::Remove(a()), &wish(Power::Deleted), &up), None);
        assert_eq!(gate(&Step::Start(a()), &wish(Power::Running), &up), Some(Gate::Boot));
        assert_eq!(gate(&Step::Push(a()), &wish(Power::Running), &up), None);
    }
}
