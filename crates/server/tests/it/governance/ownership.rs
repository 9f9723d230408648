//! Whose an app is, on a real chain: the owner of its contract signs, and an operator can require that.

use std::sync::Arc;

use axum::http::Request;
use casemate_api::kms_type::KmsType;
use casemate_core::{
    governance::calldata::NewApp,
    id::{Address, AppId},
};
use casemate_server::config::OwnerProof;
use casemate_testing::anvil::Anvil;
use serde_json::{Value, json};

use super::anvil::chain;
use crate::common::{self, Reply, World, provision_body};

struct Stage {
    anvil: Anvil,
    world: World,
    app: AppId,
    provisioned: Value,
}

async fn send(world: &World, key: &str, method: &str, path: &str, body: Value) -> Reply {
    let request = Request::builder()
        .method(method)
        .uri(format!("/api/v1{path}"))
        .header("x-api-key", key)
        .header("content-type", "application/json");
    world.send(request.body(body.to_string().into()).unwrap()).await
}

impl Stage {
    /// A document that an app on anvil allows, prepared in the default workspace. Account 1 owns the contract.
    async fn new(proof: OwnerProof) -> Self {
        let anvil = Anvil::start(8453, &[]).await;
        let kms = anvil.deploy_kms().await;
        let world = World::with(|config| config.governance.owner_proof = proof).await;
        for image in &world.ctx.fleet.all()[0].observed().0.images {
            let mut hash = [0; 32];
            hex::decode_to_slice(image.os_image_hash.as_ref().unwrap(), &mut hash).unwrap();
            anvil.allow_os_image(kms, hash, true).await;
        }
        let chain = chain(anvil.url());
        let world = world.governed_by(vec![("kms-base-1", KmsType::Base, kms, Arc::clone(&chain))]);
        common::stranger(&world.ctx, "eve", "phak_eve").await;
        let mut body = provision_body("my-app");
        body["kms"] = json!("BASE");
        let provisioned = world.post("/cvms/provision", body).await.ok();
        let new = NewApp {
            owner: anvil.account(1),
            disable_upgrades: false,
            allow_any_device: false,
            device: Some(provisioned["device_id"].as_str().unwrap().parse().unwrap()),
            hash: Some(provisioned["compose_hash"].as_str().unwrap().parse().unwrap()),
        };
        let (app, _) = anvil.deploy_app(kms, &new).await;
        Self { anvil, world, app, provisioned }
    }

    async fn commit(&self, key: &str, provisioned: &Value) -> Reply {
        let body = json!({
            "app_id": format!("0x{}", self.app), "compose_hash": provisioned["compose_hash"],
            "kms_id": "kms-base-1",
        });
        send(&self.world, key, "POST", "/cvms", body).await
    }

    fn path(&self) -> String {
        format!("/casemate/apps/0x{}/ownership", self.app)
    }

    /// The proof of an account for the workspace of a key.
    async fn signed(&self, key: &str, by: Address) -> Value {
        let path = format!("{}?kms_id=kms-base-1", self.path());
        let message = send(&self.world, key, "GET", &path, json!({})).await.ok();
        assert_eq!(message["owner"], format!("0x{}", self.anvil.account(1)), "{message}");
        let text = format!("0x{}", hex::encode(message["message"].as_str().unwrap()));
        let signature = self.anvil.rpc("personal_sign", json!([text, format!("0x{by}")])).await;
        json!({"kms_id": "kms-base-1", "issued_at": message["issued_at"], "signature": signature})
    }

    async fn prove(&self, key: &str, proof: &Value) -> Reply {
        send(&self.world, key, "POST", &self.path(), proof.clone()).await
    }
}

#[tokio::test]
async fn where_a_proof_is_required_nobody_commits_without_one() {
    let stage = Stage::new(OwnerProof::Required).await;
    let mine = stage.world.key.clone();
    stage.commit(&mine, &stage.provisioned).await.refused(403, "ERR-20-053");
    let stranger = stage.signed(&mine, stage.anvil.account(5)).await;
    stage.prove(&mine, &stranger).await.refused(403, "ERR-20-053");
    let proof = stage.signed(&mine, stage.anvil.account(1)).await;
    // It names the workspace that it is for.
    stage.prove("phak_eve", &proof).await.refused(403, "ERR-20-053");
    let proven = stage.prove(&mine, &proof).await.ok();
    assert_eq!((&proven["transferred"], &proven["workspace"]), (&json!(false), &json!("default")));
    let made = stage.commit(&mine, &stage.provisioned).await.ok();
    stage.world.settle().await;
    assert_eq!(made["name"], "my-app", "{made}");
    assert_eq!(stage.world.get("/cvms/my-app").await.ok()["status"], "running");
    let apps = stage.world.get("/apps").await.ok();
    assert!(apps.to_string().contains("my-app"), "{apps}");
}

#[tokio::test]
async fn the_owner_takes_an_app_to_another_workspace_which_sees_nothing_of_before() {
    let stage = Stage::new(OwnerProof::Optional).await;
    let mine = stage.world.key.clone();
    stage.commit(&mine, &stage.provisioned).await.ok();
    stage.world.settle().await;
    let revisions = format!("/apps/{}/revisions", stage.app);
    assert_eq!(stage.world.get(&revisions).await.ok()["revisions"].as_array().unwrap().len(), 1);

    let owner = stage.anvil.account(1);
    let proof = stage.signed("phak_eve", owner).await;
    let refused = stage.prove("phak_eve", &proof).await.refused(409, "ERR-03-007");
    assert!(refused["message"].as_str().unwrap().contains("1 live CVMs"), "{refused}");
    stage.world.call("DELETE", "/cvms/my-app", "", None).await;
    stage.world.settle().await;
    stage.world.clock.advance_ms(2000);
    let proof = stage.signed("phak_eve", owner).await;
    let moved = stage.prove("phak_eve", &proof).await.ok();
    assert_eq!((&moved["transferred"], &moved["workspace"]), (&json!(true), &json!("eve")));
    // A proof counts once, and an earlier one for somebody else never again.
    stage.prove("phak_eve", &proof).await.refused(403, "ERR-20-053");

    assert_eq!(stage.world.get(&revisions).await.status, 404);
    assert_eq!(send(&stage.world, "phak_eve", "GET", &revisions, json!({})).await.status, 404);
    let mut body = provision_body("my-app");
    body["kms"] = json!("BASE");
    let again = stage.world.post("/cvms/provision", body.clone()).await.ok();
    stage.commit(&mine, &again).await.refused(409, "ERR-03-007");
    let theirs = send(&stage.world, "phak_eve", "POST", "/cvms/provision", body).await.ok();
    stage.commit("phak_eve", &theirs).await.ok();
    stage.world.settle().await;
    let seen = send(&stage.world, "phak_eve", "GET", &revisions, json!({})).await.ok();
    assert_eq!(seen["revisions"].as_array().unwrap().len(), 1, "{seen}");

    // And back, while it is at rest.
    send(&stage.world, "phak_eve", "DELETE", "/cvms/my-app", json!({})).await;
    stage.world.settle().await;
    stage.world.clock.advance_ms(16 * 60 * 1000);
    let late = stage.signed(&mine, owner).await;
    stage.world.clock.advance_ms(16 * 60 * 1000);
    stage.prove(&mine, &late).await.refused(403, "ERR-20-053");
    let proof = stage.signed(&mine, owner).await;
    assert_eq!(stage.prove(&mine, &proof).await.ok()["transferred"], true);
}
