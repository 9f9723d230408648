//! `casemate apps readiness`: when the gateway sends requests to an instance.

use std::str::FromStr;

use casemate_api::{readiness::ReadinessRequest, reply::Readiness};
use clap::Args;

use crate::{cli::Global, connect, fail::Fail, table, ui};

/// Without options, the current check is shown.
#[derive(Debug, Args)]
#[group(skip)]
pub struct ReadinessArgs {
    /// App id.
    app: String,
    /// Ready if this path answers with 2xx or 3xx on this published port.
    #[arg(long, value_name = "PORT/PATH", group = "declared", conflicts_with = "off")]
    http: Option<HttpCheck>,
    /// Ready if this published port accepts connections.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..), group = "declared", conflicts_with = "off")]
    tcp: Option<u16>,
    /// Remove the check set with this command. Labels of the compose file apply again.
    #[arg(long)]
    off: bool,
    /// Seconds between two checks, 1 to 300.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=300), requires = "declared")]
    interval: Option<u32>,
    /// Timeout of one check in seconds, 1 to 60.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=60), requires = "declared")]
    timeout: Option<u32>,
    /// Consecutive failures that make an instance not ready, 1 to 20.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=20), requires = "declared")]
    threshold: Option<u32>,
}

/// `PORT/PATH`, as in `8080/healthz`; a port alone means the path `/`.
#[derive(Debug, Clone)]
struct HttpCheck {
    port: u16,
    path: String,
}

impl FromStr for HttpCheck {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (port, path) = text.split_once('/').unwrap_or((text, ""));
        let port = port.parse().ok().filter(|port| *port > 0);
        let port = port.ok_or_else(|| "must be PORT/PATH, for example 8080/healthz".to_owned())?;
        Ok(Self { port, path: format!("/{path}") })
    }
}

impl ReadinessArgs {
    /// The requested check; `None` if no option sets one.
    fn request(&self) -> Option<ReadinessRequest> {
        let (port, path) = match (&self.http, self.tcp) {
            (Some(http), _) => (http.port, Some(http.path.clone())),
            (None, Some(port)) => (port, None),
            (None, None) => return None,
        };
        Some(ReadinessRequest {
            port,
            path,
            interval_s: self.interval,
            timeout_s: self.timeout,
            threshold: self.threshold,
        })
    }
}

pub(super) async fn run(global: &Global, args: &ReadinessArgs) -> Result<(), Fail> {
    let client = connect::client(global)?;
    let found = match args.request() {
        Some(request) => client.set_readiness(&args.app, &request).await?,
        None if args.off => client.clear_readiness(&args.app).await?,
        None => client.readiness(&args.app).await?,
    };
    if global.json {
        ui::json(&found);
    } else {
        table::facts(&facts(&found));
    }
    Ok(())
}

fn facts(found: &Readiness) -> Vec<(&'static str, String)> {
    let by = match found.source.as_str() {
        "api" => "this app's setting",
        "label" => "labels of the compose file",
        _ => "nobody",
    };
    let mut facts = vec![("declared by", by.to_owned())];
    let Some(check) = &found.check else {
        facts.push(("ready", "while running".to_owned()));
        return facts;
    };
    let path = check.path.as_deref().unwrap_or_default();
    facts.push(("ready", format!("{} {}{path}", check.kind, check.port)));
    facts.push(("checks", format!("every {} s, timeout {} s", check.interval_s, check.timeout_s)));
    facts.push(("not ready", format!("after {} failed checks", check.threshold)));
    facts
}
