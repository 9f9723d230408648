//! What really happened on a simulated host, told from its journal: the other half of what a control
//! plane believes.

use std::{collections::BTreeMap, sync::Arc};

use casemate_core::{
    cvm::ObservedVm,
    id::{ComposeHash, EngineVmId, VmUuid},
    time::Timestamp,
};

use super::journal::{Call, Effect, StartedBy};
use crate::node::{Mark, VmConfig};

/// A VM that is there now.
#[derive(Debug, Clone, PartialEq)]
pub struct SimVm {
    /// As the host shows it to [`crate::node::Node::find`].
    pub observed: ObservedVm,
    /// What is on its disk, for its next boot.
    pub config: Arc<VmConfig>,
    /// What its present or last run booted.
    pub booted: Option<ComposeHash>,
    /// Whether its containers are up, also where the host forgot it.
    pub serves: bool,
}

/// The truth about a host.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Audit {
    /// Every mark that ever had a VM.
    pub marks: BTreeMap<VmUuid, MarkAudit>,
    /// Every run of every VM, in the order in which they began.
    pub starts: Vec<Started>,
    /// Two VMs with one mark that ran at one time. There must never be any.
    pub overlaps: Vec<Overlap>,
    /// Every VM that went or is going with its disk.
    pub removed: Vec<Removed>,
}

/// The truth about one mark.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MarkAudit {
    /// The name of its VMs.
    pub name: String,
    /// How many VMs were ever made.
    pub creates: usize,
    /// How many runs a call began; the host may have begun more.
    pub starts: usize,
    /// The VMs that are there now, the oldest first.
    pub present: Vec<SimVm>,
}

/// One run of a VM.
#[derive(Debug, Clone, PartialEq)]
pub struct Started {
    /// The VM's id.
    pub vm: EngineVmId,
    /// Its name.
    pub mark: String,
    /// When it began.
    pub at: Timestamp,
    /// When it ended or will end; `None`: nothing ends it yet.
    pub until: Option<Timestamp>,
    /// Who began it.
    pub by: StartedBy,
    /// What it booted.
    pub config: Arc<VmConfig>,
}

/// Two VMs with one mark that ran at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlap {
    /// Their name.
    pub mark: String,
    /// The one that ran already.
    pub first: EngineVmId,
    /// The one that was started too.
    pub second: EngineVmId,
    /// When the second began.
    pub at: Timestamp,
}

/// A VM that went with its disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// Its id.
    pub vm: EngineVmId,
    /// Its name.
    pub mark: String,
    /// When it is gone.
    pub at: Timestamp,
    /// Whether it had ever been started, so that data were lost.
    pub had_run: bool,
    /// Whether a fault did it.
    pub behind_back: bool,
}

impl Audit {
    /// The truth by these calls and what is there now.
    pub(super) fn of(calls: &[Call], present: Vec<SimVm>) -> Self {
        let mut audit = Self::default();
        for call in calls {
            for effect in &call.effects {
                audit.take(call.at, effect);
            }
        }
        for vm in present {
            if let Some(mark) = audit.entry(&vm.config.mark.to_string()) {
                mark.present.push(vm);
            }
        }
        audit.overlaps = overlaps(&audit.starts);
        audit
    }

    /// The truth about this mark; empty when it never had a VM.
    pub fn mark(&self, mark: &Mark) -> MarkAudit {
        self.marks.get(&mark.uuid()).cloned().unwrap_or_default()
    }

    /// Every run of the VMs with this mark.
    pub fn starts_of(&self, mark: &Mark) -> Vec<&Started> {
        let name = self.mark(mark).name;
        self.starts.iter().filter(|started| started.mark == name).collect()
    }

    /// Everything that must never happen, in words. `assert!(audit.violations().is_empty())`.
    pub fn violations(&self) -> Vec<String> {
        let overlaps = self.overlaps.iter().map(|overlap| {
            let Overlap { mark, first, second, at } = overlap;
            format!("{mark}: VM {second} was started at {at} while VM {first} ran")
        });
        overlaps.collect()
    }

    fn entry(&mut self, name: &str) -> Option<&mut MarkAudit> {
        let mark = self.marks.entry(Mark::parse(name)?.uuid()).or_default();
        name.clone_into(&mut mark.name);
        Some(mark)
    }

    fn take(&mut self, at: Timestamp, effect: &Effect) {
        match effect.clone() {
            Effect::Made { mark, .. } => {
                if let Some(mark) = self.entry(&mark) {
                    mark.creates += 1;
                }
            }
            Effect::Began { vm, mark, by, config } => {
                if let (StartedBy::Call, Some(mark)) = (by, self.entry(&mark)) {
                    mark.starts += 1;
                }
                self.starts.push(Started { vm, mark, at, until: None, by, config });
            }
            Effect::Ends { vm, at } => {
                if let Some(run) = self.starts.iter_mut().rfind(|run| run.vm == vm) {
                    run.until = Some(run.until.map_or(at, |until| until.min(at)));
                }
            }
            Effect::Removed { vm, mark, at, had_run, behind_back } => {
                self.removed.push(Removed { vm, mark, at, had_run, behind_back });
            }
        }
    }
}

fn overlaps(starts: &[Started]) -> Vec<Overlap> {
    let mut by_mark: BTreeMap<&str, Vec<&Started>> = BTreeMap::new();
    for run in starts {
        by_mark.entry(&run.mark).or_default().push(run);
    }
    let mut found = Vec::new();
    for runs in by_mark.into_values() {
        for (i, second) in runs.iter().enumerate() {
            let beside = |first: &&&Started| {
                first.vm != second.vm && first.until.is_none_or(|until| second.at < until)
            };
            found.extend(runs[..i].iter().filter(beside).map(|first| Overlap {
                mark: second.mark.clone(),
                first: first.vm.clone(),
                second: second.vm.clone(),
                at: second.at,
            }));
        }
    }
    found
}
