//! Commit tokens: who has one may commit, once, in time, what was prepared, and nothing else.

use casemate_core::{governance::calldata, id::Address};
use casemate_engine::chain::Fault;
use casemate_testing::fake_chain::Generation;
use serde_json::json;

use crate::governance::update::{
    common::World,
    log,
    stage::{KMS, OWNER, Stage, Told, governed_cvm, other, text},
};

const DAY_MS: i64 = 24 * 3_600_000;

fn why(refused: &serde_json::Value) -> &str {
    refused["message"].as_str().unwrap()
}

#[tokio::test]
async fn a_prepared_change_tells_its_token_and_where_it_goes() {
    let stage = Stage::new().await;
    let before = stage.detail().await;
    let told = stage.prepare("t:1").await;
    let token = told.token();
    assert_eq!(token.parse::<uuid::Uuid>().unwrap().get_version_num(), 4, "122 random bits");
    let api = format!(
        "http://127.0.0.1:1/api/v1/cvms/{}/commit-update?token={token}",
        stage.cvm.reference
    );
    assert_eq!(told.text("api_commit_url"), api);
    assert_eq!(told.text("commit_url"), format!("http://127.0.0.1:1/confirm?token={token}"));
    stage.world.settle().await;
    assert_eq!(stage.detail().await, before);
    let pending = format!("/apps/{}/pending-updates", stage.app);
    let waits = stage.world.get(&pending).await.ok();
    assert_eq!(waits["items"].as_array().unwrap().len(), 1, "{waits}");
    assert_eq!(waits["items"][0]["compose_hash"], told.hash().to_string());
    assert_eq!(waits["items"][0]["on_chain"], true);
    let preview = format!("{pending}/{}/{}/preview", stage.cvm.uuid, told.hash());
    let preview = stage.world.get(&preview).await.ok();
    assert_eq!(preview["pending_docker_compose"], other("t:1"));

    let info = format!("/cvms/my-app/commit-update?token={token}");
    let info = stage.nobody("GET", &info, &json!({})).await.ok();
    assert_eq!((&info["kind"], &info["status"]), (&json!("update"), &json!("pending")));
    assert_eq!(info["compose_hash"], told.hash().to_string());
    assert_eq!(info["device_id"], told.text("device_id"));
    assert_eq!(info["owner"], format!("0x{OWNER}"));
    assert_eq!(info["onchain_status"]["compose_hash_allowed"], false);
    let calls = info["calls"].as_array().unwrap();
    assert_eq!(calls.len(), 1, "the device is allowed: {calls:?}");
    assert_eq!(calls[0]["to"], format!("0x{}", stage.app));
    let data = format!("0xdfc77223{}", told.hash());
    assert_eq!(calls[0]["calldata"], data);
    assert_eq!(calls[0]["done"], false);
    assert!(info["change"]["docker_compose_file"].as_str().unwrap().contains("+    image: t:1"));
    assert_eq!(info["change"]["asked"], json!(["docker_compose_file"]));

    stage.allow(told.hash());
    // Empty texts are how the CLI leaves hash and transaction to the token.
    let body = json!({ "token": token, "compose_hash": "", "transaction_hash": "" });
    let done = stage.commit_with(body.clone()).await;
    assert_eq!(done.status.as_u16(), 202, "{}", done.text);
    assert_eq!(stage.commit_with(body).await.text, done.text, "the same answer, word for word");
    stage.boots(told.hash()).await;
    assert_eq!(stage.operations("update").await, 1);
    let info = format!("/cvms/my-app/commit-update?token={token}");
    let info = stage.nobody("GET", &info, &json!({})).await.ok();
    assert_eq!((&info["status"], &info["change"]), (&json!("used"), &json!(null)));
    assert_eq!(stage.world.get(&pending).await.ok()["items"], json!([]));
}

#[tokio::test]
async fn the_token_may_stand_in_the_query() {
    let stage = Stage::new().await;
    let told = stage.prepare("q:1").await;
    let transaction = stage.allow(told.hash());
    let path = told.text("api_commit_url");
    let path = path.split_once("/api/v1").unwrap().1.to_owned();
    let body = json!({ "transaction_hash": transaction });
    stage.nobody("POST", &path, &body).await.ok();
    stage.boots(told.hash()).await;
}

