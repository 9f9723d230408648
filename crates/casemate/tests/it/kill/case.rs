//! One request for one CVM, and what must hold afterwards.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use casemate_core::{
    id::{CvmId, EventSeq, WorkspaceId},
    operation::{
        OperationKind::{Rollback, Update},
        OperationState,
    },
};
use casemate_engine::node::{
    Mark,
    sim::{Audit, SimHost},
};
use casemate_store::{
    Db,
    cvms::{self, Cvm},
    events, left_vms, nodes,
    operations::{self, Operation, OperationFilter},
    provisions, revisions,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    hosts::{Driver, Hosts, OTHER},
    instance::{Instance, PATIENCE},
};

const NAME: &str = "my-app";
const REPLICA: &str = "my-app-2";
const COMPOSE: &str = "services: {web: {image: 'busybox:1.36', ports: ['8080:80']}}\n";

/// The request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Create,
    /// A second CVM, created like the first one.
    Replicate,
    Start,
    Stop,
    Shutdown,
    Restart,
    Delete,
    /// A change that restarts the CVM.
    Change,
    /// A change while the CVM is off.
    ChangeWhileOff,
    /// A change that the node is not involved in.
    Record,
    /// A change that does not boot and is rolled back.
    BadChange,
    /// A change, and two queued ones that are applied together.
    Three,
    /// A change, and two queued ones, one of which does not boot: they are tried one by one.
    OneBadOfThree,
    /// A change that is cancelled while it boots.
    Cancel,
    /// A redeploy of an earlier revision.
    Redeploy,
    /// A new instance id, which needs a new VM.
    Refresh,
    /// Another node.
    Move,
}

/// How an accepted change ended.
type End = (casemate_core::operation::OperationKind, OperationState);

/// How every change ended, oldest first, and the final configuration: virtual CPUs, MiB of memory, listed.
type Outcome = (&'static [End], (u32, u32, bool));

impl Verb {
    /// Requests before, each run to its end.
    fn before(self) -> &'static [Self] {
        match self {
            Self::Create => &[],
            Self::Start | Self::ChangeWhileOff => &[Self::Create, Self::Stop],
            Self::Redeploy => &[Self::Create, Self::Change],
            _ => &[Self::Create],
        }
    }

    /// The bodies of the changes, in order.
    fn changes(self) -> Vec<Value> {
        let bad = |fate: &str| json!({ "docker_compose_file": marked(fate), "memory": 9000 });
        match self {
            Self::Change | Self::ChangeWhileOff => {
                vec![json!({ "vcpu": 2, "pre_launch_script": "true", "listed": false })]
            }
            Self::Record => vec![json!({ "listed": false })],
            Self::BadChange => vec![bad("fail")],
            Self::Cancel => vec![bad("never")],
            Self::Three => {
                vec![json!({ "vcpu": 2 }), json!({ "memory": 3000 }), json!({ "vcpu": 3 })]
            }
            Self::OneBadOfThree => vec![json!({ "vcpu": 2 }), json!({ "vcpu": 3 }), bad("fail")],
            _ => Vec::new(),
        }
    }

    fn outcome(self) -> Option<Outcome> {
        use OperationState::{Cancelled, Failed, Succeeded};
        Some(match self {
            Self::Change | Self::ChangeWhileOff => (&[(Update, Succeeded)], (2, 2048, false)),
            Self::Record => (&[(Update, Succeeded)], (1, 2048, false)),
            Self::BadChange => (&[(Update, Failed), (Rollback, Succeeded)], (1, 2048, true)),
            Self::Cancel => (&[(Update, Cancelled), (Rollback, Succeeded)], (1, 2048, true)),
            Self::Three => (&[(Update, Succeeded); 3], (3, 3000, true)),
            Self::Redeploy => (&[(Update, Succeeded); 2], (2, 2048, false)),
            Self::Refresh => (&[(Update, Succeeded)], (1, 2048, true)),
            Self::OneBadOfThree => {
                const ENDS: &[End] = &[
                    (Update, Succeeded),
                    (Update, Succeeded),
                    (Update, Failed),
                    (Rollback, Succeeded),
                    (Rollback, Succeeded),
                ];
                (ENDS, (3, 2048, true))
            }
            _ => return None,
        })
    }

    /// Settings with which the process passes the same points every time: queued changes must find an open
    /// one, and a VM that is removed must still be there when its removal is recorded.
    const fn variables(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Three | Self::OneBadOfThree => &[("CASEMATE_SIM__SHUTDOWN_MS", "400")],
            Self::Refresh | Self::Move | Self::Delete => &[("CASEMATE_SIM__REMOVE_MS", "300")],
            _ => &[],
        }
    }

    /// The expected number of revisions: one per configuration in force, if it differs from the one before.
    const fn revisions(self) -> usize {
        match self {
            Self::Change | Self::ChangeWhileOff | Self::Replicate => 2,
            Self::Redeploy => 3,
            _ => 1,
        }
    }

    fn leads_to(self) -> Option<&'static str> {
        match self {
            Self::Stop | Self::Shutdown | Self::ChangeWhileOff => Some("stopped"),
            Self::Delete => None,
            _ => Some("running"),
        }
    }

    /// The CVM under test.
    const fn subject(self) -> &'static str {
        match self {
            Self::Replicate => REPLICA,
            _ => NAME,
        }
    }

    /// The CVMs afterwards, newest first.
    const fn left(self) -> &'static [&'static str] {
        match self {
            Self::Delete => &[],
            Self::Replicate => &[REPLICA, NAME],
            _ => &[NAME],
        }
    }

    fn path(self) -> String {
        match self {
            Self::Create => "/cvms".to_owned(),
            Self::Replicate => format!("/cvms/{NAME}/replicas"),
            Self::Start => format!("/cvms/{NAME}/start"),
            Self::Stop => format!("/cvms/{NAME}/stop"),
            Self::Shutdown => format!("/cvms/{NAME}/shutdown"),
            Self::Restart => format!("/cvms/{NAME}/restart"),
            Self::Refresh => format!("/cvms/{NAME}/refresh-instance-id"),
            Self::Move => "/admin/cvms/1/move".to_owned(),
            _ => format!("/cvms/{NAME}"),
        }
    }
}

