//! Chores of the repository: `cargo xtask test`, `cargo xtask test --quick`, `cargo xtask bench`.

mod bench;
mod compat;
mod server;
mod stage;
mod test;

use clap::{Parser, Subcommand};

/// Chores of the Casemate repository.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Everything CI runs: environment, lints, tests on both databases, real clients, kill matrix.
    Test(test::Options),
    /// Accepted creates and GETs per second, against a bare handler and a bare commit in one run.
    Bench(bench::Options),
    /// Which operations of upstream's published API are served.
    Compat,
}

fn main() -> anyhow::Result<()> {
    match Args::parse().chore {
        Chore::Test(options) => test::run(&options),
        Chore::Bench(options) => bench::run(&options),
        Chore::Compat => compat::run(),
    }
}
