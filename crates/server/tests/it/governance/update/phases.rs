//! Each route that may change the document: the first phase, and the second.

use casemate_core::{compose::hash, id::ComposeHash};
use serde_json::{Value, json};

use crate::governance::update::{
    common::{COMPOSE, Reply},
    stage::{Stage, Told, other},
};

async fn unchanged(stage: &Stage, before: &Value) {
    stage.world.settle().await;
    assert_eq!(&stage.detail().await, before, "nothing is changed");
}

fn accepted(reply: Reply) -> Value {
    let body = reply.ok();
    assert!(body["correlation_id"].is_string(), "{body}");
    body
}

#[tokio::test]
async fn a_patch_tells_what_to_register_and_goes_on_with_two_headers() {
    let stage = Stage::new().await;
    let before = stage.detail().await;
    let told = Told::of(stage.patch(json!({ "docker_compose_file": other("a:1") }), &[]).await);
    assert_eq!(told.text("app_id"), stage.app.to_string());
    assert_eq!(told.text("device_id"), stage.device().await.to_string());
    let kms = told.get("kms_info").unwrap();
    assert_eq!(kms["chain_id"], 8453);
    assert_eq!(kms["kms_contract_address"], format!("0x{}", "33".repeat(20)));
    for key in ["id", "slug", "url", "version", "gateway_app_id"] {
        assert!(kms.get(key).is_some(), "{key} is there, be it null: {kms}");
    }
    assert!(kms.get("chain").is_none(), "{kms}");
    for secret in ["commit_token", "commit_url", "api_commit_url"] {
        assert!(told.get(secret).is_none(), "{secret} is not asked for");
    }
    let status =
        json!({ "compose_hash_allowed": false, "device_id_allowed": true, "is_allowed": false });
    assert_eq!(told.get("onchain_status"), Some(&status));
    unchanged(&stage, &before).await;

    let transaction = stage.allow(told.hash());
    let upper = format!("0x{}", told.hash().to_string().to_uppercase());
    let headers = [("x-compose-hash", upper.as_str()), ("x-transaction-hash", &transaction)];
    let done = accepted(stage.patch(json!({}), &headers).await);
    stage.boots(told.hash()).await;
    let proofs = stage.events("governance.verified").await;
    assert_eq!(proofs.len(), 1);
    assert_eq!(proofs[0]["chain_id"], 8453);
    assert!(proofs[0]["block_number"].is_u64() && proofs[0]["block_hash"].is_string());
    assert_eq!(proofs[0]["transaction_hash"], transaction);
    assert_eq!(stage.events("governance.prepared").await.len(), 1);
    // The answer was lost: the same once more, without another operation.
    let again = accepted(stage.patch(json!({}), &headers).await);
    assert_eq!(again["correlation_id"], done["correlation_id"]);
    stage.world.clock.advance_ms(3_600_000);
    stage.patch(json!({}), &headers).await.refused(466, "ERR-01-006");
}

#[tokio::test]
async fn what_does_not_touch_the_document_goes_straight_through() {
    let stage = Stage::new().await;
    let hash = stage.hash().await;
    let bodies = [
        json!({}),
        json!({ "vcpu": 2 }),
        json!({ "docker_compose_file": COMPOSE }),
        json!({ "user_config": "x", "listed": false }),
    ];
    let asked = || (stage.chain.counts().verify, stage.chain.counts().state);
    for body in bodies {
        let before = asked();
        accepted(stage.patch(body, &[]).await);
        assert_eq!(asked(), before, "by the request; the reconciler asks before a restart");
        stage.world.settle().await;
    }
    // The real CLI says "prepare only" and only warns where nothing has to be approved.
    let (prepare, before) = ([("x-prepare-only", "true")], asked());
    accepted(stage.patch(json!({ "memory": 4096 }), &prepare).await);
    assert_eq!(asked(), before);
    stage.boots(hash).await;
}

