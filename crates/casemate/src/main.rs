//! `casemate`: the service (`serve`), a whole deployment in one command (`up`), and the user's
//! commands against any server that speaks the API.
//!
//! | room | what is in it |
//! |---|---|
//! | [`cli`] | what can be said, and who answers it |
//! | [`serve`] | the service in this process |
//! | [`admin`] | chores beside the service |
//! | [`up`] | an embedded service, a compose file, a running CVM |
//! | [`cmd`] | the user's commands |
//! | [`connect`], [`local`] | which server, which key |
//! | [`vars`] | variables of an app, from files and flags |
//! | [`fail`], [`ui`] | how failures and results are told |
//!
//! Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 refused or failed, 2 usage.

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
    // Whatever still blocks then has been told to stop and had its time.
    runtime.shutdown_timeout(Duration::from_millis(300));
    result
}
