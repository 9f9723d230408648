//! The output of all containers of a VM as one text: `service | line`, the boot's own lines first.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use bollard::query_parameters::{LogsOptions, LogsOptionsBuilder};
use bytes::Bytes;
use futures_util::{
    StreamExt,
    future::join_all,
    stream::{self, BoxStream},
};
use tokio::{sync::mpsc, task::JoinSet};

use super::{container::Container, engine::call_error, shared::Shared, vm::Vm};
use crate::node::{CallError, LogQuery, LogStream};

/// More lines than this are not read back, however many are asked for.
const MAX_TAIL: u32 = 10_000;
/// How often new containers are looked for.
const LOOK: Duration = Duration::from_secs(1);
/// The engine's clock and ours may differ by this much, and a second is its smallest unit.
const OVERLAP_S: u64 = 5;
/// The engine has this long to hand out what it has.
const READ_LIMIT: Duration = Duration::from_mins(1);

/// A line with the time the engine took it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    /// RFC 3339 of fixed width: sorts as text.
    at: String,
    text: String,
}

/// How far a container's output was read.
#[derive(Debug, Clone, Default)]
struct Mark {
    /// Time of the last line.
    at: String,
    /// Our clock then, in seconds.
    since: u64,
}

/// The log of a VM.
pub(super) async fn logs(
    node: &Arc<Shared>,
    vm: &Arc<Vm>,
    query: LogQuery,
) -> Result<LogStream, CallError> {
    let tail = query.tail.min(MAX_TAIL);
    let began = node.clock.now().unix_seconds().saturating_sub(OVERLAP_S);
    let containers = app(node, vm).await?;
    let read = join_all(containers.iter().map(|one| backlog(node, one, tail))).await;
    let read = read.into_iter().collect::<Result<Vec<Vec<Line>>, CallError>>()?;
    let marks = containers.iter().zip(&read).map(|(container, lines)| {
        let at = lines.last().map(|line| line.at.clone()).unwrap_or_default();
        (container.id.clone(), Mark { at, since: began })
    });
    let marks: HashMap<String, Mark> = marks.collect();
    let past = stream::iter([Ok(past(vm.lines(), read, tail))]);
    if !query.follow {
        return Ok(past.boxed());
    }
    let (sender, receiver) = mpsc::channel(64);
    let (node, vm) = (Arc::clone(node), Arc::clone(vm));
    let tracker = node.tracker.clone();
    tracker.spawn(follow(node, vm, marks, sender));
    Ok(past.chain(received(receiver)).boxed())
}

fn received(receiver: mpsc::Receiver<Result<Bytes, CallError>>) -> LogStream {
    let next = |mut receiver: mpsc::Receiver<_>| async move {
        let item = receiver.recv().await?;
        Some((item, receiver))
    };
    stream::unfold(receiver, next).boxed()
}

async fn app(node: &Shared, vm: &Vm) -> Result<Vec<Container>, CallError> {
    let mut containers = node.engine.containers(Some(&vm.id)).await?;
    containers.retain(Container::of_app);
    Ok(containers)
}

/// The last lines of all, in the order of their times.
fn past(boot: Vec<String>, read: Vec<Vec<Line>>, tail: u32) -> Bytes {
    let mut lines: Vec<Line> = read.into_iter().flatten().collect();
    lines.sort();
    let all: Vec<String> =
        boot.into_iter().chain(lines.into_iter().map(|line| line.text)).collect();
    let cut = all.len().saturating_sub(usize::try_from(tail).unwrap_or(usize::MAX));
    all[cut..].iter().flat_map(|line| [line.as_str(), "\n"]).collect::<String>().into()
}

async fn backlog(node: &Shared, container: &Container, tail: u32) -> Result<Vec<Line>, CallError> {
    let options = LogsOptionsBuilder::new()
        .stdout(true)
        .stderr(true)
        .timestamps(true)
        .tail(&tail.to_string())
        .build();
    let mut output = lines_of(node, container, options);
    let mut lines = Vec::new();
    let read = async {
        while let Some(found) = output.next().await {
            lines.extend(found?);
        }
        Ok(())
    };
    let late =
        |_| Err(CallError::Unknown("the engine did not hand out its logs in time".to_owned()));
    match tokio::time::timeout(READ_LIMIT, read).await.unwrap_or_else(late) {
        // A log driver that cannot be read has no lines; a container that is gone neither.
        Ok(()) | Err(CallError::Rejected(_)) => Ok(lines),
        Err(error) => Err(error),
    }
}

