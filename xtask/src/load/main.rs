//! Measures a `casemate serve` against what the machine can do, in one run: a bare handler over the
//! same client, a bare durable commit on the same disk. Run by `cargo xtask bench`.

mod bare;
mod casemate;
mod doubles;
mod figures;
mod http;
mod neighbours;
mod run;
mod webhook;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Measure.
    Run(run::Options),
    /// Measure one workspace beside another one that is at all of its limits.
    Neighbours(neighbours::Options),
    /// Answer everything with the bytes of a file; prints its address.
    BareServer { file: PathBuf },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Args::parse().task {
        Task::Run(options) => run::run(&options).await,
        Task::Neighbours(options) => neighbours::run(&options).await,
        Task::BareServer { file } => bare::serve(&file).await,
    }
}