#[tokio::test]
async fn what_is_allowed_already_is_accepted_at_once() {
    let stage = Stage::new().await;
    let body = json!({ "docker_compose_file": other("known:1") });
    let told = Told::of(stage.patch(body.clone(), &[]).await);
    stage.allow(told.hash());
    // No second approval, and what was prepared for it is not needed.
    let done = accepted(stage.patch(body, &[]).await);
    stage.boots(told.hash()).await;
    assert_eq!(stage.events("governance.verified").await.len(), 1, "{done}");
    // Only to be prepared, it is prepared all the same.
    let body = json!({ "docker_compose_file": COMPOSE });
    let told = Told::of(stage.patch(body, &[("x-prepare-only", "true")]).await);
    assert_eq!(told.get("onchain_status").unwrap()["is_allowed"], true);
}

#[tokio::test]
async fn an_app_that_no_contract_governs_is_changed_though_it_was_only_to_be_prepared() {
    let stage = Stage::new().await;
    stage.world.deploy("other-app").await;
    stage.world.settle().await;
    let body = json!({ "docker_compose_file": other("b:1") });
    let headers = [("x-prepare-only", "true")];
    let reply = stage.send("PATCH", "/cvms/other-app", &body, &headers).await;
    assert_eq!(reply.status.as_u16(), 202, "{}", reply.text);
    let confirm = [("x-compose-hash", "00"), ("x-transaction-hash", "0x1")];
    stage.send("PATCH", "/cvms/other-app", &json!({}), &confirm).await.refused(466, "ERR-01-006");
    let zero = "00".repeat(32);
    let confirm = [("x-compose-hash", zero.as_str())];
    stage.send("PATCH", "/cvms/other-app", &json!({}), &confirm).await.refused(400, "ERR-20-006");
    let token = json!({ "token": "1c2f3c0e-7c8d-4a43-9a51-6c9d8a1d3f10" });
    let reply = stage.nobody("POST", "/cvms/other-app/commit-update", &token).await;
    reply.refused(466, "ERR-01-006");
}

/// A route of the first phase: method, path, body.
type Route = (&'static str, &'static str, Value);

fn routes() -> Vec<Route> {
    let sealed = "ab".repeat(80);
    vec![
        ("PATCH", "/cvms/my-app", json!({ "docker_compose_file": other("r:1") })),
        ("PATCH", "/cvms/my-app", json!({ "pre_launch_script": "echo 1" })),
        ("PATCH", "/cvms/my-app", json!({ "allowed_envs": ["A"], "vcpu": 2 })),
        ("PATCH", "/cvms/my-app", json!({ "secure_time": true })),
        ("PATCH", "/cvms/my-app/docker-compose", json!(other("r:2"))),
        ("PATCH", "/cvms/my-app/pre-launch-script", json!("echo 2")),
        ("PATCH", "/cvms/my-app/envs", json!({ "encrypted_env": sealed, "env_keys": ["G", "H"] })),
        (
            "PATCH",
            "/cvms/my-app/visibility",
            json!({ "public_logs": false, "public_sysinfo": true }),
        ),
    ]
}

#[tokio::test]
async fn every_route_is_confirmed_by_its_own_body_again() {
    for (method, path, body) in routes() {
        let stage = Stage::new().await;
        let before = stage.detail().await;
        let told = Told::of(stage.send(method, path, &body, &[]).await);
        assert!(told.get("commit_token").is_none());
        unchanged(&stage, &before).await;
        let hash = told.hash().to_string();
        let confirm =
            [("x-compose-hash", hash.as_str()), ("x-transaction-hash", "already-registered")];
        // Nothing is registered yet.
        stage.send(method, path, &body, &confirm).await.refused(468, "ERR-01-008");
        unchanged(&stage, &before).await;
        stage.allow(told.hash());
        let reply = stage.send(method, path, &body, &confirm).await;
        assert!(reply.status.is_success(), "{method} {path}: {}", reply.text);
        stage.boots(told.hash()).await;
    }
}

