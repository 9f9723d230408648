//! From provision to a CVM that runs.

use axum::http::Request;
use casemate_core::{
    governance::calldata,
    id::{Address, AppId, WorkspaceId},
};
use casemate_engine::kms::Kms;
use casemate_store::events;
use serde_json::{Value, json};

use crate::governance::deploy::{
    OTHER_HOST, OWNER, Stage, body, commit_body, common::World, compose_hash, device, new_app,
};

const VERSIONS: [&str; 4] = ["2025-10-28", "2026-01-21", "2026-05-22", "2026-06-23"];
/// 60 bytes: the shortest sealed environment.
const SEALED: &str = "abababababababababababababababababababababababababababababababababababababababababababababababababababababababababababab";

/// What `GET /cvms/{id}/../events` says of one kind, oldest first.
async fn told(world: &World, kind: &str) -> Vec<Value> {
    let events =
        events::of_workspace(&world.ctx.db, WorkspaceId(1), casemate_core::id::EventSeq(0), 1000);
    let of_kind = |event: &events::Event| event.kind == kind;
    let events = events.await.unwrap();
    events
        .iter()
        .filter(|event| of_kind(event))
        .map(|event| serde_json::from_str(&event.body).unwrap())
        .collect()
}

#[tokio::test]
async fn what_is_provisioned_has_no_app_yet() {
    let stage = Stage::new().await;
    for version in VERSIONS {
        let reply = stage
            .world
            .call("POST", "/cvms/provision", version, Some(body("my-app", &json!({}))))
            .await
            .ok();
        assert_eq!(
            (&reply["app_id"], &reply["app_env_encrypt_pubkey"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(reply["compose_hash_registered"], false);
        for key in ["compose_hash", "device_id", "os_image_hash"] {
            assert_eq!(reply[key].as_str().unwrap().len(), 64, "{key}: {reply}");
        }
        let kms = &reply["kms_info"];
        assert_eq!(kms["id"], reply["kms_id"]);
        assert_eq!((&kms["slug"], &kms["chain_id"]), (&json!("kms-base-1"), &json!(8453)));
        assert_eq!(kms["kms_contract_address"], format!("0x{}", "4b".repeat(20)));
        assert_eq!(kms["gateway_app_id"], "ab".repeat(20));
        assert!(kms["id"].as_str().unwrap().starts_with("kms_"), "{kms}");
        assert_ne!(kms["id"], "kms_test", "a KMS of its own");
    }
    assert_eq!(stage.chain.counts().verify, 0, "nobody asks before there is a contract");
}

#[tokio::test]
async fn it_runs_once_its_contract_allows_it() {
    let stage = Stage::new().await;
    let provisioned = stage.provision("my-app").await;
    let (app, transaction) = stage.app(&provisioned);
    let more = json!({
        "contract_address": format!("0x{app}"), "deployer_address": format!("0x{OWNER}"),
        "transaction_hash": format!("0x{transaction}"), "encrypted_env": SEALED,
    });
    let vm = stage.commit(&provisioned, app, more).await.ok();
    assert_eq!(vm["app_id"], app.to_string());
    assert_eq!(vm["app_auth_contract_address"], format!("0x{app}"));
    assert_eq!(vm["deployer_address"], format!("0x{OWNER}"));
    stage.world.settle().await;

    let detail = stage.world.get("/cvms/my-app").await.ok();
    assert_eq!((&detail["status"], &detail["kms_type"]), (&json!("running"), &json!("base")));
    let kms = &detail["kms_info"];
    assert_eq!((&kms["chain_id"], &kms["rpc_endpoint"]), (&json!(8453), &Value::Null));
    assert_eq!(kms["dstack_kms_address"], format!("0x{}", "4b".repeat(20)));
    assert_eq!(kms["dstack_app_address"], format!("0x{app}"));
    assert_eq!(kms["deployer_address"], format!("0x{OWNER}"));
    let flat = stage.world.call("GET", "/cvms/my-app", "2025-10-28", None).await.ok();
    assert_eq!(flat["contract_address"], format!("0x{app}"));
    assert_eq!(flat["kms_info"]["slug"], "kms-base-1");
    assert_eq!(flat["kms_info"]["chain_id"], 8453);

    // The key is the app's own, and what was hashed is what booted.
    let own = stage.world.kms.separate(&[b"kms-base-1"]).unwrap();
    let key = own.env_public_key(&app, 0).await.unwrap().public_key;
    assert_eq!(flat["encrypted_env_pubkey"], key.to_string());
    let vms = stage.world.sim.host().vms().unwrap();
    let vm = &vms[0];
    assert_eq!(casemate_core::compose::hash(&vm.config.compose), compose_hash(&provisioned));
    assert_eq!(json!(vm.config.sealed_env), SEALED);
    assert_eq!(vm.config.app_id, app);

    let told = told(&stage.world, "governance.verified").await;
    let first = &told[0];
    assert_eq!(
        (&first["chain_id"], &first["block_number"]),
        (&json!(8453), &json!(stage.chain.head().number)),
        "{told:?}"
    );
    assert_eq!(first["block_hash"].as_str().unwrap().len(), 66);
    assert_eq!(first["transaction_hash"], format!("0x{transaction}"));
    assert_eq!(first["owner"], format!("0x{OWNER}"));
    assert_eq!(first["deployer"], format!("0x{OWNER}"));
    assert_eq!(first["app_contract"], format!("0x{app}"));
    assert_eq!(first["compose_hash"], provisioned["compose_hash"]);
    assert_eq!(first["device_id"], provisioned["device_id"]);
}

#[tokio::test]
async fn every_spelling_of_the_app_and_of_no_transaction_will_do() {
    let spellings: [fn(&AppId) -> String; 5] = [
        |app| app.to_string(),
        |app| format!("app_{app}"),
        |app| format!("0x{app}"),
        |app| format!("0x{}", app.to_string().to_uppercase()),
        |app| format!("app_0x{app}"),
    ];
    let transactions = [Value::Null, json!(""), json!("already-registered"), json!(" ")];
    for (at, spell) in spellings.iter().enumerate() {
        let stage = Stage::new().await;
        let provisioned = stage.provision("my-app").await;
        let (app, _) = stage.app(&provisioned);
        let mut request = commit_body(&provisioned, app, &json!({}));
        request["app_id"] = json!(spell(&app));
        request["transaction_hash"] = transactions[at % transactions.len()].clone();
        let vm = stage.world.post("/cvms", request).await.ok();
        assert_eq!(vm["app_id"], app.to_string());
    }
    // The address of its contract alone says it too, and the KMS need not be named.
    let stage = Stage::new().await;
    let provisioned = stage.provision("my-app").await;
    let (app, _) = stage.app(&provisioned);
    let request = json!({
        "contract_address": format!("0x{app}"), "compose_hash": provisioned["compose_hash"],
    });
    assert_eq!(stage.world.post("/cvms", request).await.ok()["app_id"], app.to_string());
}

#[tokio::test]
async fn committing_twice_gives_the_same_cvm_and_asks_nobody() {
    let stage = Stage::new().await;
    let provisioned = stage.provision("my-app").await;
    let (app, _) = stage.app(&provisioned);
    let first = stage.commit(&provisioned, app, json!({})).await.ok();
    let asked = stage.chain.counts().verify;
    assert_eq!(asked, 1);
    stage.chain.hold();
    let second = stage.commit(&provisioned, app, json!({})).await.ok();
    assert_eq!(first["vm_uuid"], second["vm_uuid"]);
    // Also when it is provisioned again in between.
    stage.provision("my-app").await;
    let third = stage.commit(&provisioned, app, json!({})).await.ok();
    assert_eq!(first["vm_uuid"], third["vm_uuid"]);
    assert_eq!(stage.chain.counts().verify, asked);
    assert_eq!(stage.total().await, 1);
}

async fn keyed(world: &World, body: &Value) -> crate::governance::deploy::common::Reply {
    let request = Request::post("/api/v1/cvms")
        .header("x-api-key", &world.key)
        .header("idempotency-key", "once")
        .body(body.to_string().into());
    world.send(request.unwrap()).await
}

#[tokio::test]
async fn a_repeated_request_needs_no_chain() {
    let stage = Stage::new().await;
    let provisioned = stage.provision("my-app").await;
    let (app, _) = stage.app(&provisioned);
    let request = commit_body(&provisioned, app, &json!({}));
    let first = keyed(&stage.world, &request).await;
    stage.chain.hold();
    let again = keyed(&stage.world, &request).await;
    assert_eq!((first.status.as_u16(), &first.text), (200, &again.text));
    assert!(again.headers.contains_key("idempotent-replayed"));
}

#[tokio::test]
async fn an_app_has_one_configuration_and_outlives_its_cvms() {
    let stage = Stage::new().await;
    let (app, vm) = stage.deploy("my-app").await;
    stage.world.settle().await;
    // The same again: there is one of it.
    let same = stage.provision("my-app").await;
    let again = stage.commit(&same, app, json!({})).await.ok();
    assert_eq!(again["vm_uuid"], vm["vm_uuid"]);
    // Another configuration is a conflict, before anybody asks the chain.
    let asked = stage.chain.counts().verify;
    let other = stage.provision("other-app").await;
    stage.chain.add_hash(app, compose_hash(&other));
    let refused = stage.commit(&other, app, json!({})).await.refused(409, "ERR-03-007");
    assert!(refused.to_string().contains("my-app"), "{refused}");
    assert_eq!(stage.chain.counts().verify, asked);
    // When that is gone it is taken, and the app is still this workspace's.
    stage.world.call("DELETE", "/cvms/my-app", "", None).await.ok();
    stage.world.settle().await;
    let new = stage.commit(&other, app, json!({})).await.ok();
    assert_eq!((&new["name"], &new["app_id"]), (&json!("other-app"), &json!(app.to_string())));
}

#[tokio::test]
async fn a_contract_that_is_there_already_may_be_named_at_provision() {
    let stage = Stage::new().await;
    let app = AppId::from_bytes([0xcc; 20]);
    stage.chain.add_app(crate::governance::deploy::KMS, app, OWNER);
    stage.chain.set_any_device(app, true);
    let named = json!({ "app_id": format!("0x{app}") });
    let provisioned = stage.provision_with("my-app", named).await;
    assert_eq!(provisioned["app_id"], app.to_string());
    let own = stage.world.kms.separate(&[b"kms-base-1"]).unwrap();
    let key = own.env_public_key(&app, 0).await.unwrap().public_key;
    assert_eq!(provisioned["app_env_encrypt_pubkey"], key.to_string());
    stage.chain.add_hash(app, compose_hash(&provisioned));
    // As the CLI goes on then: without a KMS and without a contract.
    let request = json!({
        "app_id": provisioned["app_id"], "compose_hash": provisioned["compose_hash"],
        "encrypted_env": SEALED,
    });
    let vm = stage.world.post("/cvms", request).await.ok();
    assert_eq!(vm["app_auth_contract_address"], format!("0x{app}"));
    assert_eq!(vm["deployer_address"], format!("0x{OWNER}"), "its owner, where nobody says who");
}

#[tokio::test]
async fn a_deployer_who_is_not_the_owner_is_only_recorded() {
    let stage = Stage::new().await;
    let provisioned = stage.provision("my-app").await;
    let (app, _) = stage.app(&provisioned);
    let deployer = Address::from_bytes([0xd0; 20]);
    let more = json!({ "deployer_address": format!("0x{deployer}") });
    let vm = stage.commit(&provisioned, app, more).await.ok();
    assert_eq!(vm["deployer_address"], format!("0x{deployer}"));
    let told = told(&stage.world, "governance.verified").await;
    assert_eq!(told[0]["owner"], format!("0x{OWNER}"));
    assert_eq!(told[0]["deployer"], format!("0x{deployer}"));
}

#[tokio::test]
async fn of_two_provisions_the_one_is_taken_whose_host_is_allowed() {
    let stage = Stage::with_two_hosts().await;
    let here = stage.provision_with("my-app", json!({ "node_id": 1 })).await;
    stage.world.clock.advance_ms(1);
    let there = stage.provision_with("my-app", json!({ "node_id": 2 })).await;
    assert_eq!(here["compose_hash"], there["compose_hash"]);
    assert_eq!(device(&there), OTHER_HOST);
    let (app, _) = stage.app(&here);
    let vm = stage.commit(&here, app, json!({})).await.ok();
    assert_eq!(vm["teepod_id"], 1, "the newer one is for a host that is not allowed");
    // Of none that is allowed the newest is told.
    let stage = Stage::with_two_hosts().await;
    let here = stage.provision_with("my-app", json!({ "node_id": 1 })).await;
    stage.world.clock.advance_ms(1);
    stage.provision_with("my-app", json!({ "node_id": 2 })).await;
    let nowhere = calldata::NewApp { device: None, ..new_app(&here) };
    let (app, _) = stage.chain.deploy(crate::governance::deploy::KMS, &nowhere);
    let refused = stage.commit(&here, app, json!({})).await.refused(468, "ERR-01-008");
    assert!(refused["message"].as_str().unwrap().contains(&OTHER_HOST.to_string()), "{refused}");
}

#[tokio::test]
async fn a_transaction_that_waits_is_waited_for() {
    let stage = Stage::new().await;
    let provisioned = stage.provision("my-app").await;
    let (app, _) = stage.chain.deploy(
        crate::governance::deploy::KMS,
        &calldata::NewApp { hash: None, ..new_app(&provisioned) },
    );
    let add = calldata::add_compose_hash(compose_hash(&provisioned));
    let transaction = stage.chain.submit(vec![(OWNER, app.into(), add)]);
    let more = json!({ "transaction_hash": format!("0x{transaction}") });
    let committed = stage.commit(&provisioned, app, more);
    let mined = async {
        while stage.chain.counts().verify == 0 {
            tokio::task::yield_now().await;
        }
        stage.chain.mine(1);
    };
    let (vm, ()) = tokio::join!(committed, mined);
    assert_eq!(vm.ok()["app_id"], app.to_string());
}
