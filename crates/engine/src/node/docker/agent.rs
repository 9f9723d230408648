//! The simulated guest agent: what a container finds at `/var/run/dstack.sock` and
//! `/var/run/tappd.sock`. The shapes are those of dstack's own agent as its JavaScript, Python, Go
//! and Rust clients read them.
//!
//! Served: `Info`, `Version`, `GetQuote` (of tappd: `RawQuote`) and `GetKey` (with `DeriveK256Key`, its older
//! name), with keys of the KMS of this node if the app has one. Quotes are under a development root
//! ([`crate::node::development`]). Everything else answers 501 with the method's name.
//!
//! **Across restarts.** A socket ends with the process that serves it, and a new one is a new file.
//! A container that has the *file* mounted keeps the old, dead one. So containers get the directory
//! `run/` mounted read-only (at [`super::derive::AGENT_DIR`]) and a link at the path they know, put into the
//! container before it starts: the link finds whatever socket is there now. Only where a link cannot
//! be put, because the container's file system is read-only or a tmpfs covers the path, the file
//! itself is mounted; such containers carry a label and are restarted after Casemate was.

mod connections;
mod reply;
#[cfg(test)]
mod tests;

use std::{
    fs::{self, File, Permissions},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{FileTypeExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{self, FromRequest},
    response::IntoResponse,
    routing,
};
use casemate_core::id::KmsId;
use casemate_verify::simulate::DevelopmentRoot;
use tokio::net::UnixListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(super) use self::connections::Limits;
use super::{GuestKeys, KeyOwner, vmdir::make_dir};
use crate::{files, node::development::DevelopmentGuest};

/// Names of the sockets in the agent's directory.
const SOCKETS: [(&str, Service); 2] =
    [("dstack.sock", Service::DstackGuest), ("tappd.sock", Service::Tappd)];
/// A request carries names and paths, no more.
const MAX_BODY: usize = 64 * 1024;

/// Which of the two services a socket speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    DstackGuest,
    Tappd,
}

/// Who the guest is.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub guest: DevelopmentGuest,
    pub kms: Option<KmsId>,
    pub app_name: String,
    pub has_kms: bool,
    /// Signs its quotes.
    pub root: Arc<DevelopmentRoot>,
}

impl Identity {
    fn key_owner(&self) -> KeyOwner {
        KeyOwner { app: self.guest.app_id, kms: self.kms.clone() }
    }
}

#[derive(Debug)]
struct Agent {
    identity: Identity,
    keys: Arc<dyn GuestKeys>,
}

/// A running agent; dropping it ends it.
#[derive(Debug)]
pub(super) struct AgentHandle {
    end: CancellationToken,
    /// What it answers to `Info` and `Version`.
    pub answers: Answers,
    /// Who it speaks for.
    pub identity: Identity,
}

/// Answers of the agent that do not depend on the question.
#[derive(Debug, Clone, Default)]
pub(super) struct Answers {
    pub info: String,
    pub version: String,
}

impl Drop for AgentHandle {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

/// Serves the agent of a guest in `run`. `private` is a directory on the same file system that no
/// container has mounted; made if it is missing.
pub(super) fn serve(
    run: &Path,
    private: &Path,
    identity: Identity,
    keys: Arc<dyn GuestKeys>,
    limits: &Limits,
    tracker: &TaskTracker,
) -> io::Result<AgentHandle> {
    make_dir(private, 0o700)?;
    let answers = reply::answers(&identity);
    let agent = Arc::new(Agent { identity: identity.clone(), keys });
    let end = CancellationToken::new();
    let places = limits.places();
    for (name, service) in SOCKETS {
        tracker.spawn(connections::serve(
            bind(run, private, name)?,
            router(Arc::clone(&agent), service, limits.body),
            limits.clone(),
            Arc::clone(&places),
            end.clone(),
            tracker.clone(),
        ));
    }
    Ok(AgentHandle { end, answers, identity })
}

/// Binds in the private directory and moves the socket: at its place there is always a socket, and
/// neither binding nor the change of mode can meet a link that a container put there. Goes through the
/// directory's descriptor, because paths of sockets are at most 107 bytes long.
fn bind(run: &Path, private: &Path, name: &str) -> io::Result<UnixListener> {
    let dir = File::open(private)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    let short = if short.exists() { short } else { private.to_owned() };
    let made = short.join(name);
    files::remove_if_there(&made)?;
    let listener = UnixListener::bind(&made)?;
    fs::set_permissions(&made, Permissions::from_mode(0o666))?;
    fs::rename(&made, run.join(name))?;
    Ok(listener)
}

/// Whether every socket of the agent is one, and no link to something else.
pub(super) fn sockets_are_sockets(run: &Path) -> io::Result<bool> {
    for (name, _) in SOCKETS {
        if !fs::symlink_metadata(run.join(name))?.file_type().is_socket() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn router(agent: Arc<Agent>, service: Service, body_limit: Duration) -> Router {
    let call = move |extract::State(agent): extract::State<Arc<Agent>>,
                     extract::Path(method): extract::Path<String>,
                     request: extract::Request| async move {
        match tokio::time::timeout(body_limit, Bytes::from_request(request, &())).await {
            Ok(Ok(body)) => reply::reply(&agent, service, &method, &body),
            Ok(Err(rejection)) => rejection.into_response(),
            Err(_) => reply::too_slow(),
        }
    };
    let call = routing::any(call);
    Router::new()
        .route("/{method}", call.clone())
        .route("/prpc/{method}", call)
        .layer(extract::DefaultBodyLimit::max(MAX_BODY))
        .with_state(agent)
}
