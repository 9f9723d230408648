//! From a compose file to a running CVM.

use serde_json::json;

use super::stage::{COMPOSE, Stage, WAIT};

#[tokio::test]
async fn a_key_deploys_an_app_and_is_in_no_request() {
    let stage = Stage::new().await;
    let (me, file) = (stage.chain.accounts[1].clone(), stage.key(1));
    let made = stage
        .run(&[
            "deploy",
            "--kms",
            "base",
            "--private-key-file",
            &file,
            "--yes",
            "--wait",
            "--timeout",
            WAIT,
            "-e",
            "TOKEN=hunter2",
        ])
        .json();
    assert_eq!((&made["outcome"], &made["status"]), (&json!("created"), &json!("running")));
    assert_eq!((&made["name"], &made["chain_id"]), (&json!("my-shop"), &json!(8453)));
    let (app, hash) = (made["app_id"].as_str().unwrap(), made["compose_hash"].as_str().unwrap());
    assert!(stage.allows(app, hash).await, "{made}");
    assert!(made["transaction_hash"].as_str().unwrap().starts_with("0x"), "{made}");
    let seen = stage.cvm("my-shop").await;
    assert_eq!(seen["app_id"], app, "{seen}");

    let key = me.private_key.trim_start_matches("0x");
    for record in [&stage.api, &stage.rpc] {
        assert!(record.length() > 1000, "it went past the recorder");
        assert!(!record.saw(key), "the private key was sent");
        assert!(!record.saw("hunter2"), "a value of a variable was sent");
    }
    assert!(stage.api.saw(me.address.trim_start_matches("0x")), "the account is no secret");
    assert!(stage.rpc.saw("eth_sendRawTransaction"));
    assert!(!stage.server.log().contains(key));

    let shown = stage.run(&["governance", "show", app]).json();
    assert_eq!((&shown["registered"], &shown["owner_kind"]), (&json!(true), &json!("eoa")));
    assert_eq!(shown["owner"].as_str().unwrap().to_lowercase(), me.address.to_lowercase());
    assert_eq!(
        shown["compose_hashes"][0],
        json!({"compose_hash": hash, "cvms": "my-shop", "allowed": true})
    );
    assert_eq!(shown["devices"][0]["listed"], true);
    let plan = stage.run(&["governance", "plan", "my-shop"]).json();
    assert_eq!(plan["standing"], "allowed", "{plan}");
}

#[tokio::test]
async fn a_multisig_signs_what_is_printed_and_the_deployment_goes_on() {
    let stage = Stage::new().await;
    let owner = stage.chain.accounts[3].address.clone();
    let file = stage.file("batch.json", "", 0o600).display().to_string();
    let sent = stage.rpc.length();
    let printed = stage
        .run(&[
            "deploy",
            "--kms",
            "kms-base-1",
            "--sign-with",
            "print",
            "--owner",
            &owner,
            "--safe-batch",
            &file,
        ])
        .json();
    assert_eq!(printed["outcome"], "to_be_signed", "{printed}");
    assert_eq!(stage.rpc.length(), sent, "nothing was asked of the chain from here");
    let step = &printed["plan"]["steps"][0];
    assert_eq!((&step["purpose"], &step["simulation"]), (&json!("deploy"), &json!("succeeds")));
    let batch: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(batch["transactions"][0]["contractMethod"]["name"], "deployAndRegisterApp");

    let data = step["calldata"].as_str().unwrap();
    let receipt = stage.chain.send(&owner, &stage.chain.kms, data).await;
    let event = "0xfd86d7f6962eba3b7a3bf9129c06c0b2f885e1c61ef2c9f0dbb856be0deefdee";
    let logs = receipt["logs"].as_array().unwrap();
    let log = logs.iter().find(|log| log["topics"][0] == event).unwrap();
    let app = format!("0x{}", &log["topics"][1].as_str().unwrap()[26..]);
    let made = stage
        .run(&["deploy", "--kms", "kms-base-1", "--app-id", &app, "--wait", "--timeout", WAIT])
        .json();
    assert_eq!(
        (&made["status"], &made["app_contract"].as_str().unwrap().to_lowercase()),
        (&json!("running"), &app)
    );
    assert_eq!(made["transaction_hash"], json!(null));
}

