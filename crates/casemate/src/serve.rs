//! `casemate serve`: runs the server in this process until a signal.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use casemate_server::{
    config::{Config, NodeChoice, Overrides, Role, variable},
    crash,
    serve::{self, Running},
};
use clap::{Args, ValueEnum};
use secrecy::ExposeSecret;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::{cli::Global, fail::Fail, local::DataDir, ui, up::pid::PidFile};

/// Time from SIGTERM to exit. Orchestrators kill after ten seconds.
const STOP: Duration = Duration::from_secs(9);

/// Run the server.
///
/// All state is in the data directory. When the server is ready, the files http.url, gateway.url and api.url
/// contain its addresses. The first start writes an API key to admin.key. SIGTERM stops the server within ten
/// seconds. After a SIGKILL, the next start resumes open operations.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  casemate serve                                   docker if a container engine is available, else sim
  casemate serve --node sim --listen 127.0.0.1:0   free port; see <data dir>/api.url
  casemate serve --config casemate.toml --log json
  CASEMATE_DATABASE_URL=postgres://… casemate serve
  casemate serve --role api,console                one of several processes on one PostgreSQL

Every setting is in config.default.toml; each is also a variable CASEMATE_….
CASEMATE_LOG (or RUST_LOG) chooses what is logged, for example info or casemate=debug.")]
pub struct ServeArgs {
    /// Listen address of the API; port 0 picks a free port.
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<SocketAddr>,
    /// Listen address of the gateway; port 0 picks a free port.
    #[arg(long, value_name = "HOST:PORT")]
    gateway_listen: Option<SocketAddr>,
    /// Role to run; comma-separated or repeatable [default: all].
    #[arg(long, value_enum, value_delimiter = ',')]
    role: Vec<RoleArg>,
    /// Kind of node to run; repeatable.
    #[arg(long, value_enum, value_delimiter = ',')]
    node: Vec<NodeArg>,
    /// Configuration file, in the format of config.default.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Log format on stderr.
    #[arg(long, value_enum, default_value_t = LogForm::Text)]
    log: LogForm,
    /// Started by `casemate up`: detach from the terminal and write serve.pid.
    #[arg(long, hide = true)]
    detach: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum NodeArg {
    /// Containers on a Docker-compatible container engine; no TEE.
    Docker,
    /// A simulated dstack host; runs nothing.
    Sim,
    /// No node.
    None,
}

impl NodeArg {
    /// The value on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Sim => "sim",
            Self::None => "none",
        }
    }

    const fn kind(self) -> NodeChoice {
        match self {
            Self::Docker => NodeChoice::Docker,
            Self::Sim => NodeChoice::Sim,
            Self::None => NodeChoice::None,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RoleArg {
    /// HTTP API and gateway.
    Api,
    /// Nodes, reconcilers, and the gateway to those nodes.
    Worker,
    /// Web pages.
    Console,
}

impl RoleArg {
    const fn role(self) -> Role {
        match self {
            Self::Api => Role::Api,
            Self::Worker => Role::Worker,
            Self::Console => Role::Console,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogForm {
    /// Human-readable lines.
    Text,
    /// One JSON object per line.
    Json,
}

/// Serves until SIGTERM or SIGINT.
pub async fn run(global: &Global, args: ServeArgs) -> Result<(), Fail> {
    start_log(args.log)?;
    crash::arm(variable("CASEMATE_CRASH_AT"), variable("CASEMATE_CRASH_LOG").map(PathBuf::from));
    if args.detach {
        // Fails only for a process group leader, which is detached already.
        let _ = rustix::process::setsid();
    }
    let signals = |kind| signal(kind).map_err(|error| Fail::new("signals", error.to_string()));
    let mut terminate = signals(SignalKind::terminate())?;
    let mut interrupt = signals(SignalKind::interrupt())?;

    let config = config(global, &args)?;
    let dir = DataDir::find(Some(&config.data_dir));
    let mut starting = std::pin::pin!(serve::start(config));
    let running = tokio::select! {
        started = &mut starting => started.map_err(|error| Fail::new("start", error.to_string()))?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    let pid = args.detach.then(|| PidFile::write_own(&dir)).transpose()?;
    announce(global, &running, &dir);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    if tokio::time::timeout(STOP, running.stop()).await.is_err() {
        tracing::warn!("not all tasks stopped in time; the next start resumes them");
    }
    if let Some(pid) = pid {
        pid.remove();
    }
    Ok(())
}

fn config(global: &Global, args: &ServeArgs) -> Result<Config, Fail> {
    let overrides = Overrides {
        listen: args.listen,
        gateway_listen: args.gateway_listen,
        data_dir: global.data_dir.clone(),
        role: args.role.iter().map(|role| role.role()).collect(),
        node: args.node.iter().map(|node| node.kind()).collect(),
    };
    load(args.config.clone(), &overrides)
}

/// Loads the configuration of the server, for `serve` and `admin`.
pub fn load(file: Option<PathBuf>, overrides: &Overrides) -> Result<Config, Fail> {
    Config::load(file, overrides).map_err(|error| {
        Fail { exit: 2, ..Fail::new("configuration", error.to_string()) }
            .suggest("See config.default.toml in the source for all keys.")
    })
}

fn start_log(form: LogForm) -> Result<(), Fail> {
    let wanted = variable("CASEMATE_LOG").or_else(|| variable("RUST_LOG"));
    let filter = wanted.unwrap_or_else(|| "info".to_owned());
    let filter = EnvFilter::try_new(&filter)
        .map_err(|error| Fail::usage(format!("CASEMATE_LOG {filter:?}: {error}")))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(ui::stderr_is_terminal());
    match form {
        LogForm::Text => log.init(),
        LogForm::Json => log.json().init(),
    }
    Ok(())
}

/// Prints the addresses, and on a first start in a terminal the API key.
fn announce(global: &Global, running: &Running, dir: &DataDir) {
    for node in &running.nodes {
        tracing::info!("node {node}");
    }
    if global.json {
        ui::json(&json!({
            "http_url": running.http_url,
            "api_url": running.api_url,
            "gateway_url": running.gateway_url,
            "nodes": running.nodes,
            "data_dir": dir.path(),
        }));
        return;
    }
    if !ui::stdout_is_terminal() {
        return;
    }
    let url = running.api_url.as_ref().unwrap_or(&running.http_url);
    ui::line(format!("Casemate is ready at {url}"));
    for node in &running.nodes {
        ui::line(format!("  {node}"));
    }
    if let Some(key) = &running.first_key {
        let file = dir.file("admin.key");
        ui::line(format!("API key, shown only once (also in {}):", file.display()));
        ui::line(format!("  {}", key.expose_secret()));
    }
    if let Some(url) = &running.api_url {
        ui::line(format!("For the phala CLI: export PHALA_CLOUD_API_PREFIX={url}"));
    }
}
