//! One simulated VM as it lies in the host's files: what is wanted of it, its present or last run,
//! and how much of that the host remembers. Methods take the time; nothing here acts by itself.

use std::sync::Arc;

use casemate_core::{
    compose::app_compose,
    cvm::{Boot, ObservedVm, VmPower},
    id::{ComposeHash, EngineVmId, InstanceId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    boot::{Circumstances, Document, Says, ShutdownFate, Step},
    store::Key,
    stored,
};
use crate::node::VmConfig;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Vm {
    pub id: EngineVmId,
    /// Counts the VMs of the host; the oldest has the lowest.
    pub seq: u64,
    pub created_at: Timestamp,
    /// On the disk; a guest reads it when it boots.
    #[serde(with = "stored")]
    pub config: Arc<VmConfig>,
    /// 20 random bytes in hex, of which the guest makes its instance id.
    pub instance_seed: String,
    /// `started` in dstack's `vm-state.json`.
    pub wanted: bool,
    /// Number of runs so far.
    pub runs: u64,
    pub run: Option<Run>,
    /// `.instance_info` on the disk: what the runs before this one told.
    pub told: Option<InstanceId>,
    pub memory: Memory,
    /// When it is gone, once it is being removed.
    pub gone_at: Option<Timestamp>,
}

/// One life of the guest's process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Run {
    pub began: Timestamp,
    /// What it booted.
    pub compose_hash: ComposeHash,
    /// What it will say of itself, if it gets that far.
    pub instance: Option<InstanceId>,
    pub shutdown: ShutdownFate,
    pub steps: Vec<Step>,
    pub ends: Option<End>,
}

/// How a run ends; may lie ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    pub at: Timestamp,
    /// By the guest itself and not by its host.
    pub by_itself: bool,
}

/// What dstack-vmm keeps in memory only, and forgets when it is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memory {
    /// Words of the guest before this time are forgotten.
    pub since: Timestamp,
    /// Whether the VMM itself said `booting` then.
    pub booting: bool,
    /// The guest said that it is powering off.
    pub powering_off: bool,
}

impl Memory {
    pub(super) const fn blank(since: Timestamp) -> Self {
        Self { since, booting: false, powering_off: false }
    }
}

impl Run {
    fn alive(&self, now: Timestamp) -> bool {
        self.ends.is_none_or(|end| now < end.at)
    }

    /// What was said by now.
    pub(super) fn steps_until(&self, now: Timestamp) -> impl Iterator<Item = &Step> {
        let until = self.ends.map_or(now, |end| now.min(end.at));
        self.steps.iter().filter(move |step| step.at <= until)
    }

    fn reached(&self, now: Timestamp, word: &str) -> bool {
        self.steps_until(now).any(|step| matches!(&step.says, Says::Progress(text) if text == word))
    }

    /// Ends the run, unless it ends before anyway.
    fn end(&mut self, end: End) {
        if self.alive(end.at) {
            self.ends = Some(end);
        }
    }
}

impl Vm {
    pub(super) fn key(&self) -> Key {
        Key { seq: self.seq, mark: self.config.mark.uuid(), id: self.id.clone() }
    }

    /// The name of the VM.
    pub(super) fn name(&self) -> String {
        self.config.mark.to_string()
    }

    pub(super) fn gone(&self, now: Timestamp) -> bool {
        self.gone_at.is_some_and(|at| at <= now)
    }

    pub(super) fn alive(&self, now: Timestamp) -> bool {
        self.run.as_ref().is_some_and(|run| run.alive(now))
    }

    pub(super) fn power(&self, now: Timestamp) -> VmPower {
        match (self.gone_at, self.wanted, self.alive(now)) {
            (Some(_), ..) => VmPower::Removing,
            (None, true, true) => VmPower::Running,
            (None, true, false) => VmPower::Exited,
            (None, false, true) => VmPower::Stopping,
            (None, false, false) => VmPower::Stopped,
        }
    }

    /// Whether the containers are up: the truth, also where the host forgot it.
    pub(super) fn serves(&self, now: Timestamp) -> bool {
        self.alive(now) && self.run.as_ref().is_some_and(|run| run.reached(now, "done"))
    }

    /// Whether the guest agent answers.
    pub(super) fn agent_up(&self, now: Timestamp) -> bool {
        self.alive(now)
            && self.run.as_ref().is_some_and(|run| run.reached(now, "setting up docker"))
    }

