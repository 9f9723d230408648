//! `cargo xtask test`: the stages, in the order in which they find mistakes soonest.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::Context;
use clap::Args;

use crate::{
    bench, compat, edges,
    server::Server,
    stage::{Stages, cargo, command, say},
};

/// Options of `test`.
#[derive(Debug, Args)]
pub struct Options {
    /// The inner loop: formatting, lints and the tests that need nothing installed.
    #[arg(long)]
    quick: bool,
    /// Only hold this dstack-vmm, which may be a real one, to what Casemate relies on: http://HOST:PORT. Makes
    /// stopped VMs and removes them.
    #[arg(long, value_name = "URL")]
    dstack: Option<String>,
    /// Token of its API.
    #[arg(long, requires = "dstack")]
    token: Option<String>,
}

const MINUTE: Duration = Duration::from_mins(1);
/// What all stages together may take on a busy machine. CI ends a run after 90 minutes.
const LIMIT: Duration = Duration::from_mins(75);

/// Runs every stage.
pub fn run(options: &Options) -> anyhow::Result<()> {
    if let Some(url) = &options.dstack {
        let mut contract =
            cargo(&["run", "-p", "casemate-dstack-double", "--bin", "dstack-double"]);
        contract.args(["--", "contract", url]);
        if let Some(token) = &options.token {
            contract.args(["--token", token]);
        }
        return command(&mut contract);
    }
    let mut stages = Stages::default();
    let outcome = if options.quick { quick(&mut stages) } else { whole(&mut stages) };
    let in_time = stages.finish(LIMIT);
    outcome?;
    in_time?;
    say("every stage passed");
    Ok(())
}

fn quick(stages: &mut Stages) -> anyhow::Result<()> {
    format(stages)?;
    stages.run("edges", MINUTE, edges::run)?;
    stages.run("clippy", 8 * MINUTE, clippy)?;
    stages.run("tests without services", 8 * MINUTE, || {
        let mut tests = cargo(&["test", "--workspace", "--lib", "--bins"]);
        command(tests.args(["--", "--skip", "on_postgres"]))?;
        let mut tests = cargo(&["test", "-p", "casemate-server", "-p", "casemate-api"]);
        command(tests.args(["--", "--skip", "on_postgres", "--skip", "anvil::"]))
    })
}

fn whole(stages: &mut Stages) -> anyhow::Result<()> {
    format(stages)?;
    stages.run("edges", MINUTE, edges::run)?;
    stages.run("environment", 10 * MINUTE, || {
        command(Command::new("bash").args(["scripts/test-env.sh", "all"]))
    })?;
    let environment = environment()?;
    stages.run("contracts: artefacts are what the sources give", MINUTE, || {
        command(Command::new("node").args(["contracts/build.mjs", "--check"]))
    })?;
    stages.run("clippy", 15 * MINUTE, clippy)?;
    // It also builds the programs that the stages below run: a build of its own would have other features, and
    // compile most crates again.
    stages.run("tests", 25 * MINUTE, || {
        let mut tests = cargo(&["test", "--workspace", "--all-features", "--no-fail-fast"]);
        command(tests.envs(&environment))
    })?;
    stages.run("documentation", 5 * MINUTE, || {
        let mut doc = cargo(&["doc", "--workspace", "--no-deps"]);
        command(doc.env("RUSTDOCFLAGS", "-D warnings"))
    })?;
    stages.run("licences, bans, sources", MINUTE, deny)?;
    stages.run("the README's commands, in a clean clone", 10 * MINUTE, || {
        readme_commands(&environment)
    })?;
    stages.run("real clients: phala CLI on docker", 6 * MINUTE, || phala_cli(&environment))?;
    stages.run("compose files, on docker and simulated", 3 * MINUTE, compose_files)?;
    stages.run("hostile compose files, and three tenants on one node", 6 * MINUTE, || {
        escapes(&environment)
    })?;
    stages.run("real clients: phala CLI on five emulated dstack hosts", 3 * MINUTE, || {
        fleet(&environment)
    })?;
    stages
        .run("real clients: apps that contracts govern", 3 * MINUTE, || governed(&environment))?;
    stages.run("quotes judged by another verifier", 3 * MINUTE, agreement)?;
    stages.run("benchmark, short", 5 * MINUTE, || bench::run(&bench::Options::short()))?;
    stages.run("compatibility report", MINUTE, compat::run)
}

fn format(stages: &mut Stages) -> anyhow::Result<()> {
    stages.run("format", MINUTE, || command(&mut cargo(&["fmt", "--all", "--check"])))
}

fn clippy() -> anyhow::Result<()> {
    let mut clippy = cargo(&["clippy", "--workspace", "--all-targets", "--all-features"]);
    command(clippy.args(["--", "-D", "warnings"]))
}

