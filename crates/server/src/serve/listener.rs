//! Connections: how many there may be, and how long each may stay without a request.
//!
//! A connection without a request under way gives way to a new one where there are as many as may be: those of the
//! same peer where the peer has too many, else those of anybody, the oldest first. So a client that opens
//! connections and says nothing, or never ends its head, keeps nobody out. A connection with a request under way is
//! never closed for another; where all have one, a new connection is closed at once.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::{ConnectInfo, Request},
    response::Response,
};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

use crate::config;

/// Requests of one HTTP/2 connection at one time.
const STREAMS: u32 = 200;
/// A silent HTTP/2 connection is asked so often whether somebody is there.
const PING: Duration = Duration::from_secs(30);
/// How long nothing is accepted after the system had no file descriptor left.
const PAUSE: Duration = Duration::from_millis(50);
/// File descriptors that are not for connections of clients: database, nodes, files.
const RESERVED_FILES: u64 = 256;

/// Limits of one listener.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Connections at one time.
    pub total: usize,
    /// Connections of one address at one time.
    pub per_peer: usize,
    /// Longest wait for a whole head, from the accept or the end of the request before it.
    pub head: Duration,
}

impl ConnectionLimits {
    /// As configured, and not more than the process may have files open.
    pub fn of(config: &config::ListenerLimits) -> Self {
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let room = files.map_or(u64::MAX, |files| files.saturating_sub(RESERVED_FILES).max(16));
        Self {
            total: config.connections.min(usize::try_from(room).unwrap_or(usize::MAX)),
            per_peer: config.connections_per_peer,
            head: Duration::from_secs(config.head_timeout_s),
        }
    }
}

/// Raises the number of files that this process may have open as far as it is allowed to.
pub fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Answers connections until `stop`, then ends them as soon as their requests are answered.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    stop: CancellationToken,
) {
    let connections = Arc::new(Connections::new(limits));
    let (graceful, tasks) = (GracefulShutdown::new(), TaskTracker::new());
    let builder = builder(limits.head);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Some(place) = connections.admit(peer.ip()) else {
            metrics::counter!("casemate_connections_refused_total").increment(1);
            continue;
        };
        // Small replies would wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let answers = Answers { router: router.clone(), peer, requests: place.requests.clone() };
        let evicted = place.evicted.clone();
        let seen = place.requests.clone();
        let connection = graceful.watch(connection(&builder, stream, answers));
        tasks.spawn(async move {
            let _place = place;
            tokio::select! {
                _ = connection => {}
                () = evicted.cancelled() => {}
                // Until the protocol is known no other timer runs.
                () = silence(limits.head, &seen) => {}
            }
        });
    }
    drop(listener);
    graceful.shutdown().await;
    tasks.close();
    tasks.wait().await;
}

/// Ends when nothing was asked in this time; never once something was.
async fn silence(limit: Duration, seen: &Requests) {
    tokio::time::sleep(limit).await;
    if seen.any() {
        std::future::pending::<()>().await;
    }
}

fn builder(head: Duration) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(head);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .max_concurrent_streams(STREAMS);
    builder
}

fn connection(
    builder: &auto::Builder<TokioExecutor>,
    stream: TcpStream,
    answers: Answers,
) -> impl hyper_util::server::graceful::GracefulConnection<Error: std::fmt::Debug> + use<> {
    let service = hyper::service::service_fn(move |request| answers.clone().answer(request));
    builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned()
}

/// Answers the requests of one connection.
#[derive(Debug, Clone)]
struct Answers {
    router: Router,
    peer: std::net::SocketAddr,
    requests: Requests,
}

impl Answers {
    async fn answer(self, request: hyper::Request<Incoming>) -> Result<Response, Infallible> {
        let under_way = self.requests.begin();
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(self.peer));
        let response = self.router.oneshot(request).await?;
        Ok(response.map(|body| Body::new(Counted { body, _under_way: under_way })))
    }
}

/// A body that counts as a request under way until it is dropped.
struct Counted {
    body: Body,
    _under_way: UnderWay,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Requests of one connection.
#[derive(Debug, Clone, Default)]
struct Requests(Arc<RequestCounts>);

#[derive(Debug, Default)]
struct RequestCounts {
    begun: AtomicU32,
    ended: AtomicU32,
}

impl Requests {
    fn begin(&self) -> UnderWay {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        UnderWay(self.clone())
    }

