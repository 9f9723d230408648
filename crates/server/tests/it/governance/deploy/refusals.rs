//! What is refused, in which words, and that nothing is used up.

use casemate_core::{
    governance::calldata::{self, NewApp},
    id::{Address, AppId, TxHash},
};
use casemate_engine::chain::Fault;
use casemate_testing::fake_chain::Generation;
use serde_json::{Value, json};

use crate::governance::deploy::{
    KMS, OWNER, Stage, body, commit_body, compose_hash, device, new_app,
};

/// What is on the chain before the commit: the app, and the transaction that is named.
type Chain = fn(&Stage, &Value) -> (AppId, Option<TxHash>);

fn deployed(stage: &Stage, app: &NewApp) -> (AppId, TxHash) {
    stage.chain.deploy(KMS, app)
}

/// Rows of the table of transactions and of the one of pitfalls: what is on the chain, the refusal, words
/// of it, and what would have to be done.
const ROWS: [(&str, Chain, u16, &[&str]); 11] = [
    (
        "the hash is not allowed",
        |stage, it| (deployed(stage, &NewApp { hash: None, ..new_app(it) }).0, None),
        468,
        &["does not allow", "compose hash", "addComposeHash"],
    ),
    (
        "the host is not allowed",
        |stage, it| (deployed(stage, &NewApp { device: None, ..new_app(it) }).0, None),
        468,
        &["does not allow", "device", "addDevice"],
    ),
    (
        "the app is not registered",
        |stage, it| {
            let app = AppId::from_bytes([0xcc; 20]);
            stage.chain.place_app(app, OWNER, Generation::TwoStep);
            stage.chain.add_hash(app, compose_hash(it));
            stage.chain.add_device(app, device(it));
            (app, None)
        },
        468,
        &["is not registered", "deployAndRegisterApp"],
    ),
    (
        "an account without code is registered, by whomever",
        |stage, _| {
            let app = AppId::from_bytes([0xee; 20]);
            stage.chain.register(KMS, app.into());
            (app, None)
        },
        468,
        &["there is no app contract"],
    ),
    (
        "nothing is there at all",
        |_, _| (AppId::from_bytes([0xef; 20]), None),
        468,
        &["is not registered"],
    ),
    (
        "the hash was allowed and is not any more",
        |stage, it| {
            let (app, transaction) = deployed(stage, &new_app(it));
            stage.chain.remove_hash(app, compose_hash(it));
            (app, Some(transaction))
        },
        468,
        &["it was removed again"],
    ),
    (
        "a Safe's batch adds it and removes it",
        |stage, it| {
            let (app, _) = deployed(stage, &NewApp { hash: None, ..new_app(it) });
            let hash = compose_hash(it);
            let calls = [calldata::add_compose_hash(hash), calldata::remove_compose_hash(hash)];
            let calls = calls.map(|data| (OWNER, Address::from(app), data)).to_vec();
            (app, Some(stage.chain.send_batch(calls)))
        },
        468,
        &["it was removed again"],
    ),
    (
        "a Safe's transaction succeeds and its inner call fails",
        |stage, it| {
            let (app, _) = deployed(stage, &NewApp { hash: None, ..new_app(it) });
            (app, Some(stage.chain.send_nothing()))
        },
        467,
        &["its inner call failed"],
    ),
    (
        "the transaction is of another app",
        |stage, it| {
            let (app, _) = deployed(stage, &new_app(it));
            let (_, other) = deployed(stage, &new_app(it));
            (app, Some(other))
        },
        467,
        &["Register it on the contract of this app"],
    ),
    (
        "somebody who is not the owner sent it",
        |stage, it| {
            let (app, _) = deployed(stage, &NewApp { hash: None, ..new_app(it) });
            let add = calldata::add_compose_hash(compose_hash(it));
            let sent = stage.chain.send(Address::from_bytes([0x99; 20]), app.into(), add);
            (app, Some(sent))
        },
        467,
        &["reverted"],
    ),
    (
        "the transaction added another hash",
        |stage, it| {
            let (app, _) = deployed(stage, &new_app(it));
            let sent = stage.chain.add_hash(app, "99".repeat(32).parse().unwrap());
            (app, Some(sent))
        },
        467,
        &["byte for byte"],
    ),
];

