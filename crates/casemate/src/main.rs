//! `casemate`: the server (`serve`), deployment in one command (`up`), and client commands for any server
//! with this API.
//!
//! | module | contents |
//! |---|---|
//! | [`cli`] | the command line |
//! | [`serve`] | the server in this process |
//! | [`admin`] | operator commands |
//! | [`up`] | starts a local server and deploys a compose file |
//! | [`cmd`] | client commands |
//! | [`connect`], [`local`] | selection of server and API key |
//! | [`vars`] | variables of an app, from files and flags |
//! | [`fail`], [`ui`] | output of errors and results |
//!
//! Results go to stdout, everything else to stderr. Exit codes: 0 success, 1 refused or failed, 2 usage;
//! `verify` adds 3.

mod admin;
mod cli;
mod cmd;
mod connect;
mod fail;
mod local;
mod serve;
mod table;
mod ui;
mod up;
mod vars;

use std::{process::ExitCode, time::Duration};

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let json = cli.global.json;
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fail) => {
            fail.print(json);
            ExitCode::from(fail.exit)
        }
    }
}

fn run(cli: cli::Cli) -> Result<(), fail::Fail> {
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| fail::Fail::new("runtime", format!("cannot start threads: {error}")))?;
    let result = runtime.block_on(cli.run());
    // Blocking tasks have been told to stop by now.
    runtime.shutdown_timeout(Duration::from_millis(300));
    result
}
