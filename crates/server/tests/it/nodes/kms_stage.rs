//! Doubles of dstack-kms that listen, and a service whose hosts take their keys from them.

use std::{sync::Arc, time::Duration};

use casemate_core::seal::{EnvVar, SealedEnv, seal};
use casemate_dstack_double::{KmsDouble, KmsProfile, kms_router};
use casemate_engine::{
    kms::{
        BuiltinKms, RootKeys,
        dstack::{DstackKms, DstackKmsConfig, PinnedKeys},
    },
    node::sim::SimVm,
};
use casemate_server::{
    app::{
        Ctx, ctx,
        fleet::{Fleet, FleetKms, Governed, NodePolicy, RemoteKms},
    },
    http,
    telemetry::Metrics,
};
use serde_json::{Value, json};

use crate::common::{Reply, TestNode, World, provision_body};

/// A dstack-kms that listens.
pub struct Kms {
    pub double: Arc<KmsDouble>,
    pub slug: &'static str,
    pub url: String,
    pub root: [u8; 64],
}

impl Kms {
    pub async fn listening(world: &World, slug: &'static str, root: u8) -> Self {
        let root = [root; 64];
        let double = KmsDouble::new(KmsProfile::newest(), &root, world.clock.clone()).unwrap();
        let double = Arc::new(double);
        let url = serve(kms_router(double.clone())).await;
        Self { double, slug, url, root }
    }

    pub fn of_fleet(&self, governed: Option<Governed>, timeout: Duration) -> FleetKms {
        let keys = PinnedKeys::from_hex(&[self.double.k256_public_key()]).unwrap();
        let config = DstackKmsConfig { url: self.url.clone(), keys, ca_file: None, timeout };
        let client = Arc::new(DstackKms::open(&config).unwrap());
        let guests = vec![format!("https://{}.test", self.slug)];
        let remote = RemoteKms::new(client, guests);
        FleetKms::dstack(self.slug, &self.url, self.double.k256_public_key(), remote, governed)
    }

    /// The same keys without a server.
    pub fn keys(&self) -> BuiltinKms {
        BuiltinKms::new(RootKeys::from_bytes(&self.root).unwrap())
    }

    pub fn open(&self, vm: &SimVm) -> Option<String> {
        use secrecy::ExposeSecret as _;
        let opened = self.double.open(&vm.config.app_id, vm.config.sealed_env.as_ref()?)?;
        opened.first().map(|var| format!("{}={}", var.key, var.value.expose_secret()))
    }
}

pub async fn serve(app: axum::Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    url
}

/// A built-in host and two racks, each with a dstack-kms of its own. Ids are 1, 2 and 3.
pub struct Stage {
    pub world: World,
    pub one: Kms,
    pub two: Kms,
}

impl Stage {
    pub async fn new() -> Self {
        Self::with(|_| None, Duration::from_secs(1)).await
    }

    pub async fn with(governed: impl Fn(&str) -> Option<Governed>, timeout: Duration) -> Self {
        let node = |name| TestNode { name, ..TestNode::sim() };
        let nodes = vec![node("plain"), node("rack-1"), node("rack-2")];
        let mut world = World::fleet(nodes, |_| {}).await;
        let one = Kms::listening(&world, "kms-one", 1).await;
        let two = Kms::listening(&world, "kms-two", 2).await;
        let dstack = [&one, &two].map(|kms| kms.of_fleet(governed(kms.slug), timeout));
        take_keys_from(&mut world, dstack.into(), |node| match node {
            "rack-1" => Some("kms-one"),
            "rack-2" => Some("kms-two"),
            _ => None,
        });
        Self { world, one, two }
    }

    pub fn id(&self, slug: &str) -> String {
        let found = self.world.ctx.fleet.all_kms().find(|kms| kms.slug == slug);
        found.unwrap().id.to_string()
    }

    pub async fn provision(&self, name: &str, more: Value) -> Reply {
        self.world.post("/cvms/provision", body(name, more)).await
    }

    pub async fn deploy(&self, name: &str, more: Value) -> Value {
        let made = self.provision(name, more).await.ok();
        self.commit(&made, json!({})).await.ok()
    }

    pub async fn commit(&self, made: &Value, more: Value) -> Reply {
        let mut request = json!({ "app_id": made["app_id"], "compose_hash": made["compose_hash"] });
        merge(&mut request, more);
        self.world.post("/cvms", request).await
    }

    /// VMs of a host, by the place of its node.
    pub fn vms(&self, at: usize) -> Vec<SimVm> {
        self.world.sims[at].host().vms().unwrap()
    }
}

/// Adds each dstack-kms to the fleet of a world; `of_node` names the one that guests of a node use.
pub fn take_keys_from(
    world: &mut World,
    dstack: Vec<FleetKms>,
    of_node: impl Fn(&str) -> Option<&'static str>,
) {
    let fleet = &world.ctx.fleet;
    let own = (*fleet.own()).clone();
    for node in own.values() {
        let kms = of_node(&node.name).map(str::to_owned);
        node.set_policy(NodePolicy { kms, ..node.policy() });
    }
    let fleet = Fleet::new(own, fleet.kms.clone()).with_dstack_kms(dstack);
    world.ctx = Ctx::from(ctx::World { fleet: Arc::new(fleet), ..(*world.ctx).clone() });
    world.router = http::router(world.ctx.clone(), Metrics::install());
}

pub fn merge(into: &mut Value, mut more: Value) {
    into.as_object_mut().unwrap().append(more.as_object_mut().unwrap());
}

pub fn body(name: &str, more: Value) -> Value {
    let mut body = provision_body(name);
    merge(&mut body, more);
    body
}

pub fn sealed(to: &Value, value: &str) -> String {
    let key = to.as_str().unwrap().parse().unwrap();
    let var = EnvVar { key: "G".to_owned(), value: value.to_owned().into() };
    let sealed: SealedEnv = seal(&[var], &key, [5; 32], [6; 12]).unwrap();
    sealed.to_string()
}