#[tokio::test]
async fn guesses_learn_nothing_and_are_counted() {
    let stage = Stage::new().await;
    let told = stage.prepare("g:1").await;
    stage.allow(told.hash());
    let guess = "1c2f3c0e-7c8d-4a43-9a51-6c9d8a1d3f10";
    let unknown = stage.commit(guess).await.refused(466, "ERR-01-006");
    let words = |mut body: serde_json::Value| {
        body["request_id"] = json!(null);
        body
    };
    let unknown = words(unknown);
    for other in ["", "t", "../../etc", "0", "1c2f3c0e7c8d4a439a516c9d8a1d3f10"] {
        let refused = stage.commit(other).await.refused(466, "ERR-01-006");
        if !other.is_empty() {
            assert_eq!(words(refused), unknown, "{other}");
        }
    }
    // A known token at another CVM's path.
    stage.world.deploy("other-app").await;
    let body = json!({ "token": told.token() });
    for path in ["/cvms/other-app/commit-update", "/cvms/no-such/commit-update"] {
        let refused = stage.nobody("POST", path, &body).await.refused(466, "ERR-01-006");
        assert_eq!(words(refused), unknown);
    }
    let info = format!("/cvms/other-app/commit-update?token={}", told.token());
    assert_eq!(
        words(stage.nobody("GET", &info, &json!({})).await.refused(466, "ERR-01-006")),
        unknown
    );
    // Expired: in the same words.
    stage.world.clock.advance_ms(14 * DAY_MS);
    assert_eq!(words(stage.commit(&told.token()).await.refused(466, "ERR-01-006")), unknown);
    // Many guesses: slow down. Whoever has a token is not kept out by that.
    let fresh = stage.prepare("g:2").await;
    stage.allow(fresh.hash());
    let mut limited = 0;
    for number in 0..100_u32 {
        let guess = format!("1c2f3c0e-7c8d-4a43-9a51-6c9d{number:08x}");
        limited += u32::from(stage.commit(&guess).await.status.as_u16() == 429);
    }
    assert!((30..=45).contains(&limited), "{limited}");
    stage.commit(&fresh.token()).await.ok();
    stage.boots(fresh.hash()).await;
}

#[tokio::test]
async fn a_token_lives_for_fourteen_days() {
    let stage = Stage::new().await;
    let told = stage.prepare("e:1").await;
    stage.allow(told.hash());
    stage.world.clock.advance_ms(14 * DAY_MS - 1);
    let info = format!("/cvms/my-app/commit-update?token={}", told.token());
    stage.nobody("GET", &info, &json!({})).await.ok();
    stage.world.clock.advance_ms(1);
    stage.commit(&told.token()).await.refused(466, "ERR-01-006");
    stage.nobody("GET", &info, &json!({})).await.refused(466, "ERR-01-006");
    let hash = told.hash().to_string();
    let refused = stage.patch(json!({}), &[("x-compose-hash", &hash)]).await;
    let refused = refused.refused(466, "ERR-01-006");
    assert!(why(&refused).contains("nothing is prepared"), "{refused}");
    // What was registered under the old token counts.
    let again = stage.prepare("e:1").await;
    assert_eq!(again.hash(), told.hash());
    assert_eq!(again.get("onchain_status").unwrap()["is_allowed"], true);
    stage.commit(&again.token()).await.ok();
    stage.boots(told.hash()).await;
}

#[tokio::test]
async fn the_newest_preparation_counts() {
    let stage = Stage::new().await;
    let first = stage.prepare("s:1").await;
    let second = stage.prepare("s:2").await;
    stage.allow(first.hash());
    stage.allow(second.hash());
    let refused = stage.commit(&first.token()).await.refused(466, "ERR-01-006");
    assert!(why(&refused).contains("newer preparation"), "{refused}");
    let info = format!("/cvms/my-app/commit-update?token={}", first.token());
    assert_eq!(stage.nobody("GET", &info, &json!({})).await.ok()["status"], "superseded");
    let hash = first.hash().to_string();
    stage.patch(json!({}), &[("x-compose-hash", &hash)]).await.refused(466, "ERR-01-006");
    stage.commit(&second.token()).await.ok();
    stage.boots(second.hash()).await;
}

