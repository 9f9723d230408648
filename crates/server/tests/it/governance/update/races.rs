//! Many at once, and what came in between.

use std::{collections::BTreeSet, sync::Arc};

use axum::http::Request;
use casemate_store::Db;
use casemate_testing::each_backend;
use serde_json::json;

use crate::governance::update::stage::Stage;

const AT_ONCE: usize = 64;

async fn of_many_commits_of_one_token_one_changes_the_cvm(db: Db) {
    let stage = Arc::new(Stage::over(db).await);
    let told = stage.prepare("race:1").await;
    stage.allow(told.hash());
    let tasks: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let (stage, token) = (stage.clone(), told.token());
            tokio::spawn(async move {
                let reply = stage.commit(&token).await;
                (reply.status.as_u16(), reply.text)
            })
        })
        .collect();
    let mut answers = BTreeSet::new();
    for task in tasks {
        let (status, text) = task.await.unwrap();
        assert_eq!(status, 202, "{text}");
        answers.insert(text);
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    stage.boots(told.hash()).await;
    assert_eq!(stage.operations("update").await, 1);
    assert_eq!(stage.events("governance.verified").await.len(), 1);
}

async fn a_commit_and_a_newer_preparation_do_not_both_win(db: Db) {
    let stage = Arc::new(Stage::over(db).await);
    let mut hashes = BTreeSet::new();
    for round in 0..8 {
        let told = stage.prepare(&format!("duel:{round}")).await;
        stage.allow(told.hash());
        let (one, two) = (stage.clone(), stage.clone());
        let token = told.token();
        let commit = tokio::spawn(async move { one.commit(&token).await.status.as_u16() });
        let next = format!("duel-b:{round}");
        let prepare = tokio::spawn(async move { two.prepare(&next).await });
        let (status, newer) = (commit.await.unwrap(), prepare.await.unwrap());
        assert!(matches!(status, 202 | 466), "{status}");
        stage.world.settle().await;
        if status == 202 {
            hashes.insert(told.hash());
            assert_eq!(stage.hash().await, told.hash());
        }
        stage.allow(newer.hash());
        let late = stage.commit(&newer.token()).await.status.as_u16();
        // Prepared on what was in force before, or on what the commit brought.
        assert!(matches!(late, 202 | 466), "{late}");
        stage.world.settle().await;
    }
    let booted = stage.events("governance.verified").await.len();
    assert_eq!(booted, stage.operations("update").await);
}

async fn a_prepared_change_and_another_update_keep_their_order(db: Db) {
    let stage = Stage::over(db).await;
    let told = stage.prepare("order:1").await;
    stage.allow(told.hash());
    // Asked while the chain holds its answer: the base moves on under the commit.
    stage.chain.hold();
    let token = told.token();
    let commit = stage.commit(&token);
    let change = async {
        while stage.chain.counts().verify == 0 {
            tokio::task::yield_now().await;
        }
        // Nothing is locked meanwhile: on SQLite there is one writer.
        stage.patch(json!({ "user_config": "between" }), &[]).await.ok();
        stage.chain.release();
    };
    let (reply, ()) = tokio::join!(commit, change);
    reply.refused(466, "ERR-01-006");
    stage.world.settle().await;
    assert_ne!(stage.hash().await, told.hash());
    let again = stage.prepare("order:1").await;
    assert_eq!(again.hash(), told.hash());
    stage.commit(&again.token()).await.ok();
    stage.boots(told.hash()).await;
    assert_eq!(stage.read().await.spec.user_config.as_deref(), Some("between"));
}

async fn a_request_that_dies_while_contracts_are_asked_uses_nothing_up(db: Db) {
    let stage = Arc::new(Stage::over(db).await);
    let told = stage.prepare("dies:1").await;
    stage.allow(told.hash());
    let asked = stage.chain.counts().verify;
    stage.chain.hold();
    let (one, token) = (stage.clone(), told.token());
    let dies = tokio::spawn(async move { one.commit(&token).await.status });
    while stage.chain.counts().verify == asked {
        tokio::task::yield_now().await;
    }
    dies.abort();
    assert!(dies.await.unwrap_err().is_cancelled());
    stage.chain.release();
    assert_eq!(stage.operations("update").await, 0);
    // Another process on the same database goes on.
    let path = format!("/api/v1/cvms/{}/commit-update", stage.cvm.reference);
    let body = json!({ "token": told.token() }).to_string();
    let request = Request::post(path).body(body.into()).unwrap();
    stage.world.replica().send(request).await.ok();
    stage.boots(told.hash()).await;
    assert_eq!(stage.operations("update").await, 1);
}

async fn of_many_commits_of_one_replica_one_machine_is_made(db: Db) {
    let stage = Arc::new(Stage::over(db).await);
    let (nothing, prepare) = (json!({}), [("x-prepare-only", "1")]);
    let reply = stage.send("POST", "/cvms/my-app/replicas", &nothing, &prepare).await;
    let told = crate::governance::update::stage::Told::of(reply);
    let path = format!("/cvms/{}/commit-replica", stage.cvm.uuid);
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (stage, token, path) = (stage.clone(), told.token(), path.clone());
            tokio::spawn(async move {
                let body = json!({ "token": token, "transaction_hash": "already-registered" });
                stage.nobody("POST", &path, &body).await.ok()["vm_uuid"].clone()
            })
        })
        .collect();
    let mut made = BTreeSet::new();
    for task in tasks {
        made.insert(task.await.unwrap().to_string());
    }
    assert_eq!(made.len(), 1, "{made:?}");
    stage.world.settle().await;
    let cvms = stage.world.get(&format!("/apps/{}/cvms", stage.app)).await.ok();
    assert_eq!(cvms.as_array().unwrap().len(), 2);
}

each_backend!(
    of_many_commits_of_one_token_one_changes_the_cvm,
    a_commit_and_a_newer_preparation_do_not_both_win,
    a_prepared_change_and_another_update_keep_their_order,
    a_request_that_dies_while_contracts_are_asked_uses_nothing_up,
    of_many_commits_of_one_replica_one_machine_is_made,
);
