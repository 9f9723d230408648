//! Asks the contracts of an app before a running guest is restarted, and before a boot. The KMS enforces the
//! contracts at every boot; asking first avoids stopping a guest for a configuration that cannot boot. For
//! the built-in KMS of nodes without a TEE this is the only check.

use std::time::Duration;

use casemate_core::{
    governance::{BootInfo, BootVerdict, Gate, Question, Verdict},
    id::InstanceId,
};
use casemate_engine::chain::Fault;
use casemate_store::cvms::Cvm;

use crate::app::{
    Ctx,
    events::Verified,
    fleet::{FleetNode, Governed},
};

/// The TCB status of nodes without a TEE: their quotes are not checked against collateral.
const TCB_STATUS: &str = "UpToDate";

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
    let boot = boot_info(governed, cvm, target);
    let mut verified = None;
    if gate == Gate::BringDown {
        let question = Question {
            kms: boot.kms,
            app: boot.app,
            hash: boot.hash,
            device: boot.device,
            transaction: None,
        };
        match governed.chain.verify(&question, Duration::ZERO).await? {
            Verdict::Allowed(proof) => {
                let deployer = cvm.spec.deployer;
                verified = Some(Box::new(Verified { question, proof, deployer }));
            }
            Verdict::Refused(why) => return Ok(BootAnswer::Refused(why.to_string())),
        }
    }
    Ok(match governed.chain.boot(&boot).await? {
        BootVerdict::Allowed(_) => BootAnswer::Allowed(verified),
        BootVerdict::Denied(block, why) => BootAnswer::Refused(format!(
            "the KMS would give no keys: {why} (contract 0x{}, chain {}, block {})",
            boot.kms,
            governed.chain.chain_id(),
            block.number
        )),
    })
}

fn boot_info(governed: &Governed, cvm: &Cvm, target: &FleetNode) -> BootInfo {
    let (inventory, _) = target.observed();
    let image = inventory.images.iter().find(|image| image.name == cvm.spec.image);
    let mut os_image_hash = [0; 32];
    if let Some(text) = image.and_then(|image| image.os_image_hash.as_deref()) {
        // A text that is not a hash stays zero, which no contract allows.
        let _ = hex::decode_to_slice(text, &mut os_image_hash);
    }
    let instance = cvm.status.observed.as_ref().and_then(|vm| vm.instance_id);
    BootInfo {
        kms: governed.contract,
        app: cvm.spec.app_id,
        hash: cvm.spec.compose_hash,
        instance: instance.as_ref().map_or([0; 20], |id: &InstanceId| *id.as_bytes()),
        device: inventory.device_id,
        os_image_hash,
        tcb_status: TCB_STATUS.to_owned(),
    }
}
