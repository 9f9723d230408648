//! A guest that is a real HTTP server: up and down with its VM, killed with its connections.

use std::{
    net::SocketAddr,
    panic::Location,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderName, Response, StatusCode},
    routing::{any, get},
};
use futures_util::stream;
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use crate::readiness::stage::PATIENCE;

/// What a guest does and has seen, over all its boots.
#[derive(Debug)]
pub struct Guest {
    /// Which VM.
    pub name: String,
    /// What `/healthz` says.
    pub is_well: AtomicBool,
    /// Requests other than looks.
    pub served: AtomicUsize,
    /// Requests that are being worked on.
    pub working: watch::Sender<usize>,
    /// A request to `/slow` takes one to be answered.
    pub tickets: Semaphore,
    up: Mutex<Option<(SocketAddr, JoinHandle<()>)>>,
}

/// Counts a request while it is worked on, also if it is cut off.
struct Working<'a>(&'a Guest);

impl<'a> Working<'a> {
    fn on(guest: &'a Guest) -> Self {
        guest.served.fetch_add(1, Ordering::SeqCst);
        guest.working.send_modify(|count| *count += 1);
        Self(guest)
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.working.send_modify(|count| *count -= 1);
    }
}

impl Guest {
    pub fn new(name: &str) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            is_well: AtomicBool::new(true),
            served: AtomicUsize::new(0),
            working: watch::Sender::new(0),
            tickets: Semaphore::new(0),
            up: Mutex::default(),
        })
    }

    /// Where it listens, while it is up.
    pub fn address(&self) -> Option<SocketAddr> {
        self.up.lock().unwrap().as_ref().map(|(address, _)| *address)
    }

    pub fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }

    pub fn be_well(&self, well: bool) {
        self.is_well.store(well, Ordering::SeqCst);
    }

    /// Waits until it works on so many requests.
    #[track_caller]
    pub fn works_on(&self, count: usize) -> impl Future<Output = ()> {
        let called_from = Location::caller();
        let mut working = self.working.subscribe();
        async move {
            let waited = timeout(PATIENCE, working.wait_for(|now| *now == count)).await;
            assert!(waited.is_ok(), "{} never works on {count}: {called_from}", self.name);
        }
    }

    pub fn kill(&self) {
        if let Some((_, task)) = self.up.lock().unwrap().take() {
            task.abort();
        }
    }

    pub async fn boot(self: &Arc<Self>) {
        if self.address().is_some() {
            return;
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = router(self.clone());
        let task = tokio::spawn(async move {
            // Dropped with the task, and every connection with it.
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let service = TowerToHyperService::new(app.clone());
                let served = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades();
                connections.spawn(served);
            }
        });
        *self.up.lock().unwrap() = Some((address, task));
    }
}

fn router(guest: Arc<Guest>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/who", any(who))
        .route("/slow", get(slow).post(slow))
        .route("/half", get(half))
        .route("/stream", get(endless))
        .route("/headers", any(headers))
        .with_state(guest)
}

async fn healthz(State(guest): State<Arc<Guest>>) -> StatusCode {
    if guest.is_well.load(Ordering::SeqCst) {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    }
}

async fn who(State(guest): State<Arc<Guest>>) -> String {
    let _working = Working::on(&guest);
    guest.name.clone()
}

async fn slow(State(guest): State<Arc<Guest>>) -> String {
    let _working = Working::on(&guest);
    guest.tickets.acquire().await.unwrap().forget();
    guest.name.clone()
}

/// Says ten bytes, sends five, and the others for a ticket.
async fn half(State(guest): State<Arc<Guest>>) -> Response<Body> {
    guest.served.fetch_add(1, Ordering::SeqCst);
    let parts = stream::unfold((guest, 0), |(guest, part)| async move {
        match part {
            0 => Some((Ok::<_, std::io::Error>(Bytes::from_static(b"first")), (guest, 1))),
            1 => {
                guest.working.send_modify(|count| *count += 1);
                guest.tickets.acquire().await.unwrap().forget();
                Some((Ok(Bytes::from_static(b"other")), (guest, 2)))
            }
            _ => None,
        }
    });
    Response::builder().header("content-length", "10").body(Body::from_stream(parts)).unwrap()
}

/// Sends a line, and one more for every ticket.
async fn endless(State(guest): State<Arc<Guest>>) -> Body {
    guest.served.fetch_add(1, Ordering::SeqCst);
    let lines = stream::unfold((guest, true), |(guest, first)| async move {
        if !first {
            guest.tickets.acquire().await.unwrap().forget();
        }
        Some((Ok::<_, std::io::Error>(Bytes::from_static(b"line\n")), (guest, false)))
    });
    Body::from_stream(lines)
}

/// The names of the headers that arrive.
async fn headers(headers: HeaderMap) -> String {
    headers.keys().map(HeaderName::as_str).collect::<Vec<_>>().join(" ")
}
