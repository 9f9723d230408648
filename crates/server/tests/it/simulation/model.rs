//! What must hold of a CVM at rest, told from what was accepted and how each of it ended.

use std::collections::{BTreeMap, BTreeSet};

use casemate_core::{
    change::{Change, Set},
    compose::AppCompose,
    cvm::{EngineState, Phase, Power, VmPower},
    id::{ComposeHash, EventSeq, OperationId},
    operation::{OperationKind, OperationState},
};
use casemate_engine::node::{VmConfig, sim::SimVm};
use casemate_store::{
    Db,
    cvms::{self, Cvm},
    events::{self, Event},
    nodes,
    operations::{self, Operation, OperationFilter},
    provisions,
    revisions::{self as stored, RevisionContent},
};
use serde_json::Value;

/// Everything there is to know of a CVM.
pub struct Facts {
    pub cvm: Cvm,
    pub document: AppCompose,
    /// Oldest first.
    pub operations: Vec<Operation>,
    /// Oldest first.
    pub events: Vec<Event>,
    /// Oldest first.
    pub revisions: Vec<RevisionContent>,
    /// Of the revisions, by their hash.
    pub documents: BTreeMap<ComposeHash, AppCompose>,
}

impl Facts {
    pub async fn read(db: &Db, first: &Cvm) -> Self {
        let cvm = match cvms::by_id(db, first.workspace, first.id).await.unwrap() {
            Some(cvm) => cvm,
            // Gone; what is left of it is its history.
            None => db.begin().await.unwrap().cvm(first.id).await.unwrap().unwrap(),
        };
        let text = provisions::document(db, &cvm.spec.compose_hash).await.unwrap().unwrap();
        let mut operations =
            operations::of_cvm(db, cvm.id, &OperationFilter::default(), 10_000).await.unwrap();
        operations.reverse();
        let events = events::of_cvm(db, cvm.id, EventSeq(0), 100_000).await.unwrap();
        let (mut revisions, mut documents) = (Vec::new(), BTreeMap::new());
        let app = &cvm.spec.app_id;
        for one in stored::of_app(db, app, 0, 10_000).await.unwrap().into_iter().rev() {
            let text = provisions::document(db, &one.compose_hash).await.unwrap().unwrap();
            documents.insert(one.compose_hash, AppCompose::parse(&text).unwrap());
            revisions.push(stored::get(db, app, &one.id).await.unwrap().unwrap());
        }
        let document = AppCompose::parse(&text).unwrap();
        Self { cvm, document, operations, events, revisions, documents }
    }

    /// No operation is open, and the end of each was told once.
    pub fn closed(&self) {
        for one in &self.operations {
            let open = matches!(one.state, OperationState::Pending | OperationState::Running);
            assert!(!open && one.ended_at.is_some(), "open for ever: {one:?}");
            let id = one.id.to_string();
            let is_end = |event: &&Event| {
                event.kind == "operation.ended" && event.operation_id.as_ref() == Some(&id)
            };
            assert_eq!(self.events.iter().filter(is_end).count(), 1, "ends of {one:?}");
        }
    }

    /// Whether a change that failed was taken back: the next thing told is the way back.
    fn taken_back(&self, one: &Operation) -> bool {
        let id = Some(one.id.to_string());
        let ended = self
            .events
            .iter()
            .position(|event| event.kind == "operation.ended" && event.operation_id == id);
        ended.and_then(|index| self.events.get(index + 1)).is_some_and(|next| {
            let body: Value = serde_json::from_str(&next.body).unwrap();
            next.kind == "operation.accepted" && body["kind"] == OperationKind::Rollback.as_str()
        })
    }

    /// Whether the change is in force, unless a later one says otherwise.
    fn counts(&self, one: &Operation) -> bool {
        match one.state {
            OperationState::Succeeded | OperationState::Superseded => true,
            OperationState::Failed => {
                let code = one.failure.as_ref().map(|(code, _)| code.as_str());
                code != Some("not_applicable") && !self.taken_back(one)
            }
            OperationState::Cancelled | OperationState::Pending | OperationState::Running => false,
        }
    }

