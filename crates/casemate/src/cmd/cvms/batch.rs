//! `casemate cvms batch`: one command for several CVMs.

use std::time::Duration;

use casemate_api::operation::MAX_BATCH;
use clap::Subcommand;
use tokio::time::Instant;

use super::wait::{progress_printer, wait};
use crate::{cli::Global, connect, fail::Fail, ui};

#[derive(Debug, Subcommand)]
pub enum Batch {
    /// Stop up to 50 CVMs immediately. Their data is kept.
    #[command(after_help = "Examples:
  casemate cvms batch stop hello hello-beside --wait
  casemate cvms ls --json | jq -r '.[].id' | xargs casemate cvms batch stop")]
    Stop {
        /// Names or ids of the CVMs.
        #[arg(value_name = "CVM", required = true)]
        cvms: Vec<String>,
        /// Wait until all of them are stopped.
        #[arg(long, short)]
        wait: bool,
        /// Timeout in seconds.
        #[arg(long, default_value_t = 600, value_name = "SECONDS")]
        timeout: u64,
    },
}

pub(super) async fn run(global: &Global, command: Batch) -> Result<(), Fail> {
    let Batch::Stop { cvms, wait: waits, timeout } = command;
    if cvms.len() > MAX_BATCH {
        let why = format!("{} CVMs given; a batch takes at most {MAX_BATCH}", cvms.len());
        return Err(Fail::usage(why).suggest("Run the command several times: xargs -n 50."));
    }
    let client = connect::client(global)?;
    let done = client.batch_stop(&cvms).await?;
    let failed = |cvm: &String| done.errors.iter().any(|error| error.cvm_id == *cvm);
    if waits {
        let ends = Instant::now() + Duration::from_secs(timeout);
        for cvm in cvms.iter().filter(|cvm| !failed(cvm)) {
            let left = ends.saturating_duration_since(Instant::now());
            wait(&client, cvm, "stopped", left, progress_printer(true)).await?;
        }
    }
    if global.json {
        ui::json(&done);
    } else {
        let word = if waits { "stopped" } else { "stopping" };
        ui::line(format!("{} {word}, {} already stopped", done.stopped, done.skipped));
    }
    if done.errors.is_empty() {
        return Ok(());
    }
    let why = format!("{} of {} CVMs were not stopped", done.errors.len(), done.total);
    let fail = Fail::new("batch-incomplete", why);
    let errors = done.errors.iter();
    Err(errors
        .fold(fail, |fail, error| fail.detail(&error.cvm_id, &error.error))
        .suggest("List CVMs: casemate cvms ls."))
}