#[tokio::test]
async fn what_contracts_do_not_allow_is_refused_and_uses_nothing_up() {
    for (case, chain, status, words) in ROWS {
        let stage = Stage::new().await;
        let provisioned = stage.provision("my-app").await;
        let (app, transaction) = chain(&stage, &provisioned);
        let more = match transaction {
            Some(transaction) => json!({ "transaction_hash": format!("0x{transaction}") }),
            None => json!({}),
        };
        let code = if status == 467 { "ERR-01-007" } else { "ERR-01-008" };
        let reply = stage.commit(&provisioned, app, more).await;
        assert_eq!(reply.status.as_u16(), status, "{case}: {}", reply.text);
        let refused = reply.refused(status, code);
        let message = refused["message"].as_str().unwrap();
        for words in words.iter().copied().chain(["8453"]) {
            assert!(message.contains(words), "{case}: {words} is not in {message}");
        }
        let all = refused.to_string();
        for fact in [format!("0x{app}"), format!("0x{KMS}"), "8453".to_owned()] {
            assert!(all.contains(&fact), "{case}: {fact} is not in {all}");
        }
        assert_eq!(stage.total().await, 0, "{case}");
        // Nothing was used up and nothing bound: what was missing makes it go.
        let (good, _) = stage.app(&provisioned);
        stage.commit(&provisioned, good, json!({})).await.ok();
    }
}

#[tokio::test]
async fn silence_is_no_verdict() {
    let faults = [
        Fault::Unavailable("rpc.test: connection refused".to_owned()),
        Fault::Misconfigured("rpc.test serves chain 1, not 8453".to_owned()),
        Fault::Busy,
    ];
    for fault in faults {
        let stage = Stage::new().await;
        let provisioned = stage.provision("my-app").await;
        let (app, _) = stage.app(&provisioned);
        stage.chain.fail_next(1, &fault);
        let reply = stage.commit(&provisioned, app, json!({})).await;
        assert_eq!(reply.headers["retry-after"], "1", "{}", reply.text);
        let refused = reply.refused(503, "ERR-20-023");
        assert!(refused["suggestions"][0].as_str().unwrap().contains("same request"), "{refused}");
        assert_eq!(stage.total().await, 0);
        let vm = stage.commit(&provisioned, app, json!({})).await.ok();
        assert_eq!(vm["app_id"], app.to_string(), "the same request");
    }
}

#[tokio::test]
async fn what_is_said_of_the_contract_has_to_fit() {
    let stage = Stage::new().await;
    let provisioned = stage.provision("my-app").await;
    let (app, _) = stage.app(&provisioned);
    let kms = format!("0x{KMS}");
    let wrong = stage.commit(&provisioned, app, json!({ "contract_address": kms })).await;
    let wrong = wrong.refused(400, "ERR-02-009").to_string();
    assert!(wrong.contains(&kms) && wrong.contains(&format!("0x{app}")), "{wrong}");
    for (field, value, status, code) in [
        ("contract_address", "zz", 400, "ERR-02-008"),
        ("deployer_address", "0x12", 400, "ERR-02-008"),
        ("transaction_hash", "0x12", 467, "ERR-01-007"),
        ("kms_id", "kms_nobody", 400, "ERR-02-011"),
        ("encrypted_env", "xyz", 400, "ERR-20-012"),
    ] {
        let mut more = json!({});
        more[field] = json!(value);
        let refused = stage.commit(&provisioned, app, more).await.refused(status, code);
        assert!(refused["message"].as_str().unwrap().contains(field), "{refused}");
    }
    let unnamed = json!({ "compose_hash": provisioned["compose_hash"], "kms_id": "kms-base-1" });
    let refused = stage.world.post("/cvms", unnamed).await.refused(400, "ERR-02-008");
    assert!(refused["message"].as_str().unwrap().starts_with("app_id is required"), "{refused}");
    assert_eq!(stage.chain.counts().verify, 0, "none of it is a question to a chain");
    // Of the KMS without contracts there is no provision, and of this one there is.
    let builtin = stage.commit(&provisioned, app, json!({ "kms_id": "builtin" })).await;
    let refused = builtin.refused(422, "ERR-20-009");
    assert!(refused["message"].as_str().unwrap().contains("another KMS"), "{refused}");
    stage.commit(&provisioned, app, json!({})).await.ok();
}

#[tokio::test]
async fn an_app_without_a_contract_has_no_fields_of_one() {
    let stage = Stage::new().await;
    let provisioned = stage.world.provision("my-app").await;
    for field in ["contract_address", "deployer_address", "transaction_hash"] {
        let mut request = json!({
            "app_id": provisioned["app_id"], "compose_hash": provisioned["compose_hash"]
        });
        request[field] = match field {
            "transaction_hash" => json!("11".repeat(32)),
            _ => provisioned["app_id"].clone(),
        };
        let refused = stage.world.post("/cvms", request).await.refused(400, "ERR-20-006");
        assert_eq!(refused["details"][0]["field"], field);
    }
}

