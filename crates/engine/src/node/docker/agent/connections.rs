//! Connections to a guest agent. Whoever runs in a CVM can open as many as they like and send nothing,
//! so their number and their time are bounded: per CVM, so that one keeps no place of another's, and
//! for the node, so that the process keeps descriptors for everything else.

use std::{sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Pause after a failed accept: without descriptors it fails again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The bounds of connections.
#[derive(Debug, Clone)]
pub(in crate::node::docker) struct Limits {
    /// Connections to all agents of the node.
    node: Arc<Semaphore>,
    /// Connections to the agent of one CVM.
    per_vm: usize,
    /// Longest wait for the head of a request, also of the next one on the same connection.
    head: Duration,
    /// Longest wait for the body of a request.
    pub(super) body: Duration,
    /// Longest life of a connection.
    life: Duration,
}

/// The longest waits, see [`Limits`].
#[derive(Debug, Clone, Copy)]
pub(in crate::node::docker) struct Waits {
    pub head: Duration,
    pub body: Duration,
    pub life: Duration,
}

impl Limits {
    /// One CVM has at most a quarter of the places, so that others keep some.
    pub fn new(node: usize, per_vm: usize, waits: Waits) -> Self {
        let Waits { head, body, life } = waits;
        Self {
            node: Arc::new(Semaphore::new(node)),
            per_vm: per_vm.min(node / 4),
            head,
            body,
            life,
        }
    }

    /// Free places of the node.
    #[cfg(test)]
    pub fn free(&self) -> usize {
        self.node.available_permits()
    }

    /// Places for the connections of one CVM.
    pub fn places(&self) -> Arc<Semaphore> {
        Arc::new(Semaphore::new(self.per_vm))
    }
}

impl Default for Limits {
    fn default() -> Self {
        let waits = Waits {
            head: Duration::from_secs(10),
            body: Duration::from_secs(5),
            life: Duration::from_mins(1),
        };
        Self::new(256, 32, waits)
    }
}

/// Serves a socket until `end`.
pub(super) async fn serve(
    listener: UnixListener,
    router: Router,
    limits: Limits,
    places: Arc<Semaphore>,
    end: CancellationToken,
    tracker: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            () = end.cancelled() => return,
            accepted = accept(&listener, &limits, &places) => accepted,
        };
        let Some((stream, place)) = accepted else { continue };
        let (router, limits, end) = (router.clone(), limits.clone(), end.clone());
        tracker.spawn(async move {
            tokio::select! {
                () = end.cancelled() => {}
                _ = tokio::time::timeout(limits.life, answer(stream, router, limits.head)) => {}
            }
            drop(place);
        });
    }
}

/// The next connection with its places. The one for the CVM is taken first: as long as it has none,
/// its connections wait with the kernel. Each socket that waits for a connection has a place already, so
/// a flood of one does not silence the other.
async fn accept(
    listener: &UnixListener,
    limits: &Limits,
    places: &Arc<Semaphore>,
) -> Option<(UnixStream, (OwnedSemaphorePermit, OwnedSemaphorePermit))> {
    let own = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            let shared = Arc::clone(&limits.node).acquire_owned().await.ok()?;
            Some((stream, (own, shared)))
        }
        Err(error) => {
            tracing::warn!(%error, "a guest agent cannot accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn answer(stream: UnixStream, router: Router, head: Duration) {
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to a guest agent ended");
    }
}
