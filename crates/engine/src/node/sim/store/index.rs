//! Which VMs a directory holds, so that finding one does not read them all.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use casemate_core::id::{EngineVmId, VmUuid};

use super::{Changes, Key, Which};

/// The names of the VMs' files, as they were in one generation of the directory.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// `None`: nothing is known.
    generation: Option<u64>,
    keys: BTreeMap<u64, Key>,
    marked: HashMap<VmUuid, BTreeSet<u64>>,
    ids: HashMap<EngineVmId, u64>,
}

impl Index {
    /// Of these VMs.
    pub(super) fn of(keys: impl IntoIterator<Item = Key>, generation: u64) -> Self {
        let mut index = Self { generation: Some(generation), ..Self::default() };
        for key in keys {
            index.add(key);
        }
        index
    }

    pub(super) fn is_of(&self, generation: u64) -> bool {
        self.generation == Some(generation)
    }

    /// From here on the directory may hold something else.
    pub(super) const fn forget(&mut self) {
        self.generation = None;
    }

    /// Follows changes that were made, and that led to this generation.
    pub(super) fn follow(&mut self, changes: &Changes, generation: u64) {
        for vm in changes.puts.values() {
            self.add(vm.key());
        }
        for key in &changes.drops {
            self.remove(key);
        }
        self.generation = Some(generation);
    }

    fn add(&mut self, key: Key) {
        self.marked.entry(key.mark).or_default().insert(key.seq);
        self.ids.insert(key.id.clone(), key.seq);
        self.keys.insert(key.seq, key);
    }

    fn remove(&mut self, key: &Key) {
        self.keys.remove(&key.seq);
        self.ids.remove(&key.id);
        if let Some(marked) = self.marked.get_mut(&key.mark) {
            marked.remove(&key.seq);
            if marked.is_empty() {
                self.marked.remove(&key.mark);
            }
        }
    }

    /// The oldest first.
    pub(super) fn keys(&self, which: Which<'_>) -> Vec<Key> {
        let of = |seq: &u64| self.keys.get(seq).cloned();
        match which {
            Which::All => self.keys.values().cloned().collect(),
            Which::Marked(mark) => {
                self.marked.get(&mark).into_iter().flatten().filter_map(of).collect()
            }
            Which::Id(id) => self.ids.get(id).and_then(of).into_iter().collect(),
        }
    }
}
