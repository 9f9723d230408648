//! Plans: which transactions are missing before something boots, who signs them, or why none will help.
//!
//! What is to boot where is read from the database ([`target`]); a change or a deployment that is only
//! thought of is made in a transaction that is dropped. Then, outside of it, the chain is asked
//! ([`facts`]); `core::governance::plan` decides, and each step is tried on the chain.

mod facts;
mod reply;
mod target;

use std::time::Duration;

use casemate_api::{governance::GovernancePlanRequest, reply::GovernancePlan};
use casemate_core::{
    governance::plan::{ApprovalGoal, Facts, Plan, SimulationOutcome, Step, Subject, plan},
    id::Address,
};
use casemate_engine::chain::Fault;

use super::unanswered;
use crate::app::{Caller, Ctx, Error, fleet::Governed};

/// How long the chain may take for all that is asked of it.
const PATIENCE: Duration = Duration::from_secs(15);
/// Sends what anybody may send, where nobody is named: an account that nothing is known of.
const ANYBODY: Address = Address::from_bytes([0x11; 20]);

/// Makes a plan. `unknown` are the fields that nobody knows; they are named in a warning.
pub async fn make(
    ctx: &Ctx,
    caller: &Caller,
    request: GovernancePlanRequest,
    unknown: &[String],
) -> Result<GovernancePlan, Error> {
    let wanted_by = (request.signer, request.allow_any_device.unwrap_or(false));
    let target = Box::pin(target::target(ctx, caller, request)).await?;
    let wanted = ApprovalGoal { hash: target.hash, any_device: wanted_by.1, signer: wanted_by.0 };
    let asked = tokio::time::timeout(PATIENCE, ask(&target, &wanted)).await;
    let late = || Fault::Unavailable(format!("no answer within {} s", PATIENCE.as_secs()));
    let (facts, plan) =
        asked.unwrap_or_else(|_| Err(late())).map_err(|fault| unanswered(&fault))?;
    let now = ctx.now();
    Ok(reply::reply(&target, &wanted, &facts, &plan, now, unknown))
}

async fn ask(target: &target::Target, wanted: &ApprovalGoal) -> Result<(Facts, Plan), Fault> {
    let facts = facts::facts(target, wanted).await?;
    let plan = plan(wanted, &facts);
    let trials = trials(&target.governed, wanted, &facts, &plan).await?;
    let plan = plan.tried(trials);
    Ok((facts, plan))
}

/// Tries every step from its signer, but those that need another one first.
async fn trials(
    governed: &Governed,
    wanted: &ApprovalGoal,
    facts: &Facts,
    plan: &Plan,
) -> Result<Vec<SimulationOutcome>, Fault> {
    let owner = match &facts.app {
        Subject::New(owner) => Some(*owner),
        Subject::App(app) => app.owner,
    };
    let anybody = wanted.signer.or(owner).unwrap_or(ANYBODY);
    let mut trials = Vec::new();
    for step in plan.steps.iter().chain(&plan.optional) {
        trials.push(trial(governed, step, anybody).await?);
    }
    Ok(trials)
}

async fn trial(
    governed: &Governed,
    step: &Step,
    anybody: Address,
) -> Result<SimulationOutcome, Fault> {
    if step.after.is_some() {
        return Ok(SimulationOutcome::Untried);
    }
    let from = step.signer.address().unwrap_or(anybody);
    let (to, data) = (step.transaction.to, step.transaction.call.calldata());
    Ok(match governed.chain.simulate(from, to, data).await? {
        Ok(()) => SimulationOutcome::Succeeds,
        Err(reason) => SimulationOutcome::Reverts(reason),
    })
}
