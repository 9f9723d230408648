//! The simulated guest agent: what a container finds at `/var/run/dstack.sock` and
//! `/var/run/tappd.sock`. The shapes are those of dstack's own agent as its JavaScript, Python, Go
//! and Rust clients read them.
//!
//! Served: `Info`, `Version` and `GetKey` (with `DeriveK256Key`, its older name), with keys of the KMS
//! of this node. Everything else needs a TEE or certificates and answers 501 with the method's name.
//!
//! **Across restarts.** A socket ends with the process that serves it, and a new one is a new file.
//! A container that has the *file* mounted keeps the old, dead one. So containers get the directory
//! `run/` mounted (at [`super::derive::AGENT_DIR`]) and a link at the path they know, put into the
//! container before it starts: the link finds whatever socket is there now. Only where a link cannot
//! be put, because the container's file system is read-only or a tmpfs covers the path, the file
//! itself is mounted; such containers carry a label and are restarted after Casemate was.

mod reply;
#[cfg(test)]
mod tests;

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{Router, body::Bytes, extract, routing};
use casemate_core::id::{AppId, ComposeHash, DeviceId, InstanceId};
use tokio::net::UnixListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{GuestKeys, files};

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
    pub app_id: AppId,
    pub app_name: String,
    pub instance_id: Option<InstanceId>,
    pub device_id: DeviceId,
    pub compose_hash: ComposeHash,
    /// The document, byte for byte.
    pub app_compose: String,
    pub image: String,
    pub os_image_hash: String,
    pub has_kms: bool,
    pub vcpu: u32,
    pub memory_mb: u32,
}

#[derive(Debug)]
struct Agent {
    identity: Identity,
    keys: Arc<dyn GuestKeys>,
}

/// A running agent; dropping it ends it.
#[derive(Debug)]
pub(super) struct AgentHandle(CancellationToken);

impl Drop for AgentHandle {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Serves the agent of a guest in this directory.
pub(super) fn serve(
    run: &Path,
    identity: Identity,
    keys: Arc<dyn GuestKeys>,
    tracker: &TaskTracker,
) -> io::Result<AgentHandle> {
    let agent = Arc::new(Agent { identity, keys });
    let end = CancellationToken::new();
    for (name, service) in SOCKETS {
        let listener = bind(run, name)?;
        let router = router(Arc::clone(&agent), service);
        let ended = end.clone();
        tracker.spawn(async move {
            let served =
                axum::serve(listener, router).with_graceful_shutdown(ended.cancelled_owned());
            if let Err(error) = served.await {
                tracing::warn!(%error, "a guest agent ended");
            }
        });
    }
    Ok(AgentHandle(end))
}

/// Binds beside and renames: at the socket's place there is always a socket. Goes through the
/// directory's descriptor, because paths of sockets are at most 107 bytes long. Containers cannot write
/// to the directory; even so the mode is set through a descriptor of the socket itself, never of what a
/// link at its place leads to.
fn bind(run: &Path, name: &str) -> io::Result<UnixListener> {
    let dir = File::open(run)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    let short = if short.exists() { short } else { run.to_owned() };
    let beside = short.join(format!(".{name}.new"));
    files::remove_if_there(&beside)?;
    let listener = UnixListener::bind(&beside)?;
    open_to_everybody(&beside)?;
    fs::rename(&beside, short.join(name))?;
    Ok(listener)
}

fn open_to_everybody(socket: &Path) -> io::Result<()> {
    let found =
        OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(socket)?;
    if !found.metadata()?.file_type().is_socket() {
        return Err(io::Error::other("the guest agent's socket was replaced"));
    }
    let itself = format!("/proc/self/fd/{}", found.as_raw_fd());
    fs::set_permissions(itself, Permissions::from_mode(0o666))
}

fn router(agent: Arc<Agent>, service: Service) -> Router {
    let call =
        move |extract::State(agent): extract::State<Arc<Agent>>,
              extract::Path(method): extract::Path<String>,
              body: Bytes| async move { reply::reply(&agent, service, &method, &body) };
    let call = routing::any(call);
    Router::new()
        .route("/{method}", call.clone())
        .route("/prpc/{method}", call)
        .layer(extract::DefaultBodyLimit::max(MAX_BODY))
        .with_state(agent)
}
