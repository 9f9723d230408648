//! How long a step that brings a guest down waits for in-flight requests.

use std::time::Duration;

use crate::{
    cvm::{DesiredState, EngineState, Status, StopMode},
    plan::Step,
    time::Timestamp,
};

/// Maximum wait of an immediate stop and of a deletion.
pub const HARD_PATIENCE: Duration = Duration::from_secs(2);

/// Until when this step waits for in-flight requests; `None`: it does not. Only the first call that brings a
/// guest down waits, and only once. The deadline is in [`Status::drains_until`] while it waits.
#[must_use]
pub fn drains_until(
    step: &Step,
    desired: &DesiredState,
    status: &Status,
    now: Timestamp,
    patience: Duration,
) -> Option<Timestamp> {
    let first = match step {
        Step::Shutdown(..) | Step::ForceStop(..) => status.stopping.is_none(),
        // Any other VM is a second one with our mark, which never runs.
        Step::Remove(vm) => status.engine == EngineState::Present { vm: vm.clone() },
        Step::CreateStopped
        | Step::Adopt(_)
        | Step::Forget
        | Step::Push(_)
        | Step::Start(_)
        | Step::Wait(_)
        | Step::Done
        | Step::Fail(..) => false,
    };
    let patience = match desired.stop {
        StopMode::Hard => patience.min(HARD_PATIENCE),
        StopMode::Graceful { .. } => patience,
    };
    let until = status.drains_until.unwrap_or_else(|| now.plus(patience));
    (first && now < until).then_some(until)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cvm::{Power, Stopping},
        id::EngineVmId,
    };

    const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);
    const PATIENCE: Duration = Duration::from_secs(10);

    fn desired(power: Power, stop: StopMode) -> DesiredState {
        DesiredState { power, run: 1, generation: 1, vm: 1, stop }
    }

    fn down() -> Stopping {
        Stopping { until: NOW, forced: false, sent: false }
    }

    #[test]
    fn the_first_call_that_brings_a_guest_down_waits_once() {
        let vm = || EngineVmId("a".to_owned());
        let graceful = desired(Power::Stopped, StopMode::Graceful { timeout_s: 60, force: true });
        let hard = desired(Power::Stopped, StopMode::Hard);
        let gone = desired(Power::Deleted, StopMode::Hard);
        let engine = EngineState::Present { vm: vm() };
        let fresh = Status { engine, ..Status::new() };
        let ask = |step: &Step, desired: &DesiredState, status: &Status| {
            drains_until(step, desired, status, NOW, PATIENCE)
                .map(|until| until.since(NOW).as_secs())
        };
        assert_eq!(ask(&Step::Shutdown(vm(), down()), &graceful, &fresh), Some(10));
        assert_eq!(ask(&Step::ForceStop(vm(), down()), &hard, &fresh), Some(2));
        assert_eq!(ask(&Step::Remove(vm()), &gone, &fresh), Some(2));
        let other = EngineVmId("b".to_owned());
        assert_eq!(ask(&Step::Remove(other), &gone, &fresh), None, "a duplicate");
        for step in [Step::Start(vm()), Step::Push(vm()), Step::Done, Step::CreateStopped] {
            assert_eq!(ask(&step, &graceful, &fresh), None, "{step:?}");
        }
        let asked = Status { stopping: Some(down()), ..Status::new() };
        assert_eq!(ask(&Step::ForceStop(vm(), down()), &graceful, &asked), None);

        let waiting = |s: i64| {
            let until = Timestamp::from_micros(NOW.micros() + s * 1_000_000);
            Status { drains_until: Some(until), ..Status::new() }
        };
        assert_eq!(ask(&Step::Shutdown(vm(), down()), &graceful, &waiting(3)), Some(3));
        assert_eq!(ask(&Step::Shutdown(vm(), down()), &graceful, &waiting(0)), None);
    }

    #[test]
    fn no_patience_is_no_drain() {
        let graceful = desired(Power::Stopped, StopMode::Graceful { timeout_s: 60, force: true });
        let step = Step::Shutdown(EngineVmId("a".to_owned()), down());
        assert_eq!(drains_until(&step, &graceful, &Status::new(), NOW, Duration::ZERO), None);
    }
}