#[tokio::test]
async fn every_route_is_confirmed_by_an_empty_patch_and_by_a_token() {
    for (method, path, body) in routes() {
        let stage = Stage::new().await;
        let told = Told::of(stage.send(method, path, &body, &[("x-prepare-only", "true")]).await);
        stage.allow(told.hash());
        let hash = told.hash().to_string();
        let reply = stage
            .commit_with(json!({ "token": told.token(), "compose_hash": hash,
            "transaction_hash": "" }))
            .await;
        assert_eq!(reply.status.as_u16(), 202, "{method} {path}: {}", reply.text);
        assert_eq!(reply.json()["status"], "in_progress");
        stage.boots(told.hash()).await;

        let stage = Stage::new().await;
        let told = Told::of(stage.send(method, path, &body, &[]).await);
        let transaction = stage.allow(told.hash());
        let hash = told.hash().to_string();
        let confirm = [("x-compose-hash", hash.as_str()), ("x-transaction-hash", &transaction)];
        accepted(stage.patch(json!({}), &confirm).await);
        stage.boots(told.hash()).await;
    }
}

#[tokio::test]
async fn the_body_may_confirm_as_go_and_the_env_route_do() {
    let stage = Stage::new().await;
    let body = json!({ "encrypted_env": "cd".repeat(80), "env_keys": ["G", "X"] });
    let told = Told::of(stage.send("PATCH", "/cvms/my-app/envs", &body, &[]).await);
    let transaction = stage.allow(told.hash());
    let mut confirm = body.clone();
    confirm["compose_hash"] = json!(format!("0x{}", told.hash()));
    confirm["transaction_hash"] = json!(transaction);
    let done = accepted(stage.send("PATCH", "/cvms/my-app/envs", &confirm, &[]).await);
    assert_eq!(done["allowed_envs_changed"], true);
    stage.boots(told.hash()).await;
    assert_eq!(stage.read().await.sealed_env, Some("cd".repeat(80)), "with the document");
    assert_eq!(stage.read().await.spec.env_keys, ["G", "X"]);

    let told = Told::of(stage.patch(json!({ "docker_compose_file": other("go:1") }), &[]).await);
    stage.allow(told.hash());
    let go = json!({ "compose_hash": told.hash().to_string(), "transaction_hash": "already-registered" });
    accepted(stage.patch(go, &[]).await);
    stage.boots(told.hash()).await;
}

#[tokio::test]
async fn variables_alone_need_no_approval() {
    let stage = Stage::new().await;
    let hash = stage.hash().await;
    let body = json!({ "encrypted_env": "cd".repeat(80) });
    let done = accepted(stage.send("PATCH", "/cvms/my-app/envs", &body, &[]).await);
    assert_eq!(done["allowed_envs_changed"], false);
    stage.boots(hash).await;
}

#[tokio::test]
async fn another_request_than_the_one_prepared_confirms_nothing() {
    let stage = Stage::new().await;
    let told =
        Told::of(stage.patch(json!({ "docker_compose_file": other("x:1"), "vcpu": 2 }), &[]).await);
    stage.allow(told.hash());
    let hash = told.hash().to_string();
    let confirm = [("x-compose-hash", hash.as_str())];
    let others = [
        json!({ "docker_compose_file": other("x:2"), "vcpu": 2 }),
        json!({ "docker_compose_file": other("x:1"), "vcpu": 3 }),
        json!({ "docker_compose_file": other("x:1") }),
        json!({ "vcpu": 2 }),
    ];
    for body in others {
        let refused = stage.patch(body.clone(), &confirm).await.refused(466, "ERR-01-006");
        assert!(refused["message"].as_str().unwrap().contains("does not ask"), "{body}: {refused}");
    }
    let ones = "11".repeat(32);
    let refused = stage.patch(json!({}), &[("x-compose-hash", &ones)]).await;
    let refused = refused.refused(466, "ERR-01-006");
    assert_eq!(refused["details"][0]["value"], hash, "the one that was prepared: {refused}");
    accepted(
        stage.patch(json!({ "docker_compose_file": other("x:1"), "vcpu": 2 }), &confirm).await,
    );
    stage.boots(told.hash()).await;
    assert_eq!(stage.read().await.spec.resources.vcpu, 2);
}

