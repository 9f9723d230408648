//! Crash points: named places where `CASEMATE_CRASH_AT` aborts the process, so that tests can show
//! what a crash there leaves behind. `CASEMATE_CRASH_LOG` names a file that gets a line for every
//! point passed: the crash tests learn from it which points there are.
//!
//! Without the variables a point costs one comparison.

use std::{
    io::Write,
    path::PathBuf,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

#[derive(Debug, Default)]
struct Plan {
    at: Option<String>,
    skip: AtomicU32,
    log: Option<PathBuf>,
}

static PLAN: OnceLock<Plan> = OnceLock::new();

/// Sets the plan from `CASEMATE_CRASH_AT` (`name` or `name#n`: the n-th time it is passed, from 1)
/// and `CASEMATE_CRASH_LOG`. The first call wins.
pub fn arm(at: Option<String>, log: Option<PathBuf>) {
    let (at, skip) = match at {
        Some(text) => match text.rsplit_once('#') {
            Some((name, count)) => {
                (Some(name.to_owned()), count.parse::<u32>().unwrap_or(1).saturating_sub(1))
            }
            None => (Some(text), 0),
        },
        None => (None, 0),
    };
    let _ = PLAN.set(Plan { at, skip: AtomicU32::new(skip), log });
}

/// A place where the process may be told to die.
pub fn point(name: impl FnOnce() -> String) {
    let Some(plan) = PLAN.get() else { return };
    if plan.at.is_none() && plan.log.is_none() {
        return;
    }
    let name = name();
    if let Some(log) = &plan.log {
        record(log, &name);
    }
    if plan.at.as_deref() == Some(name.as_str())
        && plan
            .skip
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
            .is_err()
    {
        std::process::abort();
    }
}

fn record(log: &PathBuf, name: &str) {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(log);
    let written = file.and_then(|mut file| writeln!(file, "{name}"));
    if let Err(error) = written {
        tracing::warn!(%error, "crash log not written");
    }
}
