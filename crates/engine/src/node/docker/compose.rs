//! The compose command. It is given everything through pipes and its environment; nothing with a
//! value of a guest's variable touches the disk.
//!
//! *Reading* a compose file happens with the guest's variables in the environment, and the file is
//! the tenant's, so that process gets as little as possible: no engine address, no home, and where
//! Casemate runs as root, user `nobody`. *Acting* happens with the operator's own environment and a
//! model that was derived and checked.

mod interpolation;

use std::{path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
    sync::Semaphore,
};

use super::client::{ClientEnv, ComposeFound};

/// A model larger than this is not one.
const MAX_MODEL: u64 = 16 * 1024 * 1024;
/// Of what compose complains, this much is kept.
const MAX_COMPLAINT: usize = 64 * 1024;
/// Reading a file takes milliseconds. The file is the tenant's, so it does not get longer.
const READ_LIMIT: Duration = Duration::from_secs(20);
/// Files that are read at the same time. Each reader is a process of up to a hundred megabytes; the others wait
/// in the order in which they came.
const READERS: usize = 4;
/// `nobody` on every Linux.
const NOBODY: u32 = 65534;
/// Directories of the system only: this process has a tenant's variables.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The compose command of this host.
#[derive(Debug, Clone)]
pub(super) struct Compose {
    program: PathBuf,
    before: Vec<String>,
    client: ClientEnv,
    /// Whether reading happens as `nobody`.
    unprivileged: bool,
    readers: Arc<Semaphore>,
}

/// Why compose did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ComposeError {
    /// What it said last; may quote values of variables.
    #[error("{0}")]
    Failed(String),
    /// It did not end in time.
    #[error("docker compose did not end within {0:?}")]
    TimedOut(Duration),
    /// It could not be started or talked to.
    #[error("docker compose cannot be run: {0}")]
    Broken(String),
}

struct Call<'a> {
    args: Vec<String>,
    input: &'a [u8],
    env: Vec<(String, String)>,
    unprivileged: bool,
    limit: Duration,
}

impl Compose {
    /// The command that was found.
    pub fn new(found: ComposeFound, client: ClientEnv) -> Self {
        let ComposeFound { program, before, unprivileged, .. } = found;
        let readers = Arc::new(Semaphore::new(READERS));
        Self { program, before, client, unprivileged, readers }
    }

    /// The file as compose understands it, variables filled in and every string as it is meant, and
    /// what compose warns of.
    pub async fn read(
        &self,
        project: &str,
        file: &str,
        env: &[(&str, &str)],
        profiles: Option<&str>,
    ) -> Result<(Value, Vec<String>), ComposeError> {
        let mut args = project_args(project);
        for profile in
            profiles.into_iter().flat_map(|list| list.split(',')).filter(|p| !p.is_empty())
        {
            args.extend(["--profile".to_owned(), profile.trim().to_owned()]);
        }
        args.extend(["config", "--format", "json"].map(str::to_owned));
        let call = Call {
            args,
            input: file.as_bytes(),
            env: reading_env(env),
            unprivileged: self.unprivileged,
            limit: READ_LIMIT,
        };
        let reading = self.readers.acquire().await.map_err(|error| broken(&error.to_string()))?;
        let (output, said) = self.call(call).await?;
        drop(reading);
        Ok((printed(&output)?, warnings(&said)))
    }

    /// Makes everything of the model, without starting it.
    pub async fn create(
        &self,
        project: &str,
        model: &Model,
        limit: Duration,
    ) -> Result<(), ComposeError> {
        self.act(project, model, &["up", "--no-start", "--remove-orphans"], limit).await
    }

    /// Starts the containers that [`Self::create`] made; makes none.
    pub async fn start(
        &self,
        project: &str,
        model: &Model,
        limit: Duration,
    ) -> Result<(), ComposeError> {
        self.act(project, model, &["start"], limit).await
    }

    /// Stops the containers of a project, the ones that depend on others first, each with its own
    /// time to end.
    pub async fn stop(&self, project: &str, limit: Duration) -> Result<(), ComposeError> {
        let args = ["--project-name", project, "stop"].map(str::to_owned).to_vec();
        let env = self.acting();
        self.call(Call { args, input: b"", env, unprivileged: false, limit }).await.map(|_| ())
    }

    /// The plugin alone needs nothing of the operator's. The docker command finds its plugin in the
    /// operator's home; what it finds there besides is of no use to it, because compose pulls nothing.
    fn acting(&self) -> Vec<(String, String)> {
        if self.before.is_empty() { self.client.acting() } else { self.client.finding() }
    }