/// What `deploy` would have signed for this account.
fn first_transaction(stage: &Stage, owner: &str) -> String {
    let print = ["deploy", "--kms", "base", "--sign-with", "print", "--owner", owner];
    stage.run(&print).json()["plan"]["steps"][0]["calldata"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_interrupted_deployment_finds_its_app_and_is_not_paid_twice() {
    let stage = Stage::new().await;
    let me = stage.chain.accounts[1].address.clone();
    let data = first_transaction(&stage, &me);
    // One of somebody else, and one of this account for somebody else.
    let other = stage.chain.accounts[2].address.clone();
    stage.chain.send(&other, &stage.chain.kms, &data).await;
    let foreign = first_transaction(&stage, &other);
    stage.chain.send(&me, &stage.chain.kms, &foreign).await;
    // The command died after it had sent this; it is mined two seconds from now.
    stage.chain.call("evm_setAutomine", json!([false])).await;
    let sent = json!([{"from": me, "to": stage.chain.kms, "data": data, "gas": "0x989680"}]);
    let sent = stage.chain.call("eth_sendTransaction", sent).await;
    stage.chain.call("evm_setIntervalMining", json!([2])).await;
    let made = stage.deploy();
    assert_eq!(made["transaction_hash"], sent, "{made}");
    assert_eq!(stage.chain.nonce(&me).await, "0x2", "nothing was paid again");
    // Once more: the same CVM.
    let again = stage.deploy();
    assert_eq!((&again["id"], &again["app_id"]), (&made["id"], &made["app_id"]));
    assert_eq!(stage.chain.nonce(&me).await, "0x2");
    stage.chain.call("evm_setAutomine", json!([true])).await;
    let key = stage.key(1);
    let new = ["deploy", "--kms", "base", "--private-key-file", &key, "--yes", "--new-app"];
    let refused = stage.run(&new);
    assert_ne!(refused.code, Some(0), "the name is taken: {refused:?}");
    assert_eq!(stage.chain.nonce(&me).await, "0x3", "it was asked for");
}

#[tokio::test]
async fn nothing_is_signed_for_an_image_that_the_kms_refuses() {
    let stage = Stage::new().await;
    let (me, key) = (stage.chain.accounts[1].address.clone(), stage.key(1));
    let images = stage.images().await;
    let dev: Vec<_> = images.iter().filter(|(name, _)| name.contains("dev")).collect();
    stage.allow(&dev[0].1, false).await;
    let deploy = ["deploy", "--kms", "base", "--private-key-file", &key, "--yes"];
    let (code, words) = stage.run(&[&deploy[..], &["--image", &dev[0].0]].concat()).refused();
    assert_eq!(code, "ERR-02-009", "{words}");
    assert!(words.contains(&dev[0].0) && words.contains("does not let apps boot it"), "{words}");
    // What the contract refuses by itself: no implementation of apps would be a reason.
    stage
        .chain
        .call("anvil_setStorageAt", json!([stage.chain.kms, "0x9", format!("0x{:064}", 0)]))
        .await;
    let (code, words) = stage.run(&deploy).refused();
    assert_eq!(code, "blocked", "{words}");
    assert!(words.contains("DstackApp implementation not set"), "{words}");
    assert_eq!(stage.chain.nonce(&me).await, "0x0");
    assert!(!stage.rpc.saw("eth_sendRawTransaction"));
}

#[tokio::test]
async fn the_image_of_a_deployment_is_one_that_the_kms_allows() {
    let stage = Stage::new().await;
    let images = stage.images().await;
    let (last, hash) = images.iter().find(|(name, _)| !name.contains("dev")).unwrap();
    for (_, other) in images.iter().filter(|(name, _)| name != last) {
        stage.allow(other, false).await;
    }
    let made = stage.deploy();
    assert_eq!(made["status"], "running", "{made}");
    let info = stage.run(&["cvms", "get", "my-shop"]).json();
    assert_eq!(info["os"]["os_image_hash"], **hash, "{info}");
}

#[tokio::test]
async fn the_plan_of_a_thought_is_a_table_and_a_batch() {
    let stage = Stage::new().await;
    let app = stage.deploy()["app_id"].as_str().unwrap().to_owned();
    stage.compose(&COMPOSE.replace("1.36", "1.37"));
    let batch = stage.file("batch.json", "", 0o600).display().to_string();
    let args =
        ["governance", "plan", "my-shop", "-c", "docker-compose.yml", "--safe-batch", &batch];
    let plan = stage.run(&args).json();
    assert_eq!(plan["standing"], "transactions_missing", "{plan}");
    let text = std::fs::read_to_string(&batch).unwrap();
    assert!(text.contains("addComposeHash") && text.contains("checksum"), "{text}");

    let add = ["governance", "add-compose-hash", &app, plan["compose_hash"].as_str().unwrap()];
    let key = stage.key(1);
    let done = stage.run(&[&add[..], &["--private-key-file", &key, "--yes"]].concat()).json();
    assert_eq!(done["outcome"], "done", "{done}");
    let after = stage.run(&args[..5]).json();
    assert_eq!(after["standing"], "allowed", "{after}");
    let nothing = stage.run(&args).refused();
    assert_eq!(nothing.0, "nothing-to-sign", "{}", nothing.1);
}

#[tokio::test]
async fn without_a_contract_it_is_deployed_all_the_same() {
    let stage = Stage::new().await;
    let made = stage.run(&["deploy", "--wait", "--timeout", WAIT, "-e", "TOKEN=hunter2"]).json();
    assert_eq!((&made["status"], &made["chain_id"]), (&json!("running"), &json!(null)));
    assert!(!stage.api.saw("hunter2") && stage.rpc.length() == 0);
    let plan = stage.run(&["governance", "plan", "my-shop"]).refused();
    assert_eq!(plan.0, "ERR-20-006", "{}", plan.1);
    let show = stage.run(&["governance", "show", made["app_id"].as_str().unwrap()]).refused();
    assert_eq!(show.0, "not-governed", "{}", show.1);
    let updated = stage.run(&["deploy", "--cvm-id", "my-shop", "--yes"]).json();
    assert_eq!(updated["outcome"], "unchanged", "{updated}");
    stage.compose(&COMPOSE.replace("1.36", "1.37"));
    let updated =
        stage.run(&["deploy", "--cvm-id", "my-shop", "--yes", "--wait", "--timeout", WAIT]).json();
    assert_eq!((&updated["outcome"], &updated["status"]), (&json!("updated"), &json!("running")));
}
