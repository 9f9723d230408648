//! Chores of the repository: `cargo xtask test`, `cargo xtask test --quick`, `cargo xtask bench`.

mod bench;
mod compat;
mod edges;
mod openapi;
mod replies;
mod test;
mod verify_page;

use clap::{Parser, Subcommand};
use xtask::{server, stage};

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
    /// The edges between modules that must not exist.
    Edges,
    /// Renews `docs/openapi.json`.
    Openapi,
    /// The verifier as one HTML file, `target/verify-page/verify.html`, that needs no server and no network.
    VerifyPage,
}

fn main() -> anyhow::Result<()> {
    match Args::parse().chore {
        Chore::Test(options) => test::run(&options),
        Chore::Bench(options) => bench::run(&options),
        Chore::Compat => compat::run(),
        Chore::Edges => edges::run(),
        Chore::Openapi => openapi::run(),
        Chore::VerifyPage => verify_page::run(),
    }
}