/// cargo-deny where it is installed; installing it costs more than it finds.
fn deny() -> anyhow::Result<()> {
    let installed = Command::new("cargo").args(["deny", "--version"]).output();
    if !installed.is_ok_and(|output| output.status.success()) {
        say("cargo deny is not installed here: not checked");
        return Ok(());
    }
    command(&mut cargo(&["deny", "check", "licenses", "bans", "sources"]))
}

/// What `scripts/test-env.sh` found or started.
fn environment() -> anyhow::Result<BTreeMap<String, String>> {
    let path = "target/test-env/env";
    let text = fs::read_to_string(path).with_context(|| path.to_owned())?;
    Ok(text
        .lines()
        .filter_map(|line| line.trim_start_matches("export ").split_once('='))
        .map(|(name, value)| (name.to_owned(), value.trim_matches(['"', '\'']).to_owned()))
        .collect())
}

/// The debug binary of this checkout.
pub fn binary() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    target.join("debug/casemate")
}

fn scratch(name: &str) -> anyhow::Result<PathBuf> {
    let dir = env::current_dir()?.join("target/test-env").join(name);
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// The README's first command as written, in a clean clone, and what a new user does next.
fn readme_commands(environment: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let dir = scratch("first-command")?;
    let mut script = Command::new("bash");
    script.arg("conformance/first-command/run.sh").arg(&dir).envs(environment);
    let outcome = command(&mut script);
    // The clone has a release build of its own: a gigabyte.
    fs::remove_dir_all(dir.join("clone"))?;
    outcome
}

/// The real `phala` CLI and JavaScript SDK against `casemate serve --node docker`.
fn phala_cli(environment: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let dir = scratch("phala-cli")?;
    let server = Server::start(&absolute(&binary())?, &dir, "docker")?;
    let mut run = Command::new("node");
    run.arg("conformance/phala-cli/run.mjs")
        .envs(environment)
        .env("CASEMATE_API", server.file("api.url")?)
        .env("CASEMATE_API_KEY", server.file("admin.key")?)
        .env("CASEMATE_GATEWAY", server.file("gateway.url")?)
        .env("CASEMATE_DATA_DIR", &server.data_dir);
    command(&mut run)
}

/// Compose files with what becomes of them, on each kind of node.
fn compose_files() -> anyhow::Result<()> {
    for node in ["docker", "sim"] {
        let dir = scratch(&format!("compose-{node}"))?;
        let binary = absolute(&binary())?;
        let server = Server::start(&binary, &dir, node)?;
        let mut run = Command::new("node");
        run.arg("conformance/compose/run.mjs").arg(&binary).arg(node);
        run.env("CASEMATE_API", server.file("api.url")?)
            .env("CASEMATE_API_KEY", server.file("admin.key")?)
            .env("CASEMATE_GATEWAY", server.file("gateway.url")?);
        command(&mut run)?;
    }
    Ok(())
}

/// Compose files that reach out of their CVM, and a tenant that takes all it can, on a docker node.
fn escapes(environment: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let dir = scratch("escapes")?;
    let binary = absolute(&binary())?;
    // On all addresses: containers must not reach it.
    let server = Server::start_on("0.0.0.0:0", &binary, &dir, "docker", &[])?;
    for script in ["run.mjs", "tenants.mjs"] {
        let mut run = Command::new("node");
        run.arg(format!("conformance/escapes/{script}"))
            .arg(&binary)
            .envs(environment)
            .env("CASEMATE_API", server.file("api.url")?)
            .env("CASEMATE_API_KEY", server.file("admin.key")?)
            .env("CASEMATE_GATEWAY", server.file("gateway.url")?)
            .env("CASEMATE_DATA_DIR", &server.data_dir);
        command(&mut run)?;
    }
    Ok(())
}

/// The real `phala` CLI on emulated dstack hosts of several versions, some of which fail.
fn fleet(environment: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let dir = scratch("fleet")?;
    let mut run = Command::new("node");
    run.arg("conformance/fleet/run.mjs").arg(absolute(&binary())?);
    run.arg(absolute(&binary().with_file_name("dstack-double"))?).arg(dir);
    command(run.envs(environment))
}

/// Quotes that casemate-verify's tests have judged and written down, judged by a verifier in JavaScript.
fn agreement() -> anyhow::Result<()> {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let cases = absolute(&target.join("tmp/verify-cases.json"))?;
    let mut install = Command::new("npm");
    install.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    command(install.current_dir("conformance/verify"))?;
    command(Command::new("node").arg("run.mjs").arg(cases).current_dir("conformance/verify"))
}

/// The real `phala` CLI and JavaScript SDK against apps that contracts on a local chain govern.
fn governed(environment: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let dir = scratch("governed")?;
    let mut run = Command::new("node");
    run.arg("conformance/phala-cli/governed/run.mjs").arg(absolute(&binary())?).arg(dir);
    command(run.envs(environment))
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    Ok(std::path::absolute(path)?)
}