#[tokio::test]
async fn an_app_of_ours_is_not_mistaken_for_a_contract() {
    let stage = Stage::new().await;
    let ours = stage.world.provision("my-app").await;
    let request = json!({ "app_id": ours["app_id"], "compose_hash": ours["compose_hash"] });
    let first = stage.world.post("/cvms", request.clone()).await.ok();
    stage.world.clock.advance_ms(1);
    // A newer provision of the same document for a contract.
    assert_eq!(stage.provision("my-app").await["compose_hash"], ours["compose_hash"]);
    let again = stage.world.post("/cvms", request).await.ok();
    assert_eq!(again["vm_uuid"], first["vm_uuid"]);
    assert_eq!(stage.chain.counts().verify, 0);
}

#[tokio::test]
async fn a_provision_ends() {
    let stage = Stage::new().await;
    let provisioned = stage.provision("my-app").await;
    let (app, _) = stage.app(&provisioned);
    stage.world.clock.advance_ms(14 * 24 * 3_600_000);
    stage.commit(&provisioned, app, json!({})).await.refused(400, "ERR-20-010");
    let mut tx = stage.world.ctx.db.begin().await.unwrap();
    assert_eq!(tx.expire_provisions(stage.world.ctx.now()).await.unwrap(), 0, "to the moment");
    stage.world.clock.advance_ms(1);
    assert_eq!(tx.expire_provisions(stage.world.ctx.now()).await.unwrap(), 1);
    tx.commit().await.unwrap();
    stage.commit(&provisioned, app, json!({})).await.refused(422, "ERR-20-009");
    assert_eq!(stage.chain.counts().verify, 0);
    // Approved is approved: what is provisioned again has the same hash.
    let again = stage.provision("my-app").await;
    assert_eq!(again["compose_hash"], provisioned["compose_hash"]);
    stage.commit(&again, app, json!({})).await.ok();
}

#[tokio::test]
async fn an_app_belongs_to_the_first_workspace_that_commits_it() {
    let stage = Stage::new().await;
    let stranger = stage.stranger().await;
    let (app, _) = stage.deploy("my-app").await;
    stage.world.settle().await;
    // The stranger has the same approved document, and would seal his own environment.
    let his = stranger.post("/cvms/provision", body("my-app", &json!({}))).await.ok();
    let request = commit_body(&his, app, &json!({}));
    let refused = stranger.post("/cvms", request.clone()).await.refused(409, "ERR-03-007");
    let words = refused.to_string();
    assert!(words.contains("cannot be committed in this workspace"), "{words}");
    for secret in ["my-app", "default", "admin", "already", "cvm_", "vm_uuid"] {
        assert!(!words.contains(secret), "{secret}: {words}");
    }
    // Also when the CVM is gone: its keys are still the app's.
    stage.world.call("DELETE", "/cvms/my-app", "", None).await.ok();
    stage.world.settle().await;
    let again = stranger.post("/cvms", request).await.refused(409, "ERR-03-007");
    assert_eq!(again["message"], refused["message"]);
    assert_eq!(stranger.get("/cvms/paginated").await.ok()["total"], 0);
    // With a contract of his own he gets on.
    let (own, _) = stage.app(&his);
    stranger.post("/cvms", commit_body(&his, own, &json!({}))).await.ok();
}

#[tokio::test]
async fn what_a_contract_decides_cannot_be_said_at_provision() {
    let stage = Stage::new().await;
    let sealed = "ab".repeat(60);
    for (more, code, field) in [
        (json!({ "nonce": 3 }), "ERR-02-008", "nonce"),
        (json!({ "nonce": 3, "app_id": "00".repeat(20) }), "ERR-02-008", "nonce"),
        (json!({ "encrypted_env": sealed }), "ERR-02-009", "encrypted_env"),
        (json!({ "key_provider_mode": "none" }), "ERR-02-009", "kms"),
    ] {
        let reply = stage.world.post("/cvms/provision", body("my-app", &more)).await;
        let refused = reply.refused(400, code);
        assert_eq!(refused["details"][0]["field"], field, "{refused}");
        assert!(!refused["suggestions"].as_array().unwrap().is_empty(), "{refused}");
    }
}