fn marked(fate: &str) -> String {
    format!("{COMPOSE}x-sim-boot: {fate}\n")
}

/// One case of the matrix.
pub struct Case {
    verb: Verb,
    dir: TempDir,
    pub hosts: Hosts,
}

impl Case {
    /// A data directory with the state before the request.
    pub async fn prepare(verb: Verb, driver: Driver) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let hosts = Hosts::below(dir.path(), driver).await;
        if verb != Verb::Create {
            let mut instance = hosts.start(dir.path(), false, verb.variables()).await;
            for before in verb.before() {
                before.act_in(&mut instance, "prepare").await.expect("preparation is accepted");
                before.settle(&mut instance).await;
            }
            instance.stop().await;
        }
        Self { verb, dir, hosts }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The host on which the CVMs are afterwards.
    fn host(&self) -> SimHost {
        if self.verb == Verb::Move { self.hosts.other() } else { self.hosts.first() }
    }

    pub async fn start(&self, variables: &[(&str, &str)]) -> Instance {
        let all = [self.verb.variables(), variables].concat();
        self.hosts.start(self.dir(), self.verb == Verb::Move, &all).await
    }

    /// Sends the request like a client that repeats it with the same key until it gets a response.
    pub async fn act(&self, instance: &mut Instance) -> Result<(), String> {
        self.verb.act_in(instance, "the-key").await
    }

    /// Waits until no operation is open.
    pub async fn settle(&self, instance: &mut Instance) {
        self.verb.settle(instance).await;
    }