    /// The instance id as the disk shows it.
    pub(super) fn instance_id(&self, now: Timestamp) -> Option<InstanceId> {
        let told = |run: &&Run| run.steps_until(now).any(|step| step.says == Says::Instance);
        let id = match self.run.as_ref().filter(told) {
            Some(run) => run.instance,
            None => self.told,
        };
        // One of an earlier seed means nothing any more.
        id.filter(|id| self.config.instance_seed.is_none() || *id == self.own_instance_id())
    }

    /// The VM as its host shows it.
    pub(super) fn observed(&self, now: Timestamp) -> ObservedVm {
        ObservedVm {
            id: self.id.clone(),
            power: self.power(now),
            boot: self.boot(now),
            boot_error: self.remembered(now).fold(None, |last, step| match &step.says {
                Says::Warning(text) | Says::Failure(text) => Some(text.clone()),
                Says::Progress(_) | Says::Instance => last,
            }),
            shutdown_progress: self.memory.powering_off.then(|| "powering off".to_owned()),
            instance_id: self.instance_id(now),
            started_at: self.run.as_ref().map(|run| run.began),
            exited_at: self
                .run
                .as_ref()
                .and_then(|run| run.ends)
                .filter(|end| end.by_itself && end.at <= now)
                .map(|end| end.at),
            faults: Vec::new(),
            published: None,
        }
    }

    fn remembered(&self, now: Timestamp) -> impl Iterator<Item = &Step> {
        let since = self.memory.since;
        self.run
            .iter()
            .flat_map(move |run| run.steps_until(now))
            .filter(move |step| step.at > since)
    }

    /// `boot_progress` of dstack. It outlives the run: a stopped VM goes on showing its last word.
    fn boot(&self, now: Timestamp) -> Boot {
        let booting = self.memory.booting.then(|| Boot::Progress("booting".to_owned()));
        let before = booting.unwrap_or(Boot::Unknown);
        self.remembered(now).fold(before, |last, step| match &step.says {
            Says::Progress(text) if text == "done" => Boot::Done,
            Says::Progress(text) => Boot::Progress(text.clone()),
            Says::Failure(text) => Boot::Failed(text.clone()),
            Says::Warning(_) | Says::Instance => last,
        })
    }

    /// Whether the document on the disk is the promised one.
    pub(super) fn intact(&self) -> bool {
        app_compose::hash(&self.config.compose) == self.config.compose_hash
    }

    /// Begins a run of what is on the disk.
    pub(super) fn begin(&mut self, now: Timestamp, of: Circumstances<'_>) {
        self.told = self.instance_id(now);
        self.runs += 1;
        let document = Document::read(&self.config.compose);
        let course = document.course(now, self.runs == 1, Circumstances { run: self.runs, ..of });
        self.run = Some(Run {
            began: now,
            compose_hash: self.config.compose_hash,
            instance: (!document.no_instance_id).then(|| self.own_instance_id()),
            shutdown: document.shutdown,
            steps: course.steps,
            ends: course.exits_at.map(|at| End { at, by_itself: true }),
        });
        self.memory = Memory { booting: true, ..Memory::blank(now) };
    }

    /// Ends its run; tells whether there was one to end.
    pub(super) fn end(&mut self, end: End) -> bool {
        let was_alive = self.alive(end.at);
        if let Some(run) = &mut self.run {
            run.end(end);
        }
        was_alive
    }

    /// Lets the guest know that it should go down; `at` is when it would be down. Tells when it
    /// will be, if ever.
    pub(super) fn ask_down(&mut self, at: Timestamp) -> Option<Timestamp> {
        let run = self.run.as_mut().filter(|run| run.shutdown != ShutdownFate::Ignores)?;
        self.wanted = false;
        self.memory.powering_off = true;
        if run.shutdown == ShutdownFate::Obeys {
            run.end(End { at, by_itself: true });
        }
        run.ends.map(|end| end.at)
    }

    fn own_instance_id(&self) -> InstanceId {
        if let Some(seed) = self.config.instance_seed {
            return seed.instance_id(&self.config.app_id);
        }
        let seed = hex::decode(&self.instance_seed).unwrap_or_default();
        let digest = Sha256::new().chain_update(seed).chain_update(self.config.app_id.as_bytes());
        let mut id = [0; 20];
        id.copy_from_slice(&digest.finalize()[..20]);
        InstanceId::from_bytes(id)
    }
}
