//! Which KMS a client means.

use std::sync::Arc;

use casemate_api::kms_type::KmsType;
use casemate_core::id::Address;
use casemate_testing::fake_chain::FakeChain;
use serde_json::{Value, json};

use crate::governance::deploy::{
    KMS, OWNER, Stage, body,
    common::{World, provision_body},
    images,
};

const SECOND: Address = Address::from_bytes([0x5c; 20]);
const THIRD: Address = Address::from_bytes([0x6d; 20]);

/// Two on Base, one on Ethereum, and the one without a contract.
async fn world() -> World {
    let world = World::new().await;
    let base = Arc::new(FakeChain::new(8453));
    let ethereum = Arc::new(FakeChain::new(1));
    for (chain, kms) in [(&base, KMS), (&base, SECOND), (&ethereum, THIRD)] {
        chain.add_kms(kms);
        for image in images(&world) {
            chain.allow_os_image(kms, image, true);
        }
    }
    world.governed_by(vec![
        ("kms-base-1", KmsType::Base, KMS, base.clone()),
        ("kms-base-2", KmsType::Base, SECOND, base),
        ("kms-eth", KmsType::Ethereum, THIRD, ethereum),
    ])
}

/// The slug of the KMS that is chosen, or the refusal.
async fn chosen(world: &World, said: Value) -> Result<String, Value> {
    let mut request = body("my-app", &said);
    if request["kms"] == "BASE" {
        request.as_object_mut().unwrap().remove("kms");
    }
    let reply = world.post("/cvms/provision", request).await;
    if reply.status == 200 {
        return Ok(reply.ok()["kms_info"]["slug"].as_str().unwrap().to_owned());
    }
    Err(reply.refused(400, "ERR-02-011"))
}

#[tokio::test]
async fn every_name_of_a_kms_leads_to_it() {
    let world = world().await;
    let list = world.call("GET", "/kms", "2026-05-22", None).await.ok();
    let id = list["items"][2]["id"].clone();
    let contracts = world.call("GET", "/kms", "2026-06-23", None).await.ok();
    let kc = contracts["items"][2]["id"].clone();
    let checksummed = format!("0x{}", "5C".repeat(20));
    for (said, slug) in [
        (json!({}), "builtin"),
        (json!({ "kms": "phala" }), "builtin"),
        (json!({ "kms": "ETHEREUM" }), "kms-eth"),
        (json!({ "kms": "ethereum" }), "kms-eth"),
        (json!({ "kms_type": "Ethereum" }), "kms-eth"),
        (json!({ "kms_id": "kms-base-2" }), "kms-base-2"),
        (json!({ "kms_id": id }), "kms-base-2"),
        (json!({ "kms_id": "ethereum" }), "kms-eth"),
        (json!({ "kms_id": "PHALA" }), "builtin"),
        (json!({ "kms_contract": checksummed }), "kms-base-2"),
        (json!({ "kms_contract": "5c".repeat(20) }), "kms-base-2"),
        (json!({ "kms_contract": "phala" }), "builtin"),
        (json!({ "kms_contract_id": kc }), "kms-base-2"),
        (json!({ "kms_contract_id": "kc_8453_5c5c5c5c" }), "kms-base-2"),
        (json!({ "kms_contract_id": "base-5c5c5c5c" }), "kms-base-2"),
        (json!({ "kms_contract_id": "kms-base-2" }), "kms-base-2"),
        (json!({ "kms_contract_id": "kc_phala" }), "builtin"),
        // Two words for it may each mean several.
        (json!({ "kms": "Base", "kms_id": "kms-base-2" }), "kms-base-2"),
        (json!({ "kms_type": "BASE", "kms_contract": checksummed }), "kms-base-2"),
    ] {
        assert_eq!(chosen(&world, said.clone()).await.as_deref(), Ok(slug), "{said}");
    }
}

#[tokio::test]
async fn a_name_of_several_or_of_none_is_refused_with_those_there_are() {
    let world = world().await;
    let several = chosen(&world, json!({ "kms": "base" })).await.unwrap_err();
    let words = several.to_string();
    assert!(words.contains("kms-base-1") && words.contains("kms-base-2"), "{words}");
    assert!(!words.contains("kms-eth"), "{words}");
    for (said, field) in [
        (json!({ "kms": "legacy" }), "kms"),
        (json!({ "kms_id": "kms_nobody" }), "kms_id"),
        (json!({ "kms_contract": format!("0x{}", "00".repeat(20)) }), "kms_contract"),
        (json!({ "kms_contract": "base" }), "kms_contract"),
        (json!({ "kms_contract_id": 7 }), "kms_contract_id"),
        (json!({ "kms": "ethereum", "kms_id": "kms-base-1" }), "kms_id"),
        (json!({ "kms": "phala", "kms_contract": format!("0x{KMS}") }), "kms_contract"),
    ] {
        let refused = chosen(&world, said.clone()).await.unwrap_err();
        assert_eq!(refused["details"][0]["field"], field, "{said}: {refused}");
        assert!(refused["suggestions"][0].as_str().unwrap().contains("kms-base-1"), "{refused}");
    }
    // Where there is none of a kind, the way out is the operator's.
    let world = World::new().await;
    let none = chosen(&world, json!({ "kms": "ETHEREUM" })).await.unwrap_err();
    assert!(none.to_string().contains("casemate admin kms add"), "{none}");
}