    async fn act(
        &self,
        project: &str,
        model: &Model,
        verb: &[&str],
        limit: Duration,
    ) -> Result<(), ComposeError> {
        let mut args = project_args(project);
        args.extend(verb.iter().map(|&arg| arg.to_owned()));
        let mut env = self.acting();
        env.extend(model.env.iter().cloned());
        let call = Call { args, input: &model.text, env, unprivileged: false, limit };
        self.call(call).await.map(|_| ())
    }

    /// Output and complaints of a process that ended well.
    async fn call(&self, call: Call<'_>) -> Result<(Vec<u8>, String), ComposeError> {
        let limit = call.limit;
        let child = self.spawn(&call).map_err(|error| broken(&error.to_string()))?;
        let done = tokio::time::timeout(limit, converse(child, call.input)).await;
        let (well, output, said) = done.map_err(|_| ComposeError::TimedOut(limit))??;
        if well { Ok((output, said)) } else { Err(ComposeError::Failed(meaning(&said))) }
    }

    fn spawn(&self, call: &Call<'_>) -> std::io::Result<Child> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.before)
            .args(&call.args)
            .env_clear()
            .envs(call.env.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if call.unprivileged {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.spawn()
    }
}

/// What `docker compose config` printed, with the strings that are meant.
pub(super) fn printed(output: &[u8]) -> Result<Value, ComposeError> {
    let model = serde_json::from_slice(output).map_err(|_| broken("its output is not JSON"))?;
    interpolation::unescape(model).ok_or_else(|| broken("its output has a `$` that is not escaped"))
}

/// A derived model on its way to compose. `Debug` shows its size only.
pub(super) struct Model {
    text: Vec<u8>,
    env: Vec<(String, String)>,
}

impl Model {
    /// The model, and variables that compose reads by itself.
    pub fn new(model: &Value, env: Vec<(String, String)>) -> Result<Self, ComposeError> {
        let text = interpolation::write(model).map_err(|error| broken(&error.to_string()))?;
        Ok(Self { text, env })
    }

    /// What compose reads.
    #[cfg(test)]
    pub fn text(&self) -> &[u8] {
        &self.text
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Model({} bytes)", self.text.len())
    }
}

/// In the guest the file lies in `/dstack` and there is no `.env` beside it.
fn project_args(project: &str) -> Vec<String> {
    let args =
        ["--project-name", project, "--project-directory", "/dstack", "--env-file", "/dev/null"];
    args.into_iter().chain(["--file", "-"]).map(str::to_owned).collect()
}

/// The guest's variables, a guest's home, and nothing of the host.
fn reading_env(env: &[(&str, &str)]) -> Vec<(String, String)> {
    let fixed = [
        ("PATH", SYSTEM_PATH),
        ("HOME", "/root"),
        ("DOCKER_CONFIG", "/nonexistent"),
        ("COMPOSE_EXPERIMENTAL_GIT_REMOTE", "false"),
        ("COMPOSE_EXPERIMENTAL_OCI_REMOTE", "false"),
        ("COMPOSE_ANSI", "never"),
    ];
    env.iter().chain(&fixed).map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Talks to the process until it ends: whether well, its output, its complaints.
async fn converse(mut child: Child, input: &[u8]) -> Result<(bool, Vec<u8>, String), ComposeError> {
    let (Some(mut stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(broken("no pipes"));
    };
    let write = async move {
        // A process that ends before it has read everything says why on stderr.
        let _ = stdin.write_all(input).await;
        let _ = stdin.shutdown().await;
    };
    let mut output = Vec::new();
    let read = async { stdout.take(MAX_MODEL + 1).read_to_end(&mut output).await };
    let ((), size, complaint) = tokio::join!(write, read, last_of(stderr));
    let size = size.map_err(|error| broken(&error.to_string()))?;
    if u64::try_from(size).unwrap_or(u64::MAX) > MAX_MODEL {
        return Err(broken("its output is too large"));
    }
    let status = child.wait().await.map_err(|error| broken(&error.to_string()))?;
    Ok((status.success(), output, complaint))
}

/// The end of what a pipe gives.
async fn last_of(mut pipe: impl AsyncRead + Unpin) -> String {
    let mut kept = Vec::new();
    let mut chunk = [0; 8192];
    while let Ok(count @ 1..) = pipe.read(&mut chunk).await {
        kept.extend_from_slice(&chunk[..count]);
        if kept.len() > 2 * MAX_COMPLAINT {
            kept.drain(..kept.len() - MAX_COMPLAINT);
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// The messages of `time="…" level=warning msg="…"`.
fn warnings(stderr: &str) -> Vec<String> {
    let lines = stderr.lines().filter(|line| line.contains("level=warning"));
    lines
        .filter_map(|line| serde_json::from_str(line.split_once("msg=")?.1).ok())
        .filter(|warning: &String| !warning.contains("`version` is obsolete"))
        .collect()
}

/// The last lines that are no progress and no warnings, as one line.
fn meaning(stderr: &str) -> String {
    let lines: Vec<&str> = stderr
        .lines()
        .filter(|line| !line.starts_with(' ') && !line.trim().is_empty())
        .filter(|line| !line.contains("level=warning") && !line.contains("level=info"))
        .collect();
    let last = lines.split_at(lines.len().saturating_sub(3)).1.join("; ");
    if last.is_empty() { "docker compose failed without saying why".to_owned() } else { last }
}

fn broken(cause: &str) -> ComposeError {
    ComposeError::Broken(cause.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_what_is_no_progress() {
        let stderr = " web Pulling \n web Error Get \"https://r\": no such host\n\
            time=\"2026\" level=warning msg=\"obsolete\"\nError response from daemon: no such host\n";
        assert_eq!(meaning(stderr), "Error response from daemon: no such host");
        assert!(meaning(" Container a  Starting\n").contains("without saying why"));
    }

    #[test]
    fn warnings_are_told_without_their_frame() {
        let stderr = "time=\"2026\" level=warning msg=\"The \\\"A\\\" variable is not set.\"\n\
            time=\"2026\" level=warning msg=\"-: the attribute `version` is obsolete\"\n";
        assert_eq!(warnings(stderr), ["The \"A\" variable is not set."]);
    }

    /// A shell script in place of compose.
    fn stand_in(script: String) -> Compose {
        let found = ComposeFound {
            program: "/bin/sh".into(),
            before: vec!["-c".to_owned(), script],
            version: String::new(),
            unprivileged: false,
        };
        Compose::new(found, ClientEnv::default())
    }

    /// Each process waits until as many run as may, so the bound is also reached.
    #[tokio::test]
    async fn only_so_many_files_are_read_at_the_same_time() {
        let dir = tempfile::tempdir().unwrap();
        let shown = dir.path().display();
        let compose = stand_in(format!(
            "cd {shown}; : > running.$$; until [ -e full ]; do \
               [ $(ls | grep -c running) -ge {READERS} ] && : > full; done; \
             ls | grep -c running >> counts; rm running.$$; echo '{{}}'"
        ));
        let reads = (0..3 * READERS).map(|_| compose.read("p", "", &[], None));
        for read in futures_util::future::join_all(reads).await {
            assert_eq!(read, Ok((serde_json::json!({}), Vec::new())));
        }
        let counts = std::fs::read_to_string(dir.path().join("counts")).unwrap();
        let counts: Vec<usize> = counts.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(counts.len(), 3 * READERS);
        assert_eq!(counts.iter().max(), Some(&READERS));
    }

    /// A file can make compose busy for hours: its process is killed at the limit.
    #[tokio::test]
    async fn a_read_that_does_not_end_is_killed_at_its_limit() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let script = format!("echo $$ > {}; exec sleep 600", pid.display());
        let compose = stand_in(script);
        let limit = Duration::from_secs(2);
        assert!(READ_LIMIT <= Duration::from_secs(20));
        let env = reading_env(&[]);
        let call = Call { args: Vec::new(), input: b"", env, unprivileged: false, limit };
        assert_eq!(compose.call(call).await, Err(ComposeError::TimedOut(limit)));
        let pid = std::fs::read_to_string(pid).unwrap();
        let process = std::path::Path::new("/proc").join(pid.trim());
        for _ in 0..100 {
            let stat = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
            if stat.is_empty() || stat.contains(") Z ") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the process still runs");
    }

    #[test]
    fn a_tenants_variables_do_not_replace_ours() {
        let env = reading_env(&[("PATH", "/evil"), ("A", "b")]);
        let last_path = env.iter().rfind(|(name, _)| name == "PATH").unwrap();
        assert_eq!(last_path.1, SYSTEM_PATH);
    }
}
