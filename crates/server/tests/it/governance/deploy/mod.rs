//! Deployments of apps that contracts govern, and what is told of those contracts, through the real
//! router and a chain in memory.
//!
//! | module | what it holds |
//! |---|---|
//! | [`deploying`] | from provision to a CVM that runs |
//! | [`refusals`] | what is refused, in which words, and that nothing is used up |
//! | [`at_once`] | many commits at the same time, on both databases |
//! | [`choosing`] | which KMS a client means |
//! | [`looking`] | KMS, allowlists, checks, who governs an app |

use crate::common;

mod at_once;
mod choosing;
mod deploying;
mod looking;
mod refusals;

use std::sync::Arc;

use casemate_api::kms_type::KmsType;
use casemate_core::{
    governance::calldata::NewApp,
    id::{Address, AppId, ComposeHash, DeviceId, TxHash},
};
use casemate_engine::node::Inventory;
use casemate_store::Db;
use casemate_testing::fake_chain::FakeChain;
use common::{Reply, TestNode, World, provision_body};
use serde_json::{Value, json};

/// The contract of the KMS.
const KMS: Address = Address::from_bytes([0x4b; 20]);
/// Who deploys apps.
const OWNER: Address = Address::from_bytes([0x0a; 20]);

/// A world with a KMS `kms-base-1` on a chain in memory.
struct Stage {
    world: World,
    chain: FakeChain,
}

impl Stage {
    async fn new() -> Self {
        Self::of(World::new().await)
    }

    async fn over(db: Db) -> Self {
        Self::of(World::over(db, vec![TestNode::sim()], |_| {}).await)
    }

    /// With two nodes, the second on a host of its own.
    async fn with_two_hosts() -> Self {
        let second = TestNode { name: "sim-2", ..TestNode::sim() };
        let stage = Self::of(World::fleet(vec![TestNode::sim(), second], |_| {}).await);
        let node = &stage.world.ctx.fleet.all()[1];
        let inventory = Inventory { device_id: OTHER_HOST, ..(*node.observed().0).clone() };
        node.record_answer(Ok(inventory), stage.world.ctx.now());
        stage
    }

    fn of(world: World) -> Self {
        let chain = FakeChain::new(8453);
        chain.add_kms(KMS);
        let here: Arc<FakeChain> = Arc::new(chain.clone());
        let world = world.governed_by(vec![("kms-base-1", KmsType::Base, KMS, here)]);
        let stage = Self { world, chain };
        for image in images(&stage.world) {
            stage.chain.allow_os_image(KMS, image, true);
        }
        stage
    }

    async fn provision(&self, name: &str) -> Value {
        self.provision_with(name, json!({})).await
    }

    async fn provision_with(&self, name: &str, more: Value) -> Value {
        let reply = self.world.post("/cvms/provision", body(name, &more)).await;
        reply.ok()
    }

    /// Deploys the contract of an app that allows what was provisioned, as the CLI does.
    fn app(&self, provisioned: &Value) -> (AppId, TxHash) {
        self.chain.deploy(KMS, &new_app(provisioned))
    }

    async fn commit(&self, provisioned: &Value, app: AppId, more: Value) -> Reply {
        self.world.post("/cvms", commit_body(provisioned, app, &more)).await
    }

    /// Provision, contract, commit.
    async fn deploy(&self, name: &str) -> (AppId, Value) {
        let provisioned = self.provision(name).await;
        let (app, _) = self.app(&provisioned);
        let vm = self.commit(&provisioned, app, json!({})).await.ok();
        (app, vm)
    }

    /// Somebody else, in a workspace of his own.
    async fn stranger(&self) -> World {
        common::stranger(&self.world.ctx, "evil", "phak_eve").await;
        let mut world = self.world.replica();
        "phak_eve".clone_into(&mut world.key);
        world
    }

    async fn total(&self) -> Value {
        self.world.get("/cvms/paginated").await.ok()["total"].clone()
    }
}

/// The host of the second node.
const OTHER_HOST: DeviceId = DeviceId::from_bytes([0xde; 32]);

/// OS images of a world's nodes.
fn images(world: &World) -> Vec<[u8; 32]> {
    let mut images = Vec::new();
    for node in world.ctx.fleet.all() {
        for image in &node.observed().0.images {
            let mut hash = [0; 32];
            if let Some(text) = &image.os_image_hash {
                hex::decode_to_slice(text, &mut hash).unwrap();
                images.push(hash);
            }
        }
    }
    images
}

fn body(name: &str, more: &Value) -> Value {
    let mut body = provision_body(name);
    body["kms"] = json!("BASE");
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn commit_body(provisioned: &Value, app: AppId, more: &Value) -> Value {
    let mut body = json!({
        "app_id": format!("0x{app}"), "compose_hash": provisioned["compose_hash"],
        "kms_id": "kms-base-1",
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn compose_hash(reply: &Value) -> ComposeHash {
    reply["compose_hash"].as_str().unwrap().parse().unwrap()
}

fn device(reply: &Value) -> DeviceId {
    reply["device_id"].as_str().unwrap().parse().unwrap()
}

fn new_app(provisioned: &Value) -> NewApp {
    NewApp {
        owner: OWNER,
        disable_upgrades: false,
        allow_any_device: false,
        device: Some(device(provisioned)),
        hash: Some(compose_hash(provisioned)),
    }
}
