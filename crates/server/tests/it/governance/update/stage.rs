//! A CVM whose app a contract governs, on a chain in memory.

use std::sync::Arc;

use axum::http::Request;
use casemate_api::kms_type::KmsType;
use casemate_core::{
    cvm::StopMode,
    id::{Address, AppId, ComposeHash, CvmRef, DeviceId, KmsId, NodeId, TxHash, VmUuid},
    operation::OperationKind,
};
use casemate_engine::{
    chain::Chain,
    node::{Image, Node},
};
use casemate_server::{
    app::{
        Ctx, ctx,
        fleet::{Fleet, FleetKms, Governed},
    },
    config::Config,
    http,
    telemetry::Metrics,
};
use casemate_store::{
    Db,
    cvms::{Cvm, NewCvm, by_id},
};
use casemate_testing::fake_chain::FakeChain;
use serde_json::{Value, json};

use crate::governance::update::common::{COMPOSE, Reply, TestNode, World};

/// The contract of the KMS.
pub const KMS: Address = Address::from_bytes([0x33; 20]);
/// Who owns the contracts of apps.
pub const OWNER: Address = Address::from_bytes([0xaa; 20]);

/// Another compose file.
pub fn other(image: &str) -> String {
    COMPOSE.replace("busybox:1.36", image)
}

pub struct Stage {
    pub world: World,
    pub chain: FakeChain,
    pub app: AppId,
    pub cvm: Cvm,
}

impl Stage {
    pub async fn new() -> Self {
        Self::with(World::new().await).await
    }

    pub async fn over(db: Db) -> Self {
        Self::with(World::over(db, vec![TestNode::sim()], |_| {}).await).await
    }

    pub async fn configured(change: impl FnOnce(&mut Config)) -> Self {
        Self::with(World::with(change).await).await
    }

    /// `my-app`, running, with its document and device allowed.
    pub async fn with(world: World) -> Self {
        let chain = FakeChain::new(8453);
        chain.add_kms(KMS);
        for image in images(&world).await {
            chain.allow_os_image(KMS, image, true);
        }
        let world = govern(world, Arc::new(chain.clone()));
        let (app, cvm) = governed_cvm(&world, "my-app").await;
        chain.add_app(KMS, app, OWNER);
        chain.add_hash(app, cvm.spec.compose_hash);
        let stage = Self { world, chain, app, cvm };
        stage.chain.add_device(app, stage.device().await);
        stage.world.settle().await;
        assert_eq!(stage.detail().await["status"], "running");
        stage
    }

    /// Hashes of the OS images of its node.
    pub async fn images(&self) -> Vec<[u8; 32]> {
        images(&self.world).await
    }

    pub async fn device(&self) -> DeviceId {
        self.world.sim.inventory().await.unwrap().device_id
    }

    pub async fn detail(&self) -> Value {
        self.world.get("/cvms/my-app").await.ok()
    }

    /// The document that is in force, or about to be.
    pub async fn hash(&self) -> ComposeHash {
        self.read().await.spec.compose_hash
    }

    pub async fn read(&self) -> Cvm {
        by_id(&self.world.ctx.db, self.cvm.workspace, self.cvm.id).await.unwrap().unwrap()
    }

    /// A request with the API key and these headers.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        body: &Value,
        headers: &[(&str, &str)],
    ) -> Reply {
        let text = match body {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let kind = if body.is_string() { "text/plain" } else { "application/json" };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header("x-api-key", &self.world.key)
            .header("x-phala-version", "2026-01-21")
            .header("content-type", kind);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.world.send(request.body(text.into()).unwrap()).await
    }

    /// A request without an API key.
    pub async fn nobody(&self, method: &str, path: &str, body: &Value) -> Reply {
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header("content-type", "application/json");
        let body = if method == "GET" { String::new() } else { body.to_string() };
        self.world.send(request.body(body.into()).unwrap()).await
    }

    pub async fn patch(&self, body: Value, headers: &[(&str, &str)]) -> Reply {
        self.send("PATCH", "/cvms/my-app", &body, headers).await
    }

    /// Prepares another compose file and returns what is told of it.
    pub async fn prepare(&self, image: &str) -> Told {
        let body = json!({ "docker_compose_file": other(image) });
        Told::of(self.patch(body, &[("x-prepare-only", "true")]).await)
    }

    pub async fn commit(&self, token: &str) -> Reply {
        self.commit_with(json!({ "token": token })).await
    }

    pub async fn commit_with(&self, body: Value) -> Reply {
        self.nobody("POST", &format!("/cvms/{}/commit-update", self.cvm.reference), &body).await
    }

    /// The owner allows a document; the transaction.
    pub fn allow(&self, hash: ComposeHash) -> String {
        text(self.chain.add_hash(self.app, hash))
    }

    /// Nothing is under way or waits, and the CVM boots this document.
    pub async fn boots(&self, hash: ComposeHash) {
        self.world.settle().await;
        let detail = self.detail().await;
        assert_eq!(detail["status"], "running", "{detail}");
        assert_eq!(detail["compose_hash"], hash.to_string());
        let document = self.world.get("/cvms/my-app/compose_file").await.ok();
        assert!(document.is_object());
    }

    /// How many operations of this kind the CVM has had.
    pub async fn operations(&self, kind: &str) -> usize {
        let list = self.world.get("/cvms/my-app/operations?limit=100").await.ok();
        let all = list["items"].as_array().unwrap();
        all.iter().filter(|one| one["operation_type"] == kind).count()
    }

    /// Kinds and bodies of the events of the CVM, oldest first.
    pub async fn events(&self, kind: &str) -> Vec<Value> {
        let zero = casemate_core::id::EventSeq(0);
        let all = casemate_store::events::of_cvm(&self.world.ctx.db, self.cvm.id, zero, 1000).await;
        let all = all.unwrap().into_iter().filter(|event| event.kind == kind);
        all.map(|event| serde_json::from_str(&event.body).unwrap()).collect()
    }
}

