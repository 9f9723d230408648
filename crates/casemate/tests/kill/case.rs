//! One verb applied to one CVM, and what must hold afterwards.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use casemate_core::{
    id::{CvmId, EventSeq, WorkspaceId},
    operation::OperationState,
};
use casemate_engine::node::{Mark, sim::SimHost};
use casemate_server::system::SystemClock;
use casemate_store::{Db, cvms, events, operations};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::instance::{Instance, PATIENCE};

const NAME: &str = "my-app";
const COMPOSE: &str = "services: {web: {image: 'busybox:1.36', ports: ['8080:80']}}\n";

/// What is done to the CVM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Create,
    Start,
    Stop,
    Shutdown,
    Restart,
    Delete,
}

impl Verb {
    /// Verbs applied before, one after the other, each to its end.
    fn before(self) -> &'static [Self] {
        match self {
            Self::Create => &[],
            Self::Start => &[Self::Create, Self::Stop],
            Self::Stop | Self::Shutdown | Self::Restart | Self::Delete => &[Self::Create],
        }
    }

    fn leads_to(self) -> Option<&'static str> {
        match self {
            Self::Create | Self::Start | Self::Restart => Some("running"),
            Self::Stop | Self::Shutdown => Some("stopped"),
            Self::Delete => None,
        }
    }

    fn path(self) -> String {
        match self {
            Self::Create => "/cvms".to_owned(),
            Self::Start => format!("/cvms/{NAME}/start"),
            Self::Stop => format!("/cvms/{NAME}/stop"),
            Self::Shutdown => format!("/cvms/{NAME}/shutdown"),
            Self::Restart => format!("/cvms/{NAME}/restart"),
            Self::Delete => format!("/cvms/{NAME}"),
        }
    }
}

/// One case of the matrix.
pub struct Case {
    verb: Verb,
    dir: TempDir,
}

impl Case {
    /// A data directory in which everything before the verb has been done.
    pub async fn prepare(verb: Verb) -> Self {
        let case = Self { verb, dir: tempfile::tempdir().expect("a temporary directory") };
        if verb != Verb::Create {
            let mut instance = case.start(&[]).await;
            for before in verb.before() {
                let step = Self { verb: *before, dir: TempDir::new().expect("unused") };
                step.act_in(&mut instance, "prepare").await.expect("preparation is accepted");
                step.settle(&mut instance).await;
            }
            instance.stop().await;
        }
        case
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn host(&self) -> SimHost {
        SimHost::open(self.dir().join("nodes/sim"), Arc::new(SystemClock))
            .expect("the host's files")
    }

    pub async fn start(&self, variables: &[(&str, &str)]) -> Instance {
        Instance::on("sim", self.dir(), variables).await
    }

    /// Sends the verb as a client does that repeats it with the same key until it hears an answer.
    pub async fn act(&self, instance: &mut Instance) -> Result<(), String> {
        self.act_in(instance, "the-key").await
    }

    async fn act_in(&self, instance: &mut Instance, key: &str) -> Result<(), String> {
        let key = format!("{key}-{:?}", self.verb);
        match self.verb {
            Verb::Create => {
                let body = json!({
                    "name": NAME, "compose_file": { "docker_compose_file": COMPOSE }
                });
                let made = instance.send("POST", "/cvms/provision", &body, "provision").await?;
                let body =
                    json!({ "app_id": made["app_id"], "compose_hash": made["compose_hash"] });
                instance.send("POST", &self.verb.path(), &body, &key).await.map(drop)
            }
            Verb::Delete => {
                match instance.send("DELETE", &self.verb.path(), &Value::Null, &key).await {
                    Err(why) if why.starts_with("404") => Ok(()),
                    other => other.map(drop),
                }
            }
            _ => instance.send("POST", &self.verb.path(), &Value::Null, &key).await.map(drop),
        }
    }

    /// Waits until nothing is under way.
    pub async fn settle(&self, instance: &mut Instance) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let state = instance.get(&format!("/cvms/{NAME}")).await;
            let status = state.as_ref().ok().and_then(|state| state["status"].as_str());
            let busy = state.as_ref().is_ok_and(|state| state["progress"].is_object());
            if !busy && status == self.verb.leads_to() {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{:?} does not end: {state:?}\n{}",
                self.verb,
                instance.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Stops the instance and looks at what is left, in the database and on the host.
    pub async fn check(&self, instance: Instance) {
        instance.stop().await;
        let db = Db::open(&format!("sqlite://{}", self.dir().join("casemate.db").display()))
            .await
            .expect("the database opens");
        let audit = self.host().audit().expect("the host's journal");
        assert_eq!(audit.violations(), Vec::<String>::new());
        assert!(audit.overlaps.is_empty(), "two VMs ran at once: {:?}", audit.overlaps);
        let all = cvms::Filter { node: None, user: None };
        let cvms = cvms::page(&db, WorkspaceId(1), all, cvms::Seek::Skip(0), 10)
            .await
            .expect("the CVMs")
            .items;
        if self.verb == Verb::Delete {
            assert!(cvms.is_empty());
            assert!(self.host().vms().expect("VMs").is_empty(), "a VM is left");
        } else {
            assert_eq!(cvms.len(), 1, "one CVM");
            let mark = Mark::new(NAME, cvms[0].uuid);
            assert_eq!(audit.mark(&mark).present.len(), 1, "one VM for the CVM");
        }
        closed_once(&db).await;
        db.close().await;
    }
}

/// Every operation is closed, and its end was told once.
async fn closed_once(db: &Db) {
    let all = operations::of_cvm(db, CvmId(1), &operations::Shown::default(), 1000)
        .await
        .expect("operations");
    assert!(!all.is_empty());
    let told = events::of_cvm(db, CvmId(1), EventSeq(0), 10_000).await.expect("events");
    for operation in all {
        assert_eq!(operation.state, OperationState::Succeeded, "{operation:?}");
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