#[tokio::test]
async fn what_is_prepared_without_a_token_takes_no_token_its_place() {
    let stage = Stage::new().await;
    let told = stage.prepare("w:1").await;
    // Anybody's plain update in between: each is confirmed by its own hash, and the token stands.
    let plain = Told::of(stage.patch(json!({ "docker_compose_file": other("w:2") }), &[]).await);
    assert!(plain.get("commit_token").is_none());
    let newer = Told::of(stage.patch(json!({ "docker_compose_file": other("w:3") }), &[]).await);
    let hash = plain.hash().to_string();
    let refused = stage.patch(json!({}), &[("x-compose-hash", &hash)]).await;
    let refused = refused.refused(466, "ERR-01-006");
    assert!(why(&refused).contains("newer preparation"), "those without a token do: {refused}");
    stage.allow(newer.hash());
    let hash = newer.hash().to_string();
    stage.patch(json!({}), &[("x-compose-hash", &hash)]).await.ok();
    stage.boots(newer.hash()).await;
    // What it was prepared on moved on, and that is what is said.
    stage.allow(told.hash());
    let refused = stage.commit(&told.token()).await.refused(466, "ERR-01-006");
    assert!(why(&refused).contains("has changed since"), "{refused}");

    let told = stage.prepare("w:4").await;
    Told::of(stage.patch(json!({ "docker_compose_file": other("w:5") }), &[]).await);
    stage.allow(told.hash());
    stage.commit(&told.token()).await.ok();
    stage.boots(told.hash()).await;
}

#[tokio::test]
async fn a_repeated_token_tells_how_its_update_went() {
    let stage = Stage::new().await;
    let told = stage.prepare("state:1").await;
    stage.allow(told.hash());
    let first = stage.commit(&told.token()).await.ok();
    assert_eq!(first["status"], "in_progress");
    stage.boots(told.hash()).await;
    let again = stage.commit(&told.token()).await.ok();
    assert_eq!(
        (&again["status"], &again["correlation_id"]),
        (&json!("succeeded"), &first["correlation_id"])
    );

    // The owner changes his mind while the update waits for its turn.
    let told = stage.prepare("state:2").await;
    stage.allow(told.hash());
    stage.commit(&told.token()).await.ok();
    stage.chain.remove_hash(stage.app, told.hash());
    stage.world.settle().await;
    let hash = told.hash().to_string();
    let by_key = stage.patch(json!({}), &[("x-compose-hash", &hash)]).await;
    for repeated in [stage.commit(&told.token()).await, by_key] {
        let refused = repeated.refused(466, "ERR-01-006");
        let said = why(&refused);
        assert!(said.contains("the update is failed") && said.contains("addComposeHash"), "{said}");
    }
}

#[tokio::test]
async fn what_the_kms_would_not_boot_uses_no_token_up() {
    let stage = Stage::new().await;
    let told = stage.prepare("image:1").await;
    stage.allow(told.hash());
    for image in stage.images().await {
        stage.chain.allow_os_image(KMS, image, false);
    }
    let refused = stage.commit(&told.token()).await.refused(468, "ERR-01-008");
    assert!(why(&refused).contains("OS image is not allowed"), "{refused}");
    assert!(why(&refused).contains("addOsImageHash"), "{refused}");
    assert_eq!(stage.operations("update").await, 0);
    // A plain update is not prepared for it: nothing that the app's owner registers would help.
    let refused = stage.patch(json!({ "docker_compose_file": other("image:1") }), &[]).await;
    refused.refused(468, "ERR-01-008");
    for image in stage.images().await {
        stage.chain.allow_os_image(KMS, image, true);
    }
    stage.commit(&told.token()).await.ok();
    stage.boots(told.hash()).await;
}

