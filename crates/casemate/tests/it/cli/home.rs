//! A user's project and data directory.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// The project's compose file.
pub const COMPOSE: &str = "services: {web: {image: 'busybox:1.36', ports: ['8080:80']}}\n";

/// A home directory with a project. Its server is stopped on drop.
pub struct Home(TempDir);

/// The result of a command.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    pub fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn error(&self) -> Value {
        assert_eq!(self.out, "", "stdout is for results");
        let last = self.err.lines().last().unwrap_or_default();
        let value: Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("{self:?}"));
        value["error"].clone()
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

impl Home {
    pub fn new() -> Self {
        let home = Self(TempDir::new().expect("a temporary directory"));
        fs::create_dir(home.project()).expect("a project");
        home.compose(COMPOSE);
        home
    }

    pub fn project(&self) -> PathBuf {
        self.0.path().join("My_Shop")
    }

    pub fn data(&self) -> PathBuf {
        self.0.path().join("casemate")
    }

    pub fn compose(&self, text: &str) {
        fs::write(self.project().join("docker-compose.yml"), text).expect("a compose file");
    }

    pub fn command(&self, boot_ms: u32, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_casemate"));
        command
            .args(args)
            .env_clear()
            .env("XDG_DATA_HOME", self.0.path())
            .env("CASEMATE_LISTEN", "127.0.0.1:0")
            .env("CASEMATE_GATEWAY_LISTEN", "127.0.0.1:0")
            .env("CASEMATE_SIM__BOOT_MS", boot_ms.to_string())
            .env("CASEMATE_SIM__SHUTDOWN_MS", "20")
            .env("CASEMATE_SIM__REMOVE_MS", "10")
            .current_dir(self.project())
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Said {
        self.command(30, args).output().expect("casemate runs").into()
    }

    /// Writes a file of the project.
    pub fn file(&self, name: &str, text: &str) {
        fs::write(self.project().join(name), text).expect("a file");
    }

    pub fn pid(&self) -> Option<String> {
        let text = fs::read_to_string(self.data().join("serve.pid")).ok()?;
        text.lines().next().map(str::to_owned)
    }

    pub fn kill(&self) {
        if let Some(pid) = self.pid() {
            let _ = Command::new("kill").args(["-KILL", &pid]).status();
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Files below a directory that contain a text.
pub fn holds(dir: &Path, needle: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("a directory").flatten();
    let look = |path: PathBuf| {
        if path.is_dir() {
            return holds(&path, needle);
        }
        let bytes = fs::read(&path).unwrap_or_default();
        let found = bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
        found.then_some(path).into_iter().collect()
    };
    entries.flat_map(|entry| look(entry.path())).collect()
}
