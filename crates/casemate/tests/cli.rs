//! The real binary as a user runs it: `up` from nothing to a running CVM on a simulated node and back,
//! a server killed in the middle, and what commands say when they refuse.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

const COMPOSE: &str = "services: {web: {image: 'busybox:1.36', ports: ['8080:80']}}\n";
const PATIENCE: Duration = Duration::from_secs(60);

/// A home with a project in it, and whatever `up` starts there; gone with the test.
struct Home(TempDir);

/// What a command did.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn error(&self) -> Value {
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
    fn new() -> Self {
        let home = Self(TempDir::new().expect("a temporary directory"));
        fs::create_dir(home.project()).expect("a project");
        home.compose(COMPOSE);
        home
    }

    fn project(&self) -> PathBuf {
        self.0.path().join("My_Shop")
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("casemate")
    }

    fn compose(&self, text: &str) {
        fs::write(self.project().join("docker-compose.yml"), text).expect("a compose file");
    }

    fn command(&self, boot_ms: u32, args: &[&str]) -> Command {
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

    fn run(&self, args: &[&str]) -> Said {
        self.command(30, args).output().expect("casemate runs").into()
    }

    fn pid(&self) -> Option<String> {
        let text = fs::read_to_string(self.data().join("serve.pid")).ok()?;
        text.lines().next().map(str::to_owned)
    }

    fn kill(&self) {
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

fn holds(dir: &Path, needle: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("a directory").flatten();
    let look = |path: PathBuf| match path.is_dir() {
        true => holds(&path, needle),
        false => {
            let bytes = fs::read(&path).unwrap_or_default();
            let found = bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
            found.then_some(path).into_iter().collect()
        }
    };
    entries.flat_map(|entry| look(entry.path())).collect()
}

#[test]
fn up_makes_adopts_refuses_and_ends() {
    let home = Home::new();
    fs::write(home.project().join(".env"), "TOKEN='hunter2-in-the-file' # comment\n")
        .expect("a file");
    let up = ["up", "--node", "sim", "--json", "-e", "OTHER=hunter2-in-a-flag"];

    let first = home.run(&up).json();
    assert_eq!((&first["name"], &first["status"]), (&"my-shop".into(), &"running".into()));
    assert_eq!((&first["outcome"], &first["tee"]), (&"created".into(), &"simulated".into()));
    assert_eq!(first["instance_started"], true);
    assert!(first["urls"][0].as_str().is_some_and(|url| url.contains("-8080.")), "{first}");
    assert_eq!(holds(&home.data(), "hunter2"), Vec::<PathBuf>::new(), "plain text was kept");

    let again = home.run(&up).json();
    assert_eq!((&again["id"], &again["outcome"]), (&first["id"], &"unchanged".into()));
    assert_eq!(again["instance_started"], false);

    home.compose(&COMPOSE.replace("8080", "9090"));
    let changed = home.run(&up);
    assert_eq!(changed.code, Some(1));
    let error = changed.error();
    assert_eq!(error["code"], "compose-changed");
    assert!(error["details"].to_string().contains(first["compose_hash"].as_str().expect("a hash")));
    home.compose(COMPOSE);

    let stopped = home.run(&["cvms", "stop", "my-shop", "--wait", "--json"]).json();
    assert_eq!(stopped["status"], "stopped");
    assert_eq!(home.run(&up).json()["outcome"], "started");

    let text = home.run(&["up", "--no-follow", "-e", "OTHER=x"]);
    assert_eq!(text.code, Some(0), "{text:?}");
    assert!(text.out.starts_with("my-shop is running"), "{text:?}");
    assert!(
        text.err.contains("nothing protects") && text.err.contains("not sent again"),
        "{text:?}"
    );

    let ended = home.run(&["up", "--stop", "--json"]).json();
    assert_eq!((&ended["status"], &ended["instance_ended"]), (&"stopped".into(), &true.into()));
    assert_eq!(home.pid(), None);
}

#[test]
fn a_server_killed_in_the_middle_is_no_loss() {
    let home = Home::new();
    let up = ["up", "--node", "sim", "--json"];
    let slow = home.command(3000, &up).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let slow = slow.expect("casemate runs");
    let deadline = Instant::now() + PATIENCE;
    while home.run(&["cvms", "get", "my-shop", "--json"]).code != Some(0) {
        assert!(Instant::now() < deadline, "no CVM");
        std::thread::sleep(Duration::from_millis(20));
    }
    home.kill();
    let broken = Said::from(slow.wait_with_output().expect("an end"));
    assert_eq!(broken.code, Some(1));
    assert_eq!(broken.error()["code"], "unreachable");

    let again = home.run(&["up", "--json"]).json();
    assert_eq!((&again["status"], &again["outcome"]), (&"running".into(), &"unchanged".into()));
    assert_eq!(again["tee"], "simulated", "the kind of node is remembered");
    assert_eq!(home.run(&["cvms", "ls", "--json"]).json().as_array().map(Vec::len), Some(1));
}

#[test]
fn commands_show_and_refuse_as_promised() {
    let home = Home::new();
    let nothing = home.run(&["cvms", "ls", "--json"]);
    assert_eq!((nothing.code, nothing.error()["code"].clone()), (Some(1), "no-server".into()));
    home.run(&["up", "--node", "sim", "--json"]).json();

    for list in ["cvms", "apps", "nodes", "kms", "images", "sizes"] {
        let said = home.run(&[list, "ls"]);
        assert!(said.code == Some(0) && said.out.lines().count() > 1, "{said:?}");
        home.run(&[list, "ls", "--json"]).json();
    }
    let logs = home.run(&["cvms", "logs", "my-shop", "--json"]).json();
    assert!(logs["lines"].as_array().is_some_and(|lines| !lines.is_empty()), "{logs}");

    let missing = home.run(&["cvms", "get", "nobody", "--json"]);
    assert_eq!((missing.code, missing.error()["code"].clone()), (Some(1), "ERR-03-001".into()));
    let unasked = home.run(&["cvms", "delete", "my-shop", "--json"]);
    assert_eq!((unasked.code, unasked.error()["code"].clone()), (Some(1), "not-confirmed".into()));
    for usage in [
        &["cvms", "get", "..", "--json"][..],
        &["cvms", "logs", "my-shop", "-f", "--json"],
        &["up", "--name", "no", "--json"],
        &["up", "-e", "nothing", "--json"],
        &["cvms", "ls", "--api-url", "http://127.0.0.1:1/api/v1", "--json"],
        &["frobnicate"],
    ] {
        assert_eq!(home.run(usage).code, Some(2), "{usage:?}");
    }
    let gone = home.run(&["cvms", "delete", "my-shop", "--yes", "--wait", "--json"]).json();
    assert_eq!(gone["status"], "deleted");
    assert_eq!(home.run(&["cvms", "ls", "--json"]).json(), Value::Array(Vec::new()));
}