    /// Stops the process and checks the database and the host.
    pub async fn check(&self, instance: Instance) {
        instance.stop().await;
        let db = Db::open(&format!("sqlite://{}", self.dir().join("casemate.db").display()))
            .await
            .expect("the database opens");
        let audit = self.host().audit().expect("the host's journal");
        assert_eq!(audit.violations(), Vec::<String>::new());
        assert!(audit.overlaps.is_empty(), "two VMs ran at once: {:?}", audit.overlaps);
        let all = cvms::Filter { node: None, user: None };
        let cvms = cvms::page(&db, WorkspaceId(1), all, cvms::PageStart::Skip(0), 10)
            .await
            .expect("the CVMs")
            .items;
        let left: Vec<&str> = cvms.iter().map(|cvm| cvm.spec.name.as_str()).collect();
        assert_eq!(left, self.verb.left(), "every CVM once");
        assert_eq!(self.host().vms().expect("VMs").len(), left.len(), "a VM each");
        for cvm in &cvms {
            let mark = Mark::new(&cvm.spec.name, cvm.uuid);
            assert_eq!(audit.mark(&mark).present.len(), 1, "one VM for the CVM");
            self.as_told(&db, cvm.id, &mark).await;
            closed_once(&db, cvm.id, &self.endings()).await;
            let replaced = i64::from(matches!(self.verb, Verb::Refresh | Verb::Move));
            assert_eq!(
                (cvm.spec.vm, cvm.status.vm),
                (1 + replaced, 1 + replaced),
                "one VM for each desired state"
            );
            assert_eq!(cvm.instance_id, cvm.status.observed.as_ref().and_then(|vm| vm.instance_id));
        }
        if cvms.is_empty() {
            closed_once(&db, CvmId(1), &self.endings()).await;
        }
        if self.verb == Verb::Move {
            self.moved(&db, &audit).await;
        }
        self.history(&db).await;
        db.close().await;
    }

    /// Checks that nothing is left on the first host, and that what was there was gone before the other VM ran.
    async fn moved(&self, db: &Db, there: &Audit) {
        let here = self.hosts.first().audit().expect("the host's journal");
        assert_eq!(here.violations(), Vec::<String>::new());
        assert_eq!(self.hosts.first().vms().expect("VMs").len(), 0, "nothing is left");
        let gone = here.removed.iter().map(|vm| vm.at).max().expect("it was removed");
        let began = there.starts.iter().map(|run| run.at).min().expect("it runs");
        assert!(
            gone <= began,
            "two VMs: one was there until {gone}, the other ran from {began} on"
        );
        assert_eq!(left_vms::all(db, 10).await.expect("left VMs"), []);
        let taken = nodes::usage(db).await.expect("room");
        let slots: Vec<i64> =
            taken.iter().map(|node| node.slots).filter(|slots| *slots > 0).collect();
        assert_eq!(slots, [1], "its room on the first host is free");
    }

    /// Checks how every operation ended, oldest first; of power verbs only that they succeeded.
    fn endings(&self) -> Vec<End> {
        self.verb.outcome().map(|(ends, _)| ends.to_vec()).unwrap_or_default()
    }

    /// Checks that every configuration in force is a revision, once.
    async fn history(&self, db: &Db) {
        let cvm = db.begin().await.expect("a transaction").cvm(CvmId(1)).await.expect("the CVM");
        let spec = cvm.expect("the CVM").spec;
        let all = revisions::of_app(db, &spec.app_id, 0, 1000).await.expect("revisions");
        assert_eq!(all.len(), self.verb.revisions(), "{all:?}");
        assert_eq!(all[0].compose_hash, spec.compose_hash, "the newest is in force");
        if self.verb == Verb::Redeploy {
            assert_eq!(all[0].compose_hash, all[2].compose_hash, "back where it was");
        }
    }

    /// Checks that the configuration in force is the last one that succeeded, and that the node has it and
    /// runs it.
    async fn as_told(&self, db: &Db, id: CvmId, mark: &Mark) {
        let cvm: Cvm =
            cvms::by_id(db, WorkspaceId(1), id).await.expect("the CVM").expect("the CVM");
        let spec = &cvm.spec;
        let told = (spec.resources.vcpu, spec.resources.memory_mb, spec.listed);
        assert_eq!(told, self.verb.outcome().map_or((1, 2048, true), |(_, told)| told));
        let document = provisions::document(db, &spec.compose_hash).await.expect("the document");
        let mut vms = self.host().vms().expect("VMs");
        vms.retain(|vm| vm.config.mark == *mark);
        let vm = vms.remove(0);
        assert_eq!(Some(&vm.config.compose), document.as_ref());
        let config = &vm.config;
        assert_eq!(
            (config.vcpu, config.memory_mb, config.disk_gb, config.compose_hash),
            (told.0, told.1, spec.resources.disk_gb, spec.compose_hash),
        );
        if self.verb.leads_to() == Some("running") {
            assert_eq!(vm.booted, Some(spec.compose_hash), "it runs what it should");
            assert!(vm.serves);
        }
    }
}

