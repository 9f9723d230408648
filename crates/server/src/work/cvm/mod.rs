//! Reconciles one CVM under a lease: observe, plan, record the intent, make the call, record the outcome.
//!
//! The order matters. Before a call, the status already says what a crash during the call can leave behind.
//! After a call with unknown outcome nothing is concluded; the next observation decides. Every write names
//! the fence of the lease, so a holder that lost it learns so before it acts.
//!
//! The outcome of a call is recorded together with what comes next: the intent of the next call, a wait, or
//! the end. A crash before that is a crash during the call, which the intent covers. A wait without news
//! writes nothing until the lease has to be renewed.
//!
//! Guarantees: at most one side effect between two writes; an operation closes in the transaction that
//! records its end and its event. Not guaranteed: speed under failure. There are no retries inside a turn;
//! failed work becomes due again.

mod call;
mod drain;
mod record;

use std::{future::Future, time::Duration};

use casemate_core::{
    boot_auth::explain,
    cvm::{
        Boot, EngineState, Failure, FailureCode, Observed, ObservedVm, Power, Rotation, Status,
        VmPower,
    },
    governance::gate,
    id::{EngineVmId, NodeId},
    operation::OperationKind,
    plan::{Limits, Step, leave, plan},
    time::Timestamp,
};
use casemate_engine::node::{CallError, Mark};
use casemate_store::{Error as StoreError, cvms::Cvm, key_decisions, lease, operations::Ending};

use super::boot_check::{BootAnswer, check_boot};
use crate::app::{
    Ctx,
    events::{CvmEvent, StepResult},
    fleet::FleetNode,
};

/// Maximum number of steps per lease; then the CVM becomes due again.
const STEPS_PER_LEASE: usize = 16;
/// Minimum time between two observations, however new the operation is.
const LOOK_LEAST: Duration = Duration::from_millis(100);
/// Maximum time between two observations while an operation is open.
const LOOK_MOST: Duration = Duration::from_secs(3);

/// When a CVM of a silent node is due again. It is not claimed until the node answers.
const AWAY_LOOK: Duration = Duration::from_secs(1);

/// Minimum time between two requests to a chain that does not answer.
const CHAIN_LEAST: Duration = Duration::from_secs(1);
const CHAIN_MOST: Duration = Duration::from_secs(15);

/// What follows a step.
enum AfterStep {
    /// Another step immediately.
    GoOn,
    /// Nothing until this time; the lease is kept.
    Waits(Timestamp),
    /// The lease was given back.
    Released,
}

/// A CVM under a lease of this process.
#[derive(Debug)]
pub struct LeasedCvm {
    /// As this process knows it: its status may be newer than the recorded one.
    cvm: Cvm,
    /// The recorded status.
    recorded: Status,
    /// Events that are not recorded yet.
    new_events: Vec<CvmEvent>,
    /// The step whose outcome is not recorded yet.
    concluded: Option<&'static str>,
    /// When the lease ends.
    lease_until: Timestamp,
    /// Why a chain did not answer, while it is being retried.
    silent: Option<String>,
}

impl LeasedCvm {
    /// A CVM that was just claimed, with a lease until this time.
    pub fn new(cvm: Cvm, lease_until: Timestamp) -> Box<Self> {
        let recorded = cvm.status.clone();
        Box::new(Self {
            cvm,
            recorded,
            new_events: Vec::new(),
            concluded: None,
            lease_until,
            silent: None,
        })
    }
}

/// How a turn ends.
#[derive(Debug)]
pub enum TurnEnd {
    /// The lease was given back, or lost.
    Over,
    /// Nothing to do before this time. A caller that does not wait gives the lease back ([`release`]).
    Until(Timestamp, Box<LeasedCvm>),
}

