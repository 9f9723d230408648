//! Owner commands that change a contract: with a key file, a keystore, the environment.

use serde_json::json;

use super::stage::{Said, Stage};

/// The keystore of Ethereum's test vectors; its password is `testpassword`.
const KEYSTORE: &str = r#"{"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"6087dab2f9fdbbfaddc31a909735c1e6"},"ciphertext":"5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46","kdf":"pbkdf2","kdfparams":{"c":262144,"dklen":32,"prf":"hmac-sha256","salt":"ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd"},"mac":"517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2"},"id":"3198bc9c-6672-5ab3-d995-4942343ae5b6","version":3}"#;
const IN_KEYSTORE: &str = "0x008aeeda4d805471df9b2a5b0f38a0c3bcba786b";

fn outcome(said: &Said) -> String {
    said.json()["outcome"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn lists_are_changed_by_their_owner_once() {
    let stage = Stage::new().await;
    let app = stage.deploy()["app_id"].as_str().unwrap().to_owned();
    let (hash, device) = ("5a".repeat(32), "6b".repeat(32));
    let me = stage.chain.accounts[1].clone();
    let act = |args: &[&str]| {
        let whole = [&["governance"], args, &["--yes"]].concat();
        stage.run_with(&whole, &[("PRIVATE_KEY", &me.private_key)])
    };
    for (args, selector, word) in [
        (["add-compose-hash", &app, &hash], "2f6622e5", Some(true)),
        (["remove-compose-hash", &app, &hash], "2f6622e5", Some(false)),
        (["add-device", &app, &device], "bf8b211b", Some(true)),
        (["remove-device", &app, &device], "bf8b211b", Some(false)),
        (["allow-any-device", &app, "--confirmations=1"], "3440a16a", Some(true)),
        (["allow-any-device", &app, "--off"], "3440a16a", Some(false)),
    ] {
        assert_eq!(outcome(&act(&args)), "done", "{args:?}");
        let argument = if args[2].starts_with("--") { "" } else { args[2] };
        let now = stage.chain.word(&format!("0x{app}"), &format!("0x{selector}{argument}")).await;
        assert_eq!(Some(now.ends_with('1')), word, "{args:?}");
        let before = stage.chain.nonce(&me.address).await;
        assert_eq!(outcome(&act(&args)), "unchanged", "{args:?}");
        assert_eq!(stage.chain.nonce(&me.address).await, before, "nothing is paid twice");
    }
}

#[tokio::test]
async fn whoever_removes_what_runs_is_told_what_does_not_boot_again() {
    let stage = Stage::new().await;
    let made = stage.deploy();
    let (app, hash) = (made["app_id"].as_str().unwrap(), made["compose_hash"].as_str().unwrap());
    let remove = ["governance", "remove-compose-hash", app, hash];
    let printed = stage.run(&[&remove[..], &["--sign-with", "print"]].concat()).json();
    assert_eq!(printed["does_not_boot_again"], json!(["my-shop"]), "{printed}");
    let other =
        ["governance", "remove-compose-hash", app, &"5a".repeat(32), "--sign-with", "print"];
    assert_eq!(stage.run(&other).json()["does_not_boot_again"], json!([]));
    let key = stage.key(1);
    let done = stage.run(&[&remove[..], &["--private-key-file", &key, "--yes"]].concat()).json();
    assert_eq!(done["does_not_boot_again"], json!(["my-shop"]), "{done}");
}

#[tokio::test]
async fn an_app_goes_over_to_the_account_of_a_keystore() {
    let stage = Stage::new().await;
    let app = stage.deploy()["app_id"].as_str().unwrap().to_owned();
    let contract = format!("0x{app}");
    let keystore = stage.file("wallet.json", KEYSTORE, 0o600).display().to_string();
    let password = stage.file("password", "testpassword\n", 0o600).display().to_string();
    stage.chain.fund(IN_KEYSTORE).await;
    let with_keystore = ["--keystore", &keystore, "--password-file", &password, "--yes"];
    let accept = [&["governance", "accept-ownership", &app], &with_keystore[..]].concat();
    let (code, text) = stage.run(&accept).refused();
    assert_eq!(code, "not-owner", "{text}");

    // Offered: the old owner still signs, the new one cannot yet.
    let offer = format!("0xf2fde38b{}", Stage::word(IN_KEYSTORE));
    stage.chain.send(&stage.chain.accounts[1].address.clone(), &contract, &offer).await;
    let hash = "5a".repeat(32);
    let add = ["governance", "add-compose-hash", &app, &hash];
    let (code, text) = stage.run(&[&add[..], &with_keystore].concat()).refused();
    assert_eq!(code, "not-owner");
    assert!(text.contains("accept-ownership"), "{text}");
    let plan = stage.run(&[
        "governance",
        "plan",
        "--app",
        &app,
        "--compose-hash",
        &hash,
        "--signer",
        IN_KEYSTORE,
    ]);
    let plan = plan.json();
    assert_eq!(plan["steps"][0]["purpose"], "accept_ownership", "{plan}");
    assert_eq!(plan["steps"][1]["purpose"], "compose_hash", "{plan}");

    assert_eq!(outcome(&stage.run(&accept)), "done");
    assert_eq!(outcome(&stage.run(&[&add[..], &with_keystore].concat())), "done");
    let key = stage.key(1);
    let other = "7c".repeat(32);
    let old = ["governance", "add-compose-hash", &app, &other, "--private-key-file", &key, "--yes"];
    let (code, text) = stage.run(&old).refused();
    assert_eq!(code, "not-owner", "{text}");
}

#[tokio::test]
async fn a_call_is_printed_for_whoever_signs() {
    let stage = Stage::new().await;
    let app = stage.deploy()["app_id"].as_str().unwrap().to_owned();
    let (hash, me) = ("5a".repeat(32), stage.chain.accounts[1].address.clone());
    let before = stage.chain.nonce(&me).await;
    let add = ["governance", "add-compose-hash", &app, &hash];
    for (args, variables) in [
        (
            &["--sign-with", "print"][..],
            &[("PRIVATE_KEY", stage.chain.accounts[1].private_key.as_str())][..],
        ),
        (&[], &[]),
    ] {
        let printed = stage.run_with(&[&add[..], args].concat(), variables).json();
        assert_eq!(printed["outcome"], "to_be_signed");
        assert_eq!(printed["calldata"], format!("0xdfc77223{hash}"));
        assert_eq!(printed["signer"].as_str().unwrap().to_lowercase(), me.to_lowercase());
        assert_eq!((&printed["reverts"], &printed["chain_id"]), (&json!(null), &json!(8453)));
        let inputs = &printed["safe_batch"]["transactions"][0]["contractInputsValues"];
        assert_eq!(inputs["composeHash"], format!("0x{hash}"));
    }
    assert_eq!(stage.chain.nonce(&me).await, before);
    assert!(!stage.allows(&app, &hash).await);
}
