//! `cargo xtask bench`: builds the server and the load generator, and runs the second against the first.

use std::{env, path::PathBuf, process::Command};

use clap::{Args, ValueEnum};

use crate::stage::{cargo, command};

/// What else is measured.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    /// A round of observation, with so many emulated hosts.
    Fleet,
    /// One workspace beside another one that is at its quota, its rate limit and its connection limit.
    Neighbours,
}

/// Options of `bench`.
#[derive(Debug, Args)]
pub struct Options {
    /// Small numbers with the debug build: shows that everything is there, not how fast it is.
    #[arg(long)]
    short: bool,
    /// Take the programs as they are: `cargo xtask test` has built them.
    #[arg(skip)]
    built: bool,
    /// Fail when a ratio is outside its budget.
    #[arg(long, conflicts_with = "short")]
    gate: bool,
    /// Grow to so many CVMs, 10000 if left out.
    #[arg(long, value_name = "NUMBER")]
    cvms: Option<usize>,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure this `casemate` instead of building one.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// `fleet`: measure the observation of emulated dstack hosts instead. `neighbours`: one workspace beside another one
    /// that is at all of its limits.
    #[arg(value_enum, conflicts_with_all = ["gate", "json"])]
    what: Option<What>,
    /// Numbers of emulated hosts; each has --cvms CVMs, 100 if left out.
    #[arg(long, value_name = "LIST", default_value = "10,100", requires = "what")]
    hosts: String,
}

impl Options {
    /// What `cargo xtask test` runs.
    pub const fn short() -> Self {
        Self {
            short: true,
            built: true,
            gate: false,
            cvms: None,
            json: None,
            binary: None,
            what: None,
            hosts: String::new(),
        }
    }
}

/// Builds and measures.
pub fn run(options: &Options) -> anyhow::Result<()> {
    if matches!(options.what, Some(What::Fleet)) {
        return fleet(options);
    }
    let profile = if options.short { "debug" } else { "release" };
    if !options.built {
        build(options)?;
    }
    let built = target().join(profile);
    let mut load = Command::new(built.join("xtask-bench"));
    let binary = options.binary.clone().unwrap_or_else(|| built.join("casemate"));
    if matches!(options.what, Some(What::Neighbours)) {
        return command(load.arg("neighbours").arg(binary));
    }
    load.arg("run").arg(binary);
    load.args(options.short.then_some("--short")).args(options.gate.then_some("--gate"));
    if let Some(number) = options.cvms {
        load.arg("--cvms").arg(number.to_string());
    }
    if let Some(file) = &options.json {
        load.arg("--json").arg(file);
    }
    command(&mut load)
}

/// Builds the load generator, the emulated hosts and, where no binary is given, Casemate.
fn build(options: &Options) -> anyhow::Result<()> {
    let mut build = cargo(&["build", "--quiet", "--features", "xtask/bench", "--bins"]);
    match &options.binary {
        Some(_) => build.args(["--package", "xtask", "--package", "casemate-dstack-double"]),
        None => build.arg("--workspace"),
    };
    if !options.short {
        build.arg("--release");
    }
    command(&mut build)
}

/// Observation of emulated hosts: `crates/server/benches/fleet.rs`.
fn fleet(options: &Options) -> anyhow::Result<()> {
    let mut bench =
        cargo(&["bench", "--quiet", "--package", "casemate-server", "--bench", "fleet"]);
    bench.args(["--profile", if options.short { "dev" } else { "bench" }]);
    bench.args(["--", "--hosts", &options.hosts]);
    if let Some(number) = options.cvms {
        bench.arg("--cvms").arg(number.to_string());
    }
    command(&mut bench)
}

fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from)
}
