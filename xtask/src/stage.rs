//! One stage of a run: what it does, how long it may take, how it went.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

/// The stages of a run, one after the other; the first that fails ends it.
#[derive(Debug, Default)]
pub struct Stages {
    done: Vec<(String, Duration, Duration)>,
}

impl Stages {
    /// Runs a stage. A stage that takes longer than its budget is reported: machines are noisy, so only the
    /// total has a limit ([`Self::finish`]).
    pub fn run(
        &mut self,
        name: &str,
        budget: Duration,
        work: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        say(&format!("== {name} (budget {} s)", budget.as_secs()));
        let began = Instant::now();
        let outcome = work();
        let took = began.elapsed();
        self.done.push((name.to_owned(), took, budget));
        if took > budget {
            say(&format!(
                "warning: stage {name} took {:.0} s, its budget is {} s",
                took.as_secs_f64(),
                budget.as_secs()
            ));
        }
        outcome.with_context(|| format!("stage {name} failed"))
    }

    /// Prints how long each stage took; fails if all of them together took longer than `limit`.
    pub fn finish(&self, limit: Duration) -> anyhow::Result<()> {
        for (name, took, budget) in &self.done {
            let slow = if took > budget { "  SLOW" } else { "" };
            say(&format!(
                "{:>7.1} s of {:>5} s  {name}{slow}",
                took.as_secs_f64(),
                budget.as_secs()
            ));
        }
        let total: Duration = self.done.iter().map(|(_, took, _)| *took).sum();
        say(&format!("{:>7.1} s of {:>5} s  in all", total.as_secs_f64(), limit.as_secs()));
        if total > limit {
            bail!("the run took {} s, its limit is {} s", total.as_secs(), limit.as_secs());
        }
        Ok(())
    }
}

/// A line for the person who runs this.
#[expect(clippy::print_stdout, reason = "xtask talks to a terminal")]
pub fn say(line: &str) {
    println!("{line}");
}

/// Runs a command and fails when it does.
pub fn command(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}

/// `cargo` with these arguments.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.args(arguments);
    cargo
}
