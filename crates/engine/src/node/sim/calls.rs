//! What a simulated host does when it is called, after dstack-vmm's own code (`vmm/src/app.rs`,
//! `vmm/src/main_service.rs`). Each of these may run twice in one call.

use std::{sync::Arc, time::Duration};

use casemate_core::{
    cvm::{PortMap, VmPower},
    id::EngineVmId,
    time::{Entropy as _, Timestamp},
};

use super::{
    draw::{Mixed, draw},
    journal::{Effect, StartedBy},
    session::{Session, Trouble},
    vm::{End, Memory, Vm},
};
use crate::node::VmConfig;

/// Makes one more VM, whatever there is already.
pub(super) fn create(on: &mut Session<'_>, config: &Arc<VmConfig>) -> Result<EngineVmId, Trouble> {
    check_seed(on, config)?;
    check_image(on, config)?;
    check_ports(on, None, config)?;
    let seq = on.next_seq();
    let random = Mixed::new(on.entropy, on.seed(), seq);
    let mut instance_seed = [0; 20];
    random.fill(&mut instance_seed);
    let vm = Vm {
        id: EngineVmId(random.uuid_v4().to_string()),
        seq,
        created_at: on.now,
        config: Arc::clone(config),
        instance_seed: hex::encode(instance_seed),
        wanted: false,
        runs: 0,
        run: None,
        told: None,
        memory: Memory::blank(on.now),
        gone_at: None,
    };
    let id = vm.id.clone();
    on.record_effect(Effect::Made { vm: id.clone(), mark: vm.name() });
    on.put(vm);
    Ok(id)
}

/// Replaces the configuration on the disk. The VM keeps its name.
pub(super) fn push(on: &mut Session<'_>, mut vm: Vm, new: &VmConfig) -> Result<(), Trouble> {
    let old = &vm.config;
    if new.app_id != old.app_id {
        return Err(Trouble::refused("the app id of a VM cannot change"));
    }
    if on.tear {
        vm.config = Arc::new(VmConfig {
            compose: new.compose.clone(),
            compose_hash: if on.config.checks_documents {
                old.compose_hash
            } else {
                new.compose_hash
            },
            ..(**old).clone()
        });
    } else {
        check_seed(on, new)?;
        check_resize(on, &vm, new)?;
        check_image(on, new)?;
        check_ports(on, Some(&vm.id), new)?;
        vm.config = Arc::new(VmConfig { mark: old.mark.clone(), ..new.clone() });
    }
    on.put(vm);
    Ok(())
}

fn check_resize(on: &Session<'_>, vm: &Vm, new: &VmConfig) -> Result<(), Trouble> {
    let size = |c: &VmConfig| (c.vcpu, c.memory_mb, c.disk_gb, c.image.clone());
    if size(&vm.config) == size(new) {
        return Ok(());
    }
    if !matches!(vm.power(on.now), VmPower::Stopped | VmPower::Exited) {
        return Err(Trouble::Refused(format!("vm should be stopped before resize: {}", vm.id)));
    }
    if new.disk_gb < vm.config.disk_gb {
        return Err(Trouble::refused("Cannot shrink disk size"));
    }
    Ok(())
}

/// A dstack guest draws the seed itself, on its disk.
fn check_seed(on: &Session<'_>, config: &VmConfig) -> Result<(), Trouble> {
    match config.instance_seed {
        None => Ok(()),
        Some(_) if on.config.capabilities.instance_seeds => Ok(()),
        Some(_) => Err(Trouble::refused("the instance id hangs on the disk: make another VM")),
    }
}

fn check_image(on: &Session<'_>, config: &VmConfig) -> Result<(), Trouble> {
    if on.config.has_image(&config.image) {
        return Ok(());
    }
    let text = format!("Failed to load VM: Failed to load image: no image {}", config.image);
    Err(Trouble::Refused(text))
}