/// The last few lines of a container, short ones; none if they cannot be read.
pub(super) async fn last_lines(node: &Shared, container: &Container) -> Vec<String> {
    const LINES: u32 = 3;
    const LONGEST: usize = 200;
    let Ok(lines) = backlog(node, container, LINES).await else { return Vec::new() };
    let text = |line: &Line| {
        let text = line.text.split_once(" | ").map_or(line.text.as_str(), |(_, text)| text);
        text.chars().take(LONGEST).collect()
    };
    let first = lines.len().saturating_sub(3);
    lines[first..].iter().map(text).collect()
}

/// Sends new lines until the reader or the node leaves.
async fn follow(
    node: Arc<Shared>,
    vm: Arc<Vm>,
    mut marks: HashMap<String, Mark>,
    sender: mpsc::Sender<Result<Bytes, CallError>>,
) {
    let mut followers = JoinSet::new();
    let mut followed: HashSet<String> = HashSet::new();
    loop {
        let containers = match app(&node, &vm).await {
            Ok(containers) => containers,
            Err(error) => return drop(sender.send(Err(error)).await),
        };
        for container in containers.into_iter().filter(Container::alive) {
            if followed.insert(container.id.clone()) {
                let mark = marks.remove(&container.id).unwrap_or_default();
                followers.spawn(follow_one(Arc::clone(&node), container, mark, sender.clone()));
            }
        }
        tokio::select! {
            () = sender.closed() => return,
            () = node.closing.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
            Some(Ok((id, mark))) = followers.join_next() => {
                followed.remove(&id);
                marks.insert(id, mark);
                tokio::time::sleep(LOOK).await;
            }
        }
    }
}

/// Sends the lines of one container after a mark; returns where it got to.
async fn follow_one(
    node: Arc<Shared>,
    container: Container,
    mut mark: Mark,
    sender: mpsc::Sender<Result<Bytes, CallError>>,
) -> (String, Mark) {
    let options = LogsOptionsBuilder::new()
        .stdout(true)
        .stderr(true)
        .timestamps(true)
        .follow(true)
        .since(i32::try_from(mark.since).unwrap_or(i32::MAX))
        .build();
    let mut output = lines_of(&node, &container, options);
    while let Some(Ok(lines)) = output.next().await {
        for line in lines {
            if line.at <= mark.at {
                continue;
            }
            let since = node.clock.now().unix_seconds().saturating_sub(OVERLAP_S);
            mark = Mark { at: line.at, since };
            if sender.send(Ok(format!("{}\n", line.text).into())).await.is_err() {
                return (container.id, mark);
            }
        }
    }
    (container.id, mark)
}

fn lines_of(
    node: &Shared,
    container: &Container,
    options: LogsOptions,
) -> BoxStream<'static, Result<Vec<Line>, CallError>> {
    let service = container.service.clone();
    let output = node.engine.docker().logs(&container.id, Some(options));
    output
        .map(move |item| match item {
            Ok(output) => Ok(split(&service, output.as_ref())),
            Err(error) => Err(call_error(&error)),
        })
        .boxed()
}

/// The lines of a piece of output, each with its time in front.
fn split(service: &str, bytes: &[u8]) -> Vec<Line> {
    let text = String::from_utf8_lossy(bytes);
    let lines =
        text.split('\n').map(|line| line.trim_end_matches('\r')).filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let (at, text) = line.split_once(' ').unwrap_or((line, ""));
            Line { at: at.to_owned(), text: format!("{service} | {text}") }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_all_containers_stand_in_the_order_of_their_times() {
        let web = split(
            "web",
            b"2026-01-01T00:00:00.000000001Z one\n2026-01-01T00:00:03.000000000Z three\n",
        );
        let db = split("db", b"2026-01-01T00:00:02.000000000Z two\r\n");
        let text = past(vec!["boot | done".to_owned()], vec![web.clone(), db.clone()], 100);
        assert_eq!(text, "boot | done\nweb | one\ndb | two\nweb | three\n");
        assert_eq!(past(Vec::new(), vec![web, db], 2), "db | two\nweb | three\n");
    }
}