/// Reconciles a CVM until there is nothing to do now.
pub async fn work(ctx: &Ctx, mut leased: Box<LeasedCvm>) -> TurnEnd {
    for _ in 0..STEPS_PER_LEASE {
        match Box::pin(turn(ctx, &mut leased)).await {
            Ok(AfterStep::GoOn) => {}
            Ok(AfterStep::Waits(until)) => return TurnEnd::Until(until, leased),
            Ok(AfterStep::Released) => return TurnEnd::Over,
            Err(StoreError::Stale) => {
                give_back(ctx, &leased.cvm).await;
                return TurnEnd::Over;
            }
            Err(error) => {
                tracing::error!(cvm = %leased.cvm.id, error = &error as &dyn std::error::Error,
                    "turn not recorded; the lease runs out and the CVM is looked at again");
                return TurnEnd::Over;
            }
        }
    }
    let soon = ctx.now().plus(LOOK_LEAST);
    release(ctx, leased, soon).await;
    TurnEnd::Over
}

/// Reconciles a CVM and gives the lease back instead of waiting.
pub async fn work_and_release(ctx: &Ctx, leased: Box<LeasedCvm>) {
    if let TurnEnd::Until(due, leased) = Box::pin(work(ctx, leased)).await {
        release(ctx, leased, due).await;
    }
}

/// Ends the operations of a CVM on a node that was given up; see [`crate::nodes::heartbeat`].
pub async fn give_up(ctx: &Ctx, mut leased: Box<LeasedCvm>, node: &str) {
    let id = leased.cvm.id;
    match Turn::new(ctx, &mut leased).give_up(node).await {
        Ok(_) => {}
        Err(StoreError::Stale) => tracing::debug!(cvm = %id, "changed meanwhile; looked at again"),
        Err(error) => tracing::error!(cvm = %id, error = &error as &dyn std::error::Error,
            "a CVM of a node that was given up was not ended; the next beat tries again"),
    }
}

/// Whether no operation is open and the VM is not recorded as lost yet.
pub fn is_at_rest_on_lost_node(cvm: &Cvm) -> bool {
    let told = cvm.status.failure.as_ref().map(|failure| failure.code);
    cvm.operation.is_none() && told != Some(FailureCode::NodeGivenUp)
}

/// Gives a lease back; the CVM is due at this time.
pub async fn release(ctx: &Ctx, mut leased: Box<LeasedCvm>, due: Timestamp) {
    let status = leased.cvm.status.clone();
    if let Err(error) = Turn::new(ctx, &mut leased).release(status, Vec::new(), due).await {
        tracing::debug!(%error, "lease lost");
        give_back(ctx, &leased.cvm).await;
    }
}

/// A newer desired state exists, and no call for the older one is in flight any more.
async fn give_back(ctx: &Ctx, cvm: &Cvm) {
    if let Err(error) = lease::give_back(&ctx.db, cvm, ctx.now()).await {
        tracing::warn!(cvm = %cvm.id, %error, "lease not given back; it runs out by itself");
    }
}

async fn turn(ctx: &Ctx, leased: &mut LeasedCvm) -> Result<AfterStep, StoreError> {
    let cvm = &leased.cvm;
    let limits = ctx.config.work.limits();
    let Some(target) = ctx.fleet.own_node(cvm.node) else {
        // Another process serves it now, or its node was given up.
        let status = cvm.status.clone();
        let soon = ctx.now().plus(AWAY_LOOK);
        return Turn::new(ctx, leased).release(status, Vec::new(), soon).await;
    };
    let mark = Mark::new(&cvm.spec.name, cvm.uuid);
    let observed = observe(ctx, &target, &mark).await;
    if observed == Observed::Unreachable {
        return Turn::new(ctx, leased).wait_for_node(&target).await;
    }
    let open = cvm.operation.map(|open| open.kind);
    let moves_to = cvm.moves_to.filter(|_| cvm.desired.power != Power::Deleted);
    let step = if moves_to.is_some() {
        leave(&cvm.desired, &cvm.status, &observed, ctx.now(), &limits)
    } else {
        let step = plan(open, &cvm.desired, &cvm.status, &observed, ctx.now(), &limits);
        explain_refusal(ctx, cvm, step, &observed, &limits).await?
    };
    // What goes down here comes up there.
    let boots_on = moves_to.and_then(|node| ctx.fleet.node(node)).unwrap_or_else(|| target.clone());
    let mut turn = Turn::new(ctx, leased);
    let mut before = turn.look(&observed);
    if let Some(after) = turn.drain_first(&mut before, &step, &target).await? {
        return Ok(after);
    }
    match turn.allowed(&before.0, &step, &boots_on).await {
        BootAnswer::Allowed(verified) => {
            before.1.extend(verified.map(CvmEvent::VerifiedAgain));
            turn.leased.silent = None;
        }
        BootAnswer::Refused(why) => return turn.not_allowed(before, why).await,
        BootAnswer::Silent(why) => return turn.silent(before, &step, why).await,
    }
    match step {
        Step::Wait(_) => turn.wait(before).await,
        Step::Done => turn.done(before, &target).await,
        Step::Fail(code, cause) => {
            // What was drained for a step that did not come goes on.
            if before.0.observed.as_ref().is_some_and(|vm| vm.boot == Boot::Done) {
                turn.rotate(&mut before, &target).await?;
            }
            turn.fail(before, code, cause).await
        }
        Step::Adopt(vm) => Ok(turn.adopt(before, vm)),
        Step::Forget => {
            turn.unregister(&mut before, &target).await?;
            match moves_to {
                Some(to) => turn.change_node(before, to).await,
                None => Ok(turn.forget(before)),
            }
        }
        step => turn.execute(before, step, &target, &mark, &limits).await,
    }
}

