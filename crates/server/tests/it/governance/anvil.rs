//! What can become of a commit token, on a real chain: anvil with the doubles of `contracts/`, asked over
//! JSON-RPC. The same rows on the chain in memory, and more of them, are in `governed_updates`.

use crate::common;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axum::http::Request;
use casemate_api::kms_type::KmsType;
use casemate_core::{
    governance::calldata::{self, NewApp},
    id::{Address, AppId, ComposeHash, DeviceId, TxHash},
};
use casemate_engine::chain::{
    Chain,
    rpc::{Config, RpcChain},
};
use casemate_server::system;
use casemate_testing::anvil::Anvil;
use common::{COMPOSE, Reply, World, provision_body};
use secrecy::SecretString;
use serde_json::{Value, json};

/// A running CVM whose app is a contract on anvil.
struct Stage {
    anvil: Anvil,
    world: World,
    kms: Address,
    app: AppId,
    device: DeviceId,
    reference: String,
}

pub fn chain(url: SecretString) -> Arc<dyn Chain> {
    let config = Config {
        call_timeout: Duration::from_secs(2),
        keep: Duration::ZERO,
        ..Config::new(8453, vec![url])
    };
    Arc::new(RpcChain::new(&config, system::clock()).unwrap())
}

impl Stage {
    async fn new() -> Self {
        let anvil = Anvil::start(8453, &[]).await;
        let kms = anvil.deploy_kms().await;
        let world = World::new().await;
        for image in &world.ctx.fleet.all()[0].observed().0.images {
            let mut hash = [0; 32];
            hex::decode_to_slice(image.os_image_hash.as_ref().unwrap(), &mut hash).unwrap();
            anvil.allow_os_image(kms, hash, true).await;
        }
        let world = world.governed_by(vec![("kms-base-1", KmsType::Base, kms, chain(anvil.url()))]);
        let mut body = provision_body("my-app");
        body["kms"] = json!("BASE");
        let provisioned = world.post("/cvms/provision", body).await.ok();
        let hash = provisioned["compose_hash"].as_str().unwrap().parse().unwrap();
        let device = provisioned["device_id"].as_str().unwrap().parse().unwrap();
        let new = Self::app(&anvil, Some(device), Some(hash));
        let (app, transaction) = anvil.deploy_app(kms, &new).await;
        let commit = json!({
            "app_id": format!("0x{app}"), "compose_hash": provisioned["compose_hash"],
            "kms_id": "kms-base-1", "transaction_hash": format!("0x{transaction}"),
        });
        world.post("/cvms", commit).await.ok();
        world.settle().await;
        let detail = world.get("/cvms/my-app").await.ok();
        assert_eq!(detail["status"], "running", "{detail}");
        let reference = detail["id"].as_str().unwrap().to_owned();
        Self { anvil, world, kms, app, device, reference }
    }

    fn app(anvil: &Anvil, device: Option<DeviceId>, hash: Option<ComposeHash>) -> NewApp {
        let owner = anvil.account(1);
        NewApp { owner, disable_upgrades: false, allow_any_device: false, device, hash }
    }

    /// Another document, prepared: its hash and its token.
    async fn prepare(&self, image: &str) -> (ComposeHash, String) {
        let file = COMPOSE.replace("busybox:1.36", image);
        let request = Request::patch(format!("/api/v1/cvms/{}", self.reference))
            .header("x-api-key", &self.world.key)
            .header("x-prepare-only", "true")
            .header("content-type", "application/json")
            .body(json!({ "docker_compose_file": file }).to_string().into());
        let reply = self.world.send(request.unwrap()).await.refused(465, "ERR-01-005");
        let details = reply["details"].as_array().unwrap();
        let of = |field: &str| {
            let found = details.iter().find(|one| one["field"] == field).unwrap();
            found["value"].as_str().unwrap().to_owned()
        };
        (of("compose_hash").parse().unwrap(), of("commit_token"))
    }

    /// Without an API key.
    async fn commit_at(&self, world: &World, body: Value) -> Reply {
        let path = format!("/api/v1/cvms/{}/commit-update", self.reference);
        world.send(Request::post(path).body(body.to_string().into()).unwrap()).await
    }

    async fn commit(&self, token: &str) -> Reply {
        self.commit_at(&self.world, json!({ "token": token })).await
    }

    async fn commit_with(&self, token: &str, transaction: TxHash) -> Reply {
        let body = json!({ "token": token, "transaction_hash": format!("0x{transaction}") });
        self.commit_at(&self.world, body).await
    }

    /// The owner calls a contract of an app.
    async fn owner(&self, app: AppId, call: Vec<u8>) -> TxHash {
        self.anvil.done(self.anvil.account(1), app.into(), call).await
    }

    async fn allow(&self, hash: ComposeHash) -> TxHash {
        self.owner(self.app, calldata::add_compose_hash(hash)).await
    }

    async fn runs(&self, hash: ComposeHash) {
        self.world.settle().await;
        let detail = self.world.get("/cvms/my-app").await.ok();
        assert_eq!(detail["status"], "running", "{detail}");
        assert_eq!(detail["compose_hash"], hash.to_string());
    }

