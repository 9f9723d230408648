//! The operator's side of a simulated host: what tests look at and where they put faults.

use std::{io, path::PathBuf, sync::Arc};

use casemate_core::time::{Clock, Timestamp};

use super::{
    audit::{Audit, SimVm},
    faults::{Faults, Tally},
    journal::Call,
    store::{Changes, Disk, Host, Store, Which},
    vm::Vm,
};

/// A look at a simulated host from outside, also while another process uses it. Its methods wait for
/// the files.
#[derive(Debug, Clone)]
pub struct SimHost {
    store: Store,
    clock: Arc<dyn Clock>,
}

impl SimHost {
    /// The host in this directory, which may still be empty.
    pub fn open(dir: impl Into<PathBuf>, clock: Arc<dyn Clock>) -> io::Result<Self> {
        Ok(Self { store: Store::directory(dir.into())?, clock })
    }

    pub(super) const fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// What really happened so far. Needs a journal ([`super::Journal`]).
    pub fn audit(&self) -> io::Result<Audit> {
        let now = self.clock.now();
        let (calls, vms) = self.store.locked(|disk| Ok((disk.calls()?, present(disk, now)?)))?;
        Ok(Audit::of(&calls, vms))
    }

    /// The journal, the oldest call first.
    pub fn calls(&self) -> io::Result<Vec<Call>> {
        self.store.locked(|disk| disk.calls())
    }

    /// The VMs that are there now, the oldest first.
    pub fn vms(&self) -> io::Result<Vec<SimVm>> {
        let now = self.clock.now();
        self.store.locked(|disk| present(disk, now))
    }

    /// Replaces all faults, from the next call on, and counts them anew.
    pub fn set_faults(&self, faults: impl Into<Faults>) -> io::Result<()> {
        let text = serde_json::to_string_pretty(&faults.into())?;
        self.store.locked(|disk| {
            disk.set_faults(&text)?;
            match disk.host()? {
                Some(host) => {
                    let host = Some(Host { tally: Tally::default(), ..host });
                    disk.commit(Changes { host, ..Changes::default() })
                }
                None => Ok(()),
            }
        })
    }

    /// From the next call on, nothing goes wrong.
    pub fn clear_faults(&self) -> io::Result<()> {
        self.set_faults(Faults::default())
    }
}

fn present(disk: &mut dyn Disk, now: Timestamp) -> io::Result<Vec<SimVm>> {
    let mut vms = Vec::new();
    for key in disk.keys(Which::All)? {
        let vm = disk.vm(&key)?;
        if !vm.gone(now) {
            vms.push(sim_vm(vm, now));
        }
    }
    Ok(vms)
}

fn sim_vm(vm: Vm, now: Timestamp) -> SimVm {
    SimVm {
        observed: vm.observed(now),
        booted: vm.run.as_ref().map(|run| run.compose_hash),
        serves: vm.serves(now),
        config: vm.config,
    }
}