#[tokio::test]
async fn an_env_key_is_asked_for_by_any_of_them() {
    let world = world().await;
    let app = "AbCdEf0123456789aBcDeF0123456789AbCdEf01";
    let of = |kms: &str, app: &str| format!("/kms/{kms}/pubkey/{app}");
    let key = world.get(&of("kms-eth", app)).await.ok();
    let fields: Vec<_> = key.as_object().unwrap().keys().cloned().collect();
    assert_eq!(fields, ["public_key", "signature"]);
    let id = world.call("GET", "/kms/kms-eth", "2026-05-22", None).await.ok()["id"].clone();
    let builtin = world.get(&of("builtin", app)).await.ok();
    assert_ne!(builtin["public_key"], key["public_key"], "each KMS has keys of its own");
    let first = world.get(&of("kms-base-1", app)).await.ok();
    let second = world.get(&of("kms-base-2", app)).await.ok();
    assert_ne!(first["public_key"], second["public_key"]);
    assert_eq!(world.get(&of("phala", app)).await.ok()["public_key"], builtin["public_key"]);
    for kms in ["kms-eth", "ethereum", "ETHEREUM", id.as_str().unwrap()] {
        for app in [app.to_owned(), format!("0x{app}"), format!("app_{app}"), app.to_lowercase()] {
            assert_eq!(world.get(&of(kms, &app)).await.ok()["public_key"], key["public_key"]);
        }
    }
    // What is sealed to it, which of two KMS it is, must not be guessed.
    let refused = world.get(&of("base", app)).await.refused(400, "ERR-02-011");
    assert!(refused.to_string().contains("kms-base-2"), "{refused}");
    world.get(&of("nobody", app)).await.refused(404, "ERR-20-008");
    world.get(&of("kms-eth", "zz")).await.refused(400, "ERR-02-008");
}

/// An OS image of the node: its name, its hash, and whether it has login tools.
fn os_images(stage: &Stage) -> Vec<(String, [u8; 32], bool)> {
    let (inventory, _) = stage.world.ctx.fleet.all()[0].observed();
    let hash = |text: &str| hex::decode(text).unwrap().try_into().unwrap();
    let image = |image: &casemate_engine::node::Image| {
        (image.name.clone(), hash(image.os_image_hash.as_deref().unwrap()), image.is_dev)
    };
    inventory.images.iter().map(image).collect()
}

#[tokio::test]
async fn an_image_is_chosen_among_those_that_the_contract_allows() {
    let stage = Stage::new().await;
    let all = os_images(&stage);
    let takes = async |more: Value| {
        let hash = stage.provision_with("my-app", more).await["os_image_hash"].clone();
        let hash = hash.as_str().unwrap().to_owned();
        all.iter().find(|(_, other, _)| hex::encode(other) == hash).unwrap().clone()
    };
    let only = |name: &str| {
        for (other, hash, _) in &all {
            stage.chain.allow_os_image(KMS, *hash, other == name);
        }
    };
    assert!(!takes(json!({})).await.2, "one for production, where all are allowed");
    assert!(takes(json!({ "prefer_dev": true })).await.2, "unless the client wants another");
    let free = stage.world.post("/cvms/provision", provision_body("free-app")).await.ok();
    let dev = all.iter().find(|(_, hash, _)| free["os_image_hash"] == hex::encode(hash)).unwrap();
    assert!(dev.2, "without a contract it is as ever");
    for (name, _, _) in &all {
        only(name);
        assert_eq!(takes(json!({})).await.0, *name);
        assert_eq!(takes(json!({ "image": name })).await.0, *name);
    }
    // The last one is allowed, and the first named: refused before anybody pays for a contract.
    let (first, last) = (&all[0].0, &all[all.len() - 1].0);
    let named = stage.world.post("/cvms/provision", body("my-app", &json!({ "image": first })));
    let refused = named.await.refused(400, "ERR-02-009");
    assert_eq!(refused["details"][0]["field"], "image", "{refused}");
    let words = refused.to_string();
    assert!(words.contains(first) && words.contains(last) && words.contains("8453"), "{words}");
    only("none");
    let refused = stage.world.post("/cvms/provision", body("my-app", &json!({}))).await;
    let refused = refused.refused(400, "ERR-02-009");
    assert!(refused.to_string().contains("addOsImageHash"), "{refused}");
    // A plan of the same says it as an obstacle, with the account that could change it.
    let plan = json!({ "provision": body("my-app", &json!({})), "signer": format!("0x{OWNER}") });
    let plan = stage.world.post("/governance/plan", plan).await.ok();
    assert_eq!(plan["standing"], "blocked", "{plan}");
    assert_eq!(plan["obstacles"][0]["code"], "os_image_refused", "{plan}");
}

#[tokio::test]
async fn a_silent_chain_leaves_the_choice_and_is_told() {
    let stage = Stage::new().await;
    let all = os_images(&stage);
    stage.chain.fail_next(1, &casemate_engine::chain::Fault::Busy);
    let provisioned = stage.provision("my-app").await;
    let taken = all.iter().find(|(_, hash, _)| provisioned["os_image_hash"] == hex::encode(hash));
    assert!(!taken.unwrap().2, "for production");
    assert!(provisioned["warnings"].to_string().contains("is not known"), "{provisioned}");
}

#[tokio::test]
async fn an_image_that_is_refused_after_all_is_told_at_the_commit() {
    let stage = Stage::new().await;
    let provisioned = stage.provision("my-app").await;
    let (app, _) = stage.app(&provisioned);
    for (_, hash, _) in os_images(&stage) {
        stage.chain.allow_os_image(KMS, hash, false);
    }
    let refused = stage.commit(&provisioned, app, json!({})).await.refused(468, "ERR-01-008");
    assert!(refused["message"].as_str().unwrap().contains("OS image is not allowed"), "{refused}");
    for (_, hash, _) in os_images(&stage) {
        stage.chain.allow_os_image(KMS, hash, true);
    }
    stage.commit(&provisioned, app, json!({})).await.ok();
}