#[tokio::test]
async fn a_contract_without_lists_is_judged_by_what_it_answers() {
    let stage = Stage::new().await;
    let owner = Address::from_bytes([0x77; 20]);
    stage.chain.place_app(stage.app, owner, Generation::JudgeOnly);
    stage.chain.judge_hash(stage.app, stage.hash().await);
    let told = stage.prepare("judge:1").await;
    let status = told.get("onchain_status").unwrap();
    assert_eq!(status["is_allowed"], false, "{status}");
    let refused = stage.commit(&told.token()).await.refused(468, "ERR-01-008");
    assert!(why(&refused).contains("its own isAppAllowed decides"), "{refused}");
    assert!(!why(&refused).contains("addComposeHash"), "nobody can call that on it: {refused}");
    stage.chain.judge_hash(stage.app, told.hash());
    stage.commit(&told.token()).await.ok();
    stage.boots(told.hash()).await;
    let path = format!("/apps/{}/is-allowed", stage.app);
    let body = json!({ "compose_hash": told.hash().to_string() });
    let allowed = stage.send("POST", &path, &body, &[]).await.ok();
    assert_eq!(allowed["is_allowed"], true, "{allowed}");
}

#[tokio::test]
async fn a_preparation_is_void_when_its_cvm_moved_on_or_is_deleted() {
    let stage = Stage::new().await;
    for change in [json!({ "encrypted_env": "ab".repeat(80) }), json!({ "user_config": "other" })] {
        let told = stage.prepare("m:1").await;
        stage.allow(told.hash());
        stage.patch(change.clone(), &[]).await.ok();
        let refused = stage.commit(&told.token()).await.refused(466, "ERR-01-006");
        assert!(why(&refused).contains("has changed since"), "{change}: {refused}");
        let info = format!("/cvms/my-app/commit-update?token={}", told.token());
        assert_eq!(stage.nobody("GET", &info, &json!({})).await.ok()["status"], "outdated");
        let hash = told.hash().to_string();
        stage.patch(json!({}), &[("x-compose-hash", &hash)]).await.refused(466, "ERR-01-006");
        stage.world.settle().await;
    }
    // What does not make the document another one, and is not bound to it, is no obstacle.
    let told = stage.prepare("m:2").await;
    stage.allow(told.hash());
    stage.patch(json!({ "vcpu": 2, "listed": false }), &[]).await.ok();
    stage.commit(&told.token()).await.ok();
    stage.boots(told.hash()).await;
    assert_eq!(stage.read().await.spec.resources.vcpu, 2);

    let told = stage.prepare("m:3").await;
    stage.allow(told.hash());
    stage.send("DELETE", "/cvms/my-app", &json!({}), &[]).await.ok();
    let refused = stage.commit(&told.token()).await.refused(466, "ERR-01-006");
    assert!(why(&refused).contains("deleted"), "{refused}");
    stage.world.settle().await;
    stage.commit(&told.token()).await.refused(466, "ERR-01-006");
    let info = format!("/cvms/my-app/commit-update?token={}", told.token());
    assert_eq!(stage.nobody("GET", &info, &json!({})).await.ok()["status"], "deleted");
}

#[tokio::test]
async fn environment_and_document_come_together_and_no_secret_is_shown() {
    let stage = Stage::new().await;
    let sealed = "5ec7e7".repeat(30);
    let body = json!({ "docker_compose_file": other("env:1"), "allowed_envs": ["G", "NEW"],
        "encrypted_env": sealed, "env_keys": ["NEW"] });
    let told = Told::of(stage.patch(body, &[("x-prepare-only", "true")]).await);
    let info = format!("/cvms/my-app/commit-update?token={}", told.token());
    let info = stage.nobody("GET", &info, &json!({})).await;
    assert!(!info.text.contains(&sealed), "{}", info.text);
    let info = info.ok();
    assert_eq!(info["change"]["encrypted_env_changed"], true);
    assert_eq!(info["change"]["env"]["added"], json!(["NEW"]));
    assert_ne!(stage.read().await.sealed_env, Some(sealed.clone()));
    stage.allow(told.hash());
    stage.commit(&told.token()).await.ok();
    stage.boots(told.hash()).await;
    let cvm = stage.read().await;
    assert_eq!((cvm.sealed_env, cvm.spec.env_keys), (Some(sealed), vec!["NEW".to_owned()]));
}

