//! A whole Casemate in this process: real router, real store, simulated node, and a clock that only a test
//! moves.

#![expect(clippy::unwrap_used, reason = "tests panic, their helpers too")]

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode},
};
use casemate_api::kms_type::KmsType;
use casemate_core::{
    access::{Role as AccessRole, Scopes},
    id::{Address, EventSeq, KmsId, UserId, Wallet, WorkspaceId},
    node::{Capabilities, NodeKind},
    time::{Clock, Entropy, Timestamp},
};
use casemate_engine::{
    chain::Chain,
    kms::{BuiltinKms, RootKeys},
    node::{
        Node,
        sim::{SimConfig, SimNode},
    },
};
use casemate_server::{
    app::{
        Ctx, account,
        approval::token_rate_limit::TokenRateLimit,
        attestation::Attestation,
        audit,
        ctx::{self, Addresses},
        fleet::{Fleet, FleetKms, FleetNode, Governed, Instance, NodePolicy},
        rate_limits::RateLimits,
        templates::Catalogue,
        webhooks,
    },
    config::{Config, Overrides},
    http::{self, audit::READING},
    system::SystemEntropy,
    telemetry::Metrics,
    work,
};
use casemate_store::{
    Db, Tx,
    api_keys::NewKey,
    db::Durability,
    lease,
    nodes::NewNode,
    people::{self, NewUser},
};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{clock::MockClock, dns::FakeDns};

pub const COMPOSE: &str = "services:\n  web:\n    image: busybox:1.36\n    ports: [\"8080:80\"]\n    environment: [\"G=${G:-}\"]\n";

/// A node of a world: a simulated host that reports this kind and its capabilities.
#[derive(Debug)]
pub struct TestNode {
    pub name: &'static str,
    pub kind: NodeKind,
    pub region: &'static str,
    pub host: SimConfig,
    /// Whether CVMs are placed on it by default.
    pub takes_new: bool,
}

impl TestNode {
    pub fn sim() -> Self {
        Self {
            name: "sim-1",
            kind: NodeKind::Sim,
            region: "local",
            host: SimConfig::fast(),
            takes_new: true,
        }
    }

    pub fn docker() -> Self {
        Self::docker_granting(&[])
    }

    /// A docker node with these grants of its operator and the capabilities that the docker driver reports.
    pub fn docker_granting(grants: &[&str]) -> Self {
        let grants = grants.iter().map(|&word| word.to_owned()).collect();
        let capabilities = Capabilities::of_container_engine(grants);
        let host = SimConfig { capabilities, ..SimConfig::fast() };
        Self { name: "docker-1", kind: NodeKind::Docker, host, ..Self::sim() }
    }
}

#[derive(Debug)]
pub struct World {
    pub ctx: Ctx,
    pub dns: Arc<FakeDns>,
    pub clock: Arc<MockClock>,
    /// The first node's host.
    pub sim: SimNode,
    /// All nodes' hosts.
    pub sims: Vec<SimNode>,
    pub kms: Arc<BuiltinKms>,
    pub key: String,
    pub router: Router,
    dir: Option<tempfile::TempDir>,
}

/// Start time of a world's clock.
const BEGINNING: i64 = 1_767_225_600_000_000;

/// The database of a world and its API key.
#[derive(Debug)]
pub struct Parts {
    pub dir: Option<tempfile::TempDir>,
    pub db: Db,
    pub key: String,
    pub entropy: Arc<dyn Entropy>,
}

impl Parts {
    /// The state after a first start on this empty database.
    pub async fn first(db: Db, entropy: Arc<dyn Entropy>) -> Self {
        let began = Timestamp::from_micros(BEGINNING);
        let first = account::first_start(&db, &*entropy, began).await.unwrap().unwrap();
        let key = first.commit().await.unwrap().expose_secret().to_owned();
        Self { dir: None, db, key, entropy }
    }

    /// The state after a first start in this empty directory.
    pub async fn fresh(dir: tempfile::TempDir, entropy: Arc<dyn Entropy>) -> Self {
        let db = Db::open_sqlite(&dir.path().join(DATABASE), Durability::Off).await.unwrap();
        Self { dir: Some(dir), ..Self::first(db, entropy).await }
    }

