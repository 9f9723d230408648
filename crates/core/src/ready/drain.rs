//! How long a step that brings a guest down waits for in-flight requests, and what is done meanwhile.

use std::time::Duration;

use crate::{
    cvm::{DesiredState, EngineState, Rotation, Status, StopMode},
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

/// What is known of the clusters of dstack-gateway that lead to a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clusters {
    /// There are none, or the guest is not registered there.
    None,
    /// Connections to the guest through those that answer; 0: none answers.
    Connections(u64),
}

/// What a turn does before the step that brings a guest down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drain {
    /// The step.
    Over,
    /// Record that the clusters are about to be asked, and ask them to send no new requests. Repeatable.
    Leave(Timestamp),
    /// Look again soon, at the latest at this time.
    Wait(Timestamp),
}

/// The next thing to do before a step that may wait until `until` ([`drains_until`]), with so many requests under
/// way through this process. A cluster that is away or cannot drain holds nothing up.
#[must_use]
pub fn next_drain(
    until: Option<Timestamp>,
    rotation: Rotation,
    under_way: u64,
    clusters: Clusters,
) -> Drain {
    let Some(until) = until else { return Drain::Over };
    match (clusters, rotation) {
        (Clusters::Connections(_), Rotation::In | Rotation::Leaving) => Drain::Leave(until),
        (Clusters::Connections(1..), Rotation::Out) => Drain::Wait(until),
        _ if under_way > 0 => Drain::Wait(until),
        _ => Drain::Over,
    }
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
    fn clusters_are_asked_before_anything_is_waited_for() {
        use Clusters::{Connections, None as NoCluster};
        use Rotation::{Absent, In, Leaving, Out};
        let until = NOW.plus(PATIENCE);
        let next =
            |rotation, requests, clusters| next_drain(Some(until), rotation, requests, clusters);
        for connections in [0, 3] {
            assert_eq!(next(In, 1, Connections(connections)), Drain::Leave(until));
            assert_eq!(next(Leaving, 0, Connections(connections)), Drain::Leave(until), "again");
        }
        assert_eq!(next(Out, 0, Connections(3)), Drain::Wait(until));
        assert_eq!(next(Out, 1, Connections(0)), Drain::Wait(until));
        assert_eq!(next(Out, 0, Connections(0)), Drain::Over);
        assert_eq!(next(In, 1, NoCluster), Drain::Wait(until));
        assert_eq!(next(In, 0, NoCluster), Drain::Over);
        assert_eq!(next(Absent, 0, Connections(3)), Drain::Over, "nothing is set there");
        assert_eq!(next(Absent, 1, Connections(0)), Drain::Wait(until));
        for rotation in [In, Leaving, Out, Absent] {
            let late = next_drain(None, rotation, 9, Connections(9));
            assert_eq!(late, Drain::Over, "{rotation:?}: past its deadline nothing is waited for");
        }
    }

    #[test]
    fn no_patience_is_no_drain() {
        let graceful = desired(Power::Stopped, StopMode::Graceful { timeout_s: 60, force: true });
        let step = Step::Shutdown(EngineVmId("a".to_owned()), down());
        assert_eq!(drains_until(&step, &graceful, &Status::new(), NOW, Duration::ZERO), None);
    }
}
