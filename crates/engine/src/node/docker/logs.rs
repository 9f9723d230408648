//! The output of all containers of a VM as one text: `service | line`, the boot's own lines first.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bollard::query_parameters::{LogsOptions, LogsOptionsBuilder};
use bytes::Bytes;
use futures_util::{
    StreamExt,
    future::join_all,
    stream::{self, BoxStream},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc},
    task::JoinSet,
};

use super::{container::Container, engine::call_error, shared::Shared, vm::Vm};
use crate::node::{CallError, LogQuery, LogStream};

/// More lines than this are not read back, however many are asked for.
const MAX_TAIL: u32 = 10_000;
/// Nor more bytes, of all containers of a CVM together.
const MAX_BYTES: usize = 8 * 1024 * 1024;
const LEFT_OUT: &str = "boot | (older output is left out: an answer has at most 8 MiB)";
/// About so many bytes of memory a line takes besides its text.
const LINE_COST: usize = 64;
/// Lines that are sent at one time.
const CHUNK: usize = 64;
/// Logs of one CVM that are followed at one time.
pub(super) const FOLLOWED_PER_VM: usize = 8;
/// The same for all CVMs of a node.
pub(super) const FOLLOWED: usize = 64;
/// How often new containers are looked for.
const LOOK: Duration = Duration::from_secs(1);
/// The engine's clock and ours may differ by this much, and a second is its smallest unit.
const OVERLAP_S: u64 = 5;
/// The engine has this long to hand out what it has.
const READ_LIMIT: Duration = Duration::from_mins(1);

/// A line with the time the engine took it.
#[derive(Debug, Clone)]
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
    let place = if query.follow { Some(follow_place(&node.followed, &vm.followed)?) } else { None };
    let containers = app(node, vm).await?;
    let newest = Mutex::new(Newest::new(usize::try_from(tail).unwrap_or(usize::MAX), MAX_BYTES));
    let read = join_all(containers.iter().map(|one| backlog(node, one, tail, &newest))).await;
    let read = read.into_iter().collect::<Result<Vec<String>, CallError>>()?;
    let marks = containers
        .iter()
        .zip(read)
        .map(|(container, at)| (container.id.clone(), Mark { at, since: began }));
    let marks: HashMap<String, Mark> = marks.collect();
    let newest = newest.into_inner().unwrap_or_else(PoisonError::into_inner);
    let past = stream::iter(past(vm.lines(), newest)).chunks(CHUNK).map(|lines| {
        Ok(lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect::<String>().into())
    });
    let Some(place) = place else { return Ok(past.boxed()) };
    let (sender, receiver) = mpsc::channel(64);
    let (node, vm) = (Arc::clone(node), Arc::clone(vm));
    let tracker = node.tracker.clone();
    tracker.spawn(async move {
        follow(node, vm, marks, sender).await;
        drop(place);
    });
    Ok(past.chain(received(receiver)).boxed())
}

