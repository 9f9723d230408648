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