    async fn updates(&self) -> usize {
        let list = self.world.get("/cvms/my-app/operations?limit=100").await.ok();
        let all = list["items"].as_array().unwrap();
        all.iter().filter(|one| one["operation_type"] == "update").count()
    }
}

#[tokio::test]
async fn a_token_outlives_what_is_not_allowed_yet_and_is_used_once() {
    let stage = Stage::new().await;
    let (hash, token) = stage.prepare("a:1").await;
    let guess = "1c2f3c0e-7c8d-4a43-9a51-6c9d8a1d3f10";
    stage.commit(guess).await.refused(466, "ERR-01-006");
    let refused = stage.commit(&token).await.refused(468, "ERR-01-008");
    assert!(refused["message"].as_str().unwrap().contains("addComposeHash"), "{refused}");
    // The same hash on another app, and a transaction that nobody made.
    let new = Stage::app(&stage.anvil, None, None);
    let (other, _) = stage.anvil.deploy_app(stage.kms, &new).await;
    let foreign = stage.owner(other, calldata::add_compose_hash(hash)).await;
    stage.commit_with(&token, foreign).await.refused(467, "ERR-01-007");
    // One who is not the owner: mined, and reverted.
    let stranger = stage.anvil.account(5);
    let call = calldata::add_compose_hash(hash);
    let reverted = stage.anvil.send(stranger, stage.app.into(), call).await;
    stage.commit_with(&token, reverted).await.refused(467, "ERR-01-007");

    let approved = stage.allow(hash).await;
    let drift = json!({ "token": token, "compose_hash": "22".repeat(32) });
    stage.commit_at(&stage.world, drift).await.refused(466, "ERR-01-006");
    // No endpoint answers: nothing is used up.
    let dead = SecretString::from("http://127.0.0.1:1");
    let silent = stage.world.replica();
    let silent = silent.governed_by(vec![("kms-base-1", KmsType::Base, stage.kms, chain(dead))]);
    let down = stage.commit_at(&silent, json!({ "token": token })).await;
    assert!(down.headers.contains_key("retry-after"));
    down.refused(503, "ERR-20-023");
    // The device was taken off the list, and is put on it again.
    stage.owner(stage.app, calldata::remove_device(stage.device)).await;
    let refused = stage.commit(&token).await.refused(468, "ERR-01-008");
    assert!(refused["message"].as_str().unwrap().contains("addDevice"), "{refused}");
    stage.owner(stage.app, calldata::add_device(stage.device)).await;

    assert_eq!(stage.updates().await, 0);
    let done = stage.commit_with(&token, approved).await.ok();
    let again = stage.commit(&token).await.ok();
    assert_eq!(done["correlation_id"], again["correlation_id"]);
    stage.runs(hash).await;
    stage.world.clock.advance_ms(3_600_001);
    stage.commit(&token).await.refused(466, "ERR-01-006");
    assert_eq!(stage.updates().await, 1);
}

#[tokio::test]
async fn a_newer_preparation_a_moved_base_time_and_deletion_make_a_token_void() {
    let stage = Stage::new().await;
    let (_, older) = stage.prepare("b:1").await;
    let (hash, newer) = stage.prepare("b:2").await;
    stage.allow(hash).await;
    stage.commit(&older).await.refused(466, "ERR-01-006");
    let body = json!({ "user_config": "moved" });
    stage.world.call("PATCH", "/cvms/my-app", "2026-01-21", Some(body)).await.ok();
    stage.world.settle().await;
    stage.commit(&newer).await.refused(466, "ERR-01-006");
    // What was approved stays so: the same bytes have the same hash.
    let (same, token) = stage.prepare("b:2").await;
    assert_eq!(same, hash);
    stage.commit(&token).await.ok();
    stage.runs(hash).await;

    // Added and removed again: the transaction is true, and the state decides.
    let (hash, token) = stage.prepare("b:3").await;
    let added = stage.allow(hash).await;
    stage.owner(stage.app, calldata::remove_compose_hash(hash)).await;
    stage.commit_with(&token, added).await.refused(468, "ERR-01-008");
    stage.allow(hash).await;
    stage.world.clock.advance_ms(14 * 86_400_000 + 1);
    stage.commit(&token).await.refused(466, "ERR-01-006");
    let (hash, token) = stage.prepare("b:4").await;
    stage.allow(hash).await;
    stage.world.call("DELETE", "/cvms/my-app", "2026-01-21", None).await.ok();
    stage.commit(&token).await.refused(466, "ERR-01-006");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_sixty_four_commits_of_one_token_one_changes_the_cvm() {
    let stage = Arc::new(Stage::new().await);
    let (hash, token) = stage.prepare("c:1").await;
    stage.allow(hash).await;
    let all: Vec<_> = (0..64)
        .map(|_| {
            let (stage, token) = (stage.clone(), token.clone());
            tokio::spawn(async move { stage.commit(&token).await })
        })
        .collect();
    let mut told = BTreeSet::new();
    for one in all {
        told.insert(one.await.unwrap().ok()["correlation_id"].as_str().unwrap().to_owned());
    }
    assert_eq!(told.len(), 1);
    stage.runs(hash).await;
    assert_eq!(stage.updates().await, 1);
}
