//! Updates of contract-governed apps: with a key in one step, for a multisig in two.

use serde_json::{Value, json};

use super::stage::{COMPOSE, Stage, WAIT};

fn hash(cvm: &Value) -> String {
    cvm["compose_hash"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_key_approves_an_update_and_the_cvm_runs_it() {
    let stage = Stage::new().await;
    let made = stage.deploy();
    let (app, me) = (made["app_id"].as_str().unwrap().to_owned(), stage.chain.accounts[1].clone());
    stage.compose(&COMPOSE.replace("1.36", "1.37"));
    let update = ["deploy", "--cvm-id", "my-shop", "--wait", "--timeout", WAIT];
    let with = |account: usize| {
        let key = stage.key(account);
        stage.run(&[&update[..], &["--private-key-file", &key, "--yes"]].concat())
    };

    let (code, words) = with(2).refused();
    assert_eq!(code, "not-owner", "{words}");
    assert_eq!(hash(&stage.cvm("my-shop").await), hash(&made), "nothing was changed");

    let updated = with(1).json();
    assert_eq!((&updated["outcome"], &updated["status"]), (&json!("updated"), &json!("running")));
    assert!(stage.allows(&app, &hash(&updated)).await);
    assert_eq!(hash(&stage.cvm("my-shop").await), hash(&updated));
    assert_ne!(hash(&updated), hash(&made));

    // What is already allowed is not paid again.
    stage.compose(COMPOSE);
    let before = stage.chain.nonce(&me.address).await;
    let back = with(1).json();
    assert_eq!((hash(&back), &back["transaction_hash"]), (hash(&made), &json!(null)));
    assert_eq!(stage.chain.nonce(&me.address).await, before);
    assert!(!stage.api.saw(me.private_key.trim_start_matches("0x")));
    let plan = stage.run(&["governance", "plan", "my-shop"]).json();
    assert_eq!(plan["optional"][0]["purpose"], "forget_compose_hash", "{plan}");
}

#[tokio::test]
async fn a_multisig_approves_an_update_that_was_prepared() {
    let stage = Stage::new().await;
    let made = stage.deploy();
    let (app, me) =
        (made["app_id"].as_str().unwrap().to_owned(), stage.chain.accounts[1].address.clone());
    stage.compose(&COMPOSE.replace("1.36", "1.37"));
    let batch = stage.file("batch.json", "", 0o600).display().to_string();
    let prepared = stage
        .run(&[
            "deploy",
            "--cvm-id",
            "my-shop",
            "--sign-with",
            "print",
            "--yes",
            "--safe-batch",
            &batch,
        ])
        .json();
    assert_eq!(prepared["outcome"], "to_be_signed", "{prepared}");
    let token = prepared["commit_token"].as_str().unwrap();
    assert!(prepared["commit_url"].as_str().unwrap().contains(token), "{prepared}");
    let step = &prepared["plan"]["steps"][0];
    assert_eq!(
        (&step["purpose"], &step["simulation"]),
        (&json!("compose_hash"), &json!("succeeds"))
    );
    assert_eq!(hash(&stage.cvm("my-shop").await), hash(&made), "nothing was changed");

    let data = step["calldata"].as_str().unwrap();
    let receipt = stage.chain.send(&me, &format!("0x{app}"), data).await;
    let body =
        json!({"token": token, "compose_hash": "", "transaction_hash": receipt["transactionHash"]});
    let (status, said) = stage.server.send("POST", "/cvms/my-shop/commit-update", body).await;
    assert_eq!(status, 202, "{said}");
    let wanted = prepared["compose_hash"].as_str().unwrap();
    let done = |seen: &Value| {
        hash(seen) == wanted && seen["status"] == "running" && seen["in_progress"] == false
    };
    stage.server.until("my-shop", "updated", done).await;
}
