//! A `casemate serve` process on a data directory.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use casemate_testing::wait::poll;
use serde_json::Value;

/// One CVM and no delays: anything slower is stuck.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Instance {
    child: Child,
    api: String,
    key: String,
    http: reqwest::Client,
    log: PathBuf,
}

impl Instance {
    /// Starts the process with a node of this kind.
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
        let text = || fs::read_to_string(&log).unwrap_or_default();
        let ready = poll(PATIENCE, async || {
            let ended = child.try_wait().expect("a child");
            assert!(ended.is_none(), "casemate ended at once: {ended:?}\n{}", text());
            url.exists().then_some(())
        });
        assert!(ready.await.is_some(), "casemate is not ready\n{}", text());
        let read = |name: &str| fs::read_to_string(dir.join(name)).expect(name).trim().to_owned();
        // The client uses the crypto provider that the process has installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http =
            reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().expect("a client");
        Self { child, api: read("api.url"), key: read("admin.key"), http, log }
    }

    pub async fn send(
        &mut self,
        method: &str,
        path: &str,
        body: &Value,
        key: &str,
    ) -> Result<Value, String> {
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

    /// Waits for the requested crash.
    pub async fn died(mut self, point: &str) {
        let died = poll(PATIENCE, async || self.child.try_wait().expect("a child")).await;
        assert!(died.is_some(), "no crash at {point}\n{}", self.log());
    }

    pub fn kill(mut self) {
        self.child.kill().expect("a child");
        self.child.wait().expect("a child");
    }

    /// SIGTERM; it must exit successfully and soon.
    pub async fn stop(mut self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(sent.success());
        let soon = Duration::from_secs(10);
        let ended = poll(soon, async || self.child.try_wait().expect("a child")).await;
        let status = ended.unwrap_or_else(|| panic!("not stopped within 10 s\n{}", self.log()));
        assert!(status.success(), "ended with {status}\n{}", self.log());
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