    /// Whether the node showed something else after the last step of ours.
    fn drifted(&self) -> bool {
        let last = |kind: &str| self.events.iter().rposition(|event| event.kind == kind);
        last("cvm.drift") > last("operation.step")
    }
}

/// What was accepted, and what was there before.
pub struct Model {
    pub first: Cvm,
    pub document: AppCompose,
    pub accepted: BTreeMap<OperationId, Change>,
    pub power: Power,
    /// Whether the host can remove a user config and sealed variables.
    pub clears_files: bool,
}

impl Model {
    /// Nothing acknowledged is lost, and the configuration is what the accepted changes come to that
    /// were neither called off nor taken back, in the order of acceptance.
    pub fn holds(&self, facts: &Facts) {
        facts.closed();
        let known: BTreeSet<_> = facts.operations.iter().map(|one| one.id).collect();
        let lost: Vec<_> = self.accepted.keys().filter(|id| !known.contains(id)).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        assert_eq!(facts.cvm.desired.power, self.power, "the last verb");
        if self.power != Power::Deleted {
            self.configuration(facts);
        }
    }

    fn configuration(&self, facts: &Facts) {
        let mut want = self.first.spec.clone();
        let mut sealed_env = self.first.sealed_env.clone();
        let mut file = self.document.docker_compose_file.clone();
        let mut script = self.document.pre_launch_script.clone();
        let mut public_logs = self.document.public_logs;
        let mut allowed: BTreeSet<String> = self.document.allowed_envs.iter().cloned().collect();
        let mut largest_disk = want.resources.disk_gb;
        let mut renews = false;
        let (mut stayed_user_config, mut stayed_env) = (Vec::new(), Vec::new());
        for one in &facts.operations {
            let Some(change) = self.accepted.get(&one.id) else { continue };
            largest_disk = largest_disk.max(change.disk_gb.unwrap_or(0));
            renews |= change.renew.is_some();
            if !facts.counts(one) {
                if let Set::To(text) = &change.user_config {
                    stayed_user_config.push(text);
                }
                if let Set::To(text) = &change.sealed_env {
                    stayed_env.push(text);
                }
                continue;
            }
            if let Some(hash) = &change.document {
                let whole = &facts.documents[hash];
                file.clone_from(&whole.docker_compose_file);
                script.clone_from(&whole.pre_launch_script);
                public_logs = whole.public_logs;
                allowed = whole.allowed_envs.iter().cloned().collect();
            }
            put(&mut want.resources.vcpu, change.vcpu.as_ref());
            put(&mut want.resources.memory_mb, change.memory_mb.as_ref());
            put(&mut want.resources.disk_gb, change.disk_gb.as_ref());
            put(&mut want.listed, change.listed.as_ref());
            want.vm += i64::from(change.renew.is_some());
            put(&mut want.name, change.name.as_ref());
            put(&mut want.shutdown_timeout_s, change.shutdown_timeout_s.as_ref());
            put(&mut want.allow_force_stop, change.allow_force_stop.as_ref());
            put(&mut want.kms_urls, change.kms_urls.as_ref());
            put(&mut public_logs, change.public_logs.as_ref());
            if let Set::To(text) = &change.user_config {
                want.user_config = Some(text.clone());
            }
            if let Set::To(text) = &change.sealed_env {
                sealed_env = Some(text.clone());
            }
            if let Some(text) = &change.docker_compose_file {
                file = Some(text.clone());
            }
            if let Some(text) = &change.pre_launch_script {
                script = Some(text.clone()).filter(|text| !text.is_empty());
            }
            if let Some(names) = &change.allowed_envs {
                allowed = names.iter().cloned().collect();
            }
            put(&mut want.env_keys, change.env_keys.as_ref());
            want.env_keys.retain(|key| allowed.contains(key));
        }
        let (spec, document) = (&facts.cvm.spec, &facts.document);
        if !self.clears_files {
            // What was taken back leaves a file that was not there before.
            if want.user_config.is_none()
                && let Some(stayed) = &spec.user_config
            {
                assert!(stayed_user_config.contains(&stayed));
                want.user_config = Some(stayed.clone());
            }
            if sealed_env.is_none()
                && let Some(stayed) = &facts.cvm.sealed_env
            {
                assert!(stayed_env.contains(&stayed));
                sealed_env = Some(stayed.clone());
                want.env_keys.clone_from(&spec.env_keys);
            }
        }
        let present: BTreeSet<String> = document.allowed_envs.iter().cloned().collect();
        assert_eq!(document.docker_compose_file, file, "compose file");
        let has = document.pre_launch_script.clone().filter(|text| !text.is_empty());
        assert_eq!(has, script.filter(|text| !text.is_empty()), "script");
        assert_eq!(document.public_logs, public_logs, "public logs");
        assert_eq!(present, allowed, "allowed names");
        assert_eq!(spec.env_keys, want.env_keys, "names of variables");
        assert_eq!(facts.cvm.sealed_env, sealed_env, "sealed variables");
        // What was taken back leaves its disk as large as it may have become.
        let disks = want.resources.disk_gb..=largest_disk;
        assert!(disks.contains(&spec.resources.disk_gb), "{disks:?}: {}", spec.resources.disk_gb);
        want.resources.disk_gb = spec.resources.disk_gb;
        // A VM that gave way for what was taken back, or tried again, does not come back either.
        assert!(spec.vm == want.vm || renews && spec.vm > want.vm, "{}: {spec:?}", want.vm);
        want.vm = spec.vm;
        want.resources.instance_type.clone_from(&spec.resources.instance_type);
        (want.revision, want.compose_hash) = (spec.revision, spec.compose_hash);
        want.facts = spec.facts.clone();
        assert_eq!(*spec, want);
    }
}

