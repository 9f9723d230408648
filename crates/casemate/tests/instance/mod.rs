//! A `casemate serve` process on a data directory, and one verb to be applied to one CVM in it.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use casemate_core::{
    id::{CvmId, WorkspaceId},
    operation::OperationState,
};
use casemate_engine::node::{Mark, sim::SimHost};
use casemate_server::system::SystemClock;
use casemate_store::{Db, cvms, events, operations};
use serde_json::{Value, json};
use tempfile::TempDir;

const NAME: &str = "my-app";
const COMPOSE: &str = "services: {web: {image: 'busybox:1.36', ports: ['8080:80']}}\n";
/// One CVM and no delays of note: whatever takes longer has got stuck.
const PATIENCE: Duration = Duration::from_secs(30);

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
        SimHost::open(self.dir().join("nodes/sim"), Arc::new(SystemClock)).expect("the host's files")
    }

    pub async fn start(&self, variables: &[(&str, &str)]) -> Instance {
        Instance::start(self.dir(), variables).await
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
                let body = json!({ "app_id": made["app_id"], "compose_hash": made["compose_hash"] });
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
            assert!(Instant::now() < deadline, "{:?} does not end: {state:?}\n{}", self.verb, instance.log());
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
        let cvms = cvms::page(&db, WorkspaceId(1), cvms::Filter { node: None, user: None }, 10, 0)
            .await
            .expect("the CVMs")
            .0;
        match self.verb {
            Verb::Delete => {
                assert!(cvms.is_empty());
                assert!(self.host().vms().expect("VMs").is_empty(), "a VM is left");
            }
            _ => {
                assert_eq!(cvms.len(), 1, "one CVM");
                let mark = Mark::new(NAME, cvms[0].uuid);
                assert_eq!(audit.mark(&mark).present.len(), 1, "one VM for the CVM");
            }
        }
        closed_once(&db).await;
        db.close().await;
    }
}

/// Every operation is closed, and its end was told once.
async fn closed_once(db: &Db) {
    let all = operations::of_cvm(db, CvmId(1), 1000).await.expect("operations");
    assert!(!all.is_empty());
    let told = events::of_cvm(db, CvmId(1), casemate_core::id::EventSeq(0), 10_000).await.expect("events");
    for operation in all {
        assert_eq!(operation.state, OperationState::Succeeded, "{operation:?}");
        let id = operation.id.to_string();
        let ends = told
            .iter()
            .filter(|event| event.kind == "operation.ended" && event.operation_id.as_ref() == Some(&id))
            .count();
        assert_eq!(ends, 1, "{operation:?} ended {ends} times");
    }
}

/// A running process.
pub struct Instance {
    child: Child,
    api: String,
    key: String,
    http: reqwest::Client,
    log: PathBuf,
}

impl Instance {
    async fn start(dir: &Path, variables: &[(&str, &str)]) -> Self {
        Self::on("sim", dir, variables).await
    }

    /// Starts it with a node of this kind.
    pub async fn on(node: &str, dir: &Path, variables: &[(&str, &str)]) -> Self {
        let url = dir.join("api.url");
        let _ = fs::remove_file(&url);
        let log = dir.join("serve.log");
        let output = File::options().create(true).append(true).open(&log).expect("a log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_casemate"));
        command
            .args(["serve", "--node", node, "--listen", "127.0.0.1:0"])
            .args(["--gateway-listen", "127.0.0.1:0", "--data-dir"])
            .arg(dir)
            .current_dir(dir)
            .env("CASEMATE_SIM__BOOT_MS", "30")
            .env("CASEMATE_SIM__SHUTDOWN_MS", "20")
            .env("CASEMATE_SIM__REMOVE_MS", "10")
            .env("CASEMATE_WORK__CREATE_SETTLES_S", "1")
            .env("NO_COLOR", "1")
            .env("CASEMATE_LOG", "info,casemate_server::http=warn")
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a log"))
            .stderr(output);
        for (name, value) in variables {
            command.env(name, value);
        }
        let mut child = command.spawn().expect("casemate starts");
        let deadline = Instant::now() + PATIENCE;
        while !url.exists() {
            let ended = child.try_wait().expect("a child");
            let text = || fs::read_to_string(&log).unwrap_or_default();
            assert!(ended.is_none(), "casemate ended at once: {ended:?}\n{}", text());
            assert!(Instant::now() < deadline, "casemate is not ready\n{}", text());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let read = |name: &str| fs::read_to_string(dir.join(name)).expect(name).trim().to_owned();
        // The client is built with whatever crypto provider the process has installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().expect("a client");
        Self { child, api: read("api.url"), key: read("admin.key"), http, log }
    }

    pub async fn send(&mut self, method: &str, path: &str, body: &Value, key: &str) -> Result<Value, String> {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let request = self
            .http
            .request(method, format!("{}{path}", self.api))
            .header("x-api-key", &self.key)
            .header("idempotency-key", key)
            .json(body);
        Self::read(request).await
    }

    pub async fn get(&mut self, path: &str) -> Result<Value, String> {
        let request = self.http.get(format!("{}{path}", self.api)).header("x-api-key", &self.key);
        Self::read(request).await
    }

    async fn read(request: reqwest::RequestBuilder) -> Result<Value, String> {
        let response = request.send().await.map_err(|error| format!("no answer: {error}"))?;
        let status = response.status();
        let text = response.text().await.map_err(|error| format!("half an answer: {error}"))?;
        if !status.is_success() {
            return Err(format!("{status}: {text}"));
        }
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Waits for the crash that was ordered.
    pub async fn died(mut self, point: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().expect("a child").is_none() {
            assert!(Instant::now() < deadline, "no crash at {point}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// SIGKILL, now.
    pub fn kill(mut self) {
        self.child.kill().expect("a child");
        self.child.wait().expect("a child");
    }

    /// SIGTERM; it must end well and soon.
    pub async fn stop(mut self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(sent.success());
        let deadline = Instant::now() + Duration::from_secs(10);
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            assert!(Instant::now() < deadline, "not stopped within 10 s\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert!(status.success(), "ended with {status}\n{}", self.log());
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
