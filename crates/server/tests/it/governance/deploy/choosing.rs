//! Which KMS a client means.

use std::sync::Arc;

use casemate_api::kms_type::KmsType;
use casemate_core::id::Address;
use casemate_testing::fake_chain::FakeChain;
use serde_json::{Value, json};

use crate::governance::deploy::{KMS, body, common::World};

const SECOND: Address = Address::from_bytes([0x5c; 20]);
const THIRD: Address = Address::from_bytes([0x6d; 20]);

/// Two on Base, one on Ethereum, and the one without a contract.
async fn world() -> World {
    let base = Arc::new(FakeChain::new(8453));
    let ethereum = Arc::new(FakeChain::new(1));
    World::new().await.governed_by(vec![
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
