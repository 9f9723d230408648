//! What a look at a VM shows: wanted × actual, as dstack-vmm tells it.

use std::collections::BTreeSet;

use casemate_core::cvm::{Boot, ObservedVm, VmPower};

use super::{
    container::{Container, Together, together},
    faults::{self, CALM},
    shared::Shared,
    vm::{Record, Vm},
};

/// The VM as it is, from its record and its containers. `unhealthy` are the containers whose health check
/// fails.
pub(super) async fn observe(
    node: &Shared,
    vm: &Vm,
    containers: &[Container],
    unhealthy: &BTreeSet<String>,
) -> ObservedVm {
    let record = vm.record();
    let faults = match vm.boot().0 {
        Boot::Done if record.state.started => {
            faults::look(node, vm, containers, unhealthy, CALM).await
        }
        Boot::Failed(_) => vm.boot_faults(),
        _ => Vec::new(),
    };
    let containers: Vec<&Container> = containers.iter().filter(|one| one.vm == vm.id).collect();
    ObservedVm { faults, ..as_recorded(vm, &record, &containers) }
}

fn as_recorded(vm: &Vm, record: &Record, containers: &[&Container]) -> ObservedVm {
    let (boot, boot_error) = vm.boot();
    let going_down = vm.going_down();
    let power = power(record, &boot, going_down.is_some(), containers);
    let published = (boot == Boot::Done && power == VmPower::Running).then(|| {
        let ports = containers.iter().filter(|one| one.of_app()).flat_map(|one| one.published());
        ports.collect::<BTreeSet<u16>>().into_iter().collect()
    });
    ObservedVm {
        id: vm.id.clone(),
        power,
        boot: if matches!(power, VmPower::Running | VmPower::Exited) {
            boot
        } else {
            Boot::Unknown
        },
        boot_error,
        shutdown_progress: going_down,
        instance_id: record.instance.instance_id.filter(|id| *id == record.own_instance_id()),
        started_at: record.state.started_at,
        exited_at: None,
        faults: Vec::new(),
        published,
    }
}

/// A guest is up as long as its boot is under way or failed: it would sit there with its message. It
/// is down when it was up and nothing runs any more.
fn power(record: &Record, boot: &Boot, going_down: bool, containers: &[&Container]) -> VmPower {
    if record.removing {
        return VmPower::Removing;
    }
    let alive = containers.iter().any(|one| one.alive());
    match (record.state.started, boot) {
        (true, Boot::Done) => match together(containers.iter().copied()) {
            Together::None | Together::Dead => VmPower::Exited,
            Together::Fine { .. } => VmPower::Running,
        },
        (true, _) => VmPower::Running,
        (false, _) if alive || going_down => VmPower::Stopping,
        (false, _) => VmPower::Stopped,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use casemate_core::{id::EngineVmId, instance::InstanceSeed};

    use super::*;
    use crate::node::docker::{
        container::{ContainerState, tests::container},
        vmdir::{Instance, Manifest, State},
    };

    fn record(started: bool) -> Record {
        let manifest = Manifest {
            id: EngineVmId("v".to_owned()),
            name: "web.6a2e3d4c-5b6f-4a1b-8c2d-0e1f2a3b4c5d".to_owned(),
            app_id: "11".repeat(20).parse().unwrap(),
            kms: None,
            compose_hash: "22".repeat(32).parse().unwrap(),
            image: "dstack-0.5.4".to_owned(),
            vcpu: 1,
            memory_mb: 64,
            disk_gb: 1,
            ports: Vec::new(),
            hugepages: false,
            pin_numa: false,
            gpus: None,
            kms_urls: Vec::new(),
            gateway_urls: Vec::new(),
            gateway_domain: None,
            instance_seed: None,
            created_at: casemate_core::time::Timestamp::from_micros(0),
        };
        Record {
            manifest: Arc::new(manifest),
            state: State { started, ..State::default() },
            instance: Instance { seed: InstanceSeed::from_bytes([0x33; 20]), instance_id: None },
            removing: false,
        }
    }

    fn look(record: &Record, boot: &Boot, going_down: bool, states: &[ContainerState]) -> VmPower {
        let containers: Vec<Container> =
            states.iter().map(|state| container("v", *state)).collect();
        power(record, boot, going_down, &containers.iter().collect::<Vec<_>>())
    }

    #[test]
    fn wanted_times_actual_gives_the_words_of_dstack() {
        use ContainerState::{Alive, Exited};
        let booting = Boot::Progress("starting containers".to_owned());
        let failed = Boot::Failed("no such image".to_owned());
        let (up, down) = (record(true), record(false));
        assert_eq!(look(&up, &booting, false, &[]), VmPower::Running);
        assert_eq!(look(&up, &failed, false, &[]), VmPower::Running);
        assert_eq!(look(&up, &Boot::Done, false, &[Alive, Exited(1)]), VmPower::Running);
        assert_eq!(look(&up, &Boot::Done, false, &[Exited(0)]), VmPower::Running);
        assert_eq!(look(&up, &Boot::Done, false, &[Exited(137)]), VmPower::Exited);
        assert_eq!(look(&up, &Boot::Done, false, &[]), VmPower::Exited);
        assert_eq!(look(&down, &Boot::Unknown, false, &[Alive]), VmPower::Stopping);
        assert_eq!(look(&down, &Boot::Unknown, true, &[Exited(0)]), VmPower::Stopping);
        assert_eq!(look(&down, &Boot::Unknown, false, &[Exited(137)]), VmPower::Stopped);
        let removing = Record { removing: true, ..record(true) };
        assert_eq!(look(&removing, &Boot::Done, false, &[Alive]), VmPower::Removing);
    }
}