/// The one thing about room that dstack checks: two VMs do not get the same host port.
fn check_ports(
    on: &mut Session<'_>,
    own: Option<&EngineVmId>,
    new: &VmConfig,
) -> Result<(), Trouble> {
    if new.ports.is_empty() {
        return Ok(());
    }
    for other in on.all(|vm| vm)?.iter().filter(|vm| own != Some(&vm.id)) {
        let taken = |port: &&PortMap| other.config.ports.iter().any(|p| conflict(p, port));
        if let Some(port) = new.ports.iter().find(taken) {
            let text = format!(
                "host port mapping conflicts with VM {}: {} {}:{}",
                other.id, port.protocol, port.host_port, port.vm_port
            );
            return Err(Trouble::Refused(text));
        }
    }
    Ok(())
}

fn conflict(a: &PortMap, b: &PortMap) -> bool {
    let address = |port: &PortMap| port.host_address.clone().unwrap_or("127.0.0.1".to_owned());
    let any = |address: &str| address == "0.0.0.0" || address == "::";
    let (a_address, b_address) = (address(a), address(b));
    a.protocol == b.protocol
        && a.host_port == b.host_port
        && (a_address == b_address || any(&a_address) || any(&b_address))
}

/// Begins a boot; on a running VM nothing but that the host forgets how far the guest is.
pub(super) fn start(on: &mut Session<'_>, mut vm: Vm) -> Result<(), Trouble> {
    if vm.gone_at.is_some() {
        return Err(Trouble::refused("VM is being removed"));
    }
    if !vm.intact() {
        return Err(Trouble::refused(
            "compose hash mismatch: the document on the disk is not the promised one",
        ));
    }
    vm.wanted = true;
    if vm.alive(on.now) {
        vm.memory = Memory::blank(on.now);
    } else {
        on.boot(&mut vm, StartedBy::Call);
    }
    on.put(vm);
    Ok(())
}

/// Powers the VM off at once.
pub(super) fn stop(on: &mut Session<'_>, mut vm: Vm) {
    vm.wanted = false;
    on.power_off(&mut vm);
    on.put(vm);
}

/// Asks the guest agent, which has to be there to be asked.
pub(super) fn shutdown(on: &mut Session<'_>, mut vm: Vm) -> Result<(), Trouble> {
    if vm.gone_at.is_some() || !vm.agent_up(on.now) {
        return Err(Trouble::refused("client error (Connect): the guest agent is not up"));
    }
    let at = on.later("shutdown", on.config.shutdown_ms, &vm);
    if let Some(at) = vm.ask_down(at) {
        on.record_effect(Effect::Ends { vm: vm.id.clone(), at });
    }
    on.put(vm);
    Ok(())
}

/// Powers the VM off and lets it go, with its disk, some time later.
pub(super) fn remove(on: &mut Session<'_>, mut vm: Vm) {
    if vm.gone_at.is_none() {
        on.power_off(&mut vm);
        let at = on.later("remove", on.config.remove_ms, &vm);
        vm.gone_at = Some(at);
        on.note_removed(&vm, at, false);
        on.put(vm);
    }
}

impl Session<'_> {
    pub(super) fn boot(&mut self, vm: &mut Vm, by: StartedBy) {
        vm.begin(self.now, self.circumstances(vm));
        let config = Arc::clone(&vm.config);
        self.record_effect(Effect::Began { vm: vm.id.clone(), mark: vm.name(), by, config });
        if let Some(end) = vm.run.as_ref().and_then(|run| run.ends) {
            self.record_effect(Effect::Ends { vm: vm.id.clone(), at: end.at });
        }
    }

    pub(super) fn power_off(&mut self, vm: &mut Vm) {
        self.end_run(vm, End { at: self.now, by_itself: false });
    }

    pub(super) fn end_run(&mut self, vm: &mut Vm, end: End) {
        if vm.end(end) {
            self.record_effect(Effect::Ends { vm: vm.id.clone(), at: end.at });
        }
    }

    pub(super) fn note_removed(&mut self, vm: &Vm, at: Timestamp, behind_back: bool) {
        let (id, mark) = (vm.id.clone(), vm.name());
        self.record_effect(Effect::Removed { vm: id, mark, at, had_run: vm.runs > 0, behind_back });
    }

    fn later(&self, what: &str, mean_ms: u64, vm: &Vm) -> Timestamp {
        let luck = draw(self.seed(), what, vm.seq, vm.runs);
        self.now.plus(self.config.jittered(Duration::from_millis(mean_ms), luck))
    }
}
