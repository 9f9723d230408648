//! Decides the *one* next step from desired state, status and observation.
//!
//! Pure: no clock, database or node. The reconciler (`casemate-server::work`) calls it once per turn, records
//! the intent, executes at most that one step, and observes again.
//!
//! Guarantees, checked by the tests here and by the crash tests:
//! - no [`Step::Start`] while the node's configuration is older than the desired one;
//! - a VM is created stopped, so a duplicate from a lost answer may exist but never runs;
//! - after a call with unknown outcome the next step observes first; it creates again only after the
//!   deadline;
//! - an unreachable node is not a stopped VM: nothing is concluded from silence;
//! - a VM is removed only if its CVM is deleted, if it is a stopped duplicate, or if the desired state is for
//!   another VM, here or on another node ([`leave()`]).
//!
//! Absent on purpose: retries and timers (a deadline is data), undo (a rollback is another desired state),
//! and *why* a desired state was made.

mod leave;

use std::time::Duration;

pub use self::leave::leave;

use crate::{
    cvm::{
        Boot, DesiredState, EngineState, Failure, FailureCode, Observed, ObservedVm, Power, Status,
        StopMode, Stopping, VmPower,
    },
    id::EngineVmId,
    operation::OperationKind,
    time::Timestamp,
};

/// Timeouts. Leases are longer than two call timeouts, because a node does not know our fences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A `create` whose answer was lost appears within this time or not at all.
    pub create_settles: Duration,
    /// Timeout of a boot.
    pub boot: Duration,
    /// Time until a powered-off VM is gone; then it is powered off again.
    pub stop_settles: Duration,
    /// Interval of observations while an operation is open.
    pub look: Duration,
    /// Maximum attempts of one step.
    pub attempts: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            create_settles: Duration::from_mins(1),
            boot: Duration::from_mins(30),
            stop_settles: Duration::from_mins(1),
            look: Duration::from_millis(250),
            attempts: 20,
        }
    }
}

/// The next step for one CVM.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// Create a stopped VM with the whole configuration.
    CreateStopped,
    /// Record the id of an existing VM with our mark.
    Adopt(EngineVmId),
    /// Push the whole configuration to the node.
    Push(EngineVmId),
    Start(EngineVmId),
    /// Ask the guest to shut down, with a deadline.
    Shutdown(EngineVmId, Stopping),
    /// Power off.
    ForceStop(EngineVmId, Stopping),
    /// Remove the VM with its disk.
    Remove(EngineVmId),
    /// The VM to be replaced is gone: record that there is none.
    Forget,
    /// Nothing to do before this time.
    Wait(Timestamp),
    /// The state is as desired.
    Done,
    /// The desired state cannot be reached.
    Fail(FailureCode, String),
}

impl Step {
    /// The word in events, in `CASEMATE_CRASH_AT` and in logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::CreateStopped => "create_stopped",
            Self::Adopt(_) => "adopt",
            Self::Push(_) => "push",
            Self::Start(_) => "start",
            Self::Shutdown(..) => "shutdown",
            Self::ForceStop(..) => "force_stop",
            Self::Remove(_) => "remove",
            Self::Forget => "forget",
            Self::Wait(_) => "wait",
            Self::Done => "done",
            Self::Fail(..) => "fail",
        }
    }
}

/// The inputs of a decision.
#[derive(Debug, Clone, Copy)]
struct PlanInput<'a> {
    open: Option<OperationKind>,
    desired: &'a DesiredState,
    status: &'a Status,
    now: Timestamp,
    limits: &'a Limits,
}

/// The next step for a CVM with this open operation.
pub fn plan(
    open: Option<OperationKind>,
    desired: &DesiredState,
    status: &Status,
    observed: &Observed,
    now: Timestamp,
    limits: &Limits,
) -> Step {
    let case = PlanInput { open, desired, status, now, limits };
    let Observed::Vms(vms) = observed else { return case.look_again() };
    match desired.power {
        Power::Deleted => case.deleted(vms),
        Power::Running | Power::Stopped => match case.find_vm(vms) {
            Ok(vm) => match desired.power {
                Power::Running => case.running(vm),
                _ => case.stopped(vm),
            },
            Err(step) => step,
        },
    }
}

