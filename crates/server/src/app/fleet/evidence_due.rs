//! Which guests of a node are to be asked for evidence.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use casemate_core::id::CvmId;

/// CVMs of one node that may have booted since their evidence was collected. At most one entry per CVM.
#[derive(Debug, Default)]
pub struct EvidenceDue {
    due: Mutex<Due>,
    /// Held by the task that asks the guests of the node.
    pub turn: tokio::sync::Mutex<()>,
}

/// What [`EvidenceDue`] holds.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Due {
    /// Every CVM of the node may be due.
    pub all: bool,
    pub cvms: BTreeSet<CvmId>,
    /// To be asked again, but not at once.
    later: BTreeSet<CvmId>,
}

impl EvidenceDue {
    /// These CVMs changed.
    pub fn note(&self, cvms: impl IntoIterator<Item = CvmId>) {
        self.lock().cvms.extend(cvms);
    }

    /// Any CVM may have changed.
    pub fn note_all(&self) {
        self.lock().all = true;
    }

    /// These CVMs are to be asked again, but not at once.
    pub fn note_later(&self, cvms: impl IntoIterator<Item = CvmId>) {
        self.lock().later.extend(cvms);
    }

    /// Those that were to be asked again are due.
    pub fn retry(&self) {
        let mut due = self.lock();
        let later = std::mem::take(&mut due.later);
        due.cvms.extend(later);
    }

    /// What was noted since this was taken last.
    pub fn take(&self) -> Due {
        let mut due = self.lock();
        Due {
            all: std::mem::take(&mut due.all),
            cvms: std::mem::take(&mut due.cvms),
            later: BTreeSet::new(),
        }
    }

    /// Whether nothing is noted.
    pub fn is_empty(&self) -> bool {
        let due = self.lock();
        !due.all && due.cvms.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Due> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