/// The step, or the end of a boot whose guest was refused its keys. A KMS asks any process on this database,
/// so its last answer is read from there.
async fn explain_refusal(
    ctx: &Ctx,
    cvm: &Cvm,
    step: Step,
    observed: &Observed,
    limits: &Limits,
) -> Result<Step, StoreError> {
    if !step.may_be_refusal(&cvm.desired, &cvm.status, observed) {
        return Ok(step);
    }
    let refusal = key_decisions::refusal(&ctx.db, cvm.id).await?;
    Ok(explain(step, refusal.as_ref(), &cvm.status, limits))
}

async fn observe(ctx: &Ctx, target: &FleetNode, mark: &Mark) -> Observed {
    match bounded(ctx, target.node.find(mark)).await {
        Ok(vms) => Observed::Vms(vms),
        Err(error) => {
            tracing::debug!(node = %target.name, %error, "node not seen");
            Observed::Unreachable
        }
    }
}

/// A call with a timeout; after it the outcome is unknown.
async fn bounded<T>(
    ctx: &Ctx,
    call: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    let limit = Duration::from_secs(ctx.config.work.call_timeout_s);
    match tokio::time::timeout(limit, call).await {
        Ok(outcome) => outcome,
        Err(_) => Err(CallError::Unknown(format!("no answer in {} s", limit.as_secs()))),
    }
}

/// One turn of a CVM's reconciler.
struct Turn<'a> {
    ctx: &'a Ctx,
    leased: &'a mut LeasedCvm,
}

impl<'a> Turn<'a> {
    const fn new(ctx: &'a Ctx, leased: &'a mut LeasedCvm) -> Self {
        Self { ctx, leased }
    }

    fn lease(&self) -> Duration {
        Duration::from_secs(self.ctx.config.work.lease_s)
    }

    /// The status after an observation, and its events.
    fn look(&self, observed: &Observed) -> (Status, Vec<CvmEvent>) {
        let mut status = self.leased.cvm.status.clone();
        let Observed::Vms(vms) = observed else { return (status, Vec::new()) };
        let ours = match &status.engine {
            EngineState::Present { vm } => vms.iter().find(|observed| observed.id == *vm),
            EngineState::Absent | EngineState::Creating { .. } => vms.first(),
        };
        let mut new_events = Vec::new();
        if let Some(progress) = boot_event(status.observed.as_ref(), ours) {
            new_events.push(CvmEvent::Boot(progress));
        }
        status.observed = ours.cloned();
        (status, new_events)
    }