/// Whether a CVM at rest is not as desired, so that its reconciler has something to do. Called after an
/// outage of its node. A CVM that failed for a reason of its own stays failed until the desired state
/// changes, or its guest gets to its end by itself ([`booted_after_all`]).
pub fn needs_reconcile(desired: &DesiredState, status: &Status, vms: &[ObservedVm]) -> bool {
    let node_failed = match &status.failure {
        None => false,
        Some(failure) if failure.rolled_back => false,
        Some(Failure { code: FailureCode::NodeUnavailable | FailureCode::NodeGivenUp, .. }) => true,
        Some(_) if booted_after_all(desired, status, vms) => return true,
        Some(_) => return false,
    };
    // A configuration for the next start does not cause one.
    let is_up = matches!(vms, [vm] if vm.power == VmPower::Running);
    if is_up && desired.power == Power::Running && !node_failed {
        return false;
    }
    // Time and limits do not matter here: the reconciler handles passed deadlines.
    let (now, limits) =
        (Timestamp::from_micros(0), Limits { attempts: u32::MAX, ..Limits::default() });
    let observed = Observed::Vms(vms.to_vec());
    match plan(None, desired, status, &observed, now, &limits) {
        Step::CreateStopped
        | Step::Adopt(_)
        | Step::Push(_)
        | Step::Start(_)
        | Step::Shutdown(..)
        | Step::ForceStop(..)
        | Step::Remove(_)
        | Step::Forget => true,
        Step::Wait(_) | Step::Done | Step::Fail(..) => node_failed,
    }
}

/// Whether the guest of a CVM at rest has booted although its boot was given up. A guest without keys is left to
/// wait, and may get them later; a host may start a VM that did not stay up once more. The reconciler then finds
/// nothing left to do, and the failure ends.
pub fn booted_after_all(desired: &DesiredState, status: &Status, vms: &[ObservedVm]) -> bool {
    let given_up = status.failure.as_ref().is_some_and(|failure| {
        let of_boot = matches!(
            failure.code,
            FailureCode::KeyRefused | FailureCode::BootTimeout | FailureCode::BootFailed
        );
        of_boot && !failure.rolled_back
    });
    let is_up = matches!(vms, [vm] if vm.power == VmPower::Running
        && vm.boot == Boot::Done && vm.faults.is_empty());
    let is_told = status.run >= desired.run && status.pushed >= desired.generation;
    let is_ours = status.vm >= desired.vm
        && matches!((&status.engine, vms), (EngineState::Present { vm }, [one]) if one.id == *vm);
    desired.power == Power::Running && given_up && is_up && is_told && is_ours
}

