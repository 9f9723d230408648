//! `casemate serve`: the service in this process, until it is told to stop.

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

/// SIGTERM to exit; orchestrators give ten seconds.
const STOP: Duration = Duration::from_secs(9);

/// Run the service.
///
/// Everything it keeps is in the data directory. When it is ready, the files http.url, gateway.url and
/// api.url there say where it listens; the first start writes an API key to admin.key. SIGTERM ends it
/// within ten seconds; after a SIGKILL the next start goes on where it was.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  casemate serve                                   docker if an engine answers, else simulated
  casemate serve --node sim --listen 127.0.0.1:0   a free port; see <data dir>/api.url
  casemate serve --config casemate.toml --log json
  CASEMATE_DATABASE_URL=postgres://… casemate serve
  casemate serve --role api,console                one of several processes on one PostgreSQL

Every setting is in config.default.toml; each is also a variable CASEMATE_….
CASEMATE_LOG (or RUST_LOG) chooses what is logged, for example info or casemate=debug.")]
pub struct ServeArgs {
    /// Where the API listens; port 0 picks a free one.
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<SocketAddr>,
    /// Where the gateway listens; port 0 picks a free one.
    #[arg(long, value_name = "HOST:PORT")]
    gateway_listen: Option<SocketAddr>,
    /// Part of the service to run here, all by default; a list with commas, or given several times.
    #[arg(long, value_enum, value_delimiter = ',')]
    role: Vec<RoleArg>,
    /// Kind of node to run here; may be given several times.
    #[arg(long, value_enum, value_delimiter = ',')]
    node: Vec<NodeArg>,
    /// Settings, in the form of config.default.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Form of the log on stderr.
    #[arg(long, value_enum, default_value_t = LogForm::Text)]
    log: LogForm,
    /// Started by `casemate up`: leave its terminal, write serve.pid.
    #[arg(long, hide = true)]
    detach: bool,
}

/// A kind of node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum NodeArg {
    /// Containers on a Docker-compatible engine; no TEE.
    Docker,
    /// A simulated dstack host; nothing really runs.
    Sim,
    /// No node.
    None,
}

impl NodeArg {
    /// The word on the command line.
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

/// A part of the service.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum RoleArg {
    /// The HTTP API and the gateway.
    Api,
    /// Nodes, what works on their CVMs, and the gateway to them.
    Worker,
    /// The pages for people.
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
    /// Lines for people.
    Text,
    /// A JSON object per line.
    Json,
}

/// Serves until SIGTERM or SIGINT.
pub async fn run(global: &Global, args: ServeArgs) -> Result<(), Fail> {
    start_log(args.log)?;
    crash::arm(variable("CASEMATE_CRASH_AT"), variable("CASEMATE_CRASH_LOG").map(PathBuf::from));
    if args.detach {
        // Fails only for the leader of a process group, who has left already.
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
        tracing::warn!("not everything stopped in time; the next start goes on");
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

/// The configuration of the service, as `serve` and `admin` read it.
pub fn load(file: Option<PathBuf>, overrides: &Overrides) -> Result<Config, Fail> {
    Config::load(file, overrides).map_err(|error| {
        Fail { exit: 2, ..Fail::new("configuration", error.to_string()) }
            .suggest("config.default.toml in the source explains every key.")
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

/// Says where it is, and, once and only to somebody who looks, the key.
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
        ui::line(format!("API key, shown this once (also in {}):", file.display()));
        ui::line(format!("  {}", key.expose_secret()));
    }
    if let Some(url) = &running.api_url {
        ui::line(format!("For the phala CLI: export PHALA_CLOUD_API_PREFIX={url}"));
    }
}