    /// A copy of a directory in which [`Self::fresh`] created a database that is closed now.
    pub async fn copy(of: &std::path::Path, key: String, entropy: Arc<dyn Entropy>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(of).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
        }
        let db = Db::open_sqlite(&dir.path().join(DATABASE), Durability::Off).await.unwrap();
        Self { dir: Some(dir), db, key, entropy }
    }
}

/// Makes a user who owns a new workspace of the same name, and their key with this token.
pub async fn stranger(ctx: &Ctx, name: &str, token: &str) {
    let mut wallet = [0; 20];
    ctx.entropy.fill(&mut wallet);
    let mut tx = ctx.begin().await.unwrap();
    let now = ctx.now();
    let user = tx.insert_user(NewUser::person(name, "else@example.org"), now).await.unwrap();
    let wallet = Wallet::from_bytes(wallet);
    let workspace = tx.insert_workspace(name, name, wallet, now).await.unwrap();
    tx.set_member(workspace, user, AccessRole::Owner, now).await.unwrap();
    insert_key(&mut tx, user, workspace, &Scopes::All, token, now).await;
    tx.commit().await.unwrap();
}

/// Makes a user with this role in a workspace, and their key with this token and these scopes.
pub async fn member(
    ctx: &Ctx,
    workspace: &str,
    (name, role): (&str, AccessRole),
    (token, scopes): (&str, &Scopes),
) {
    let workspace = people::workspace(&ctx.db, workspace).await.unwrap().unwrap().id;
    let (mut tx, now) = (ctx.begin().await.unwrap(), ctx.now());
    let user = tx.insert_user(NewUser::person(name, "m@example.org"), now).await.unwrap();
    tx.set_member(workspace, user, role, now).await.unwrap();
    insert_key(&mut tx, user, workspace, scopes, token, now).await;
    tx.commit().await.unwrap();
}

async fn insert_key(
    tx: &mut Tx,
    user: UserId,
    workspace: WorkspaceId,
    scopes: &Scopes,
    token: &str,
    now: Timestamp,
) {
    let key = NewKey {
        hash: &account::token_hash(token),
        prefix: account::token_prefix(token),
        user,
        workspace,
        name: "test",
        scopes,
        expires_at: None,
    };
    tx.insert_key(key, now).await.unwrap();
}

/// Name of the database file.
const DATABASE: &str = "casemate.db";

#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    #[track_caller]
    pub fn ok(self) -> Value {
        assert!(self.status.is_success(), "{}: {}", self.status, self.text);
        if self.text.is_empty() { Value::Null } else { self.json() }
    }

    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        let body = self.json();
        assert_eq!(body["error_code"], code, "{body}");
        body
    }
}

