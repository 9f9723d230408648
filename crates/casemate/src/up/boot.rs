//! Follows a boot: a spinner on a terminal, else lines, nothing with `--json`. After a failure it prints the
//! cause and the last lines of the log.

use std::time::Duration;

use casemate_client::{Client, WatchEvent};
use indicatif::ProgressBar;

use super::instance::Instance;
use crate::{
    cmd::cvms::{
        log_stream::last_lines,
        wait::{text, wait},
    },
    fail::Fail,
    ui,
};

/// Lines of log shown after a failure.
const LAST_LINES: u32 = 20;

/// Suggestion after the server became unreachable.
pub const RESUME: &str = "Run the same command again to resume.";

/// Waits until the CVM is running.
pub async fn follow(
    instance: &Instance,
    cvm: &str,
    name: &str,
    within: Duration,
    quiet: bool,
) -> Result<(), Fail> {
    let client = &instance.client;
    let mut steps = Steps::new(name, quiet);
    let result = tokio::select! {
        result = wait(client, cvm, "running", within, |event| steps.show(event)) => result,
        _ = instance.wait_for_exit() => Err(server_exited()),
        _ = tokio::signal::ctrl_c() => Err(interrupted(name)),
    };
    steps.end();
    let Err(fail) = result else { return Ok(()) };
    match fail.code.as_str() {
        "interrupted" => Err(fail),
        "unreachable" => Err(Fail { suggestions: vec![RESUME.to_owned()], ..fail }),
        _ => {
            if !quiet {
                show_last_lines(client, cvm).await;
            }
            Err(fail
                .suggest(format!("Show its logs: casemate cvms logs {name}"))
                .suggest("Fix the cause, then run the same command again."))
        }
    }
}

/// The error for a server that exited.
pub fn server_exited() -> Fail {
    Fail::new("unreachable", "the server has exited").suggest(RESUME)
}

fn interrupted(name: &str) -> Fail {
    Fail::new("interrupted", format!("stopped waiting for {name}; it continues to start"))
        .suggest("Run the same command again to follow it, or with --stop to stop it.")
}

async fn show_last_lines(client: &Client, cvm: &str) {
    // The log may be empty or the server server_exited; the failure itself is reported anyway.
    let lines = last_lines(client, cvm, LAST_LINES).await.unwrap_or_default();
    for line in lines.lines() {
        ui::print_note(format!("  {line}"));
    }
}

#[derive(Debug)]
struct Steps {
    name: String,
    quiet: bool,
    last: String,
    bar: Option<ProgressBar>,
}

impl Steps {
    fn new(name: &str, quiet: bool) -> Self {
        let bar = (!quiet && ui::stderr_is_terminal()).then(ui::spinner);
        Self { name: name.to_owned(), quiet, last: String::new(), bar }
    }

    fn show(&mut self, event: &WatchEvent) {
        let Some(text) = text(event) else { return };
        if self.quiet || text == self.last {
            return;
        }
        let line = format!("{}: {text}", self.name);
        match &self.bar {
            Some(bar) => bar.set_message(line),
            None => ui::print_note(line),
        }
        self.last = text;
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
