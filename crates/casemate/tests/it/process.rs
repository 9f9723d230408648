//! A `casemate serve` process with any arguments, and requests to it.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use casemate_testing::wait::poll;
use serde_json::{Value, json};

/// One CVM and no delays: anything slower is stuck.
pub const PATIENCE: Duration = Duration::from_secs(30);
pub const COMPOSE: &str = "services: {web: {image: 'busybox:1.36', ports: ['8080:80']}}\n";
/// Root keys shared by processes on one database.
pub const ROOT_KEY: &str = "p256 1111111111111111111111111111111111111111111111111111111111111111 k256 2222222222222222222222222222222222222222222222222222222222222222";

/// The binary with a data directory.
pub fn command(dir: &Path, args: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_casemate"));
    command
        .args(args)
        .arg("--data-dir")
        .arg(dir)
        .current_dir(dir)
        .env("CASEMATE_SIM__BOOT_MS", "30")
        .env("CASEMATE_SIM__SHUTDOWN_MS", "20")
        .env("CASEMATE_SIM__REMOVE_MS", "10")
        .env("CASEMATE_LOG", "info,casemate_server::http=warn")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null());
    for (name, value) in variables {
        command.env(name, value);
    }
    command
}

pub struct Process {
    child: Child,
    pub dir: PathBuf,
    pub key: String,
    http: reqwest::Client,
}

impl Process {
    /// Starts the process; it may not be ready yet.
    pub fn spawn(dir: &Path, args: &[&str], variables: &[(&str, &str)]) -> Self {
        let log = File::options().create(true).append(true).open(dir.join("log")).expect("a log");
        let _ = fs::remove_file(dir.join("http.url"));
        let all = [&["serve", "--listen", "127.0.0.1:0", "--gateway-listen", "127.0.0.1:0"], args];
        let mut command = command(dir, &all.concat(), variables);
        command.stdout(log.try_clone().expect("a log")).stderr(log);
        // The client uses the crypto provider that the process has installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http =
            reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().expect("a client");
        let child = command.spawn().expect("casemate starts");
        Self { child, dir: dir.to_owned(), key: String::new(), http }
    }

    /// Starts the process and waits until it answers.
    pub async fn start(dir: &Path, args: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut process = Self::spawn(dir, args, variables);
        process.ready().await;
        process.key = process.file("admin.key").unwrap_or_default();
        process
    }

    pub async fn ready(&mut self) {
        let ready = poll(PATIENCE, async || {
            let ended = self.child.try_wait().expect("a child");
            assert!(ended.is_none(), "casemate ended at once: {ended:?}\n{}", self.log());
            self.is_ready().await.then_some(())
        });
        assert!(ready.await.is_some(), "casemate is not ready\n{}", self.log());
    }

    async fn is_ready(&self) -> bool {
        let Some(url) = self.file("http.url") else { return false };
        let answer = self.http.get(format!("{url}/readyz")).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// The content of a file in the data directory.
    pub fn file(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.dir.join(name)).ok().map(|text| text.trim().to_owned())
    }

    pub fn log(&self) -> String {
        self.file("log").unwrap_or_default()
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.file("http.url").expect("http.url"))
    }

    /// A request with the key.
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = method.parse().expect("a method");
        self.http.request(method, self.url(path)).header("x-api-key", &self.key)
    }

    /// Status and text of a page.
    pub async fn page(&self, path: &str) -> (u16, String) {
        let answer = self.request("GET", path).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a text"))
    }

    pub async fn get(&self, path: &str) -> Value {
        let (status, text) = self.page(&format!("/api/v1{path}")).await;
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Status and body of an API request.
    pub async fn send(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let request = self.request(method, &format!("/api/v1{path}")).json(&body);
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a text");
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// Provisions and commits; returns the commit's reply.
    pub async fn deploy(&self, name: &str) -> Value {
        let body = json!({ "name": name, "compose_file": { "docker_compose_file": COMPOSE } });
        let (status, made) = self.send("POST", "/cvms/provision", body).await;
        assert_eq!(status, 200, "{made}\n{}", self.log());
        let body = json!({ "app_id": made["app_id"], "compose_hash": made["compose_hash"] });
        let (status, cvm) = self.send("POST", "/cvms", body).await;
        assert_eq!(status, 200, "{cvm}");
        cvm
    }

    /// Polls a CVM until a condition holds.
    pub async fn until(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let path = format!("/api/v1/cvms/{name}");
        let mut seen = Value::Null;
        let held = poll(PATIENCE, async || {
            seen = serde_json::from_str(&self.page(&path).await.1).expect("JSON");
            holds(&seen).then_some(())
        });
        assert!(held.await.is_some(), "never {what}: {seen}\n{}", self.log());
        seen
    }

    pub async fn until_status(&self, name: &str, status: &str) -> Value {
        self.until(name, status, |seen| seen["status"] == status && seen["in_progress"] == false)
            .await
    }

    pub fn terminate(&self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(sent.success());
    }

    pub async fn ended(&mut self) -> ExitStatus {
        let ended = poll(PATIENCE, async || self.child.try_wait().expect("a child")).await;
        ended.unwrap_or_else(|| panic!("it does not end\n{}", self.log()))
    }

    /// SIGTERM, with a check of the exit status.
    pub async fn stop(mut self) {
        self.terminate();
        let status = self.ended().await;
        assert!(status.success(), "ended with {status}\n{}", self.log());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