impl Verb {
    async fn act_in(self, instance: &mut Instance, key: &str) -> Result<(), String> {
        let key = format!("{key}-{self:?}");
        match self {
            Verb::Create => {
                let body = json!({
                    "name": NAME, "compose_file": { "docker_compose_file": COMPOSE }
                });
                let made = instance.send("POST", "/cvms/provision", &body, "provision").await?;
                let body =
                    json!({ "app_id": made["app_id"], "compose_hash": made["compose_hash"] });
                instance.send("POST", &self.path(), &body, &key).await.map(drop)
            }
            Verb::Delete => match instance.send("DELETE", &self.path(), &Value::Null, &key).await {
                Err(why) if why.starts_with("404") => Ok(()),
                other => other.map(drop),
            },
            Verb::Replicate | Verb::Start | Verb::Stop | Verb::Shutdown | Verb::Restart => {
                instance.send("POST", &self.path(), &Value::Null, &key).await.map(drop)
            }
            Verb::Refresh => {
                let body = json!({ "allow_data_loss": true });
                instance.send("POST", &self.path(), &body, &key).await.map(drop)
            }
            Verb::Move => {
                let body = json!({ "to": OTHER, "allow_data_loss": true });
                instance.send("POST", &self.path(), &body, &key).await.map(drop)
            }
            Verb::Redeploy => self.redeploy(instance, &key).await,
            _ => self.change(instance, &key).await,
        }
    }

    async fn redeploy(self, instance: &mut Instance, key: &str) -> Result<(), String> {
        let cvm = instance.get(&self.path()).await?;
        let app = cvm["app_id"].as_str().expect("an app id").to_owned();
        let all = instance.get(&format!("/apps/{app}/revisions")).await?;
        let first = all["revisions"].as_array().and_then(|all| all.last()).expect("a revision");
        let id = first["revision_id"].as_str().expect("its id");
        let path = format!("{}/revisions/{id}/redeploy", self.path());
        instance.send("POST", &path, &Value::Null, key).await.map(drop)
    }

    async fn change(self, instance: &mut Instance, key: &str) -> Result<(), String> {
        let path = self.path();
        let mut last = Value::Null;
        for (index, body) in self.changes().iter().enumerate() {
            last = instance.send("PATCH", &path, body, &format!("{key}-{index}")).await?;
        }
        if self != Verb::Cancel {
            return Ok(());
        }
        let id = &last["correlation_id"];
        let deadline = Instant::now() + PATIENCE;
        loop {
            let state = instance.get(&format!("{path}/state")).await?;
            let of = instance.get(&format!("{path}/operation-status")).await?;
            if of["correlation_id"] != *id || state["boot_progress"] == "starting containers" {
                break;
            }
            assert!(Instant::now() < deadline, "it does not get far: {state} {of}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let body = json!({ "correlation_id": id });
        let path = format!("{path}/operations/cancel");
        instance.send("POST", &path, &body, &format!("{key}-cancel")).await.map(drop)
    }

    /// Waits until no operation is open.
    async fn settle(self, instance: &mut Instance) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let state = instance.get(&format!("/cvms/{}", self.subject())).await;
            let status = state.as_ref().ok().and_then(|state| state["status"].as_str());
            let busy = state.as_ref().is_ok_and(|state| state["progress"].is_object());
            if !busy && status == self.leads_to() {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{:?} does not end: {state:?}\n{}",
                self,
                instance.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Checks that every operation closed as expected, with one event for its end.
async fn closed_once(db: &Db, cvm: CvmId, ends: &[End]) {
    let mut all =
        operations::of_cvm(db, cvm, &OperationFilter::default(), 1000).await.expect("operations");
    all.reverse();
    assert!(!all.is_empty());
    let told = events::of_cvm(db, cvm, EventSeq(0), 10_000).await.expect("events");
    let is_change = |one: &&Operation| one.kind.is_configuration();
    let changes: Vec<End> = all.iter().filter(is_change).map(|one| (one.kind, one.state)).collect();
    assert_eq!(changes, ends);
    for operation in all {
        assert!(operation.ended_at.is_some(), "{operation:?}");
        if !operation.kind.is_configuration() {
            assert_eq!(operation.state, OperationState::Succeeded, "{operation:?}");
        }
        let id = operation.id.to_string();
        let ends = told
            .iter()
            .filter(|event| {
                event.kind == "operation.ended" && event.operation_id.as_ref() == Some(&id)
            })
            .count();
        assert_eq!(ends, 1, "{operation:?} ended {ends} times");
    }
}