fn put<T: Clone>(slot: &mut T, value: Option<&T>) {
    if let Some(value) = value {
        *slot = value.clone();
    }
}

/// What is recorded of the node is what is there. `struck`: somebody else may have laid hands on the
/// VM.
pub fn node_agrees(facts: &Facts, vms: &[SimVm], struck: bool) {
    let cvm = &facts.cvm;
    if cvm.desired.power == Power::Deleted {
        assert!(vms.is_empty(), "left behind: {vms:?}");
        return;
    }
    let failed = cvm.status.failure.as_ref().is_some_and(|why| !why.rolled_back);
    let EngineState::Present { vm: id } = &cvm.status.engine else {
        assert!(failed || cvm.desired.power == Power::Stopped, "no VM and no reason: {cvm:?}");
        return;
    };
    let Some(vm) = vms.iter().find(|vm| vm.observed.id == *id) else {
        assert_eq!(cvm.phase, Phase::Error, "a VM that is gone");
        return;
    };
    assert!(
        failed || cvm.status.vm >= cvm.desired.vm,
        "the VM before the one that is desired: {cvm:?}"
    );
    if cvm.status.pushed == cvm.spec.revision {
        assert!(same(&vm.config, facts), "the node has {:?}\nand not {cvm:?}", vm.config);
    }
    assert!(cvm.status.pushed <= cvm.spec.revision, "{cvm:?}");
    if failed || struck && facts.drifted() {
        return;
    }
    if cvm.desired.power == Power::Running {
        assert_eq!(cvm.phase, Phase::Running, "{cvm:?}");
        assert_eq!(vm.observed.power, VmPower::Running);
        assert!(vm.serves, "{vm:?}");
        assert_eq!(cvm.status.pushed, cvm.desired.generation, "it runs what is desired");
        assert_eq!(vm.booted, Some(vm.config.compose_hash), "it runs what it was given");
    } else {
        assert_eq!(cvm.phase, Phase::Stopped, "{cvm:?}");
        assert!(matches!(vm.observed.power, VmPower::Stopped), "{vm:?}");
    }
}