impl PlanInput<'_> {
    fn look_again(&self) -> Step {
        Step::Wait(self.now.plus(self.limits.look))
    }

    fn attempts_exhausted(&self) -> bool {
        self.status.attempts >= self.limits.attempts
    }

    /// The VM of this CVM, or the step if there is none, an unknown one or too many.
    fn find_vm<'v>(&self, vms: &'v [ObservedVm]) -> Result<&'v ObservedVm, Step> {
        match &self.status.engine {
            EngineState::Present { vm } if self.status.vm < self.desired.vm => {
                Err(self.replace(vm, vms))
            }
            EngineState::Present { vm } => match vms.iter().find(|observed| observed.id == *vm) {
                Some(recorded) => match vms.iter().find(|observed| observed.id != *vm) {
                    Some(other) => Err(self.duplicate(other)),
                    None => Ok(recorded),
                },
                None => Err(Step::Fail(
                    FailureCode::VmLost,
                    "the VM is no longer on its node, and its disk with it; delete this CVM and deploy again"
                        .to_owned(),
                )),
            },
            EngineState::Absent | EngineState::Creating { .. } if !vms.is_empty() => {
                Err(Step::Adopt(oldest(vms).id.clone()))
            }
            EngineState::Creating { until, .. } if self.now < *until => Err(self.look_again()),
            EngineState::Absent | EngineState::Creating { .. } => Err(self.create()),
        }
    }

    /// The step that replaces the VM by another one.
    fn replace(&self, vm: &EngineVmId, vms: &[ObservedVm]) -> Step {
        match vms.iter().find(|observed| observed.id == *vm).map(|observed| observed.power) {
            None => Step::Forget,
            Some(VmPower::Removing) => self.look_again(),
            Some(_) => Step::Remove(vm.clone()),
        }
    }

    fn create(&self) -> Step {
        match self.desired.power {
            Power::Stopped => Step::Done,
            _ if self.attempts_exhausted() => Step::Fail(
                FailureCode::NodeUnavailable,
                "the node took no VM in any of the allowed attempts".to_owned(),
            ),
            _ => Step::CreateStopped,
        }
    }

    /// A second VM with our mark: removed only if it is certainly not running.
    fn duplicate(&self, other: &ObservedVm) -> Step {
        match other.power {
            VmPower::Stopped => Step::Remove(other.id.clone()),
            VmPower::Removing => self.look_again(),
            VmPower::Running | VmPower::Exited | VmPower::Stopping => Step::Fail(
                FailureCode::DuplicateVm,
                format!("VM {} carries this CVM's mark too and is not stopped", other.id),
            ),
        }
    }

    fn running(&self, vm: &ObservedVm) -> Step {
        let stale = self.status.pushed < self.desired.generation;
        let older_boot = self.status.run < self.desired.run;
        match vm.power {
            VmPower::Running if stale || older_boot => self.bring_down(vm),
            VmPower::Running => self.booting(vm),
            VmPower::Stopping => self.going_down(vm),
            VmPower::Removing => self.look_again(),
            VmPower::Exited if stale => Step::ForceStop(vm.id.clone(), self.force()),
            VmPower::Stopped | VmPower::Exited if self.attempts_exhausted() => Step::Fail(
                FailureCode::BootFailed,
                match &vm.boot_error {
                    Some(why) => {
                        format!("the VM did not stay up in any of the allowed attempts: {why}")
                    }
                    None => "the VM did not stay up in any of the allowed attempts".to_owned(),
                },
            ),
            VmPower::Stopped if stale => Step::Push(vm.id.clone()),
            VmPower::Stopped | VmPower::Exited => Step::Start(vm.id.clone()),
        }
    }

    fn booting(&self, vm: &ObservedVm) -> Step {
        match (&vm.boot, self.status.boot_until) {
            (Boot::Done, _) => Step::Done,
            (Boot::Failed(why), _) => Step::Fail(FailureCode::BootFailed, why.clone()),
            (_, Some(until)) if self.now >= until => Step::Fail(
                FailureCode::BootTimeout,
                match &vm.boot_error {
                    Some(error) => format!("no finished boot in time; last error: {error}"),
                    None => {
                        format!("no finished boot in time; last progress: {}", vm.boot.as_str())
                    }
                },
            ),
            _ => self.look_again(),
        }
    }

    fn stopped(&self, vm: &ObservedVm) -> Step {
        let stale = self.status.pushed < self.desired.generation;
        let changing = self.open.is_some_and(OperationKind::is_configuration);
        match vm.power {
            // The push comes now, so that a refusal is reported now and not at the next start.
            VmPower::Stopped if stale && changing => Step::Push(vm.id.clone()),
            VmPower::Stopped => Step::Done,
            VmPower::Removing => self.look_again(),
            VmPower::Running => self.bring_down(vm),
            VmPower::Stopping => self.going_down(vm),
            // Wanted by the node but not running: the node could start it again without us.
            VmPower::Exited => Step::ForceStop(vm.id.clone(), self.force()),
        }
    }

    fn bring_down(&self, vm: &ObservedVm) -> Step {
        match (self.desired.stop, self.status.stopping) {
            (StopMode::Graceful { timeout_s, .. }, None) => self.ask_down(vm, timeout_s),
            // Perhaps already asked. Asking again is harmless, and the deadline stays.
            (StopMode::Graceful { .. }, Some(asked))
                if !asked.sent && !asked.forced && self.now < asked.until =>
            {
                Step::Shutdown(vm.id.clone(), asked)
            }
            (StopMode::Hard, _) | (StopMode::Graceful { .. }, Some(_)) => self.going_down(vm),
        }
    }

    fn ask_down(&self, vm: &ObservedVm, timeout_s: u32) -> Step {
        let until = self.now.plus(Duration::from_secs(timeout_s.into()));
        Step::Shutdown(vm.id.clone(), Stopping { until, forced: false, sent: false })
    }

    /// A VM that was asked to shut down and is still up.
    fn going_down(&self, vm: &ObservedVm) -> Step {
        match (self.desired.stop, self.status.stopping) {
            (_, Some(off)) if off.forced && off.sent && self.now < off.until => self.look_again(),
            (StopMode::Graceful { force: false, timeout_s }, None) => self.ask_down(vm, timeout_s),
            (StopMode::Hard, _) | (_, None) => self.power_off(vm),
            (_, Some(asked)) if !asked.forced && self.now < asked.until => self.look_again(),
            (StopMode::Graceful { force: true, .. }, Some(_)) => self.power_off(vm),
            (StopMode::Graceful { force: false, timeout_s }, Some(_)) => Step::Fail(
                FailureCode::ShutdownTimeout,
                format!("the guest did not go down within {timeout_s} s and force is not allowed"),
            ),
        }
    }

    fn power_off(&self, vm: &ObservedVm) -> Step {
        if self.attempts_exhausted() {
            return Step::Fail(
                FailureCode::NodeUnavailable,
                "the node did not power the VM off in any of the allowed attempts".to_owned(),
            );
        }
        Step::ForceStop(vm.id.clone(), self.force())
    }

    fn force(&self) -> Stopping {
        Stopping { until: self.now.plus(self.limits.stop_settles), forced: true, sent: false }
    }

    /// Removal is repeated for all VMs with our mark until none is left.
    fn deleted(&self, vms: &[ObservedVm]) -> Step {
        match vms.iter().find(|vm| vm.power != VmPower::Removing) {
            Some(vm) => Step::Remove(vm.id.clone()),
            None if !vms.is_empty() => self.look_again(),
            None => match self.status.engine {
                EngineState::Creating { until, .. } if self.now < until => self.look_again(),
                _ => Step::Done,
            },
        }
    }
}

