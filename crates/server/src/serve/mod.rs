//! Starts and stops the whole service in this process.

pub mod chains;
mod dstack_kms;
mod files;
mod kms_webhook;
pub mod listener;

use std::{
    fs::File,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use casemate_core::{
    at_rest::AtRestKey,
    id::{EventSeq, KmsId},
    time::{Clock, Entropy},
};
use casemate_engine::{
    dns::SystemDns,
    kms::{BuiltinKms, RootKeys},
    node::{docker::KmsKeys, dstack::secret},
};
use casemate_store::{
    Db,
    db::migrate::{self, Pending},
    lease,
};
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{chains::KmsMaker, files::file};
use crate::{
    app::{
        Ctx,
        account::{self, OwnerKey},
        approval::token_rate_limit::TokenRateLimit,
        attestation::Attestation,
        audit,
        ctx::{Addresses, World},
        fleet::{Fleet, FleetKms, Instance, Nodes},
        gateways::{GatewayClusters, InvalidCluster},
        key_uses,
        rate_limits::RateLimits,
        templates::{self, Catalogue, TemplatesUnreadable},
        webhooks,
    },
    config::{Config, Role},
    gateway::Gateway,
    gateway_auth, gateway_watch, http,
    listener_token::{self, ListenerToken},
    nodes::{
        heartbeat, kms_watch, left,
        open::Opener,
        registry::{EnlistError, NodeEnlistment, Registry},
    },
    peer_sync,
    system::{self, SystemClock, SystemEntropy},
    telemetry::Metrics,
    work,
};

/// The file of the first start's API key in the data directory.
const ADMIN_KEY: &str = "admin.key";

/// Why the service did not start. The messages say what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file or directory of the service.
    #[error("{path}: {error}")]
    File { path: PathBuf, error: io::Error },
    /// Another process uses the data directory.
    #[error("{0} is in use by another casemate; stop it, or give another --data-dir")]
    InUse(PathBuf),
    #[error("database {url}: {error}")]
    Database {
        /// Without the password.
        url: String,
        error: casemate_store::Error,
    },
    /// The root keys of the KMS.
    #[error("KMS root keys: {0}")]
    RootKeys(String),
    /// The database is bound to a KMS with other root keys.
    #[error(
        "this database belongs to {bound}, and the root keys here are those of {ours}; give every \
         process on it the same ones: kms.root_key_file, or CASEMATE_KMS_ROOT_KEY"
    )]
    ForeignKeys {
        /// The KMS that the database is bound to.
        bound: String,
        /// The KMS of the given root keys.
        ours: String,
    },
    /// A dstack-kms of the configuration.
    #[error("configuration: {key}: {reason}")]
    Kms {
        /// For example `kms.dstack[0].ca_file`.
        key: String,
        reason: String,
    },
    /// What evidence is verified with.
    #[error("configuration: {key}: {reason}")]
    Attestation { key: String, reason: String },
    /// A configured node.
    #[error(transparent)]
    Node(EnlistError),
    /// A configured cluster of dstack-gateway.
    #[error(transparent)]
    Gateway(#[from] InvalidCluster),
    /// The token of a listener.
    #[error("configuration: {key}: {reason}")]
    Token { key: &'static str, reason: String },
    /// A chain with invalid settings.
    #[error("chains: {name}: {reason}")]
    Chain {
        /// Its configured name.
        name: String,
        /// The cause, without URLs, which may contain keys.
        reason: String,
    },
    /// The client for webhooks.
    #[error("webhooks: {0}")]
    Outbound(String),
    /// The token of the authorisation webhook.
    #[error("kms_webhook: {0}")]
    KmsWebhook(String),
    /// A listen address.
    #[error("cannot listen on {address}: {error}")]
    Listen { address: SocketAddr, error: io::Error },
    /// The database failed after it was opened.
    #[error("first start: {0}")]
    First(crate::app::Error),
    /// The directory of templates.
    #[error(transparent)]
    Templates(#[from] TemplatesUnreadable),
    /// No key was made for an owner.
    #[error("{}", .0.words())]
    OwnerKey(crate::app::Error),
}

/// The running service.
#[derive(Debug)]
pub struct Running {
    /// Base URL of everything except the gateway.
    pub http_url: String,
    /// Base URL of the API, with `/api/v1`, if it is served.
    pub api_url: Option<String>,
    /// Base URL of the gateway, if it is served.
    pub gateway_url: Option<String>,
    /// The API key created by the first start; shown once.
    pub first_key: Option<SecretString>,
    /// One sentence per node.
    pub nodes: Vec<String>,
    stop: CancellationToken,
    tasks: TaskTracker,
    listeners: TaskTracker,
    ctx: Ctx,
    _locks: (File, Option<File>),
}

impl Running {
    fn log_ready(&self) {
        tracing::info!(
            api = self.api_url,
            gateway = self.gateway_url,
            http = self.http_url,
            roles = ?self.ctx.config.role,
            nodes = ?self.nodes,
            "ready"
        );
    }

    /// Stops the service: refuses new requests, ends streams, finishes requests in flight, gives leases back.
    pub async fn stop(self) {
        tracing::info!("stopping");
        self.stop.cancel();
        for tracker in [&self.tasks, &self.listeners] {
            tracker.close();
        }
        if tokio::time::timeout(Duration::from_secs(5), self.listeners.wait()).await.is_err() {
            tracing::warn!("a listener had requests open for too long");
        }
        if tokio::time::timeout(Duration::from_secs(3), self.tasks.wait()).await.is_err() {
            tracing::warn!("a turn was under way for too long; the next start looks again");
        }
        self.ctx.db.close().await;
        tracing::info!("stopped");
    }
}

/// Starts the tasks that work on CVMs.
fn start_reconcilers(tasks: &TaskTracker, ctx: &Ctx, owner: String) {
    let stop = &ctx.stop;
    tasks.spawn(work::driver::run(ctx.clone(), owner.clone(), stop.clone()));
    tasks.spawn(heartbeat::run(ctx.clone(), owner, stop.clone()));
    tasks.spawn(left::run(ctx.clone(), stop.clone()));
    tasks.spawn(work::janitor::run(ctx.clone(), stop.clone()));
    tasks.spawn(work::evidence::run(ctx.clone(), stop.clone()));
    tasks.spawn(work::reorg_watch::run(ctx.clone(), stop.clone()));
    tasks.spawn(work::webhook_delivery::run(ctx.clone(), stop.clone()));
}

/// Starts the tasks that look at nodes, other processes and clusters of dstack-gateway, and that write the use of keys.
fn start_watches(tasks: &TaskTracker, ctx: &Ctx, registry: Registry) {
    tasks.spawn(registry.run(ctx.stop.clone()));
    tasks.spawn(peer_sync::run(ctx.clone(), ctx.stop.clone()));
    tasks.spawn(kms_watch::run(ctx.clone(), ctx.stop.clone()));
    if ctx.config.has(Role::Api) {
        tasks.spawn(audit::run(ctx.clone(), ctx.stop.clone()));
        tasks.spawn(templates::run(ctx.clone(), ctx.stop.clone()));
        tasks.spawn(key_uses::run(ctx.clone(), ctx.stop.clone()));
    }
    gateway_watch::start(tasks, ctx, &ctx.stop);
}

/// Opens drivers with the settings and keys of this service.
fn opener(
    config: &Arc<Config>,
    kms: Arc<KmsKeys>,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Opener {
    Opener { config: config.clone(), kms, clock: clock.clone(), entropy: entropy.clone() }
}

fn at_rest_key(kms: &BuiltinKms) -> Result<AtRestKey, StartError> {
    kms.at_rest_key().map_err(|error| StartError::RootKeys(error.to_string()))
}

/// What evidence is verified with.
fn open_attestation(config: &Config, kms: &BuiltinKms) -> Result<Attestation, StartError> {
    let root = kms.development_root().map_err(|error| StartError::RootKeys(error.to_string()))?;
    Attestation::open(&config.attestation, root)
        .map_err(|(key, reason)| StartError::Attestation { key, reason })
}

async fn open_gateways(config: &Config) -> Result<Arc<GatewayClusters>, InvalidCluster> {
    let call_timeout = Duration::from_secs(config.work.call_timeout_s);
    Ok(Arc::new(GatewayClusters::open(&config.gateways, call_timeout).await?))
}

/// Starts the service; returns when it answers.
pub async fn start(config: Config) -> Result<Running, StartError> {
    listener::raise_file_limit();
    let (clock, entropy) = (system::clock(), system::entropy());
    let dir = config.data_dir.clone();
    let locks = (files::lock_data_dir(&dir)?, files::lock_database(&config.database(), &dir)?);
    files::remove_url_files(&dir)?;
    let db = open_database(&config).await?;
    let first_key = first_start(&db, &*entropy, &*clock, &dir).await?;
    let owner = files::instance_id(&dir, &*entropy)?;
    release_leases(&db, &owner).await.map_err(first)?;
    let kms = open_kms(&config, &*entropy)?;

    let (api, http_address) = listen(config.listen).await?;
    let gateway =
        if config.serves_gateway() { Some(listen(config.gateway_listen).await?) } else { None };
    let gateway_address = gateway.as_ref().map(|(_, address)| *address);
    let webhook = kms_webhook::open(&config).await?;
    let gateway_auth = listen_for_gateways(&config).await?;
    let gateways = open_gateways(&config).await?;
    let addresses = addresses(&config, http_address, gateway_address);
    let kms_here = fleet_kms(&config, &kms, &addresses)?;
    bind_kms(&db, &kms_here, &*clock).await?;
    let chains = chains::open(&config, &clock)?;
    let maker = KmsMaker { config: &config, db: &db, builtin: &kms_here, keys: &kms };
    let (governed, keys) = maker.governed(&chains, &*entropy).await?;
    let dstack = dstack_kms::open(&config, &chains, &db, &*clock).await?;
    let (attestation, at_rest) = (open_attestation(&config, &kms)?, at_rest_key(&kms)?);
    let (outbound, github) = webhooks::clients(&config).map_err(StartError::Outbound)?;
    let (config, keys) = (Arc::new(config), Arc::new(KmsKeys::new(kms, keys)));
    let opener = Arc::new(opener(&config, keys, &clock, &entropy));
    let instance = Arc::new(Instance::new(&owner, gateway_address));
    let enlist = NodeEnlistment { db: &db, config: &config, opener: &opener, instance: &instance };
    let (opened, descriptions) = enlist.run().await.map_err(StartError::Node)?;
    let http_url = addresses.api.clone();
    let (api_url, stop) = (api_url(&config, &http_url), CancellationToken::new());
    let gateway_url = gateway_address.map(|at| format!("{}://{at}", addresses.gateway_scheme));
    let newest = casemate_store::events::newest(&db).await.map_err(first)?;
    let ctx = Ctx::from(World {
        db,
        token_rate_limit: Arc::new(TokenRateLimit::new(clock.clone())),
        audit: Arc::default(),
        rate_limits: Arc::new(RateLimits::new(&config.limits, &clock)),
        templates: open_templates(&config)?,
        key_uses: Arc::default(),
        attestation: Arc::new(attestation),
        at_rest: Arc::new(at_rest),
        outbound: Arc::new(outbound),
        github: Arc::new(github),
        evidence_asked: Arc::new(Notify::new()),
        clock,
        entropy,
        fleet: fleet(&config, kms_here, dstack, governed),
        gateways,
        cache: Arc::default(),
        guests: Arc::default(),
        directory_length: Arc::default(),
        inflight: Arc::default(),
        dns: Arc::new(SystemDns::new()),
        config,
        instance,
        addresses: Arc::new(addresses),
        wake: Arc::new(Notify::new()),
        last_event: Arc::new(watch::Sender::new(EventSeq(newest.0))),
        stop: stop.clone(),
    });
    let mut registry = Registry::new(ctx.clone(), opener, opened);
    registry.sync().await.map_err(first)?;

    let (tasks, listeners) = (TaskTracker::new(), TaskTracker::new());
    start_watches(&tasks, &ctx, registry);
    if ctx.config.has(Role::Worker) {
        start_reconcilers(&tasks, &ctx, owner);
    }
    serve(&listeners, api, http::router(ctx.clone(), start_metrics(&tasks, &stop)), &ctx);
    webhook.map(|webhook| webhook.serve(&ctx, (&tasks, &listeners))).transpose()?;
    serve_gateways(&listeners, (gateway, gateway_auth), &ctx);
    write_urls(&dir, gateway_url.as_deref(), &http_url, api_url.as_deref())?;
    let running = Running {
        http_url,
        api_url,
        gateway_url,
        first_key,
        nodes: descriptions,
        stop,
        tasks,
        listeners,
        ctx,
        _locks: locks,
    };
    running.log_ready();
    Ok(running)
}

fn api_url(config: &Config, http_url: &str) -> Option<String> {
    config.has(Role::Api).then(|| format!("{http_url}/api/v1"))
}

fn open_templates(config: &Config) -> Result<Arc<Catalogue>, TemplatesUnreadable> {
    Ok(Arc::new(Catalogue::open(config.templates.dir().map(PathBuf::as_path))?))
}

/// Gives back what an earlier run of this process had leased.
async fn release_leases(db: &Db, owner: &str) -> Result<(), casemate_store::Error> {
    lease::release_all(db, owner).await?;
    casemate_store::webhooks::release_all(db, owner).await
}

/// The fleet without its nodes, which the registry adds.
fn fleet(
    config: &Config,
    builtin: FleetKms,
    dstack: Vec<FleetKms>,
    governed: Vec<FleetKms>,
) -> Arc<Fleet> {
    let fleet = Fleet::new(Nodes::new(), builtin).with_turns(config.work.looks);
    Arc::new(fleet.with_dstack_kms(dstack).governed_by(governed))
}

/// `api.url` comes last: a client that waits for it finds the other files.
fn write_urls(
    dir: &Path,
    gateway: Option<&str>,
    http: &str,
    api: Option<&str>,
) -> Result<(), StartError> {
    for (name, url) in [("gateway.url", gateway), ("http.url", Some(http)), ("api.url", api)] {
        if let Some(url) = url {
            files::write_url(&dir.join(name), url)?;
        }
    }
    Ok(())
}

/// The pending migrations of the configured database; nothing is changed.
pub async fn pending_migrations(config: &Config) -> Result<Vec<Pending>, StartError> {
    let url = config.database();
    migrate::pending(&url).await.map_err(database_error(&url))
}

/// Runs and returns the pending migrations. A SQLite file in the data directory belongs to the process that
/// has the directory, so this locks the directory. On PostgreSQL, processes wait for each other.
pub async fn migrate(config: &Config) -> Result<Vec<Pending>, StartError> {
    let url = config.database();
    let _lock = if url.starts_with("sqlite:") {
        Some(files::lock_data_dir(&config.data_dir)?)
    } else {
        None
    };
    migrate::migrate(&url).await.map_err(database_error(&url))
}

/// Makes a key that can do everything, for an owner who operates the installation, and writes it to `admin.key` of
/// the data directory: whoever has the host has lost no key for ever. A SQLite file must not be in use.
pub async fn owner_key(
    config: &Config,
    username: Option<&str>,
    workspace: Option<&str>,
) -> Result<OwnerKey, StartError> {
    let _lock = if config.database().starts_with("sqlite:") {
        Some(files::lock_data_dir(&config.data_dir)?)
    } else {
        None
    };
    let db = open_database(config).await?;
    let whose = (username, workspace);
    let made = account::owner_key(&db, &SystemEntropy, SystemClock.now(), whose).await;
    let made = made.map_err(StartError::OwnerKey)?;
    let (path, text) =
        (config.data_dir.join(ADMIN_KEY), format!("{}\n", made.token.expose_secret()));
    casemate_engine::files::write(&path, text.as_bytes(), 0o600).map_err(file(&path))?;
    db.close().await;
    Ok(made)
}

async fn open_database(config: &Config) -> Result<Db, StartError> {
    let url = config.database();
    Db::open(&url).await.map_err(database_error(&url))
}

fn database_error(url: &str) -> impl FnOnce(casemate_store::Error) -> StartError {
    let url = without_password(url);
    move |error| StartError::Database { url, error }
}

fn first(error: casemate_store::Error) -> StartError {
    StartError::First(error.into())
}

/// Starts the collection of metrics.
fn start_metrics(tasks: &TaskTracker, stop: &CancellationToken) -> Metrics {
    let metrics = Metrics::install();
    tasks.spawn(metrics.clone().keep_up(stop.clone()));
    metrics
}

fn gateway_router(ctx: &Ctx, address: SocketAddr) -> Router {
    let gateway = Gateway::new(ctx.clone(), &ctx.config.gateway.base_domain, Some(address));
    Router::new().fallback_service(tower::service_fn(move |request| {
        let gateway = gateway.clone();
        async move { gateway.answer(request).await }
    }))
}

fn serve(tasks: &TaskTracker, listener: TcpListener, router: Router, ctx: &Ctx) {
    let limits = listener::ConnectionLimits::of(&ctx.config.limits);
    tasks.spawn(listener::serve(listener, router, limits, ctx.stop.clone()));
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |error| StartError::Listen { address, error };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// The listener of `[gateway_auth]` with its token.
type AuthListener = (TcpListener, Option<ListenerToken>);

/// Serves the built-in gateway, and the answers to dstack-gateway.
fn serve_gateways(
    tasks: &TaskTracker,
    (own, auth): (Option<(TcpListener, SocketAddr)>, Option<AuthListener>),
    ctx: &Ctx,
) {
    if let Some((listener, address)) = own {
        serve(tasks, listener, gateway_router(ctx, address), ctx);
    }
    if let Some((listener, token)) = auth {
        serve(tasks, listener, gateway_auth::router(ctx.clone(), token), ctx);
    }
}

/// The listener of `[gateway_auth]`, if it is configured.
async fn listen_for_gateways(config: &Config) -> Result<Option<AuthListener>, StartError> {
    let settings = &config.gateway_auth;
    let Some(address) = settings.listen else { return Ok(None) };
    let token = match &settings.token_file {
        Some(path) => {
            let wrong = |reason| StartError::Token { key: "gateway_auth.token_file", reason };
            let token = secret(path).await.map_err(|error| wrong(error.to_string()))?;
            let least = listener_token::LEAST;
            let short = || wrong(format!("a token has at least {least} characters"));
            Some(ListenerToken::new(&token).ok_or_else(short)?)
        }
        None => None,
    };
    Ok(Some((listen(address).await?.0, token)))
}

fn addresses(config: &Config, http: SocketAddr, gateway: Option<SocketAddr>) -> Addresses {
    let domain = &config.gateway.base_domain;
    let gateway_domain = match gateway.map(|address| address.port()) {
        None | Some(80) => domain.clone(),
        Some(port) => format!("{domain}:{port}"),
    };
    Addresses { api: format!("http://{http}"), gateway_domain, gateway_scheme: "http" }
}

/// The key is written to its file before it is stored. After a crash in between, another key is created.
async fn first_start(
    db: &Db,
    entropy: &dyn Entropy,
    clock: &dyn Clock,
    dir: &Path,
) -> Result<Option<SecretString>, StartError> {
    let now = clock.now();
    let Some(made) = account::first_start(db, entropy, now).await.map_err(StartError::First)?
    else {
        return Ok(None);
    };
    let path = dir.join(ADMIN_KEY);
    let text = format!("{}\n", made.token().expose_secret());
    casemate_engine::files::write(&path, text.as_bytes(), 0o600).map_err(file(&path))?;
    made.commit().await.map(Some).map_err(StartError::First)
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
        governed: None,
        remote: None,
    })
}

/// Values sealed for a KMS open only with its root keys, so a database is bound to one KMS per name.
async fn bind_kms(db: &Db, kms: &FleetKms, clock: &dyn Clock) -> Result<(), StartError> {
    let mut tx = db.begin().await.map_err(first)?;
    let bound = tx.bind_kms(&kms.slug, &kms.id, clock.now()).await.map_err(first)?;
    tx.commit().await.map_err(first)?;
    if bound == kms.id {
        return Ok(());
    }
    Err(StartError::ForeignKeys { bound: bound.to_string(), ours: kms.id.to_string() })
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
