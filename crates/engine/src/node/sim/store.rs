//! Where a simulated host keeps itself: in a directory ([`files`]) or in memory ([`memory`]). Both
//! give one caller at a time the whole host, and take all changes of a call at once or not at all.

mod files;
mod index;
mod memory;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use casemate_core::id::{EngineVmId, VmUuid};
use serde::{Deserialize, Serialize};

use self::{files::Files, memory::Memory};
use super::{faults::Tally, journal::Call, vm::Vm};

/// What a place to keep a host must do, for the one who holds its lock.
pub(super) trait Disk {
    /// The host itself; `None` when it was never opened.
    fn host(&mut self) -> io::Result<Option<Host>>;
    /// Those VMs, the oldest first.
    fn keys(&mut self, which: Which<'_>) -> io::Result<Vec<Key>>;
    /// One of them.
    fn vm(&mut self, key: &Key) -> io::Result<Vm>;
    /// The journal, the oldest call first.
    fn calls(&mut self) -> io::Result<Vec<Call>>;
    /// `faults.json`, if there is one.
    fn faults(&mut self) -> io::Result<Option<String>>;
    /// Replaces it.
    fn set_faults(&mut self, text: &str) -> io::Result<()>;
    /// Makes all these changes, even if the process is killed on the way.
    fn commit(&mut self, changes: Changes) -> io::Result<()>;
}

/// Names a VM: enough to find it by id or mark without reading it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Key {
    pub seq: u64,
    pub mark: VmUuid,
    pub id: EngineVmId,
}

/// Some VMs of a host.
#[derive(Debug, Clone, Copy)]
pub(super) enum Which<'a> {
    All,
    Marked(VmUuid),
    Id(&'a EngineVmId),
}

impl Which<'_> {
    pub(super) fn fits(self, key: &Key) -> bool {
        match self {
            Self::All => true,
            Self::Marked(mark) => key.mark == mark,
            Self::Id(id) => key.id == *id,
        }
    }
}

/// What belongs to no VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Host {
    pub seed: u64,
    /// Number of VMs made so far.
    pub made: u64,
    /// Number of calls so far that left a trace.
    pub calls: u64,
    pub tally: Tally,
}

/// All changes of one call.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Changes {
    pub host: Option<Host>,
    /// By [`Key::seq`].
    pub puts: BTreeMap<u64, Vm>,
    pub drops: BTreeSet<Key>,
    pub call: Option<Call>,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.host.is_none() && self.puts.is_empty() && self.drops.is_empty() && self.call.is_none()
    }
}

/// A host's place; clones are handles of the same one.
#[derive(Debug, Clone)]
pub(super) enum Store {
    Files(Files),
    Memory(Arc<Mutex<Memory>>),
}

impl Store {
    pub(super) fn directory(path: PathBuf) -> io::Result<Self> {
        Files::open(path).map(Self::Files)
    }

    pub(super) fn memory() -> Self {
        Self::Memory(Arc::default())
    }

    /// Whether [`Self::locked`] waits for a disk or another process.
    pub(super) const fn blocks(&self) -> bool {
        match self {
            Self::Files(_) => true,
            Self::Memory(_) => false,
        }
    }

    /// Does something while nobody else does anything with this host.
    pub(super) fn locked<T>(
        &self,
        action: impl FnOnce(&mut dyn Disk) -> io::Result<T>,
    ) -> io::Result<T> {
        match self {
            Self::Files(files) => files.locked(action),
            Self::Memory(memory) => {
                action(&mut *memory.lock().unwrap_or_else(PoisonError::into_inner))
            }
        }
    }
}

#[cfg(test)]
mod tests;
