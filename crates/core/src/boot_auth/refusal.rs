//! Ends the boot of a guest that gets no keys, with the denial as its cause.

use crate::{
    cvm::{Boot, DesiredState, FailureCode, Observed, ObservedVm, Power, Status, VmPower},
    plan::{Limits, Step},
    time::Timestamp,
};

/// The last answer about a CVM, a denial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRefusal {
    pub at: Timestamp,
    /// Why, for people.
    pub message: String,
}

/// Whether a refusal could be the cause of what is observed: the guest is up, boots, and said that something is
/// wrong, or ran out of time. A guest that boots well is never ended for a refusal: another host can ask in its name.
pub fn explain(step: Step, refusal: Option<&KeyRefusal>, status: &Status, limits: &Limits) -> Step {
    let Some(refusal) = refusal.filter(|refusal| is_of_boot(refusal, status, limits)) else {
        return step;
    };
    match step {
        Step::Wait(_) | Step::Fail(FailureCode::BootFailed | FailureCode::BootTimeout, _) => {
            Step::Fail(FailureCode::KeyRefused, format!("key refused: {}", refusal.message))
        }
        step => step,
    }
}

/// Whether the refusal came after the boot under way began.
fn is_of_boot(refusal: &KeyRefusal, status: &Status, limits: &Limits) -> bool {
    status.boot_until.is_some_and(|until| refusal.at.plus(limits.boot) >= until)
}

impl Step {
    /// Whether a refusal of keys may explain this step: only then it is worth a look.
    #[must_use]
    pub fn may_be_refusal(
        &self,
        desired: &DesiredState,
        status: &Status,
        observed: &Observed,
    ) -> bool {
        let Observed::Vms(vms) = observed else { return false };
        let [ObservedVm { power: VmPower::Running, boot, boot_error, .. }] = vms.as_slice() else {
            return false;
        };
        if desired.power != Power::Running || status.stopping.is_some() || *boot == Boot::Done {
            return false;
        }
        match self {
            Self::Wait(_) => boot_error.is_some(),
            Self::Fail(FailureCode::BootFailed | FailureCode::BootTimeout, _) => true,
            _ => false,
        }
    }
}
