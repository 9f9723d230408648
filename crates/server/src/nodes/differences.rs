//! What a look at a VM at rest finds, as events.

use casemate_core::{
    cvm::{ObservedVm, ServiceFault},
    drift::DriftKind,
};

use crate::app::events::CvmEvent;

/// What a VM shows that it did not show before: a boot that its node began by itself and its end, services that failed
/// since, and any other difference as drift. `kind`: of the drift, if the VM is not as desired either. A service that
/// works again is seen in the phase.
pub fn differences(
    before: Option<&ObservedVm>,
    now: Option<&ObservedVm>,
    kind: Option<DriftKind>,
) -> Vec<CvmEvent> {
    let Some(vm) = now else {
        return vec![CvmEvent::Drift("the VM is no longer on its node".to_owned(), kind)];
    };
    let known = before.map(ObservedVm::shows);
    let is_known = |fault: &&ServiceFault| {
        known.as_ref().is_some_and(|known| {
            known
                .faults
                .iter()
                .any(|(service, kind)| (service, kind) == (&fault.service, &fault.kind))
        })
    };
    let failed = vm.faults.iter().filter(|fault| !is_known(fault)).cloned();
    let mut found: Vec<CvmEvent> = failed.map(CvmEvent::ServiceFailed).collect();
    if known.as_ref().is_none_or(|known| known.power != vm.power) {
        let what = format!("the node shows the VM {:?}", vm.power).to_lowercase();
        found.push(CvmEvent::Drift(what, kind));
    }
    let booted = vm.shows().booted;
    if booted.is_some() && known.is_some_and(|known| known.booted != booted) {
        found.push(CvmEvent::Boot(vm.boot.clone()));
    }
    found
}

#[cfg(test)]
mod tests {
    use casemate_core::{
        cvm::{Boot, FaultKind, VmPower},
        id::EngineVmId,
        time::Timestamp,
    };

    use super::*;

    fn vm(power: VmPower, faults: &[(&str, FaultKind)]) -> ObservedVm {
        let fault = |(service, kind): &(&str, FaultKind)| ServiceFault {
            service: (*service).to_owned(),
            kind: kind.clone(),
            log: vec!["last words".to_owned()],
            at: Timestamp::from_micros(0),
        };
        ObservedVm {
            id: EngineVmId("v".to_owned()),
            power,
            boot: Boot::Done,
            boot_error: None,
            shutdown_progress: None,
            instance_id: None,
            started_at: None,
            exited_at: None,
            faults: faults.iter().map(fault).collect(),
            published: None,
        }
    }

    fn words(events: Vec<CvmEvent>) -> Vec<String> {
        let word = |event| match event {
            CvmEvent::Drift(what, _) => what,
            CvmEvent::Boot(boot) => boot.as_str().to_owned(),
            CvmEvent::ServiceFailed(fault) => format!("{} {}", fault.service, fault.kind.code()),
            other => panic!("{other:?}"),
        };
        events.into_iter().map(word).collect()
    }

    #[test]
    fn a_service_that_failed_since_is_an_event_of_its_own_and_no_drift() {
        use VmPower::{Exited, Running};
        let (exited, unhealthy) = (FaultKind::Exited { code: 9 }, FaultKind::Unhealthy);
        let fine = vm(Running, &[]);
        let one = vm(Running, &[("web", exited.clone())]);
        let two = vm(Running, &[("db", unhealthy), ("web", exited)]);
        assert_eq!(words(differences(Some(&fine), Some(&one), None)), ["web service_exited"]);
        assert_eq!(words(differences(Some(&one), Some(&two), None)), ["db service_unhealthy"]);
        assert_eq!(words(differences(Some(&two), Some(&fine), None)), Vec::<String>::new());
        let down = vm(Exited, &[("web", FaultKind::Exited { code: 137 })]);
        assert_eq!(
            words(differences(Some(&fine), Some(&down), None)),
            ["web service_exited", "the node shows the vm exited"]
        );
        assert_eq!(
            words(differences(Some(&fine), None, None)),
            ["the VM is no longer on its node"]
        );
        assert_eq!(words(differences(None, Some(&fine), None)), ["the node shows the vm running"]);
    }

    /// dstack-vmm restarts a VM whose QEMU ended.
    #[test]
    fn a_boot_that_the_node_began_and_its_end_are_told() {
        use VmPower::{Exited, Running};
        let booting = ObservedVm { boot: Boot::Progress("booting".to_owned()), ..vm(Running, &[]) };
        let (done, down) = (vm(Running, &[]), vm(Exited, &[]));
        assert_eq!(
            words(differences(Some(&down), Some(&booting), None)),
            ["the node shows the vm running", "booting"]
        );
        assert_eq!(words(differences(Some(&booting), Some(&done), None)), ["done"]);
        let forgot = ObservedVm { boot: Boot::Unknown, ..done.clone() };
        assert_eq!(words(differences(Some(&done), Some(&forgot), None)), Vec::<String>::new());
    }
}
