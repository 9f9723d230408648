//! A host in memory: lives as long as its last handle.

use std::{collections::BTreeMap, io};

use super::{Changes, Disk, Host, Key, Which};
use crate::node::sim::{journal::Call, vm::Vm};

/// All of a host.
#[derive(Debug, Default)]
pub(in crate::node::sim) struct Memory {
    host: Option<Host>,
    vms: BTreeMap<Key, Vm>,
    calls: Vec<Call>,
    faults: Option<String>,
}

impl Disk for Memory {
    fn host(&mut self) -> io::Result<Option<Host>> {
        Ok(self.host.clone())
    }

    fn keys(&mut self, which: Which<'_>) -> io::Result<Vec<Key>> {
        Ok(self.vms.keys().filter(|key| which.fits(key)).cloned().collect())
    }

    fn vm(&mut self, key: &Key) -> io::Result<Vm> {
        self.vms.get(key).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn calls(&mut self) -> io::Result<Vec<Call>> {
        Ok(self.calls.clone())
    }

    fn faults(&mut self) -> io::Result<Option<String>> {
        Ok(self.faults.clone())
    }

    fn set_faults(&mut self, text: &str) -> io::Result<()> {
        self.faults = Some(text.to_owned());
        Ok(())
    }

    fn commit(&mut self, changes: Changes) -> io::Result<()> {
        if let Some(host) = changes.host {
            self.host = Some(host);
        }
        self.vms.extend(changes.puts.into_values().map(|vm| (vm.key(), vm)));
        for key in &changes.drops {
            self.vms.remove(key);
        }
        self.calls.extend(changes.call);
        Ok(())
    }
}