impl World {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::fleet(vec![TestNode::sim()], change).await
    }

    pub async fn fleet(nodes: Vec<TestNode>, change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let parts = Parts::fresh(dir, Arc::new(SystemEntropy)).await;
        Box::pin(Self::of(parts, nodes, |sim| Arc::new(sim), change)).await
    }

    /// A world on this empty database.
    pub async fn over(db: Db, nodes: Vec<TestNode>, change: impl FnOnce(&mut Config)) -> Self {
        let parts = Parts::first(db, Arc::new(SystemEntropy)).await;
        Box::pin(Self::of(parts, nodes, |sim| Arc::new(sim), change)).await
    }

    /// A world of these parts; `reach` connects to each host.
    pub async fn of(
        parts: Parts,
        nodes: Vec<TestNode>,
        reach: impl Fn(SimNode) -> Arc<dyn Node>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let _ = tracing_subscriber::fmt().with_env_filter("error").with_test_writer().try_init();
        let Parts { dir, db, key, entropy } = parts;
        let clock = Arc::new(MockClock::at(Timestamp::from_micros(BEGINNING)));
        let mut config = Config::load(None, &Overrides::default()).unwrap();
        // The clock stands still, so a burst would never end.
        config.limits.requests_per_s_per_key = 0;
        config.limits.free_disk_mb = 0;
        change(&mut config);
        let kms = Arc::new(BuiltinKms::new(RootKeys::from_bytes(&[7; 64]).unwrap()));
        let (mut sims, mut fleet_nodes) = (Vec::new(), BTreeMap::new());
        for TestNode { name, kind, region, host, takes_new } in nodes {
            let sim = SimNode::in_memory(host, clock.clone(), entropy.clone());
            sim.set_development_root(Arc::new(kms.development_root().unwrap()));
            let inventory = sim.inventory().await.unwrap();
            let mut tx = db.begin().await.unwrap();
            let row = NewNode {
                name,
                kind,
                owner: "test",
                lease_expires_at: clock.now(),
                gateway: "",
                region,
                inventory: "{}",
                pinned: true,
                settings: None,
            };
            let id = tx.upsert_node(&row, clock.now()).await.unwrap().unwrap();
            tx.commit().await.unwrap();
            let node = FleetNode::new(id, name, kind, region, reach(sim.clone()), inventory);
            node.set_policy(NodePolicy { takes_new, ..NodePolicy::default() });
            fleet_nodes.insert(id, Arc::new(node));
            sims.push(sim);
        }
        let fleet = Fleet::new(
            fleet_nodes,
            FleetKms {
                id: KmsId("kms_test".to_owned()),
                slug: "builtin".to_owned(),
                url: "http://127.0.0.1:1".to_owned(),
                k256_public_key: hex::encode(kms.k256_public().unwrap()),
                ca_public_key: hex::encode(kms.ca_public_spki().unwrap()),
                kms: kms.clone(),
                governed: None,
                remote: None,
            },
        );
        let dns = Arc::new(FakeDns::default());
        let (outbound, github) = webhooks::clients(&config).unwrap();
        let shared_clock: Arc<dyn Clock> = clock.clone();
        let ctx = Ctx::from(ctx::World {
            db,
            dns: dns.clone(),
            clock: clock.clone(),
            entropy,
            gateways: Arc::default(),
            fleet: Arc::new(fleet),
            cache: Arc::default(),
            guests: Arc::default(),
            directory_length: Arc::default(),
            inflight: Arc::default(),
            attestation: Arc::new(
                Attestation::open(&config.attestation, kms.development_root().unwrap()).unwrap(),
            ),
            at_rest: Arc::new(kms.at_rest_key().unwrap()),
            outbound: Arc::new(outbound),
            github: Arc::new(github),
            evidence_asked: Arc::default(),
            token_rate_limit: Arc::new(TokenRateLimit::new(clock.clone())),
            audit: Arc::default(),
            rate_limits: Arc::new(RateLimits::new(&config.limits, &shared_clock)),
            templates: Arc::new(
                Catalogue::open(config.templates.dir().map(PathBuf::as_path)).unwrap(),
            ),
            key_uses: Arc::default(),
            config: Arc::new(config),
            instance: Arc::new(Instance::new("test", None)),
            addresses: Arc::new(Addresses {
                api: "http://127.0.0.1:1".to_owned(),
                gateway_domain: "localhost:2".to_owned(),
                gateway_scheme: "http",
            }),
            wake: Arc::new(Notify::new()),
            last_event: Arc::new(watch::Sender::new(EventSeq(0))),
            stop: CancellationToken::new(),
        });
        let router = http::router(ctx.clone(), Metrics::install());
        Self { ctx, dns, clock, sim: sims[0].clone(), sims, kms, key, router, dir }
    }

    /// The same database and nodes in another process, without caches and notifications.
    pub fn replica(&self) -> Self {
        self.at(Ctx::from(ctx::World {
            cache: Arc::default(),
            guests: Arc::default(),
            directory_length: Arc::default(),
            inflight: Arc::default(),
            ..(*self.ctx).clone()
        }))
    }

    /// The same world with this process's context.
    pub fn at(&self, ctx: Ctx) -> Self {
        Self {
            router: http::router(ctx.clone(), Metrics::install()),
            ctx,
            dns: self.dns.clone(),
            clock: self.clock.clone(),
            sim: self.sim.clone(),
            sims: self.sims.clone(),
            kms: self.kms.clone(),
            key: self.key.clone(),
            dir: None,
        }
    }

    /// The same world with an additional KMS for each contract: slug, kind, contract, chain.
    pub fn governed_by(mut self, contracts: Vec<(&str, KmsType, Address, Arc<dyn Chain>)>) -> Self {
        let builtin = self.ctx.fleet.kms.clone();
        let under = |(slug, kind, contract, chain): (&str, _, _, _)| {
            let gateway_app_id = Some("ab".repeat(20));
            let governed = Governed { kind, contract, gateway_app_id, explorer: None, chain };
            let name = [slug.as_bytes()];
            let own = Arc::new(self.kms.separate(&name).unwrap());
            builtin.under(slug, governed, Some(&own)).unwrap()
        };
        let governed = contracts.into_iter().map(under).collect();
        let own = (*self.ctx.fleet.own()).clone();
        let fleet = Arc::new(Fleet::new(own, builtin.clone()).governed_by(governed));
        self.ctx = Ctx::from(ctx::World { fleet, ..(*self.ctx).clone() });
        self.router = http::router(self.ctx.clone(), Metrics::install());
        self
    }

    /// The directory of the database, if it is SQLite.
    pub fn directory(&self) -> Option<&std::path::Path> {
        self.dir.as_ref().map(tempfile::TempDir::path)
    }

    /// Sends a request. One that succeeds in changing something must leave one row in the audit log.
    pub async fn send(&self, request: Request<Body>) -> Reply {
        let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
        let reply = self.send_unchecked(request).await;
        let is_change = reply.status.is_success() && !matches!(&*method, "GET" | "HEAD");
        if is_change && !reply.headers.contains_key("idempotent-replayed") && is_logged(&path) {
            let id = reply.headers["x-request-id"].to_str().unwrap();
            // Where the database is broken on purpose there is nothing to read.
            if let Ok(rows) = audit::newest_rows(&self.ctx.db, 2_000).await {
                let rows = rows.iter().filter(|row| row.request_id.as_deref() == Some(id)).count();
                assert_eq!(rows, 1, "rows in the audit log of {method} {path}");
            }
        }
        reply
    }

    async fn send_unchecked(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Reply { status: parts.status, headers: parts.headers, text }
    }

    /// Sends a request with the key; an empty `version` means no header.
    pub async fn call(
        &self,
        method: &str,
        path: &str,
        version: &str,
        body: Option<Value>,
    ) -> Reply {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header("x-api-key", &self.key)
            .header("content-type", "application/json");
        if !version.is_empty() {
            request = request.header("x-phala-version", version);
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.send(request.body(body).unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, "2026-01-21", None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.call("POST", path, "2026-01-21", Some(body)).await
    }

    /// Runs until nothing is due or leased, and moves the clock as needed.
    pub async fn settle(&self) {
        for _ in 0..100_000 {
            Box::pin(work::driver::settle_now(&self.ctx, "test")).await;
            if lease::busy(&self.ctx.db).await.unwrap() == 0 {
                return;
            }
            self.clock.advance_ms(20);
        }
        panic!("the world does not come to rest");
    }

    pub async fn provision(&self, name: &str) -> Value {
        self.post("/cvms/provision", provision_body(name)).await.ok()
    }

    /// Provisions and commits; returns the commit's reply.
    pub async fn deploy(&self, name: &str) -> Value {
        let provisioned = self.provision(name).await;
        let body = json!({
            "app_id": provisioned["app_id"], "compose_hash": provisioned["compose_hash"]
        });
        self.post("/cvms", body).await.ok()
    }
}

/// Whether the audit log has changes at this path.
fn is_logged(path: &str) -> bool {
    let Some(path) = path.strip_prefix("/api/v1") else { return false };
    let reads = |route: &&str| {
        let (route, path): (Vec<_>, Vec<_>) =
            (route.split('/').collect(), path.split('/').collect());
        route.len() == path.len()
            && route.iter().zip(&path).all(|(one, other)| one.starts_with('{') || one == other)
    };
    !READING.iter().any(reads)
}

pub fn provision_body(name: &str) -> Value {
    json!({ "name": name, "compose_file": { "docker_compose_file": COMPOSE, "name": "" } })
}
