//! A server with a governed KMS, a project, and keys.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Command};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{chain::Chain, recorder::Recorder};
use crate::process::Process;

pub const COMPOSE: &str = "services: {web: {image: 'busybox:1.36', environment: ['T=${TOKEN}']}}\n";
/// Timeout of commands in seconds.
pub const WAIT: &str = "60";

/// The result of a command.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    #[track_caller]
    pub fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The error code and the whole text.
    #[track_caller]
    pub fn refused(&self) -> (String, String) {
        assert_ne!(self.code, Some(0), "{self:?}");
        assert_eq!(self.out, "", "stdout is for results");
        let last = self.err.lines().last().unwrap_or_default();
        let value: Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("{self:?}"));
        (value["error"]["code"].as_str().expect("a code").to_owned(), value["error"].to_string())
    }
}

pub struct Stage {
    pub chain: Chain,
    pub server: Process,
    /// Traffic to the server.
    pub api: Recorder,
    /// Traffic to the chain.
    pub rpc: Recorder,
    dir: TempDir,
}

fn host(url: &str) -> &str {
    url.trim_start_matches("http://").trim_end_matches('/')
}

impl Stage {
    pub async fn new() -> Self {
        let chain = Chain::start(8453);
        let dir = TempDir::new().expect("a directory");
        let project = dir.path().join("My_Shop");
        fs::create_dir(&project).expect("a project");
        fs::write(project.join("docker-compose.yml"), COMPOSE).expect("a compose file");
        let data = dir.path().join("data");
        fs::create_dir(&data).expect("a data directory");
        let chains =
            format!("[{{name=\"base\",chain_id={},rpc_urls=[\"{}\"]}}]", chain.id, chain.rpc);
        let contracts =
            format!("[{{slug=\"kms-base-1\",chain=\"base\",address=\"{}\"}}]", chain.kms);
        let variables =
            [("CASEMATE_CHAINS", chains.as_str()), ("CASEMATE_KMS__CONTRACTS", contracts.as_str())];
        let server = Process::start(&data, &["--node", "sim"], &variables).await;
        let api = Recorder::before(host(&server.file("http.url").expect("its address")));
        let rpc = Recorder::before(host(&chain.rpc));
        let stage = Self { chain, server, api, rpc, dir };
        stage.allow_images().await;
        stage
    }

    /// Names and hashes of the OS images of the node.
    pub async fn images(&self) -> Vec<(String, String)> {
        let images = self.server.get("/os-images").await;
        let images = images["items"].as_array().or(images.as_array()).expect("images").clone();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let image = |one: &Value| text(&one["name"]).zip(text(&one["os_image_hash"]));
        images.iter().filter_map(image).collect()
    }

    /// The KMS allows all images of the node.
    async fn allow_images(&self) {
        for (_, hash) in self.images().await {
            self.allow(&hash, true).await;
        }
    }

    /// The KMS allows an image, or no longer.
    pub async fn allow(&self, image: &str, allow: bool) {
        let owner = self.chain.accounts[0].address.clone();
        let selector = if allow { "06a3ae96" } else { "9425bac6" };
        self.chain.send(&owner, &self.chain.kms, &format!("0x{selector}{image}")).await;
    }

    pub fn file(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode");
        path
    }

    /// A file with the key of this account, mode 0600.
    pub fn key(&self, account: usize) -> String {
        let key = &self.chain.accounts[account].private_key;
        self.file(&format!("key-{account}"), &format!("{key}\n"), 0o600).display().to_string()
    }

    pub fn compose(&self, text: &str) {
        fs::write(self.dir.path().join("My_Shop/docker-compose.yml"), text)
            .expect("a compose file");
    }

    pub fn run(&self, args: &[&str]) -> Said {
        self.run_with(args, &[])
    }

    pub fn run_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_casemate"));
        command
            .args(args)
            .arg("--json")
            .env_clear()
            .env("CASEMATE_API_URL", format!("http://{}/api/v1", self.api.address))
            .env("CASEMATE_API_KEY", &self.server.key)
            .env("ETH_RPC_URL", format!("http://{}", self.rpc.address))
            .current_dir(self.dir.path().join("My_Shop"));
        for (name, value) in variables {
            command.env(name, value);
        }
        let output = command.output().expect("casemate runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Deploys an app of account 1 without secrets.
    pub fn deploy(&self) -> Value {
        let key = self.key(1);
        let args = [
            "deploy",
            "--kms",
            "base",
            "--private-key-file",
            &key,
            "--yes",
            "--wait",
            "--timeout",
            WAIT,
        ];
        self.run(&args).json()
    }

    /// Whether the app contract allows a document.
    pub async fn allows(&self, app: &str, hash: &str) -> bool {
        let data = format!("0x2f6622e5{}", hash.trim_start_matches("0x"));
        self.chain.word(&format!("0x{app}"), &data).await.ends_with('1')
    }

    /// An owner's address as a calldata word.
    pub fn word(address: &str) -> String {
        format!("{:0>64}", address.trim_start_matches("0x").to_lowercase())
    }

    pub async fn cvm(&self, name: &str) -> Value {
        self.server.until(name, "there", |seen| seen["status"] == json!("running")).await
    }
}
