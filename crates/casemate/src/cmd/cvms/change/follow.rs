//! Shows the steps of an operation: with a spinner on a terminal, else one line per finished step.

use std::{collections::HashSet, time::Duration};

use casemate_api::reply::{OperationRecord, OperationState, OperationStep};
use casemate_client::Client;
use casemate_core::time::Timestamp;
use indicatif::ProgressBar;

use crate::{cli::Global, fail::Fail, ui};

/// Waits for the end of an operation. `timeout` is in seconds.
pub async fn follow(
    global: &Global,
    client: &Client,
    cvm: &str,
    name: &str,
    operation: &str,
    timeout: u64,
) -> Result<OperationRecord, Fail> {
    let within = Duration::from_secs(timeout);
    let mut steps = Steps::new(name, global.json);
    let seen = |record: &OperationRecord| steps.show(record);
    let result = tokio::select! {
        result = client.wait_for_operation(cvm, operation, within, seen) => result.map_err(Fail::from),
        _ = tokio::signal::ctrl_c() => Err(interrupted(name, operation)),
    };
    steps.end();
    result.map_err(|fail| {
        fail.suggest(format!("Show its steps: casemate cvms operations {name} --steps"))
    })
}

fn interrupted(name: &str, operation: &str) -> Fail {
    Fail::new("interrupted", format!("stopped waiting; the change of {name} continues"))
        .detail("operation", operation)
        .suggest(format!("To cancel it: casemate cvms cancel {name}"))
}

struct Steps {
    name: String,
    quiet: bool,
    bar: Option<ProgressBar>,
    told: HashSet<(String, String)>,
}

impl Steps {
    fn new(name: &str, quiet: bool) -> Self {
        let bar = (!quiet && ui::stderr_is_terminal()).then(ui::spinner);
        if let Some(bar) = &bar {
            bar.set_message(name.to_owned());
        }
        Self { name: name.to_owned(), quiet, bar, told: HashSet::new() }
    }

    fn show(&mut self, record: &OperationRecord) {
        if self.quiet {
            return;
        }
        for step in record.steps.iter().filter(|step| step.ended_at.is_some()) {
            if self.told.insert((step.name.clone(), step.started_at.clone())) {
                self.print_step(&format!("  {}", line(step)));
            }
        }
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{}: {}", self.name, current_step(record)));
        }
    }

    fn print_step(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| ui::print_note(text)),
            None => ui::print_note(text),
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The current step of an operation, in a word or two.
fn current_step(record: &OperationRecord) -> &str {
    match record.steps.last() {
        Some(step) => &step.name,
        None if record.state == Some(OperationState::Pending) => "queued",
        None => "beginning",
    }
}

/// A step as one line: `push            done       0.2 s`.
pub fn line(step: &OperationStep) -> String {
    let outcome = step.outcome.as_ref().map_or("running", |outcome| outcome.as_str());
    let took = elapsed(&step.started_at, step.ended_at.as_deref());
    let cause = step.cause.as_ref().filter(|_| outcome != "done");
    let cause = cause.map(|cause| format!("  {}", cause.message)).unwrap_or_default();
    format!("{:14}  {outcome:9}  {took}{cause}", step.name).trim_end().to_owned()
}

/// The time between two timestamps; empty if the step has not ended.
pub fn elapsed(from: &str, to: Option<&str>) -> String {
    let read = |text: &str| text.parse::<Timestamp>().ok();
    match (read(from), to.and_then(read)) {
        (Some(from), Some(to)) => format!("{:.1} s", to.since(from).as_secs_f64()),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_a_line() {
        let step = |json| line(&serde_json::from_value(json).unwrap());
        let (from, to) = ("2026-01-31T12:00:00Z", "2026-01-31T12:00:01.25Z");
        let done = serde_json::json!({"name": "push", "started_at": from, "ended_at": to, "outcome": "done", "cause": null});
        assert_eq!(step(done), "push            done       1.2 s");
        let failed = serde_json::json!({"name": "boot", "started_at": from, "ended_at": to, "outcome": "failed",
            "cause": {"code": "boot_timeout", "message": "no boot"}});
        assert_eq!(step(failed), "boot            failed     1.2 s  no boot");
        let open = serde_json::json!({"name": "stop", "started_at": from, "ended_at": null, "outcome": null, "cause": null});
        assert_eq!(step(open), "stop            running");
    }
}
