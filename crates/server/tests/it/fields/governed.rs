//! What is said of contracts, where a KMS is governed by one.

use std::sync::Arc;

use casemate_api::kms_type::KmsType;
use casemate_core::{
    governance::calldata::NewApp,
    id::{Address, AppId},
};
use casemate_engine::node::Image;
use casemate_testing::fake_chain::FakeChain;
use serde_json::{Value, json};

use crate::fields::{
    common::{Reply, TestNode, World},
    provision_rows::SEALED,
    row::{body, look, merge},
};

/// Fields whose effect is tested here.
pub const FIELDS: &[&str] = &["commit contract_address", "commit deployer_address"];
/// Codes that are tested here.
pub const CODES: &[(&str, &str)] = &[
    ("kms", "ERR-02-009"),
    ("image", "ERR-02-009"),
    ("nonce", "ERR-02-008"),
    ("encrypted_env", "ERR-02-009"),
    ("compose_file.encrypted_env", "ERR-02-009"),
    ("commit app_id", "ERR-02-008"),
    ("commit app_id", "ERR-03-007"),
    ("commit app_id", "ERR-01-008"),
    ("commit kms_id", "ERR-02-011"),
    ("commit contract_address", "ERR-02-008"),
    ("commit contract_address", "ERR-02-009"),
    ("commit deployer_address", "ERR-02-008"),
    ("commit transaction_hash", "ERR-01-007"),
];

const KMS: Address = Address::from_bytes([0x4b; 20]);
const OWNER: Address = Address::from_bytes([0x0a; 20]);
const DEPLOYER: Address = Address::from_bytes([0xd0; 20]);

async fn world() -> (World, FakeChain) {
    let chain = FakeChain::new(8453);
    chain.add_kms(KMS);
    let world = World::fleet(vec![TestNode::sim()], |_| {}).await;
    for image in &world.ctx.fleet.all()[0].observed().0.images {
        chain.allow_os_image(KMS, image_hash(image), true);
    }
    let here = Arc::new(chain.clone());
    (world.governed_by(vec![("kms-base-1", KmsType::Base, KMS, here)]), chain)
}

fn image_hash(image: &Image) -> [u8; 32] {
    let mut hash = [0; 32];
    hex::decode_to_slice(image.os_image_hash.as_ref().unwrap(), &mut hash).unwrap();
    hash
}

/// Provisions, and deploys the contract that allows it.
async fn prepared(world: &World, chain: &FakeChain) -> (Value, AppId) {
    let request = body("my-app", &[&json!({ "kms": "base" })]);
    let reply = world.post("/cvms/provision", request).await.ok();
    let app = NewApp {
        owner: OWNER,
        disable_upgrades: false,
        allow_any_device: true,
        device: None,
        hash: Some(reply["compose_hash"].as_str().unwrap().parse().unwrap()),
    };
    (reply, chain.deploy(KMS, &app).0)
}

async fn commit(world: &World, reply: &Value, app: AppId, said: &Value) -> Reply {
    let mut request =
        json!({ "app_id": format!("0x{app}"), "compose_hash": reply["compose_hash"] });
    merge(&mut request, said);
    world.post("/cvms", request).await
}

#[tokio::test]
async fn what_commit_says_of_the_contract_is_shown() {
    let (world, chain) = world().await;
    let (reply, app) = prepared(&world, &chain).await;
    let said = json!({
        "app_id": null, "contract_address": format!("0x{app}"),
        "deployer_address": format!("0x{DEPLOYER}"), "transaction_hash": "",
    });
    let vm = commit(&world, &reply, app, &said).await.ok();
    world.settle().await;
    let made = look(&world, reply, vm["vm_uuid"].as_str().unwrap()).await;
    assert_eq!(made.get["kms_info"]["dstack_app_address"], format!("0x{app}"));
    assert_eq!(made.get["kms_info"]["deployer_address"], format!("0x{DEPLOYER}"));
    assert_eq!((made.spec.deployer, made.spec.app_id), (Some(DEPLOYER), app));
}

#[tokio::test]
async fn each_code_of_a_field_is_met() {
    let (world, chain) = world().await;
    let mut met = Vec::new();
    let sealed = json!({ "encrypted_env": SEALED });
    for (field, said, code) in [
        ("kms", json!({ "key_provider_mode": "none" }), "ERR-02-009"),
        ("nonce", json!({ "nonce": 3 }), "ERR-02-008"),
        ("encrypted_env", sealed.clone(), "ERR-02-009"),
        ("compose_file.encrypted_env", json!({ "compose_file": sealed }), "ERR-02-009"),
    ] {
        let request = body("my-app", &[&json!({ "kms": "BASE" }), &said]);
        let refused = world.post("/cvms/provision", request).await.refused(400, code);
        assert_eq!(refused["details"][0]["field"], field, "{refused}");
        assert!(!refused["suggestions"].as_array().unwrap().is_empty(), "{refused}");
        met.push((field.to_owned(), code));
    }
    let (reply, app) = prepared(&world, &chain).await;
    let nobody = format!("0x{}", "11".repeat(20));
    for (field, value, status, code) in [
        ("app_id", Value::Null, 400, "ERR-02-008"),
        ("app_id", json!(nobody), 468, "ERR-01-008"),
        ("kms_id", json!("kms_nobody"), 400, "ERR-02-011"),
        ("contract_address", json!("0x12"), 400, "ERR-02-008"),
        ("contract_address", json!(nobody), 400, "ERR-02-009"),
        ("deployer_address", json!("me"), 400, "ERR-02-008"),
        ("transaction_hash", json!("0x12"), 467, "ERR-01-007"),
    ] {
        let refused = commit(&world, &reply, app, &json!({ field: value })).await;
        let refused = refused.refused(status, code);
        let words = refused.to_string();
        assert!(words.contains(field) || words.contains(&nobody), "{refused}");
        met.push((format!("commit {field}"), code));
    }
    // The app has a CVM with another configuration.
    commit(&world, &reply, app, &json!({})).await.ok();
    let other = body("other-app", &[&json!({ "kms": "base" })]);
    let other = world.post("/cvms/provision", other).await.ok();
    commit(&world, &other, app, &json!({})).await.refused(409, "ERR-03-007");
    met.push(("commit app_id".to_owned(), "ERR-03-007"));
    let image = world.ctx.fleet.all()[0].observed().0.images[0].clone();
    chain.allow_os_image(KMS, image_hash(&image), false);
    let barred = body("my-app", &[&json!({ "kms": "base", "image": image.name })]);
    world.post("/cvms/provision", barred).await.refused(400, "ERR-02-009");
    met.push(("image".to_owned(), "ERR-02-009"));
    for (field, code) in CODES {
        assert!(met.iter().any(|(other, met)| other == field && met == code), "{field} {code}");
    }
}