#[tokio::test]
async fn transactions_are_evidence_and_state_decides() {
    let stage = Stage::new().await;
    let told = stage.prepare("tx:1").await;
    let commit = async |transaction: &str| {
        let body = json!({ "token": told.token(), "transaction_hash": transaction });
        stage.commit_with(body).await
    };
    let no_text = commit("0x12").await.refused(467, "ERR-01-007");
    assert!(why(&no_text).contains("transaction_hash"), "{no_text}");
    // Nothing inside: what a Safe makes of a call that fails.
    let empty = text(stage.chain.send_nothing());
    commit(&empty).await.refused(467, "ERR-01-007");
    // Reverted: not the owner.
    let by = Address::from_bytes([0xbb; 20]);
    let data = calldata::add_compose_hash(told.hash());
    let reverted = text(stage.chain.send(by, stage.app.into(), data));
    commit(&reverted).await.refused(467, "ERR-01-007");
    // Another app's contract.
    let (foreign, _) = governed_cvm(&stage.world, "foreign").await;
    stage.chain.add_app(KMS, foreign, OWNER);
    let elsewhere = text(stage.chain.add_hash(foreign, told.hash()));
    let refused = commit(&elsewhere).await.refused(467, "ERR-01-007");
    assert!(why(&refused).contains(&stage.app.to_string()), "{refused}");
    // State alone: not allowed.
    for nothing in ["", "already-registered"] {
        let refused = commit(nothing).await.refused(468, "ERR-01-008");
        assert!(why(&refused).contains(&told.hash().to_string()), "{refused}");
        assert!(why(&refused).contains("8453"), "{refused}");
    }
    // Added and removed again: the old transaction is true and proves nothing.
    let added = text(stage.chain.add_hash(stage.app, told.hash()));
    stage.chain.remove_hash(stage.app, told.hash());
    commit(&added).await.refused(468, "ERR-01-008");
    assert_eq!(stage.operations("update").await, 0, "and all the while the token stayed whole");
    let again = text(stage.chain.add_hash(stage.app, told.hash()));
    commit(&again).await.ok();
    stage.boots(told.hash()).await;
}

#[tokio::test]
async fn a_transaction_that_is_on_its_way_is_waited_for() {
    let stage = Stage::new().await;
    let told = stage.prepare("wait:1").await;
    let data = calldata::add_compose_hash(told.hash());
    let pending = stage.chain.submit(vec![(OWNER, stage.app.into(), data)]);
    let body = json!({ "token": told.token(), "transaction_hash": text(pending) });
    let mine = async {
        while stage.chain.counts().verify == 0 {
            tokio::task::yield_now().await;
        }
        stage.chain.mine(1);
    };
    let (reply, ()) = tokio::join!(stage.commit_with(body), mine);
    reply.ok();
    stage.boots(told.hash()).await;
}

#[tokio::test]
async fn a_device_that_is_not_allowed_is_named_with_the_way_out() {
    let stage = Stage::new().await;
    let device = stage.device().await;
    stage.chain.remove_device(stage.app, device);
    let told = stage.prepare("dev:1").await;
    assert_eq!(told.get("onchain_status").unwrap()["device_id_allowed"], false);
    assert!(told.0["suggestions"].to_string().contains("addDevice"), "{told:?}");
    let info = format!("/cvms/my-app/commit-update?token={}", told.token());
    let info = stage.nobody("GET", &info, &json!({})).await.ok();
    assert_eq!(info["calls"][1]["calldata"], format!("0x2a819728{device}"));
    stage.allow(told.hash());
    let refused = stage.commit(&told.token()).await.refused(468, "ERR-01-008");
    let said = refused.to_string();
    assert!(said.contains("addDevice") && said.contains(&device.to_string()), "{said}");
    stage.chain.add_device(stage.app, device);
    stage.commit(&told.token()).await.ok();
    stage.boots(told.hash()).await;
}

#[tokio::test]
async fn a_chain_that_fails_or_is_another_uses_nothing_up() {
    let stage = Stage::new().await;
    let told = stage.prepare("f:1").await;
    stage.allow(told.hash());
    let faults = [
        Fault::Unavailable("all endpoints: HTTP 429".to_owned()),
        Fault::Misconfigured("an endpoint serves chain 1".to_owned()),
        Fault::Busy,
    ];
    for fault in &faults {
        stage.chain.fail_next(1, fault);
        let reply = stage.commit(&told.token()).await;
        assert!(reply.headers.contains_key("retry-after"));
        reply.refused(503, "ERR-20-023");
    }
    stage.commit(&told.token()).await.ok();
    stage.boots(told.hash()).await;
}