fn oldest(vms: &[ObservedVm]) -> &ObservedVm {
    &vms[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cvm::{FaultKind, ServiceFault};

    const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);

    fn desired(power: Power) -> DesiredState {
        DesiredState {
            power,
            run: 1,
            generation: 1,
            stop: StopMode::Graceful { timeout_s: 60, force: true },
            vm: 1,
        }
    }

    fn vm(id: &str, power: VmPower, boot: Boot) -> ObservedVm {
        ObservedVm {
            id: EngineVmId(id.to_owned()),
            power,
            boot,
            boot_error: None,
            shutdown_progress: None,
            instance_id: None,
            started_at: None,
            exited_at: None,
            faults: Vec::new(),
            published: None,
        }
    }

    fn present() -> Status {
        Status {
            engine: EngineState::Present { vm: EngineVmId("a".to_owned()) },
            pushed: 1,
            run: 1,
            ..Status::new()
        }
    }

    fn next(desired: &DesiredState, status: &Status, observed: Vec<ObservedVm>) -> Step {
        plan(None, desired, status, &Observed::Vms(observed), NOW, &Limits::default())
    }

    fn later(seconds: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(seconds))
    }

    #[test]
    fn silence_of_a_node_decides_nothing() {
        for power in [Power::Running, Power::Stopped, Power::Deleted] {
            let step = plan(
                None,
                &desired(power),
                &present(),
                &Observed::Unreachable,
                NOW,
                &Limits::default(),
            );
            assert!(matches!(step, Step::Wait(_)), "{step:?}");
        }
    }

    #[test]
    fn after_an_outage_what_is_not_as_desired_is_reconciled_unless_it_failed_by_itself() {
        let running = desired(Power::Running);
        let one = |power| vec![vm("a", power, Boot::Done)];
        let failed = |code| {
            let cause = String::new();
            let failure = Failure { code, cause, at: NOW, rolled_back: false };
            Status { failure: Some(failure), ..present() }
        };
        assert!(!needs_reconcile(&running, &present(), &one(VmPower::Running)));
        assert!(needs_reconcile(&running, &present(), &one(VmPower::Exited)));
        assert!(needs_reconcile(&desired(Power::Stopped), &present(), &one(VmPower::Running)));
        assert!(needs_reconcile(&desired(Power::Deleted), &present(), &one(VmPower::Stopped)));
        assert!(!needs_reconcile(&running, &present(), &[]), "its disk is gone: nothing to do");
        for (power, code) in [
            (VmPower::Running, FailureCode::NodeUnavailable),
            (VmPower::Stopped, FailureCode::NodeGivenUp),
        ] {
            let node = failed(code);
            assert!(needs_reconcile(&running, &node, &one(power)));
            assert!(!needs_reconcile(&running, &failed(FailureCode::NotAllowed), &one(power)));
        }
        let next_start = DesiredState { generation: 2, ..running };
        assert!(!needs_reconcile(&next_start, &present(), &one(VmPower::Running)));
    }

    #[test]
    fn creation_looks_before_it_asks_again() {
        let running = desired(Power::Running);
        assert_eq!(next(&running, &Status::new(), vec![]), Step::CreateStopped);
        let asked = |until| Status {
            engine: EngineState::Creating { until, generation: 1 },
            ..Status::new()
        };
        assert!(matches!(next(&running, &asked(later(1)), vec![]), Step::Wait(_)));
        assert_eq!(next(&running, &asked(NOW), vec![]), Step::CreateStopped);
        let two = vec![
            vm("a", VmPower::Stopped, Boot::Unknown),
            vm("b", VmPower::Stopped, Boot::Unknown),
        ];
        let oldest = Step::Adopt(EngineVmId("a".to_owned()));
        assert_eq!(next(&running, &asked(later(1)), two.clone()), oldest);
        assert_eq!(next(&running, &present(), two), Step::Remove(EngineVmId("b".to_owned())));
    }

    #[test]
    fn a_second_vm_that_may_run_is_never_removed() {
        for power in [VmPower::Running, VmPower::Exited, VmPower::Stopping] {
            let observed =
                vec![vm("a", VmPower::Stopped, Boot::Unknown), vm("b", power, Boot::Unknown)];
            let step = next(&desired(Power::Running), &present(), observed);
            assert!(matches!(step, Step::Fail(FailureCode::DuplicateVm, _)), "{step:?}");
        }
    }

    #[test]
    fn a_stale_configuration_is_pushed_before_any_start() {
        let newer = DesiredState { generation: 2, ..desired(Power::Running) };
        let id = EngineVmId("a".to_owned());
        let stopped = vec![vm("a", VmPower::Stopped, Boot::Unknown)];
        assert_eq!(next(&newer, &present(), stopped), Step::Push(id));
        let up = vec![vm("a", VmPower::Running, Boot::Done)];
        assert!(matches!(next(&newer, &present(), up), Step::Shutdown(..)));
        let dead = vec![vm("a", VmPower::Exited, Boot::Unknown)];
        assert!(matches!(next(&newer, &present(), dead), Step::ForceStop(..)));
    }

    #[test]
    fn a_stopped_cvm_gets_its_new_configuration_and_stays_stopped() {
        let newer = DesiredState { generation: 2, ..desired(Power::Stopped) };
        let observed = Observed::Vms(vec![vm("a", VmPower::Stopped, Boot::Unknown)]);
        let next =
            |open, status: &Status| plan(open, &newer, status, &observed, NOW, &Limits::default());
        let push = Step::Push(EngineVmId("a".to_owned()));
        assert_eq!(next(Some(OperationKind::Update), &present()), push);
        assert_eq!(next(Some(OperationKind::Rollback), &present()), push);
        assert_eq!(
            next(Some(OperationKind::Stop), &present()),
            Step::Done,
            "the next start pushes"
        );
        assert_eq!(
            next(Some(OperationKind::Update), &Status { pushed: 2, ..present() }),
            Step::Done
        );
    }

    #[test]
    fn a_shutdown_is_forced_past_its_deadline_only_where_that_is_allowed() {
        let up = || vec![vm("a", VmPower::Running, Boot::Done)];
        let asked = |until| Status {
            stopping: Some(Stopping { until, forced: false, sent: true }),
            ..present()
        };
        let gentle = desired(Power::Stopped);
        assert!(matches!(next(&gentle, &asked(later(1)), up()), Step::Wait(_)));
        assert!(matches!(next(&gentle, &asked(NOW), up()), Step::ForceStop(..)));
        let patient =
            DesiredState { stop: StopMode::Graceful { timeout_s: 60, force: false }, ..gentle };
        assert!(matches!(
            next(&patient, &asked(NOW), up()),
            Step::Fail(FailureCode::ShutdownTimeout, _)
        ));
        let hard = DesiredState { stop: StopMode::Hard, ..gentle };
        assert!(matches!(next(&hard, &asked(later(1)), up()), Step::ForceStop(..)));
    }

    #[test]
    fn a_call_to_go_down_is_repeated_until_the_node_has_surely_taken_it() {
        let up = || vec![vm("a", VmPower::Running, Boot::Done)];
        let status = |forced, sent| Status {
            stopping: Some(Stopping { until: later(9), forced, sent }),
            ..present()
        };
        let gentle = desired(Power::Stopped);
        let Step::Shutdown(_, again) = next(&gentle, &status(false, false), up()) else {
            panic!("not asked again");
        };
        assert_eq!(again.until, later(9), "the deadline stays");
        assert!(matches!(next(&gentle, &status(false, true), up()), Step::Wait(_)));
        assert!(matches!(next(&gentle, &status(true, false), up()), Step::ForceStop(..)));
        assert!(matches!(next(&gentle, &status(true, true), up()), Step::Wait(_)));
    }

    #[test]
    fn a_restart_is_a_boot_newer_than_the_last() {
        let again = DesiredState { run: 2, ..desired(Power::Running) };
        let up = vec![vm("a", VmPower::Running, Boot::Done)];
        assert!(matches!(next(&again, &present(), up.clone()), Step::Shutdown(..)));
        let down = vec![vm("a", VmPower::Stopped, Boot::Unknown)];
        assert!(matches!(next(&again, &present(), down), Step::Start(_)));
        assert_eq!(next(&again, &Status { run: 2, ..present() }, up), Step::Done);
    }

    #[test]
    fn running_is_not_booted() {
        let started = Status { boot_until: Some(later(1)), ..present() };
        let boot = |boot| vec![vm("a", VmPower::Running, boot)];
        let running = desired(Power::Running);
        assert!(matches!(next(&running, &started, boot(Boot::Unknown)), Step::Wait(_)));
        assert_eq!(next(&running, &started, boot(Boot::Done)), Step::Done);
        let late = Status { boot_until: Some(NOW), ..present() };
        assert!(matches!(
            next(&running, &late, boot(Boot::Progress("booting".to_owned()))),
            Step::Fail(FailureCode::BootTimeout, _)
        ));
        assert!(matches!(
            next(&running, &started, boot(Boot::Failed("no image".to_owned()))),
            Step::Fail(FailureCode::BootFailed, _)
        ));
    }

    #[test]
    fn deletion_ends_when_nothing_carries_the_mark() {
        let gone = desired(Power::Deleted);
        let one = vec![vm("a", VmPower::Running, Boot::Done)];
        assert!(matches!(next(&gone, &present(), one), Step::Remove(_)));
        let going = vec![vm("a", VmPower::Removing, Boot::Unknown)];
        assert!(matches!(next(&gone, &present(), going), Step::Wait(_)));
        assert_eq!(next(&gone, &present(), vec![]), Step::Done);
        let maybe = Status {
            engine: EngineState::Creating { until: later(1), generation: 1 },
            ..Status::new()
        };
        assert!(matches!(next(&gone, &maybe, vec![]), Step::Wait(_)));
    }

    #[test]
    fn a_vm_gives_way_to_another_one_and_is_not_taken_for_lost() {
        let another = DesiredState { vm: 2, generation: 2, ..desired(Power::Running) };
        let one = |power| vec![vm("a", power, Boot::Done)];
        for power in [VmPower::Running, VmPower::Stopped, VmPower::Exited, VmPower::Stopping] {
            assert_eq!(
                next(&another, &present(), one(power)),
                Step::Remove(EngineVmId("a".to_owned()))
            );
        }
        assert!(matches!(next(&another, &present(), one(VmPower::Removing)), Step::Wait(_)));
        assert_eq!(next(&another, &present(), vec![]), Step::Forget);
        let forgotten = Status { engine: EngineState::Absent, vm: 2, ..present() };
        assert_eq!(next(&another, &forgotten, vec![]), Step::CreateStopped);
        let off = DesiredState { power: Power::Stopped, ..another };
        assert_eq!(next(&off, &present(), vec![]), Step::Forget);
        assert_eq!(next(&off, &forgotten, vec![]), Step::Done);
    }

    fn failed(code: FailureCode) -> Status {
        let failure = Failure { code, cause: "?".to_owned(), at: NOW, rolled_back: false };
        Status { failure: Some(failure), ..present() }
    }

    #[test]
    fn a_guest_that_boots_after_all_is_taken_up_and_is_done() {
        let (wanted, up) = (desired(Power::Running), vec![vm("a", VmPower::Running, Boot::Done)]);
        for code in [FailureCode::KeyRefused, FailureCode::BootTimeout, FailureCode::BootFailed] {
            let status = failed(code);
            assert!(booted_after_all(&wanted, &status, &up));
            assert!(needs_reconcile(&wanted, &status, &up));
            assert_eq!(next(&wanted, &status, up.clone()), Step::Done);
        }
    }

    #[test]
    fn what_is_not_a_late_boot_of_what_is_desired_stays_failed() {
        let refused = failed(FailureCode::KeyRefused);
        let wanted = desired(Power::Running);
        let up = || vm("a", VmPower::Running, Boot::Done);
        let rolled_back = Failure { rolled_back: true, ..refused.failure.clone().unwrap() };
        let fault = ServiceFault {
            service: "web".to_owned(),
            kind: FaultKind::Exited { code: 1 },
            log: Vec::new(),
            at: NOW,
        };
        let faulty = ObservedVm { faults: vec![fault], ..up() };
        let cases = [
            (
                "still boots",
                &wanted,
                refused.clone(),
                vec![vm("a", VmPower::Running, Boot::Unknown)],
            ),
            ("went down", &wanted, refused.clone(), vec![vm("a", VmPower::Exited, Boot::Done)]),
            ("another VM", &wanted, refused.clone(), vec![vm("b", VmPower::Running, Boot::Done)]),
            (
                "two VMs",
                &wanted,
                refused.clone(),
                vec![up(), vm("b", VmPower::Stopped, Boot::Done)],
            ),
            ("not wanted", &desired(Power::Stopped), refused.clone(), vec![up()]),
            ("older document", &wanted, Status { pushed: 0, ..refused.clone() }, vec![up()]),
            ("older boot", &wanted, Status { run: 0, ..refused.clone() }, vec![up()]),
            ("older VM", &wanted, Status { vm: 0, ..refused.clone() }, vec![up()]),
            ("no boot failed", &wanted, failed(FailureCode::NotAllowed), vec![up()]),
            ("a service does not run", &wanted, refused.clone(), vec![faulty]),
            ("rolled back", &wanted, Status { failure: Some(rolled_back), ..refused }, vec![up()]),
        ];
        for (what, wanted, status, vms) in cases {
            assert!(!booted_after_all(wanted, &status, &vms), "{what}");
        }
    }

    #[test]
    fn a_lost_vm_is_said_so_and_not_made_anew() {
        let step = next(&desired(Power::Running), &present(), vec![]);
        assert!(matches!(step, Step::Fail(FailureCode::VmLost, _)));
    }
}
