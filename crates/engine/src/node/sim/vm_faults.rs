//! Faults that befall VMs, as opposed to calls.

use std::io;

use casemate_core::id::VmUuid;

use super::{
    faults::{FaultKind, Victims},
    journal::StartedBy,
    session::Session,
    vm::{End, Memory, Vm},
};

impl Session<'_> {
    /// Lets the fault happen. `called` is the mark that the call is about.
    pub(super) fn strike(
        &mut self,
        kind: FaultKind,
        victims: &Victims,
        called: Option<VmUuid>,
    ) -> io::Result<()> {
        let vms = match kind {
            FaultKind::RebootHost | FaultKind::RestartVmm => self.all(|vm| vm)?,
            _ => self.victims(victims, called)?,
        };
        for vm in vms {
            self.strike_one(kind, vm);
        }
        Ok(())
    }

    fn victims(&mut self, victims: &Victims, called: Option<VmUuid>) -> io::Result<Vec<Vm>> {
        let mut vms = match (victims, called) {
            (Victims::OfCall, Some(mark)) => self.marked(mark)?,
            _ => self.all(|vm| vm)?,
        };
        match victims {
            Victims::OfCall => {}
            Victims::Named(part) => vms.retain(|vm| vm.name().contains(part)),
            Victims::Any(luck) => {
                let count = u64::try_from(vms.len()).unwrap_or(1).max(1);
                let chosen = usize::try_from(luck % count).unwrap_or(0);
                vms = vms.into_iter().skip(chosen).take(1).collect();
            }
        }
        Ok(vms)
    }

    fn strike_one(&mut self, kind: FaultKind, mut vm: Vm) {
        match kind {
            FaultKind::RebootHost => self.reboot(&mut vm),
            FaultKind::RestartVmm => vm.memory = Memory::blank(self.now),
            FaultKind::CrashGuest => self.end_run(&mut vm, End { at: self.now, by_itself: true }),
            FaultKind::StopBehindBack => {
                vm.wanted = false;
                self.power_off(&mut vm);
            }
            FaultKind::Vanish => {
                self.power_off(&mut vm);
                if vm.gone_at.is_none() {
                    self.note_removed(&vm, self.now, true);
                }
                self.drop_vm(&vm);
                return;
            }
            _ => return,
        }
        self.put(vm);
    }

    /// The machine goes down and comes up: wanted VMs boot what is on their disks.
    fn reboot(&mut self, vm: &mut Vm) {
        self.power_off(vm);
        vm.memory = Memory::blank(self.now);
        if vm.wanted && vm.gone_at.is_none() && vm.intact() {
            self.boot(vm, StartedBy::Host);
        }
    }
}
