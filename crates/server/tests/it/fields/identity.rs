//! App ids: derived from nonces, bound to one name.

use serde_json::{Value, json};

use crate::fields::{
    common::World,
    row::{body, look},
};

/// Fields whose effect is tested here.
pub const FIELDS: &[&str] = &["nonce", "app_id", "custom_app_id"];
/// Codes that are tested here.
pub const CODES: &[(&str, &str)] = &[("app_id", "ERR-03-007")];

/// The next pairs of app id and nonce.
async fn pairs(world: &World, count: u32) -> Vec<(String, u64)> {
    let reply = world.get(&format!("/kms/phala/next_app_id?counts={count}")).await.ok();
    let all = reply["app_ids"].as_array().unwrap().iter();
    all.map(|one| (one["app_id"].as_str().unwrap().to_owned(), one["nonce"].as_u64().unwrap()))
        .collect()
}

#[tokio::test]
async fn an_app_id_with_its_nonce_is_taken_under_either_name() {
    for field in FIELDS.iter().filter(|field| **field != "nonce") {
        let world = World::new().await;
        let (app, nonce) = pairs(&world, 5).await.pop().unwrap();
        for spelling in [app.clone(), format!("0x{}", app.to_uppercase()), format!("app_{app}")] {
            let said = json!({ *field: spelling, "nonce": nonce });
            let reply = world.post("/cvms/provision", body("my-app", &[&said])).await.ok();
            assert_eq!(reply["app_id"], app);
            assert_eq!(reply["warnings"], Value::Null);
        }
        let plain = world.provision("my-app").await;
        assert_eq!(plain["app_id"], app, "it is bound to this request now");
        let commit = json!({ "app_id": app, "compose_hash": plain["compose_hash"] });
        let committed = world.post("/cvms", commit).await.ok();
        world.settle().await;
        let made = look(&world, plain, committed["vm_uuid"].as_str().unwrap()).await;
        assert_eq!(made.get["app_id"], app);
        assert_eq!(made.vm.app_id.to_string(), app);
    }
}

#[tokio::test]
async fn nonce_and_app_id_belong_together() {
    let world = World::new().await;
    let found = pairs(&world, 2).await;
    let ((first, nonce), (second, _)) = (found[0].clone(), found[1].clone());
    for (said, names) in [
        (json!({ "nonce": nonce }), "nonce"),
        (json!({ "app_id": first }), "app_id"),
        (json!({ "app_id": second, "nonce": nonce }), "app_id"),
        (json!({ "app_id": first, "nonce": u64::MAX }), "nonce"),
    ] {
        let reply = world.post("/cvms/provision", body("my-app", &[&said])).await;
        let reply = reply.refused(400, "ERR-02-008");
        assert_eq!(reply["details"][0]["field"], names, "{reply}");
        assert!(reply["suggestions"][0].as_str().unwrap().contains("next_app_id"));
    }
}

#[tokio::test]
async fn a_nonce_belongs_to_one_name() {
    let world = World::new().await;
    let (app, nonce) = pairs(&world, 1).await.remove(0);
    let said = json!({ "app_id": app, "nonce": nonce });
    let first = world.post("/cvms/provision", body("first-app", &[&said])).await.ok();
    let again = world.post("/cvms/provision", body("first-app", &[&said])).await.ok();
    assert_eq!(first["app_id"], again["app_id"]);
    let other = world.post("/cvms/provision", body("other-app", &[&said])).await;
    let other = other.refused(409, "ERR-03-007");
    assert_eq!(other["details"][0]["field"], "app_id", "{other}");
    // Nonces that were taken ahead of the counter are passed over.
    let next = world.provision("other-app").await;
    assert_ne!(next["app_id"], app);
}

#[tokio::test]
async fn an_app_id_stays_with_its_name_document_and_workspace_until_it_is_used() {
    let world = World::new().await;
    let first = world.provision("my-app").await;
    world.clock.advance_ms(1000);
    assert_eq!(world.provision("my-app").await["app_id"], first["app_id"]);
    let hash = first["compose_hash"].clone();
    let other = world.provision("other-app").await;
    assert_ne!(other["app_id"], first["app_id"], "another name");
    let salted = body("my-app", &[&json!({ "compose_file": { "salt": "x" } })]);
    let salted = world.post("/cvms/provision", salted).await.ok();
    assert_ne!(salted["app_id"], first["app_id"], "another document");
    world.post("/cvms", json!({ "app_id": first["app_id"], "compose_hash": hash })).await.ok();
    world.clock.advance_ms(1);
    let later = world.provision("my-app").await;
    assert_eq!(later["compose_hash"], hash);
    assert_ne!(later["app_id"], first["app_id"], "it is in use");
    world.clock.advance_ms(15 * 24 * 60 * 60 * 1000);
    assert_ne!(world.provision("my-app").await["app_id"], later["app_id"], "it has expired");
}

#[tokio::test]
async fn names_never_share_an_app_id_even_with_one_document() {
    let world = World::new().await;
    let named = json!({ "compose_file": { "name": "same" } });
    let mut ids = Vec::new();
    for name in ["app-1", "app-2", "app-3"] {
        let reply = world.post("/cvms/provision", body(name, &[&named])).await.ok();
        ids.push((reply["compose_hash"].clone(), reply["app_id"].to_string()));
    }
    assert!(ids.iter().all(|(hash, _)| *hash == ids[0].0), "one document");
    let distinct: std::collections::BTreeSet<_> = ids.iter().map(|(_, id)| id).collect();
    assert_eq!(distinct.len(), 3);
}