    async fn wait(
        &mut self,
        (mut status, new_events): (Status, Vec<CvmEvent>),
    ) -> Result<AfterStep, StoreError> {
        let now = self.ctx.now();
        let age = self.leased.cvm.operation.map_or(LOOK_MOST, |open| now.since(open.started_at));
        // A guest that was started outside of Casemate gets the usual time to boot.
        let is_up = status.observed.as_ref().is_some_and(|vm| vm.power == VmPower::Running);
        if is_up
            && self.leased.cvm.operation.is_some()
            && self.leased.cvm.desired.power == Power::Running
        {
            let until = now.plus(self.ctx.config.work.limits().boot);
            status.boot_until = status.boot_until.or(Some(until));
        }
        let pause = (age / 4).clamp(LOOK_LEAST, LOOK_MOST);
        self.pause((status, new_events), now.plus(pause)).await
    }

    /// A silent node is no verdict: the lease is given back, and the CVM is claimed again after the node's
    /// watch had an answer. The watch is asked to check now.
    async fn wait_for_node(&mut self, target: &FleetNode) -> Result<AfterStep, StoreError> {
        target.look_now.notify_one();
        let status = self.leased.cvm.status.clone();
        self.release(status, Vec::new(), self.ctx.now().plus(AWAY_LOOK)).await
    }

    /// Observes again at this time. Writes only news, or a renewal of the lease.
    async fn pause(
        &mut self,
        (status, new_events): (Status, Vec<CvmEvent>),
        until: Timestamp,
    ) -> Result<AfterStep, StoreError> {
        let unwritten = !self.leased.new_events.is_empty() || !new_events.is_empty();
        // Renews at half the lease, which is longer than the observations until the next renewal take.
        let runs_out = self.leased.lease_until < until.plus(self.lease() / 2);
        if unwritten || status != self.leased.recorded || runs_out {
            self.keep(status, new_events, false).await?;
        }
        Ok(AfterStep::Waits(until))
    }

    async fn done(
        &mut self,
        mut before: (Status, Vec<CvmEvent>),
        target: &FleetNode,
    ) -> Result<AfterStep, StoreError> {
        match self.leased.cvm.desired.power {
            Power::Running => self.rotate(&mut before, target).await?,
            Power::Deleted => self.unregister(&mut before, target).await?,
            Power::Stopped => {}
        }
        let (mut status, new_events) = before;
        status.stopping = None;
        status.drains_until = None;
        status.boot_until = None;
        status.attempts = 0;
        // The rollback is shown until the next change.
        if self.leased.cvm.operation.is_none_or(|open| open.kind != OperationKind::Rollback) {
            status.failure = None;
        }
        self.close(status, new_events, &Ending::Succeeded).await
    }

    async fn fail(
        &mut self,
        (mut status, new_events): (Status, Vec<CvmEvent>),
        code: FailureCode,
        cause: String,
    ) -> Result<AfterStep, StoreError> {
        status.stopping = None;
        status.drains_until = None;
        status.boot_until = None;
        let cause = match (&status.failure, self.leased.cvm.operation) {
            (Some(first), Some(open)) if open.kind == OperationKind::Rollback => {
                format!("{cause}; this was the way back from: {}", first.cause)
            }
            _ => cause,
        };
        let at = self.ctx.now();
        status.failure = Some(Failure { code, cause: cause.clone(), at, rolled_back: false });
        self.close(status, new_events, &Ending::Failed(code, cause)).await
    }

    /// Whether the contracts of the app allow this step.
    async fn allowed(&self, status: &Status, step: &Step, target: &FleetNode) -> BootAnswer {
        let cvm = &self.leased.cvm;
        match gate(step, &cvm.desired, status) {
            Some(gate) => {
                let limit = Duration::from_secs(self.ctx.config.work.call_timeout_s);
                Box::pin(check_boot(self.ctx, cvm, target, gate, limit)).await
            }
            None => BootAnswer::Allowed(None),
        }
    }

    async fn not_allowed(
        &mut self,
        before: (Status, Vec<CvmEvent>),
        why: String,
    ) -> Result<AfterStep, StoreError> {
        self.fail(before, FailureCode::NotAllowed, why).await
    }

