//! The local server as a detached process of this executable. Its output goes to `serve.log`.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    net::{SocketAddr, TcpListener},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
};

use casemate_server::config::variable;
use clap::ValueEnum;

use crate::{fail::Fail, local::DataDir, serve::NodeArg};

/// Default listen addresses; a free port is used if one is taken.
const API: &str = "127.0.0.1:8090";
const GATEWAY: &str = "127.0.0.1:8091";
/// File with the kinds of node given last.
const NODES: &str = "serve.nodes";
/// The log is truncated at start if it is larger, in bytes.
const MAX_LOG: u64 = 16 * 1024 * 1024;
/// Number of log lines that are shown.
const TAIL: usize = 15;
/// Prefix of a suggestion in [`Fail::text`].
const SUGGESTION: &str = "try: ";

/// A process that was just started.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    log: PathBuf,
    /// Offset of its first byte in the log.
    from: u64,
}

impl ServerProcess {
    /// Starts the process.
    ///
    /// The kinds of node are stored for later starts: a CVM on a node of a kind that no longer runs could not
    /// be stopped or deleted.
    pub fn start(dir: &DataDir, nodes: &[NodeArg]) -> Result<Self, Fail> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |error: std::io::Error| {
                Fail::new("start", format!("cannot start the server: {what}: {error}"))
                    .suggest("Use a writable directory: --data-dir DIR, or CASEMATE_DATA_DIR.")
            }
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir.path())
            .map_err(failed(&dir.path().display().to_string()))?;
        let log = dir.file("serve.log");
        let (output, from) = open_log(&log).map_err(failed(&log.display().to_string()))?;
        let errors = output.try_clone().map_err(failed("serve.log"))?;
        let nodes = load_or_store_nodes(dir, nodes).map_err(failed(NODES))?;
        let program = std::env::current_exe().map_err(failed("cannot find this executable"))?;
        let child = command(program, dir, &nodes)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(failed("cannot start casemate serve"))?;
        Ok(Self { child, log, from })
    }

    /// The exit status, if it has exited.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The log since its start.
    pub fn log(&self) -> String {
        let mut text = Vec::new();
        let read = File::open(&self.log).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.from))?;
            file.take(MAX_LOG).read_to_end(&mut text)
        });
        read.map(|_| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
    }

    /// An error with the last lines of the log, the server's own suggestions, and how to run the server in
    /// the foreground.
    pub fn fail(&self, message: impl Into<String>) -> Fail {
        let log = self.log();
        let (suggested, lines): (Vec<&str>, Vec<&str>) =
            log.lines().map(str::trim).partition(|line| line.starts_with(SUGGESTION));
        let tail = lines[lines.len().saturating_sub(TAIL)..].iter();
        let fail = Fail::new("start", message).detail("log", self.log.display().to_string());
        let fail = tail.fold(fail, |fail, line| fail.detail("|", *line));
        let fail = suggested
            .iter()
            .filter_map(|line| line.strip_prefix(SUGGESTION))
            .fold(fail, Fail::suggest);
        let dir = self.log.parent().unwrap_or(&self.log).display();
        fail.suggest(format!("To start it in the foreground: casemate serve --data-dir {dir}"))
    }
}

/// Opens the log for appending, with mode 0600.
fn open_log(path: &PathBuf) -> std::io::Result<(File, u64)> {
    let large = fs::metadata(path).is_ok_and(|meta| meta.len() > MAX_LOG);
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600);
    let file = options.open(path)?;
    if large {
        file.set_len(0)?;
    }
    let from = file.metadata()?.len();
    Ok((file, from))
}

/// The kinds of node given now, else those given before.
fn load_or_store_nodes(dir: &DataDir, named: &[NodeArg]) -> std::io::Result<Vec<NodeArg>> {
    let file = dir.file(NODES);
    if named.is_empty() {
        let words = fs::read_to_string(file).unwrap_or_default();
        return Ok(words
            .split_whitespace()
            .filter_map(|word| NodeArg::from_str(word, false).ok())
            .collect());
    }
    let words: Vec<&str> = named.iter().map(|node| node.as_str()).collect();
    fs::write(file, words.join(" ") + "\n")?;
    Ok(named.to_vec())
}

fn command(program: PathBuf, dir: &DataDir, nodes: &[NodeArg]) -> Command {
    let mut command = Command::new(program);
    command.args(["serve", "--detach", "--log", "text", "--data-dir"]).arg(dir.path());
    for node in nodes {
        command.args(["--node", node.as_str()]);
    }
    let before = |url: Option<String>| url.and_then(|url| address(&url));
    if variable("CASEMATE_LISTEN").is_none() {
        let place = pick_address(before(dir.api_url()), API);
        command.args(["--listen", &place]);
    }
    if variable("CASEMATE_GATEWAY_LISTEN").is_none() {
        let place = pick_address(before(dir.gateway_url()), GATEWAY);
        command.args(["--gateway-listen", &place]);
    }
    // API keys of other servers are not passed on.
    command.env_remove("CASEMATE_API_KEY").env_remove("PHALA_CLOUD_API_KEY");
    command.current_dir(dir.path());
    command
}

/// The previous address, so that URLs stay valid; else the default; else a free port.
fn pick_address(before: Option<SocketAddr>, usual: &str) -> String {
    let usual = usual.parse::<SocketAddr>().ok();
    let free = before.into_iter().chain(usual).find(|address| TcpListener::bind(address).is_ok());
    free.map_or_else(|| "127.0.0.1:0".to_owned(), |address| address.to_string())
}

fn address(url: &str) -> Option<SocketAddr> {
    url.strip_prefix("http://")?.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_node_are_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let dir = DataDir::find(Some(dir.path()));
        assert_eq!(load_or_store_nodes(&dir, &[]).unwrap(), []);
        for named in [vec![NodeArg::Sim], vec![NodeArg::Docker, NodeArg::Sim]] {
            assert_eq!(load_or_store_nodes(&dir, &named).unwrap(), named);
            assert_eq!(load_or_store_nodes(&dir, &[]).unwrap(), named);
        }
    }

    #[test]
    fn a_failed_start_repeats_the_suggestions_of_the_log_and_adds_one() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("serve.log");
        fs::write(&log, "older\nerror: port is taken (start)\n  try: Choose another port.\n")
            .unwrap();
        let child = Command::new("true").spawn().unwrap();
        let fail = ServerProcess { child, log, from: 6 }.fail("casemate serve did not start");
        assert_eq!(
            fail.details[1..],
            [("|".to_owned(), "error: port is taken (start)".to_owned())]
        );
        let run = format!(
            "To start it in the foreground: casemate serve --data-dir {}",
            dir.path().display()
        );
        assert_eq!(fail.suggestions, ["Choose another port.".to_owned(), run]);
    }

    #[test]
    fn an_instance_comes_back_where_it_was_if_it_can() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = taken.local_addr().map(|address| (taken, address)).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(pick_address(Some(free), &taken.1.to_string()), free.to_string());
        assert_eq!(pick_address(Some(taken.1), &free.to_string()), free.to_string());
        assert_eq!(pick_address(Some(taken.1), &taken.1.to_string()), "127.0.0.1:0");
        assert_eq!(address("http://127.0.0.1:80/api/v1"), "127.0.0.1:80".parse().ok());
        assert_eq!(address("https://h/api/v1"), None);
    }
}