#[tokio::test]
async fn a_provisioned_compose_file_is_put_in_force_once_the_state_allows_it() {
    let stage = Stage::new().await;
    let before = stage.detail().await;
    let file = json!({ "docker_compose_file": other("p:1"), "name": "my-app", "allowed_envs": ["G"],
        "update_env_vars": true });
    let provision = "/cvms/my-app/compose_file/provision";
    let provisioned = stage.world.post(provision, file.clone()).await.ok();
    assert_eq!(provisioned["compose_hash_registered"], false);
    assert_eq!(provisioned["kms_info"]["chain_id"], 8453);
    let hash: ComposeHash = provisioned["compose_hash"].as_str().unwrap().parse().unwrap();
    let body = json!({ "compose_hash": hash.to_string() });
    for (method, path) in
        [("PATCH", "/cvms/my-app/compose_file"), ("POST", "/cvms/my-app/compose_file/commit")]
    {
        let told = Told::of(stage.send(method, path, &body, &[]).await);
        assert_eq!(told.hash(), hash);
        let told = Told::of(stage.send(method, path, &body, &[("x-prepare-only", "true")]).await);
        assert!(told.get("commit_token").is_some());
    }
    let named =
        json!({ "compose_hash": hash.to_string(), "transaction_hash": "already-registered" });
    let path = "/cvms/my-app/compose_file";
    stage.send("PATCH", path, &named, &[]).await.refused(468, "ERR-01-008");
    unchanged(&stage, &before).await;
    let transaction = stage.allow(hash);
    assert_eq!(stage.world.post(provision, file).await.ok()["compose_hash_registered"], true);
    let with_env = json!({ "compose_hash": hash.to_string(), "encrypted_env": "ef".repeat(80),
        "env_keys": ["G"], "update_env_vars": true });
    accepted(stage.send("PATCH", path, &with_env, &[]).await);
    stage.boots(hash).await;
    assert_eq!(stage.read().await.sealed_env, Some("ef".repeat(80)));

    // And with a document whose hash the client knows by itself, and a transaction.
    let file =
        json!({ "docker_compose_file": other("p:2"), "name": "my-app", "allowed_envs": ["G"] });
    let provisioned = stage.world.post(provision, file.clone()).await.ok();
    let next: ComposeHash = provisioned["compose_hash"].as_str().unwrap().parse().unwrap();
    let whole = json!({ "compose_file": file, "compose_hash": next.to_string() });
    Told::of(stage.send("POST", path, &whole, &[]).await);
    let headers = [("x-transaction-hash", transaction.as_str())];
    stage.allow(next);
    let refused = stage.send("POST", path, &whole, &headers).await;
    refused.refused(467, "ERR-01-007");
    let own = crate::governance::update::stage::text(stage.chain.add_hash(stage.app, next));
    accepted(stage.send("POST", path, &whole, &[("x-transaction-hash", own.as_str())]).await);
    stage.boots(next).await;
}

