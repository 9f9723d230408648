//! Following a boot: a line that turns on a terminal, lines elsewhere, nothing with `--json`; and, if
//! it fails, the cause and what the CVM said last.

use std::time::Duration;

use casemate_client::{Client, WatchEvent};
use indicatif::ProgressBar;

use super::instance::Instance;
use crate::{
    cmd::cvms::{
        follow::last_lines,
        wait::{text, wait},
    },
    fail::Fail,
    ui,
};

/// Lines of output shown after a failure.
const LAST_LINES: u32 = 20;

/// What to do when the server went away.
pub const AGAIN: &str = "Run the same command again: what was accepted goes on.";

/// Waits until the CVM runs.
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
        _ = instance.gone() => Err(gone()),
        _ = tokio::signal::ctrl_c() => Err(interrupted(name)),
    };
    steps.end();
    let Err(fail) = result else { return Ok(()) };
    match fail.code.as_str() {
        "interrupted" => Err(fail),
        "unreachable" => Err(Fail { suggestions: vec![AGAIN.to_owned()], ..fail }),
        _ => {
            if !quiet {
                show_last_lines(client, cvm).await;
            }
            Err(fail
                .suggest(format!("Read its output: casemate cvms logs {name}"))
                .suggest("Once the cause is gone, run the same command again."))
        }
    }
}

/// The service ended while it was needed.
pub fn gone() -> Fail {
    Fail::new("unreachable", "Casemate itself has ended").suggest(AGAIN)
}

fn interrupted(name: &str) -> Fail {
    Fail::new("interrupted", format!("{name} is not known to run yet; it goes on by itself"))
        .suggest("Run the same command again to follow it, or with --stop to end it.")
}

async fn show_last_lines(client: &Client, cvm: &str) {
    // There may be none, or no server any more; the failure itself is what is told.
    let lines = last_lines(client, cvm, LAST_LINES).await.unwrap_or_default();
    for line in lines.lines() {
        ui::print_note(format!("  {line}"));
    }
}

/// The steps of a boot as they are shown.
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
