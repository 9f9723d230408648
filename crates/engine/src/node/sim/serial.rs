//! The serial log of a simulated guest: what it said in its present or last run.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use casemate_core::{id::EngineVmId, time::Timestamp};
use futures_util::{StreamExt as _, stream};

use super::{boot::Says, call_faults::Shared, vm::Vm};
use crate::node::{CallError, LogQuery, LogStream};

/// The log as it is at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Serial {
    /// Number of the run.
    run: u64,
    lines: Vec<String>,
    /// Whether more may come.
    open: bool,
}

impl Serial {
    pub(super) fn of(vm: &Vm, now: Timestamp) -> Self {
        let Some(run) = &vm.run else { return Self::default() };
        let line = |at: Timestamp, text: &str| {
            let since = at.since(run.began);
            let (seconds, micros) = (since.as_secs(), since.subsec_micros());
            format!("serial | [{seconds:5}.{micros:06}] {text}\n")
        };
        let mut lines = vec![
            line(run.began, "SIMULATED CVM: there is no machine, nothing runs"),
            line(run.began, &format!("dstack: booting, compose hash {}", run.compose_hash)),
        ];
        lines.extend(run.steps_until(now).map(|step| line(step.at, &spoken(&step.says, vm, now))));
        if let Some(end) = run.ends.filter(|end| end.at <= now) {
            let how = if end.by_itself { "reboot: Power down" } else { "powered off by the host" };
            lines.push(line(end.at, how));
        }
        Self { run: vm.runs, lines, open: vm.alive(now) }
    }

    /// What is new since the reader saw so many lines of that run.
    fn after(&self, seen: Seen) -> (String, Seen) {
        let known = if seen.run == self.run { seen.lines } else { 0 };
        let text = self.lines.iter().skip(known).map(String::as_str).collect();
        (text, Seen { run: self.run, lines: self.lines.len() })
    }

    /// Everything but the last `tail` lines counts as seen.
    fn tail(&self, tail: u32) -> Seen {
        let tail = usize::try_from(tail).unwrap_or(usize::MAX);
        Seen { run: self.run, lines: self.lines.len().saturating_sub(tail) }
    }
}

fn spoken(says: &Says, vm: &Vm, now: Timestamp) -> String {
    match says {
        Says::Progress(text) => format!("dstack: {text}"),
        Says::Warning(text) | Says::Failure(text) => format!("dstack: error: {text}"),
        Says::Instance => match vm.instance_id(now) {
            Some(id) => format!("dstack: instance id {id}"),
            None => "dstack: no instance id".to_owned(),
        },
    }
}

/// How far a reader is.
#[derive(Debug, Clone, Copy)]
struct Seen {
    run: u64,
    lines: usize,
}

/// The log from `first` on, as a stream.
pub(super) fn stream(
    shared: Arc<Shared>,
    vm: EngineVmId,
    first: &Serial,
    query: LogQuery,
) -> LogStream {
    let (text, seen) = first.after(first.tail(query.tail));
    let head = stream::iter((!text.is_empty()).then(|| Ok(Bytes::from(text))));
    if !(query.follow && first.open) {
        return head.boxed();
    }
    let pause = Duration::from_millis(shared.config.follow_poll_ms.max(1));
    let more =
        stream::unfold(Some(seen), move |seen| next(Arc::clone(&shared), vm.clone(), seen, pause));
    head.chain(more).boxed()
}

/// Waits for more text; ends when the guest is down or the VM gone.
async fn next(
    shared: Arc<Shared>,
    vm: EngineVmId,
    seen: Option<Seen>,
    pause: Duration,
) -> Option<(Result<Bytes, CallError>, Option<Seen>)> {
    let mut seen = seen?;
    loop {
        tokio::time::sleep(pause).await;
        let serial = match shared.look_at(&vm).await {
            Ok(serial) => serial?,
            Err(error) => return Some((Err(error), None)),
        };
        let (text, now_seen) = serial.after(seen);
        seen = now_seen;
        if !text.is_empty() {
            return Some((Ok(text.into()), serial.open.then_some(seen)));
        }
        if !serial.open {
            return None;
        }
    }
}
