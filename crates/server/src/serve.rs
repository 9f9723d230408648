//! Starting and stopping the whole service in this process.

use std::{
    fs::{File, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::Router;
use casemate_core::{
    id::{EventSeq, KmsId},
    time::{Clock, Entropy},
};
use casemate_engine::{
    dns::SystemDns,
    kms::{BuiltinKms, RootKeys},
    node::{
        Capacity, Node,
        docker::{DockerConfig, DockerNode},
        sim::{SimConfig, SimNode},
    },
};
use casemate_store::{Db, lease};
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    app::{
        Ctx, account,
        ctx::Addresses,
        fleet::{Fleet, FleetKms, FleetNode},
    },
    config::{Config, NodeKind},
    gateway::Gateway,
    http, system,
    telemetry::Metrics,
    work,
};

/// Why the service did not start; says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file or directory of ours.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// What went wrong.
        error: io::Error,
    },
    /// Another process has the data directory.
    #[error("{0} is in use by another casemate; stop it, or give another --data-dir")]
    InUse(PathBuf),
    /// The database.
    #[error("database {url}: {error}")]
    Database {
        /// Where; without a password.
        url: String,
        /// What went wrong.
        error: casemate_store::Error,
    },
    /// The root keys of the KMS.
    #[error("KMS root keys: {0}")]
    RootKeys(String),
    /// A node that was asked for.
    #[error("node {kind}: {reason}")]
    Node {
        /// Which kind.
        kind: &'static str,
        /// What went wrong.
        reason: String,
    },
    /// An address to listen on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Which.
        address: std::net::SocketAddr,
        /// What went wrong.
        error: io::Error,
    },
    /// The database answered and then did not.
    #[error("first start: {0}")]
    First(crate::app::Error),
}

fn file(path: &Path) -> impl FnOnce(io::Error) -> StartError {
    let path = path.to_owned();
    move |error| StartError::File { path, error }
}

/// The service in this process.
#[derive(Debug)]
pub struct Running {
    /// Base URL of the API, with `/api/v1`.
    pub api_url: String,
    /// Base URL of the gateway.
    pub gateway_url: String,
    /// The token of the first start; shown once.
    pub first_key: Option<SecretString>,
    /// What runs CVMs here, a sentence each.
    pub nodes: Vec<String>,
    stop: CancellationToken,
    tasks: TaskTracker,
    listeners: Vec<JoinHandle<()>>,
    ctx: Ctx,
    _lock: File,
}

impl Running {
    /// Stops: no new requests, those under way end, leases are given back.
    pub async fn stop(self) {
        tracing::info!("stopping");
        self.stop.cancel();
        self.tasks.close();
        for listener in self.listeners {
            if tokio::time::timeout(std::time::Duration::from_secs(5), listener).await.is_err() {
                tracing::warn!("a listener had requests open for too long");
            }
        }
        if tokio::time::timeout(std::time::Duration::from_secs(4), self.tasks.wait()).await.is_err()
        {
            tracing::warn!("a turn was under way for too long; the next start looks again");
        }
        self.ctx.db.close().await;
        tracing::info!("stopped");
    }
}

/// Starts the service; returns when it answers.
pub async fn start(config: Config) -> Result<Running, StartError> {
    let (clock, entropy) = (system::clock(), system::entropy());
    let dir = config.data_dir.clone();
    let lock = take_data_dir(&dir)?;
    forget_urls(&dir)?;
    let url = config.database();
    let db = Db::open(&url)
        .await
        .map_err(|error| StartError::Database { url: without_password(&url), error })?;
    let first_key = first_start(&db, &*entropy, &*clock, &dir).await?;
    let owner = instance_id(&dir, &*entropy)?;
    lease::release_all(&db, &owner).await.map_err(|error| StartError::First(error.into()))?;

    let kms = open_kms(&config, &*entropy)?;
    let (nodes, descriptions) = open_nodes(&config, &db, &kms, &clock, &entropy).await?;
    let (api, api_address) = listen(config.listen).await?;
    let (gateway, gateway_address) = listen(config.gateway_listen).await?;
    let addresses = addresses(&config, api_address, gateway_address);
    let api_url = format!("{}/api/v1", addresses.api);
    let gateway_url = format!("{}://{gateway_address}", addresses.gateway_scheme);
    let newest = casemate_store::events::newest(&db)
        .await
        .map_err(|error| StartError::First(error.into()))?;
    let ctx = Ctx {
        db,
        clock,
        entropy,
        fleet: Arc::new(Fleet { nodes, kms: fleet_kms(&config, &kms, &addresses)? }),
        dns: Arc::new(SystemDns::new()),
        config: Arc::new(config),
        addresses: Arc::new(addresses),
        wake: Arc::new(Notify::new()),
        news: Arc::new(watch::Sender::new(EventSeq(newest.0))),
    };

    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    tasks.spawn(work::driver::run(ctx.clone(), owner, stop.clone()));
    tasks.spawn(work::nodes::run(ctx.clone(), stop.clone()));
    tasks.spawn(work::janitor::run(ctx.clone(), stop.clone()));
    let listeners = vec![
        serve(api, http::router(ctx.clone(), Metrics::install()), stop.clone()),
        serve(gateway, gateway_router(&ctx), stop.clone()),
    ];
    write_url(&dir.join("gateway.url"), &gateway_url)?;
    // The last of the files: who waits for it finds the others.
    write_url(&dir.join("api.url"), &api_url)?;
    tracing::info!(api = api_url, gateway = gateway_url, nodes = ?descriptions, "ready");
    Ok(Running {
        api_url,
        gateway_url,
        first_key,
        nodes: descriptions,
        stop,
        tasks,
        listeners,
        ctx,
        _lock: lock,
    })
}