#[tokio::test]
async fn a_full_queue_uses_nothing_up_and_a_known_answer_needs_no_chain() {
    let stage = Stage::configured(|config| config.work.queue = 2).await;
    let told = stage.prepare("full:1").await;
    stage.allow(told.hash());
    for vcpu in 2..5 {
        stage.patch(json!({ "vcpu": vcpu }), &[]).await.ok();
    }
    let busy = stage.commit(&told.token()).await;
    assert_eq!(busy.status.as_u16(), 409, "{}", busy.text);
    stage.world.settle().await;
    stage.commit(&told.token()).await.ok();
    stage.boots(told.hash()).await;

    let told = Told::of(stage.patch(json!({ "docker_compose_file": other("idem:1") }), &[]).await);
    stage.allow(told.hash());
    let hash = told.hash().to_string();
    let headers = [("x-compose-hash", hash.as_str()), ("idempotency-key", "once")];
    let first = stage.patch(json!({}), &headers).await;
    assert_eq!(first.status.as_u16(), 202, "{}", first.text);
    let asked = stage.chain.counts().verify;
    stage.chain.fail_next(10, &Fault::Busy);
    let again = stage.patch(json!({}), &headers).await;
    assert_eq!((again.status, again.text), (first.status, first.text));
    assert_eq!(stage.chain.counts().verify, asked);
}

#[tokio::test]
async fn prepared_under_a_key_it_is_prepared_again_and_the_token_is_nowhere() {
    let _kept = log::keep();
    let stage = Stage::new().await;
    let body = json!({ "docker_compose_file": other("log:1") });
    let headers = [("x-prepare-only", "true"), ("idempotency-key", "twice")];
    let first = Told::of(stage.patch(body.clone(), &headers).await);
    let second = Told::of(stage.patch(body, &headers).await);
    assert_ne!(first.token(), second.token(), "an answer with a token is not kept");
    stage.allow(second.hash());
    let info = format!("/cvms/my-app/commit-update?token={}", second.token());
    stage.nobody("GET", &info, &json!({})).await.ok();
    stage.chain.fail_next(1, &Fault::Busy);
    let path = format!("/cvms/my-app/commit-update?token={}", second.token());
    stage.nobody("POST", &path, &json!({})).await.refused(503, "ERR-20-023");
    stage.nobody("POST", &path, &json!({})).await.ok();
    stage.boots(second.hash()).await;
    for event in stage.events("governance.prepared").await {
        assert!(!event.to_string().contains(&second.token()));
    }
    let logged = log::text();
    assert!(logged.contains("commit-update"), "something is logged of it");
    for token in [first.token(), second.token()] {
        assert!(!logged.contains(&token));
    }
    // In the database neither: its files are searched byte for byte.
    if let Some(dir) = stage.world.directory() {
        for file in std::fs::read_dir(dir).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            let found = bytes.windows(36).any(|part| part == second.token().as_bytes());
            assert!(!found);
        }
    }
}

#[tokio::test]
async fn what_expired_is_swept_with_its_document() {
    let stage = Stage::new().await;
    let told = stage.prepare("sweep:1").await;
    let ctx = &stage.world.ctx;
    casemate_server::work::janitor::sweep(ctx).await.unwrap();
    assert!(casemate_store::provisions::document(&ctx.db, &told.hash()).await.unwrap().is_some());
    stage.world.clock.advance_ms(16 * DAY_MS);
    casemate_server::work::janitor::sweep(ctx).await.unwrap();
    let mut tx = ctx.db.begin().await.unwrap();
    assert_eq!(tx.document(&told.hash()).await.unwrap(), None);
    drop(tx);
    stage.commit(&told.token()).await.refused(466, "ERR-01-006");
}

#[tokio::test]
async fn whoever_is_no_member_any_more_commits_nothing() {
    // Tokens are bound to who prepared them; there is no way out of a workspace yet, so a token of
    // another database stands for it.
    let (stage, elsewhere) = (Stage::new().await, Stage::with(World::new().await).await);
    let told = elsewhere.prepare("x:1").await;
    stage.commit(&told.token()).await.refused(466, "ERR-01-006");
}