    fn any(&self) -> bool {
        self.0.begun.load(Ordering::Relaxed) > 0
    }

    fn under_way(&self) -> bool {
        self.0.begun.load(Ordering::Relaxed) != self.0.ended.load(Ordering::Relaxed)
    }
}

/// One request, until it is dropped.
#[derive(Debug)]
struct UnderWay(Requests);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// The connections of a listener.
#[derive(Debug)]
struct Connections {
    limits: ConnectionLimits,
    open: Mutex<OpenConnections>,
}

#[derive(Debug, Default)]
struct OpenConnections {
    next: u64,
    /// By age.
    all: BTreeMap<u64, OpenConnection>,
    by_peer: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
struct OpenConnection {
    peer: IpAddr,
    requests: Requests,
    evicted: CancellationToken,
}

/// One connection that was let in, until it is dropped.
#[derive(Debug)]
struct Place {
    connections: Arc<Connections>,
    number: u64,
    requests: Requests,
    evicted: CancellationToken,
}

impl Connections {
    fn new(limits: ConnectionLimits) -> Self {
        Self { limits, open: Mutex::default() }
    }

    fn open(&self) -> MutexGuard<'_, OpenConnections> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a connection in, in place of another one if need be; `None`: there is no room.
    fn admit(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let mut open = self.open();
        let of_peer = open.by_peer.get(&peer).copied().unwrap_or(0);
        if of_peer >= self.limits.per_peer {
            open.evict(|one| one.peer == peer)?;
        } else if open.all.len() >= self.limits.total {
            open.evict(|_| true)?;
        }
        let number = open.next;
        open.next += 1;
        let (requests, evicted) = (Requests::default(), CancellationToken::new());
        let one = OpenConnection { peer, requests: requests.clone(), evicted: evicted.clone() };
        open.all.insert(number, one);
        *open.by_peer.entry(peer).or_default() += 1;
        drop(open);
        Some(Place { connections: Arc::clone(self), number, requests, evicted })
    }
}

impl OpenConnections {
    /// Closes the oldest of these connections that has no request under way; `None`: all have one.
    fn evict(&mut self, of: impl Fn(&OpenConnection) -> bool) -> Option<()> {
        let idle = |one: &OpenConnection| of(one) && !one.requests.under_way();
        let number = self.all.iter().find(|(_, one)| idle(one)).map(|(number, _)| *number)?;
        self.remove(number).map(|one| one.evicted.cancel())
    }

    fn remove(&mut self, number: u64) -> Option<OpenConnection> {
        let one = self.all.remove(&number)?;
        if let Some(count) = self.by_peer.get_mut(&one.peer) {
            *count -= 1;
            if *count == 0 {
                self.by_peer.remove(&one.peer);
            }
        }
        Some(one)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.open().remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(total: usize, per_peer: usize) -> Arc<Connections> {
        let head = Duration::from_secs(1);
        Arc::new(Connections::new(ConnectionLimits { total, per_peer, head }))
    }

    fn peer(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn the_oldest_without_a_request_gives_way() {
        let connections = connections(3, 9);
        let places: Vec<Place> =
            (0..3).map(|last| connections.admit(peer(last)).unwrap()).collect();
        let under_way = places[0].requests.begin();
        let new = connections.admit(peer(9)).unwrap();
        assert!(!places[0].evicted.is_cancelled() && places[1].evicted.is_cancelled());
        drop(under_way);
        let newer = connections.admit(peer(9)).unwrap();
        assert!(places[0].evicted.is_cancelled() && !new.evicted.is_cancelled());
        drop((places, new, newer));
        assert!(connections.open().all.is_empty() && connections.open().by_peer.is_empty());
    }

    #[test]
    fn a_peer_with_too_many_pays_itself() {
        let connections = connections(100, 2);
        let (mine, yours) =
            (connections.admit(peer(1)).unwrap(), connections.admit(peer(2)).unwrap());
        let second = connections.admit(peer(2)).unwrap();
        let third = connections.admit(peer(2)).unwrap();
        assert!(yours.evicted.is_cancelled() && !mine.evicted.is_cancelled());
        let (_two, _three) = (second.requests.begin(), third.requests.begin());
        assert!(connections.admit(peer(2)).is_none(), "all of them are at work");
        assert!(connections.admit(peer(1)).is_some());
    }
}