    /// No answer from a chain is no verdict: it is retried for at most a boot timeout.
    async fn silent(
        &mut self,
        (status, mut new_events): (Status, Vec<CvmEvent>),
        step: &Step,
        why: String,
    ) -> Result<AfterStep, StoreError> {
        let now = self.ctx.now();
        let asked = self.leased.cvm.operation.map_or(now, |open| open.started_at);
        if now >= asked.plus(self.ctx.config.work.limits().boot) {
            return self.fail((status, new_events), FailureCode::ChainUnavailable, why).await;
        }
        if self.leased.silent.as_ref() != Some(&why) {
            tracing::warn!(cvm = %self.leased.cvm.id, step = step.name(), why, "no word from the chain");
            new_events.push(CvmEvent::Step {
                name: step.name(),
                outcome: StepResult::ChainSilent(why.clone()),
            });
            self.leased.silent = Some(why);
        }
        let pause = (now.since(asked) / 4).clamp(CHAIN_LEAST, CHAIN_MOST);
        self.pause((status, new_events), now.plus(pause)).await
    }

    /// The node was given up: a deletion succeeds, any other operation fails.
    async fn give_up(&mut self, node: &str) -> Result<AfterStep, StoreError> {
        let status = Status { observed: None, ..self.leased.cvm.status.clone() };
        if self.leased.cvm.desired.power == Power::Deleted {
            let given_up = CvmEvent::Step { name: "give_up", outcome: StepResult::Done };
            return self.close(status, vec![given_up], &Ending::Succeeded).await;
        }
        let cause = format!("node {node} was given up by its operator, and the VM with it");
        self.fail((status, Vec::new()), FailureCode::NodeGivenUp, cause).await
    }

    fn adopt(
        &mut self,
        (mut status, mut new_events): (Status, Vec<CvmEvent>),
        vm: EngineVmId,
    ) -> AfterStep {
        status.pushed = match status.engine {
            EngineState::Creating { generation, .. } => generation,
            EngineState::Absent | EngineState::Present { .. } => 0,
        };
        // Not what the node has of an older generation: the next push tells.
        let newest = status.pushed == self.leased.cvm.desired.generation;
        status.pushed_boot = newest.then(|| self.leased.cvm.spec.boot_identity());
        status.engine = EngineState::Present { vm };
        new_events.push(CvmEvent::Step { name: "adopt", outcome: StepResult::Done });
        self.update_status("adopt", status, new_events);
        AfterStep::GoOn
    }

    /// The VM to be replaced is gone.
    fn forget(&mut self, (status, mut new_events): (Status, Vec<CvmEvent>)) -> AfterStep {
        let status = self.without_vm(status);
        new_events.push(CvmEvent::Step { name: "forget", outcome: StepResult::Done });
        self.update_status("forget", status, new_events);
        AfterStep::GoOn
    }

    /// The VM is gone, so the CVM belongs to the other node.
    async fn change_node(
        &mut self,
        (status, mut new_events): (Status, Vec<CvmEvent>),
        to: NodeId,
    ) -> Result<AfterStep, StoreError> {
        let from = self.leased.cvm.node;
        let status = Status { rotation: Rotation::In, ..self.without_vm(status) };
        new_events.push(CvmEvent::Step { name: "forget", outcome: StepResult::Done });
        new_events.push(CvmEvent::NodeChanged { from, to, left_behind: false });
        self.arrive(status, new_events).await
    }

    fn without_vm(&self, status: Status) -> Status {
        Status {
            engine: EngineState::Absent,
            vm: self.leased.cvm.desired.vm,
            pushed: 0,
            pushed_boot: None,
            stopping: None,
            boot_until: None,
            attempts: 0,
            observed: None,
            ..status
        }
    }

    /// Updates the known status; the next write records it.
    fn update_status(&mut self, step: &'static str, status: Status, new_events: Vec<CvmEvent>) {
        self.leased.cvm.status = status;
        self.leased.new_events.extend(new_events);
        self.leased.concluded = Some(step);
    }
}

/// The boot event of the guest, if there is a new one.
fn boot_event(before: Option<&ObservedVm>, now: Option<&ObservedVm>) -> Option<Boot> {
    let now = now.filter(|vm| vm.power == VmPower::Running && vm.boot != Boot::Unknown)?;
    let known = before.is_some_and(|vm| vm.power == VmPower::Running && vm.boot == now.boot);
    (!known).then(|| now.boot.clone())
}
