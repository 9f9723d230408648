//! A load generator for one server on this machine. HTTP/1.1 over kept connections and nothing else:
//! on a machine with few cores, what the client burns the server does not get.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

/// The bytes of a request.
pub fn request(method: &str, path: &str, key: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: bench\r\nx-api-key: {key}\r\nx-phala-version: 2026-01-21\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The body of a success.
    pub fn ok(self) -> anyhow::Result<Vec<u8>> {
        let Self { status, body } = self;
        ensure!((200..300).contains(&status), "{status}: {}", String::from_utf8_lossy(&body));
        Ok(body)
    }
}

/// One connection, one request at a time.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| address.to_string())?;
        Self::over(stream)
    }

    /// Over this stream.
    pub fn over(stream: TcpStream) -> anyhow::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(64 * 1024) })
    }

    /// Sends a request and waits for the whole reply.
    pub async fn send(&mut self, request: &[u8]) -> anyhow::Result<Reply> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let head = loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            self.read().await?;
        };
        let (status, length) = parse_head(std::str::from_utf8(&self.buffer[..head])?)?;
        while self.buffer.len() < head + length {
            self.read().await?;
        }
        Ok(Reply { status, body: self.buffer[head..head + length].to_vec() })
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the server hung up");
        Ok(())
    }
}

fn parse_head(head: &str) -> anyhow::Result<(u16, usize)> {
    let status = head.get(9..12).context("no status line")?.parse()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse())
    });
    match length {
        Some(length) => Ok((status, length?)),
        None if status == 204 => Ok((status, 0)),
        None => bail!("a reply without content-length: {head}"),
    }
}

/// How long a number of requests took.
#[derive(Debug, Default)]
pub struct Sample {
    /// From the first request to the last reply.
    pub took: Duration,
    /// Each of them, sorted.
    pub each: Vec<Duration>,
}

impl Sample {
    /// These latencies, begun then and over now.
    pub fn new(began: Instant, mut each: Vec<Duration>) -> Self {
        let took = began.elapsed();
        each.sort_unstable();
        Self { took, each }
    }

    /// Both, as one.
    pub fn and(mut self, other: Self) -> Self {
        self.took += other.took;
        self.each.extend(other.each);
        self.each.sort_unstable();
        self
    }

    /// Requests per second.
    pub fn rate(&self) -> f64 {
        count(self.each.len()) / self.took.as_secs_f64().max(1e-9)
    }

    /// The time in milliseconds within which this part of the requests was answered.
    pub fn within_ms(&self, part: (usize, usize)) -> f64 {
        let rank = (self.each.len() * part.0).div_ceil(part.1).clamp(1, self.each.len().max(1));
        self.each.get(rank - 1).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
    }
}

/// A count as a number that can be divided.
pub fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

/// Sends every request once, spread over so many connections; bodies come back in the order of the
/// requests. The first refusal ends it.
pub async fn each(
    address: SocketAddr,
    connections: usize,
    requests: Vec<Vec<u8>>,
) -> anyhow::Result<(Sample, Vec<Vec<u8>>)> {
    let open = open(address, connections).await?;
    let (requests, next) = (Arc::new(requests), Arc::new(AtomicUsize::new(0)));
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for mut connection in open {
        let (requests, next) = (requests.clone(), next.clone());
        tasks.spawn(async move {
            let mut done = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(request) = requests.get(index) else { return Ok(done) };
                let sent = Instant::now();
                let body = connection.send(request).await?.ok()?;
                done.push((index, sent.elapsed(), body));
            }
        });
    }
    let mut done: Vec<(usize, Duration, Vec<u8>)> = gather(tasks).await?;
    let sample = Sample::new(began, done.iter().map(|(_, latency, _)| *latency).collect());
    done.sort_unstable_by_key(|(index, ..)| *index);
    Ok((sample, done.into_iter().map(|(.., body)| body).collect()))
}

/// Sends one request again and again for so long.
pub async fn same(
    address: SocketAddr,
    connections: usize,
    request: &[u8],
    duration: Duration,
) -> anyhow::Result<Sample> {
    let open = open(address, connections).await?;
    let request: Arc<[u8]> = request.into();
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for mut connection in open {
        let request = request.clone();
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            while began.elapsed() < duration {
                let sent = Instant::now();
                connection.send(&request).await?.ok()?;
                latencies.push(sent.elapsed());
            }
            Ok(latencies)
        });
    }
    Ok(Sample::new(began, gather(tasks).await?))
}

async fn open(address: SocketAddr, connections: usize) -> anyhow::Result<Vec<Connection>> {
    let mut open = Vec::with_capacity(connections);
    for _ in 0..connections {
        open.push(Connection::open(address).await?);
    }
    Ok(open)
}

/// What all tasks have done.
pub async fn gather<T: Send + 'static>(
    mut tasks: JoinSet<anyhow::Result<Vec<T>>>,
) -> anyhow::Result<Vec<T>> {
    let mut all = Vec::new();
    while let Some(done) = tasks.join_next().await {
        all.extend(done??);
    }
    Ok(all)
}