#[tokio::test]
async fn a_revision_is_put_in_force_again_with_its_approval() {
    let stage = Stage::new().await;
    let first = stage.hash().await;
    let told = stage.prepare("rev:1").await;
    stage.allow(told.hash());
    stage.commit(&told.token()).await.ok();
    stage.boots(told.hash()).await;
    let revisions = stage.world.get(&format!("/apps/{}/revisions", stage.app)).await.ok();
    let oldest = revisions["revisions"].as_array().unwrap().last().unwrap();
    let id = oldest["revision_id"].as_str().unwrap().to_owned();
    let path = format!("/cvms/my-app/revisions/{id}/redeploy");
    stage.chain.remove_hash(stage.app, first);
    let told = Told::of(stage.send("POST", &path, &json!({}), &[]).await);
    assert_eq!(told.hash(), first);
    assert_eq!(told.get("onchain_status").unwrap()["is_allowed"], false);
    let said = format!("{path}?transaction_hash=already-registered");
    stage.send("POST", &said, &json!({}), &[]).await.refused(468, "ERR-01-008");
    stage.chain.add_hash(stage.app, first);
    let wrong = [("x-compose-hash", "11".repeat(32))];
    let wrong: Vec<(&str, &str)> =
        wrong.iter().map(|(name, value)| (*name, value.as_str())).collect();
    stage.send("POST", &path, &json!({}), &wrong).await.refused(466, "ERR-01-006");
    let confirmed = format!("{path}?transaction_hash=already-registered");
    accepted(stage.send("POST", &confirmed, &json!({}), &[]).await);
    stage.boots(first).await;

    // On all CVMs of the app at once.
    let newest = revisions["revisions"].as_array().unwrap()[0].clone();
    let id = newest["revision_id"].as_str().unwrap().to_owned();
    let path = format!("/apps/{}/revisions/{id}/redeploy", stage.app);
    let hash: ComposeHash = newest["compose_hash"].as_str().unwrap().parse().unwrap();
    stage.chain.remove_hash(stage.app, hash);
    let told = Told::of(stage.send("POST", &path, &json!({ "all": true }), &[]).await);
    assert_eq!(told.get("vm_uuid"), Some(&json!(stage.cvm.uuid.to_string())));
    assert_eq!((told.hash(), stage.hash().await), (hash, first));
    stage.chain.add_hash(stage.app, hash);
    let confirmed = format!("{path}?transaction_hash=already-registered");
    let done = stage.send("POST", &confirmed, &json!({ "all": true }), &[]).await.ok();
    assert_eq!(done["status"], "in_progress");
    stage.boots(hash).await;
    assert_eq!(stage.events("governance.verified").await.len(), 3);
    // What is allowed is put in force at once, on one and on all.
    let older = revisions["revisions"].as_array().unwrap().last().unwrap()["revision_id"].clone();
    let path = format!("/apps/{}/revisions/{}/redeploy", stage.app, older.as_str().unwrap());
    stage.send("POST", &path, &json!({ "all": true }), &[]).await.ok();
    stage.boots(first).await;
}

#[tokio::test]
async fn what_was_prepared_boots_byte_for_byte() {
    let stage = Stage::new().await;
    let compose = other("bytes:1") + "# späte Größe \u{1f680}\n";
    let body =
        json!({ "docker_compose_file": compose, "pre_launch_script": "printf '\\t\"%s\"'\n" });
    let told = Told::of(stage.patch(body, &[("x-prepare-only", "true")]).await);
    let ctx = &stage.world.ctx;
    let prepared =
        casemate_store::provisions::document(&ctx.db, &told.hash()).await.unwrap().unwrap();
    assert_eq!(hash(&prepared), told.hash());
    stage.allow(told.hash());
    stage.commit(&told.token()).await.ok();
    stage.boots(told.hash()).await;
    let booted =
        casemate_store::provisions::document(&ctx.db, &stage.hash().await).await.unwrap().unwrap();
    assert_eq!(booted, prepared);
    let vms = stage.world.sim.host().vms().unwrap();
    assert_eq!(vms.len(), 1);
    assert_eq!(vms[0].config.compose, *prepared, "what the node was given");
}

#[tokio::test]
async fn a_silent_chain_is_no_obstacle_to_prepare_and_no_verdict() {
    use casemate_engine::chain::Fault;
    let stage = Stage::new().await;
    let down = Fault::Unavailable("https://rpc.test: connection refused".to_owned());
    stage.chain.fail_next(100, &down);
    let told = stage.prepare("down:1").await;
    assert!(told.get("onchain_status").is_none(), "unknown is left out: {told:?}");
    let hash = told.hash().to_string();
    for _ in 0..3 {
        let reply = stage.commit(&told.token()).await;
        assert_eq!(reply.headers["retry-after"], "1");
        reply.refused(503, "ERR-20-023");
    }
    let confirm = [("x-compose-hash", hash.as_str())];
    stage.patch(json!({}), &confirm).await.refused(503, "ERR-20-023");
    stage.chain.heal();
    stage.allow(told.hash());
    stage.commit(&told.token()).await.ok();
    stage.boots(told.hash()).await;
}
