//! A plan as clients are told it.

use casemate_api::reply::{
    GovernancePlan, PlanAccount, PlanArgument, PlanHost, PlanObstacle, PlanStep,
};
use casemate_core::{
    governance::{
        Account, BootVerdict,
        plan::{
            ApprovalGoal, Facts, Host, Plan, Signer, SimulationOutcome, Step, Subject, batch,
            checksummed, multisend,
        },
    },
    id::Address,
    time::Timestamp,
};

use super::target::Target;

pub fn reply(
    target: &Target,
    wanted: &ApprovalGoal,
    facts: &Facts,
    plan: &Plan,
    now: Timestamp,
    unknown: &[String],
) -> GovernancePlan {
    let app = match &facts.app {
        Subject::App(app) => Some(app),
        Subject::New(_) => None,
    };
    let steps = |steps: &[Step]| steps.iter().map(|one| step(facts, one)).collect();
    let signer = plan.signer().or(target.owner).filter(|_| !plan.steps.is_empty());
    let its = signer.map(|signer| plan.batch_of(signer));
    let name = format!("{}: {}", target.name, wanted.hash);
    let any_device = app.is_some_and(|app| app.any_device);
    let explorer = target.governed.explorer.as_ref().zip(app);
    GovernancePlan {
        standing: plan.standing().as_str().to_owned(),
        chain_id: facts.chain_id,
        block_number: facts.block.number,
        block_hash: format!("0x{}", facts.block.hash),
        kms_contract: checksummed(facts.kms.contract),
        app_contract: app.map(|app| checksummed(app.id.into())),
        compose_hash: wanted.hash.to_string(),
        owner: app.and_then(|app| app.owner).map(|owner| known(facts, owner)),
        pending_owner: app.and_then(|app| app.pending_owner).map(checksummed),
        steps: steps(&plan.steps),
        optional: steps(&plan.optional),
        obstacles: plan
            .obstacles
            .iter()
            .map(|why| PlanObstacle { code: why.as_str().to_owned(), message: why.to_string() })
            .collect(),
        notes: plan.notes.iter().map(ToString::to_string).collect(),
        hosts: facts.hosts.iter().map(|one| host(one, any_device)).collect(),
        safe_batch: its
            .as_ref()
            .map(|its| batch(facts.chain_id, signer, &name, now.micros() / 1000, its)),
        multisend: its.as_ref().map(|its| hex0x(&multisend(its))),
        explorer_url: explorer
            .map(|(explorer, app)| format!("{explorer}/address/{}", checksummed(app.id.into()))),
        warnings: match unknown {
            [] => Vec::new(),
            fields => vec![format!("ignored, because unknown: {}", fields.join(", "))],
        },
    }
}

fn hex0x(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

fn step(facts: &Facts, step: &Step) -> PlanStep {
    let call = &step.transaction.call;
    let is_kms = step.transaction.to == facts.kms.contract;
    let (simulation, revert_reason) = match &step.trial {
        SimulationOutcome::Succeeds => ("succeeds", None),
        SimulationOutcome::Reverts(reason) => ("reverts", Some(reason.clone())),
        SimulationOutcome::Untried => ("untried", None),
    };
    let argument = |input: casemate_core::governance::plan::Input| PlanArgument {
        name: input.name.to_owned(),
        kind: input.kind.to_owned(),
        value: input.value,
    };
    PlanStep {
        to: checksummed(step.transaction.to),
        contract: if is_kms { "kms" } else { "app" }.to_owned(),
        method: call.signature(),
        arguments: call.inputs().into_iter().map(argument).collect(),
        calldata: hex0x(&call.calldata()),
        purpose: step.why.as_str().to_owned(),
        why: step.why.to_string(),
        signer: match &step.signer {
            Signer::Anyone => None,
            Signer::Account(address, kind) => Some(account(*address, kind)),
        },
        after: step.after,
        simulation: simulation.to_owned(),
        revert_reason,
    }
}

fn known(facts: &Facts, address: Address) -> PlanAccount {
    account(address, facts.accounts.get(&address).unwrap_or(&Account::Eoa))
}

fn account(address: Address, kind: &Account) -> PlanAccount {
    let (word, threshold, owners) = match kind {
        Account::Eoa => ("eoa", None, Vec::new()),
        Account::Contract => ("contract", None, Vec::new()),
        Account::Safe { threshold, owners } => {
            ("safe", Some(*threshold), owners.iter().copied().map(checksummed).collect())
        }
    };
    PlanAccount { address: checksummed(address), kind: word.to_owned(), threshold, owners }
}

fn host(host: &Host, any_device: bool) -> PlanHost {
    let (is_app_allowed, reason) = match &host.boot {
        None => (None, None),
        Some(BootVerdict::Allowed(_)) => (Some(true), None),
        Some(BootVerdict::Denied(_, reason)) => (Some(false), Some(reason.clone())),
    };
    PlanHost {
        node: host.name.clone(),
        device_id: host.device.to_string(),
        device_allowed: any_device || host.listed,
        os_image_hash: host.os_image.map(|(image, _)| hex::encode(image)),
        os_image_allowed: host.os_image.map(|(_, allowed)| allowed),
        is_app_allowed,
        reason,
    }
}
