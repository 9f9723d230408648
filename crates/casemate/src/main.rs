//! Interim: `serve` only, until the CLI lands.
use casemate_server::{config::{Config, NodeKind, Overrides, variable}, crash, serve};

fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_env_filter(variable("CASEMATE_LOG").unwrap_or("info".into())).init();
    crash::arm(variable("CASEMATE_CRASH_AT"), variable("CASEMATE_CRASH_LOG").map(Into::into));
    let args: Vec<String> = std::env::args().collect();
    let after = |flag: &str| args.iter().position(|a| a == flag).map(|i| args[i + 1].clone());
    let overrides = Overrides {
        listen: after("--listen").map(|v| v.parse()).transpose()?,
        gateway_listen: after("--gateway-listen").map(|v| v.parse()).transpose()?,
        data_dir: after("--data-dir").map(Into::into),
        node: after("--node").map(|n| vec![match n.as_str() { "sim" => NodeKind::Sim, "none" => NodeKind::None, _ => NodeKind::Docker }]).unwrap_or_default(),
    };
    tokio::runtime::Runtime::new()?.block_on(async {
        let running = serve::start(Config::load(None, &overrides)?).await?;
        let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        term.recv().await;
        running.stop().await;
        Ok(())
    })
}