async fn images(world: &World) -> Vec<[u8; 32]> {
    let hash = |image: Image| {
        let mut hash = [0; 32];
        hex::decode_to_slice(image.os_image_hash.unwrap(), &mut hash).unwrap();
        hash
    };
    world.sim.inventory().await.unwrap().images.into_iter().map(hash).collect()
}

/// The transaction as clients send it.
pub fn text(transaction: TxHash) -> String {
    format!("0x{transaction}")
}

/// What the answer 465 tells.
#[derive(Debug, Clone)]
pub struct Told(pub Value);

impl Told {
    #[track_caller]
    pub fn of(reply: Reply) -> Self {
        Self(reply.refused(465, "ERR-01-005"))
    }

    pub fn get(&self, field: &str) -> Option<&Value> {
        let details = self.0["details"].as_array().unwrap();
        details.iter().find(|fact| fact["field"] == field).map(|fact| &fact["value"])
    }

    #[track_caller]
    pub fn text(&self, field: &str) -> String {
        self.get(field)
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("{field}: {self:?}"))
            .to_owned()
    }

    #[track_caller]
    pub fn hash(&self) -> ComposeHash {
        self.text("compose_hash").parse().unwrap()
    }

    #[track_caller]
    pub fn token(&self) -> String {
        self.text("commit_token")
    }
}

/// The same world with a KMS under this contract.
fn govern(mut world: World, chain: Arc<dyn Chain>) -> World {
    let fleet = &world.ctx.fleet;
    let kms = FleetKms {
        id: KmsId("kms_governed".to_owned()),
        slug: "base-test".to_owned(),
        governed: Some(Governed {
            kind: KmsType::Base,
            contract: KMS,
            gateway_app_id: None,
            explorer: Some("https://basescan.test".to_owned()),
            chain,
        }),
        ..fleet.kms.clone()
    };
    let fleet = Fleet::new((*fleet.own()).clone(), fleet.kms.clone()).governed_by(vec![kms]);
    let ctx = Ctx::from(ctx::World { fleet: Arc::new(fleet), ..(*world.ctx).clone() });
    world.router = http::router(ctx.clone(), Metrics::install());
    world.ctx = ctx;
    world
}

/// A CVM whose keys the KMS under the contract holds, about to be created.
pub async fn governed_cvm(world: &World, name: &str) -> (AppId, Cvm) {
    let provisioned = world.provision(name).await;
    let app: AppId = provisioned["app_id"].as_str().unwrap().parse().unwrap();
    let hash: ComposeHash = provisioned["compose_hash"].as_str().unwrap().parse().unwrap();
    let ctx = &world.ctx;
    let me = ctx.authenticate(&world.key).await.unwrap();
    let mut tx = ctx.db.begin().await.unwrap();
    let found = tx.provisions_for(me.workspace.id, &hash, Some(&app)).await.unwrap();
    let spec = found[0].spec.clone();
    let new = NewCvm {
        reference: CvmRef::from_random(ctx.entropy.u64()),
        uuid: VmUuid::from_uuid(ctx.entropy.uuid_v4()),
        workspace: me.workspace.id,
        created_by: me.user.id,
        node: NodeId(1),
        kms: KmsId("kms_governed".to_owned()),
        stop: StopMode::Graceful { timeout_s: spec.shutdown_timeout_s, force: true },
        spec,
        sealed_env: None,
    };
    let cvm = tx.insert_cvm(new, ctx.now()).await.unwrap().cvm;
    let operation = ctx.operation_id();
    tx.open_operation(operation, cvm.id, OperationKind::Create, 1, me.user.id, ctx.now())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    (app, cvm)
}
