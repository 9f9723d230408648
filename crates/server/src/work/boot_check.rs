//! Asks the contracts of an app before a running guest is restarted, and before a boot. The KMS enforces the
//! contracts at every boot; asking first avoids stopping a guest for a configuration that cannot boot. For
//! the built-in KMS of nodes without a TEE this is the only check.

use std::time::Duration;

use casemate_core::{
    governance::{BootInfo, BootVerdict, Gate, Verdict, judge::boot_refused},
    id::InstanceId,
};
use casemate_engine::chain::Fault;
use casemate_store::cvms::Cvm;

use crate::app::{
    Ctx,
    approval::boot_question,
    events::Verified,
    fleet::{FleetNode, Governed},
};

#[derive(Debug)]
pub enum BootAnswer {
    /// Allowed. With a block if the old guest is about to go down; `None` also for ungoverned apps.
    Allowed(Option<Box<Verified>>),
    /// Not allowed, with the cause for the user.
    Refused(String),
    /// No answer yet, with the cause.
    Silent(String),
}

/// Asks the contracts, for at most `limit`.
pub async fn check_boot(
    ctx: &Ctx,
    cvm: &Cvm,
    target: &FleetNode,
    gate: Gate,
    limit: Duration,
) -> BootAnswer {
    let Some(kms) = ctx.fleet.kms_of(&cvm.kms) else {
        return BootAnswer::Silent(format!("KMS {} is not configured in this process", cvm.kms));
    };
    let Some(governed) = &kms.governed else { return BootAnswer::Allowed(None) };
    match tokio::time::timeout(limit, word(governed, cvm, target, gate)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(fault)) => BootAnswer::Silent(fault.to_string()),
        Err(_) => BootAnswer::Silent(format!("the chain gave no answer in {} s", limit.as_secs())),
    }
}

async fn word(
    governed: &Governed,
    cvm: &Cvm,
    target: &FleetNode,
    gate: Gate,
) -> Result<BootAnswer, Fault> {
    let question = boot_question(governed, &cvm.spec, target);
    let mut verified = None;
    // Of an unknown OS image the KMS contract is not asked: its answer would be about another boot.
    if gate == Gate::BringDown || question.os_image.is_none() {
        match governed.chain.verify(&question, Duration::ZERO).await? {
            Verdict::Allowed(proof) => {
                let deployer = cvm.spec.deployer;
                verified = Some(Box::new(Verified { question, proof, deployer }));
            }
            Verdict::Refused(why) => return Ok(BootAnswer::Refused(why.to_string())),
        }
    }
    let verified = verified.filter(|_| gate == Gate::BringDown);
    let Some(os_image) = question.os_image else { return Ok(BootAnswer::Allowed(verified)) };
    let instance = cvm.status.observed.as_ref().and_then(|vm| vm.instance_id);
    let boot = BootInfo {
        instance: instance.as_ref().map_or([0; 20], |id: &InstanceId| *id.as_bytes()),
        ..BootInfo::new(&question, os_image)
    };
    Ok(match governed.chain.boot(&boot).await? {
        BootVerdict::Allowed(_) => BootAnswer::Allowed(verified),
        BootVerdict::Denied(block, why) => {
            let chain_id = governed.chain.chain_id();
            BootAnswer::Refused(boot_refused(&boot, &block, &why, chain_id).to_string())
        }
    })
}