/// A place among the followed logs of the CVM and of the node.
fn follow_place(
    node: &Arc<Semaphore>,
    vm: &Arc<Semaphore>,
) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), CallError> {
    let refused = |count: usize, of: &str| {
        let text = format!(
            "{count} logs of this {of} are followed already, and no more can be: end one of them, or \
             read the log without follow"
        );
        move |_: TryAcquireError| CallError::Rejected(text)
    };
    let own = Arc::clone(vm).try_acquire_owned().map_err(refused(FOLLOWED_PER_VM, "CVM"))?;
    let shared = Arc::clone(node).try_acquire_owned().map_err(refused(FOLLOWED, "node"))?;
    Ok((own, shared))
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

/// The newest lines of all containers: a number of them, and so many bytes.
#[derive(Debug)]
struct Newest {
    /// The oldest line is on top. Lines of one time keep the order in which they came.
    lines: BinaryHeap<Reverse<(String, u64, String)>>,
    came: u64,
    bytes: usize,
    max_lines: usize,
    max_bytes: usize,
    /// Whether lines were dropped because of their bytes.
    left_out: bool,
}

impl Newest {
    fn new(max_lines: usize, max_bytes: usize) -> Self {
        let lines = BinaryHeap::new();
        Self { lines, came: 0, bytes: 0, max_lines, max_bytes, left_out: false }
    }

    fn add(&mut self, line: Line) {
        self.bytes += LINE_COST + line.at.len() + line.text.len();
        self.lines.push(Reverse((line.at, self.came, line.text)));
        self.came += 1;
        while self.lines.len() > self.max_lines || self.bytes > self.max_bytes {
            self.left_out |= self.lines.len() <= self.max_lines;
            let Some(Reverse((at, _, text))) = self.lines.pop() else { return };
            self.bytes -= LINE_COST + at.len() + text.len();
        }
    }

    /// The oldest line first.
    fn into_lines(self) -> impl Iterator<Item = String> {
        // `Reverse` turns the order around.
        self.lines.into_sorted_vec().into_iter().rev().map(|Reverse((_, _, text))| text)
    }
}

/// The last lines of all, in the order of their times.
fn past(boot: Vec<String>, newest: Newest) -> Vec<String> {
    let note = newest.left_out.then(|| LEFT_OUT.to_owned());
    let room = newest.max_lines - newest.lines.len();
    let cut = boot.len().saturating_sub(room);
    boot.into_iter().skip(cut).chain(note).chain(newest.into_lines()).collect()
}

/// Reads the last lines of a container; returns the time of the last one.
async fn backlog(
    node: &Shared,
    container: &Container,
    tail: u32,
    newest: &Mutex<Newest>,
) -> Result<String, CallError> {
    let options = LogsOptionsBuilder::new()
        .stdout(true)
        .stderr(true)
        .timestamps(true)
        .tail(&tail.to_string())
        .build();
    let mut output = lines_of(node, container, options);
    let mut last = String::new();
    let read = async {
        while let Some(found) = output.next().await {
            let found = found?;
            if let Some(line) = found.last() {
                last.clone_from(&line.at);
            }
            let mut newest = newest.lock().unwrap_or_else(PoisonError::into_inner);
            for line in found {
                newest.add(line);
            }
        }
        Ok(())
    };
    let late =
        |_| Err(CallError::Unknown("the engine did not hand out its logs in time".to_owned()));
    match tokio::time::timeout(READ_LIMIT, read).await.unwrap_or_else(late) {
        // A log driver that cannot be read has no lines; a container that is gone neither.
        Ok(()) | Err(CallError::Rejected(_)) => Ok(last),
        Err(error) => Err(error),
    }
}

/// The last few lines of a container, short ones; none if they cannot be read.
pub(super) async fn last_lines(node: &Shared, container: &Container) -> Vec<String> {
    const LINES: u8 = 3;
    const LONGEST: usize = 200;
    let newest = Mutex::new(Newest::new(LINES.into(), MAX_BYTES));
    if backlog(node, container, LINES.into(), &newest).await.is_err() {
        return Vec::new();
    }
    let text = |line: String| {
        let text = line.split_once(" | ").map_or(line.as_str(), |(_, text)| text);
        text.chars().take(LONGEST).collect()
    };
    newest.into_inner().unwrap_or_else(PoisonError::into_inner).into_lines().map(text).collect()
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

    fn newest(lines: &[Line], max_lines: usize, max_bytes: usize) -> Newest {
        let mut newest = Newest::new(max_lines, max_bytes);
        for line in lines {
            newest.add(line.clone());
        }
        newest
    }

    #[test]
    fn lines_of_all_containers_stand_in_the_order_of_their_times() {
        let mut lines = split(
            "web",
            b"2026-01-01T00:00:00.000000001Z one\n2026-01-01T00:00:03.000000000Z three\n\
              2026-01-01T00:00:03.000000000Z and more\n",
        );
        lines.extend(split("db", b"2026-01-01T00:00:02.000000000Z two\r\n"));
        let boot = || vec!["boot | begins".to_owned(), "boot | done".to_owned()];
        assert_eq!(
            past(boot(), newest(&lines, 5, MAX_BYTES)),
            ["boot | done", "web | one", "db | two", "web | three", "web | and more"]
        );
        let last = ["db | two", "web | three", "web | and more"];
        assert_eq!(past(boot(), newest(&lines, 3, MAX_BYTES)), last);
        assert_eq!(past(boot(), newest(&lines, 0, MAX_BYTES)), [""; 0]);
    }

    #[test]
    fn an_answer_has_the_newest_bytes_and_says_that_older_ones_are_left_out() {
        let line = |at: usize| Line { at: format!("{at:09}"), text: "x".repeat(16 * 1024) };
        let lines: Vec<Line> = (0..100).chain(50..150).map(line).collect();
        let newest = newest(&lines, 10_000, 1024 * 1024);
        assert!(newest.bytes <= 1024 * 1024 && newest.lines.len() == 63, "{}", newest.lines.len());
        assert_eq!(newest.lines.peek().unwrap().0.0, "000000093", "the oldest that is kept");
        let past = past(vec!["boot | done".to_owned()], newest);
        assert_eq!(past[..2], ["boot | done", LEFT_OUT]);
        assert_eq!(past.len(), 65);
    }

    #[test]
    fn followed_logs_are_bounded_for_a_cvm_and_for_the_node() {
        let places = |count| Arc::new(Semaphore::new(count));
        let (node, vm) = (places(FOLLOWED), places(FOLLOWED_PER_VM));
        let mut held: Vec<_> =
            (0..FOLLOWED_PER_VM).map(|_| follow_place(&node, &vm).unwrap()).collect();
        let refused = follow_place(&node, &vm).unwrap_err().to_string();
        assert!(refused.contains("8 logs of this CVM are followed already"), "{refused}");
        held.pop();
        held.push(follow_place(&node, &vm).unwrap());
        let others = places(FOLLOWED);
        held.extend((FOLLOWED_PER_VM..FOLLOWED).map(|_| follow_place(&node, &others).unwrap()));
        let refused = follow_place(&node, &others).unwrap_err().to_string();
        assert!(refused.contains("64 logs of this node"), "{refused}");
    }
}