/// Every revision was brought about by an operation that succeeded, two that follow each other differ,
/// what does not boot is one only where a guest that is off was given it, and the newest is what the
/// guest has. `struck`: as in [`node_agrees`].
pub fn history_agrees(facts: &Facts, vms: &[SimVm], struck: bool) {
    let cvm = &facts.cvm;
    for one in &facts.revisions {
        let id = one.revision.operation;
        let by = facts.operations.iter().find(|operation| operation.id == id).unwrap();
        assert_eq!(by.state, OperationState::Succeeded, "{one:?} by {by:?}");
        let file = facts.documents[&one.revision.compose_hash].docker_compose_file.as_deref();
        let boots = ["fail", "never", "deny"]
            .iter()
            .all(|fate| !file.unwrap_or_default().contains(&format!("x-sim-boot: {fate}")));
        let of = Some(id.to_string());
        // One that was taken back with others began again: what counts is the last time.
        let own: Vec<_> = facts.events.iter().filter(|event| event.operation_id == of).collect();
        let begun = own.iter().rposition(|event| event.kind == "operation.begun").unwrap_or(0);
        let started = own
            .iter()
            .skip(begun)
            .any(|event| event.kind == "operation.step" && event.body.contains("\"start\""));
        let was_off = by.kind == OperationKind::Update && !started;
        assert!(boots || was_off, "it cannot have come up: {one:?}");
    }
    let had = |one: &RevisionContent| {
        let RevisionContent { env_keys, user_config, sealed_env, .. } = one.clone();
        (one.revision.compose_hash, env_keys, user_config, sealed_env)
    };
    for pair in facts.revisions.windows(2) {
        assert_ne!(had(&pair[0]), had(&pair[1]), "the same twice");
    }
    let failed = cvm.status.failure.as_ref().is_some_and(|why| !why.rolled_back);
    if failed || cvm.phase != Phase::Running || struck && facts.drifted() {
        return;
    }
    let newest = facts.revisions.last().unwrap();
    let EngineState::Present { vm: id } = &cvm.status.engine else { return };
    let config = &vms.iter().find(|vm| vm.observed.id == *id).unwrap().config;
    let sealed_env = config.sealed_env.as_ref().map(ToString::to_string);
    assert_eq!(newest.revision.compose_hash, config.compose_hash, "{newest:?}");
    assert_eq!((&newest.user_config, &newest.sealed_env), (&config.user_config, &sealed_env));
    if cvm.status.pushed == cvm.spec.revision {
        let names: BTreeSet<&String> = cvm.spec.env_keys.iter().collect();
        assert!(newest.env_keys.iter().eq(names), "{newest:?}: {:?}", cvm.spec.env_keys);
    }
}

fn same(config: &VmConfig, facts: &Facts) -> bool {
    let (spec, cvm) = (&facts.cvm.spec, &facts.cvm);
    let resources = &spec.resources;
    config.compose_hash == spec.compose_hash
        && config.compose == facts.document.document()
        && (config.vcpu, config.memory_mb, config.disk_gb)
            == (resources.vcpu, resources.memory_mb, resources.disk_gb)
        && config.image == spec.image
        && config.user_config == spec.user_config
        && config.kms_urls == spec.kms_urls
        && config.sealed_env.as_ref().map(ToString::to_string) == cvm.sealed_env
}

/// What nodes have promised is what the live CVMs take.
pub async fn tallies_agree(db: &Db, facts: &Facts) {
    let taken = nodes::usage(db).await.unwrap();
    let told: Vec<_> =
        taken.iter().map(|one| (one.slots, one.vcpu, one.memory_mb, one.disk_gb)).collect();
    let resources = &facts.cvm.spec.resources;
    let (vcpu, memory, disk) = (resources.vcpu, resources.memory_mb, resources.disk_gb);
    if facts.cvm.phase == Phase::Deleted {
        assert_eq!(told, []);
    } else {
        assert_eq!(told, [(1, vcpu.into(), memory.into(), disk.into())]);
    }
}
