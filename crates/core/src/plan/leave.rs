//! The next step for a CVM that is to run on another node: its VM goes first. Only when nothing with its mark is left,
//! and nothing can appear from a lost call, it belongs to the other node. So two VMs of it never exist at once.

use super::{Limits, PlanInput, Step};
use crate::{
    cvm::{DesiredState, EngineState, Observed, Status, VmPower},
    time::Timestamp,
};

/// The next step on the node that is left. [`Step::Forget`]: nothing is left there.
pub fn leave(
    desired: &DesiredState,
    status: &Status,
    observed: &Observed,
    now: Timestamp,
    limits: &Limits,
) -> Step {
    let case = PlanInput { open: None, desired, status, now, limits };
    let Observed::Vms(vms) = observed else { return case.look_again() };
    let Some(vm) = vms.iter().find(|vm| vm.power != VmPower::Removing) else {
        let appears = matches!(status.engine, EngineState::Creating { until, .. } if now < until);
        return if vms.is_empty() && !appears { Step::Forget } else { case.look_again() };
    };
    match vm.power {
        // Its disk goes with it, so the guest may bring away what it has.
        VmPower::Running => case.bring_down(vm),
        VmPower::Stopping => case.going_down(vm),
        VmPower::Exited | VmPower::Stopped | VmPower::Removing => Step::Remove(vm.id.clone()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        cvm::{Boot, FailureCode, ObservedVm, Power, StopMode, Stopping},
        id::EngineVmId,
    };

    const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);

    fn vm(id: usize, power: VmPower) -> ObservedVm {
        ObservedVm {
            id: EngineVmId(id.to_string()),
            power,
            boot: Boot::Done,
            boot_error: None,
            shutdown_progress: None,
            instance_id: None,
            started_at: None,
            exited_at: None,
            faults: Vec::new(),
            published: None,
        }
    }

    fn any_power() -> impl Strategy<Value = VmPower> {
        use VmPower::{Exited, Removing, Running, Stopped, Stopping};
        prop::sample::select(vec![Running, Exited, Stopping, Stopped, Removing])
    }

    fn any_status() -> impl Strategy<Value = Status> {
        // Before and after now.
        let until = |s: i64| Timestamp::from_micros(NOW.micros() + (s - 10) * 1_000_000);
        let engine = prop_oneof![
            Just(EngineState::Absent),
            (0_i64..20).prop_map(move |s| EngineState::Creating { until: until(s), generation: 1 }),
            Just(EngineState::Present { vm: EngineVmId("0".to_owned()) }),
        ];
        let stopping =
            prop::option::of(
                (0_i64..20, any::<bool>(), any::<bool>())
                    .prop_map(move |(s, forced, sent)| Stopping { until: until(s), forced, sent }),
            );
        (engine, stopping, 0_u32..30).prop_map(|(engine, stopping, attempts)| Status {
            engine,
            stopping,
            attempts,
            ..Status::new()
        })
    }

    proptest! {
        /// Whatever is there: nothing is made or started, and the node is left only when nothing is there.
        #[test]
        fn nothing_is_made_and_nothing_is_left_behind(
            powers in prop::collection::vec(any_power(), 0..3),
            status in any_status(),
            wanted in any::<bool>(),
            force in any::<bool>(),
        ) {
            let power = if wanted { Power::Running } else { Power::Stopped };
            let stop = StopMode::Graceful { timeout_s: 10, force };
            let desired = DesiredState { power, run: 1, generation: 2, vm: 2, stop };
            let vms: Vec<_> = powers.iter().enumerate().map(|(id, power)| vm(id, *power)).collect();
            let is_empty = vms.is_empty();
            let step = leave(&desired, &status, &Observed::Vms(vms), NOW, &Limits::default());
            match step {
                Step::Forget => {
                    prop_assert!(is_empty);
                    let appears =
                        matches!(status.engine, EngineState::Creating { until, .. } if NOW < until);
                    prop_assert!(!appears);
                }
                Step::Remove(_) | Step::Wait(_) | Step::Shutdown(..) | Step::ForceStop(..) => {}
                Step::Fail(code, _) => prop_assert!(matches!(
                    code,
                    FailureCode::ShutdownTimeout | FailureCode::NodeUnavailable
                )),
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }

    #[test]
    fn silence_is_no_absence() {
        let desired = DesiredState {
            power: Power::Running,
            run: 1,
            generation: 2,
            vm: 2,
            stop: StopMode::Hard,
        };
        let step = leave(&desired, &Status::new(), &Observed::Unreachable, NOW, &Limits::default());
        assert!(matches!(step, Step::Wait(_)));
    }
}