fn gateway_router(ctx: &Ctx) -> Router {
    let gateway = Gateway::new(ctx.clone(), &ctx.config.gateway.base_domain);
    Router::new().fallback_service(tower::service_fn(move |request| {
        let gateway = gateway.clone();
        async move { gateway.answer(request).await }
    }))
}

fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(%error, "listener ended");
        }
    })
}

async fn listen(
    address: std::net::SocketAddr,
) -> Result<(TcpListener, std::net::SocketAddr), StartError> {
    let failed = |error| StartError::Listen { address, error };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

fn addresses(
    config: &Config,
    api: std::net::SocketAddr,
    gateway: std::net::SocketAddr,
) -> Addresses {
    let domain = &config.gateway.base_domain;
    let gateway_domain = match gateway.port() {
        80 => domain.clone(),
        port => format!("{domain}:{port}"),
    };
    Addresses { api: format!("http://{api}"), gateway_domain, gateway_scheme: "http" }
}

/// Makes the data directory and takes it for this process.
fn take_data_dir(dir: &Path) -> Result<File, StartError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(file(dir))?;
    let path = dir.join("lock");
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(file(&path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StartError::InUse(dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(StartError::File { path, error }),
    }
}

/// A name for this data directory as an owner of leases: the same after every restart, so that a
/// restart can take back what the dead process held.
fn instance_id(dir: &Path, entropy: &dyn Entropy) -> Result<String, StartError> {
    let path = dir.join("instance.id");
    match std::fs::read_to_string(&path) {
        Ok(id) if !id.trim().is_empty() => return Ok(id.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(StartError::File { path, error }),
    }
    let id = entropy.uuid_v4().to_string();
    write_atomically(&path, &id, 0o600).map_err(file(&path))?;
    Ok(id)
}

async fn first_start(
    db: &Db,
    entropy: &dyn Entropy,
    clock: &dyn Clock,
    dir: &Path,
) -> Result<Option<SecretString>, StartError> {
    let made = account::first_start(db, entropy, clock.now()).await.map_err(StartError::First)?;
    if let Some(token) = &made {
        let path = dir.join("admin.key");
        write_atomically(&path, &format!("{}\n", token.expose_secret()), 0o600)
            .map_err(file(&path))?;
    }
    Ok(made)
}

/// Removes the addresses that a killed process left: whoever reads one finds a live listener.
fn forget_urls(dir: &Path) -> Result<(), StartError> {
    for name in ["api.url", "gateway.url"] {
        let path = dir.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(file(&path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn write_url(path: &Path, url: &str) -> Result<(), StartError> {
    write_atomically(path, &format!("{url}\n"), 0o644).map_err(file(path))
}

/// Writes a file whole or not at all, with this mode from the first byte on.
fn write_atomically(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let fresh = path.with_extension("new");
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = File::options().write(true).create_new(true).mode(mode).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)
}

fn without_password(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => {
            let user = url[scheme + 3..at].split(':').next().unwrap_or_default();
            format!("{}{user}@{}", &url[..scheme + 3], &url[at + 1..])
        }
        _ => url.to_owned(),
    }
}

fn open_kms(config: &Config, entropy: &dyn Entropy) -> Result<Arc<BuiltinKms>, StartError> {
    let failed = |error: &dyn std::fmt::Display| StartError::RootKeys(error.to_string());
    let keys = if let Some(text) = &config.kms.root_key {
        RootKeys::from_hex(text).map_err(|error| failed(&error))?
    } else {
        let mut scalars = [0; 64];
        entropy.fill(&mut scalars);
        RootKeys::load_or_create(&config.root_key_file(), &scalars)
            .map_err(|error| failed(&error))?
    };
    Ok(Arc::new(BuiltinKms::new(keys)))
}

fn fleet_kms(
    config: &Config,
    kms: &Arc<BuiltinKms>,
    addresses: &Addresses,
) -> Result<FleetKms, StartError> {
    let failed = |error: casemate_engine::kms::KmsError| StartError::RootKeys(error.to_string());
    let public = hex::encode(kms.k256_public().map_err(failed)?);
    Ok(FleetKms {
        id: KmsId(format!("kms_{}", &public[2..12])),
        slug: config.kms.slug.clone(),
        url: addresses.api.clone(),
        k256_public_key: public,
        ca_public_key: hex::encode(kms.ca_public_spki().map_err(failed)?),
        kms: kms.clone(),
    })
}

type Nodes = std::collections::BTreeMap<casemate_core::id::NodeId, Arc<FleetNode>>;

/// Opens the nodes asked for; without any: docker if an engine answers, else sim, and says so.
async fn open_nodes(
    config: &Config,
    db: &Db,
    kms: &Arc<BuiltinKms>,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Result<(Nodes, Vec<String>), StartError> {
    let opener = Opener { config, db, kms, clock, entropy };
    let mut nodes = Nodes::new();
    let mut descriptions = Vec::new();
    if config.node.is_empty() {
        match opener.docker().await {
            Ok(node) => opener.enlist("docker", node, &mut nodes, &mut descriptions).await?,
            Err(error) => {
                let node = opener.sim()?;
                opener.enlist("sim", node, &mut nodes, &mut descriptions).await?;
                descriptions
                    .push(format!("simulated, because no container engine is usable: {error}"));
            }
        }
        return Ok((nodes, descriptions));
    }
    for kind in &config.node {
        let (name, node) = match kind {
            NodeKind::Docker => ("docker", opener.docker().await?),
            NodeKind::Sim => ("sim", opener.sim()?),
            NodeKind::None => continue,
        };
        opener.enlist(name, node, &mut nodes, &mut descriptions).await?;
    }
    Ok((nodes, descriptions))
}

struct Opener<'a> {
    config: &'a Config,
    db: &'a Db,
    kms: &'a Arc<BuiltinKms>,
    clock: &'a Arc<dyn Clock>,
    entropy: &'a Arc<dyn Entropy>,
}

impl Opener<'_> {
    async fn docker(&self) -> Result<Arc<dyn Node>, StartError> {
        let settings = &self.config.docker;
        let config = DockerConfig {
            allow: settings.allow.clone(),
            script_image: settings.script_image.clone(),
            host: Some(settings.host.clone()).filter(|host| !host.is_empty()),
            ..DockerConfig::new(self.config.data_dir.join("nodes/docker"))
        };
        let node =
            DockerNode::connect(config, self.kms.clone(), self.clock.clone(), self.entropy.clone())
                .await
                .map_err(|error| StartError::Node { kind: "docker", reason: error.to_string() })?;
        Ok(Arc::new(node))
    }

    fn sim(&self) -> Result<Arc<dyn Node>, StartError> {
        let settings = &self.config.sim;
        let config = SimConfig {
            boot_ms: settings.boot_ms,
            shutdown_ms: settings.shutdown_ms,
            remove_ms: settings.remove_ms,
            capacity: Capacity {
                slots: settings.slots,
                vcpu: settings.vcpu,
                memory_mb: settings.memory_mb,
                disk_gb: settings.disk_gb,
            },
            ..SimConfig::default()
        };
        let dir = self.config.data_dir.join("nodes/sim");
        let node = SimNode::open(dir, config, self.clock.clone(), self.entropy.clone())
            .map_err(|error| StartError::Node { kind: "sim", reason: error.to_string() })?;
        Ok(Arc::new(node))
    }

    /// Writes a node down and takes it into the fleet.
    async fn enlist(
        &self,
        kind: &'static str,
        node: Arc<dyn Node>,
        nodes: &mut Nodes,
        descriptions: &mut Vec<String>,
    ) -> Result<(), StartError> {
        let failed = |reason: String| StartError::Node { kind, reason };
        let inventory = node.inventory().await.map_err(|error| failed(error.to_string()))?;
        let name = format!("{kind}-1");
        let json = serde_json::to_string(&inventory).map_err(|error| failed(error.to_string()))?;
        let store = |error: casemate_store::Error| failed(error.to_string());
        let mut tx = self.db.begin().await.map_err(store)?;
        let id = tx
            .upsert_node(&name, kind, &self.config.region, &json, self.clock.now())
            .await
            .map_err(store)?;
        tx.commit().await.map_err(store)?;
        descriptions.push(format!(
            "{name}: {} (tee: {})",
            inventory.version,
            inventory.tee.as_str()
        ));
        descriptions.extend(inventory.notes.iter().cloned());
        let region = &self.config.region;
        nodes.insert(id, Arc::new(FleetNode::new(id, &name, kind, region, node, inventory)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_url_is_shown_without_its_password() {
        assert_eq!(without_password("postgres://u:secret@h/db"), "postgres://u@h/db");
        assert_eq!(without_password("sqlite:///x/y.db"), "sqlite:///x/y.db");
    }
}
