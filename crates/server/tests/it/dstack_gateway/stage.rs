//! A world with clusters that lead to its only node.

use std::{os::unix::fs::PermissionsExt as _, sync::Arc, time::Duration};

use casemate_dstack_double::{
    GatewayDouble, GatewayFault, GatewayProfile, gateway::Registered, gateway_router,
};
use casemate_server::{
    app::{Ctx, ctx, fleet::NodePolicy, gateways::GatewayClusters},
    config::{Config, ConfiguredGateway},
    gateway_watch, work,
};
use casemate_store::cvms::{self, Cvm};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::World;

pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";

pub struct Stage {
    pub world: World,
    /// Clusters `gw-1`, `gw-2` … with the domains `apps-1.example` …
    pub clusters: Vec<Arc<GatewayDouble>>,
    /// Of the app that was deployed last.
    pub app: String,
    _original: World,
    _dir: TempDir,
}

pub async fn listen(router: axum::Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

impl Stage {
    pub async fn new(profiles: &[GatewayProfile], change: impl FnOnce(&mut Config)) -> Self {
        let original = World::with(change).await;
        let dir = tempfile::tempdir().unwrap();
        let token_file = dir.path().join("token");
        std::fs::write(&token_file, TOKEN).unwrap();
        std::fs::set_permissions(&token_file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let (mut clusters, mut configured) = (Vec::new(), Vec::new());
        for (at, profile) in profiles.iter().enumerate() {
            let domain = format!("apps-{}.example", at + 1);
            let double = Arc::new(GatewayDouble::new(profile.clone(), &domain, Some(TOKEN)));
            let url = listen(gateway_router(double.clone())).await;
            configured.push(ConfiguredGateway {
                name: format!("gw-{}", at + 1),
                rpc_url: Some(format!("{url}/public")),
                admin_url: url,
                token_file: Some(token_file.clone()),
                user: None,
                ca_file: None,
                base_domains: vec![domain],
            });
            clusters.push(double);
        }
        let gateways = GatewayClusters::open(&configured, Duration::from_secs(2)).await.unwrap();
        let node = original.ctx.fleet.all().remove(0);
        let names = configured.iter().map(|cluster| cluster.name.clone()).collect();
        node.set_policy(NodePolicy { gateways: names, ..node.policy() });
        let ctx = Ctx::from(ctx::World { gateways: Arc::new(gateways), ..(*original.ctx).clone() });
        let world = original.at(ctx);
        Self { world, clusters, app: String::new(), _original: original, _dir: dir }
    }

    /// Looks at every cluster once.
    pub async fn look(&self) {
        for cluster in self.world.ctx.gateways.all() {
            gateway_watch::look(&self.world.ctx, cluster).await;
        }
    }

    /// A running CVM that is registered at every cluster.
    pub async fn deploy(&mut self, name: &str) {
        self.app = self.world.deploy(name).await["app_id"].as_str().unwrap().to_owned();
        self.world.settle().await;
        let instance = self.instance(name).await;
        for cluster in &self.clusters {
            cluster.register(&instance, self.record(0));
        }
    }

    /// The record of an instance with so many connections.
    pub fn record(&self, connections: u64) -> Registered {
        let app_id = self.app.trim_start_matches("app_").to_owned();
        Registered { app_id, latest_handshake: 1_790_000_000, connections }
    }

    pub async fn cvm(&self, name: &str) -> Cvm {
        let app = self.app.trim_start_matches("app_").parse::<casemate_core::id::AppId>();
        let found = cvms::for_gateway(&self.world.ctx.db, app.unwrap().as_bytes()).await.unwrap();
        found.into_iter().find(|cvm| cvm.spec.name == name).unwrap()
    }

    pub async fn instance(&self, name: &str) -> String {
        self.cvm(name).await.instance_id.unwrap().to_string()
    }

    pub async fn post(&self, path: &str) {
        self.world.post(path, Value::Null).await.ok();
    }

    /// Works on what is due now.
    pub async fn step(&self) -> usize {
        Box::pin(work::driver::settle_now(&self.world.ctx, "test")).await
    }

    /// Steps until something holds or `ms` of the clock have passed; whether it held.
    pub async fn within(&self, ms: i64, mut holds: impl AsyncFnMut(&Self) -> bool) -> bool {
        for _ in 0..ms / 20 {
            self.step().await;
            if holds(self).await {
                return true;
            }
            self.world.clock.advance_ms(20);
        }
        holds(self).await
    }

    pub fn set_faults(&self, faults: &[GatewayFault]) {
        for cluster in &self.clusters {
            cluster.set_faults(faults.to_vec());
        }
    }

    /// Steps of the newest operation: names and causes.
    pub async fn steps(&self, name: &str) -> Vec<(String, Value)> {
        let all = self.world.get(&format!("/cvms/{name}/operations")).await.ok();
        let steps = all["items"][0]["steps"].as_array().unwrap().clone();
        let told = |step: &Value| {
            let outcome = json!({ "outcome": step["outcome"], "cause": step["cause"]["code"] });
            (step["name"].as_str().unwrap().to_owned(), outcome)
        };
        steps.iter().map(told).collect()
    }
}
