//! Refusals before anything is signed or paid, and their texts.

use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
};

use serde_json::json;

use super::stage::{COMPOSE, Stage};

/// An endpoint that serves another chain.
fn other_chain() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer);
            let body = json!({"jsonrpc": "2.0", "id": 1, "result": "0x1"}).to_string();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
            let _ = write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        }
    });
    url
}

/// An address without a listener.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn keys_that_others_could_read_are_not_used() {
    let stage = Stage::new().await;
    let text = &stage.chain.accounts[1].private_key;
    let open = stage.file("open", text, 0o644).display().to_string();
    let deploy = ["deploy", "--kms", "base", "--yes"];
    let sent = stage.api.length();
    for (args, word) in [
        (vec!["--private-key-file", &open], "mode 0644"),
        (vec!["--private-key-file", "/nowhere"], "/nowhere"),
    ] {
        let said = stage.run(&[&deploy[..], &args].concat());
        assert_eq!(said.code, Some(2), "{said:?}");
        let (_, words) = said.refused();
        assert!(words.contains(word) && !words.contains(text.trim_start_matches("0x")), "{words}");
    }
    let broken = stage.file("broken", "hunter2", 0o600).display().to_string();
    let said = stage.run(&[&deploy[..], &["--private-key-file", &broken]].concat());
    let (_, words) = said.refused();
    assert!(words.contains("64 hex digits") && !words.contains("hunter2"), "{words}");
    let said = stage.run_with(&deploy, &[("PRIVATE_KEY", "hunter2")]);
    assert!(!said.err.contains("hunter2") && said.code == Some(2), "{said:?}");
    assert_eq!(stage.api.length(), sent, "nothing was asked of the server");
}

#[tokio::test]
async fn nothing_is_signed_on_another_chain_or_without_an_answer_or_unasked() {
    let stage = Stage::new().await;
    let (key, me) = (stage.key(1), stage.chain.accounts[1].address.clone());
    let deploy = ["deploy", "--kms", "base", "--private-key-file", &key];
    let yes =
        |url: &str| stage.run(&[&deploy[..], &["--yes", "--rpc-url", url]].concat()).refused();
    let (code, words) = yes(&other_chain());
    assert_eq!(code, "wrong-chain");
    assert!(words.contains("serves chain 1,") && words.contains("chain 8453"), "{words}");
    let (code, words) = yes(&format!("{}/v3/secret-token", nobody()));
    assert_eq!(code, "chain-unreachable");
    assert!(!words.contains("secret-token"), "an endpoint's address may hold a key: {words}");
    let (code, words) = stage.run(&deploy).refused();
    assert_eq!(code, "not-confirmed");
    assert!(words.contains("deployAndRegisterApp") && words.contains("ETH"), "{words}");
    assert_eq!(stage.chain.nonce(&me).await, "0x0");
    assert!(!stage.rpc.saw("eth_sendRawTransaction"));
    let (_, words) = stage.run(&["deploy", "--kms", "base"]).refused();
    assert!(words.contains("--owner") && words.contains("PRIVATE_KEY"), "{words}");
}

#[tokio::test]
async fn nothing_is_signed_that_would_fail_or_cannot_be_paid() {
    let stage = Stage::new().await;
    let poor = stage.file("poor", &"4b".repeat(32), 0o600).display().to_string();
    let (code, words) =
        stage.run(&["deploy", "--kms", "base", "--private-key-file", &poor, "--yes"]).refused();
    assert_eq!(code, "insufficient-funds", "{words}");
    assert!(words.contains("0.000000 ETH"), "{words}");

    let app = stage.deploy()["app_id"].as_str().unwrap().to_owned();
    let sent = stage.chain.nonce(&stage.chain.accounts[2].address.clone()).await;
    let (other, hash) = (stage.key(2), "5a".repeat(32));
    let add =
        ["governance", "add-compose-hash", &app, &hash, "--private-key-file", &other, "--yes"];
    let (code, words) = stage.run(&add).refused();
    assert_eq!(code, "not-owner", "{words}");
    assert!(words.contains("--sign-with print"), "{words}");
    assert_eq!(stage.chain.nonce(&stage.chain.accounts[2].address.clone()).await, sent);

    let missing = "99".repeat(20);
    let (code, words) = stage.run(&["governance", "show", &missing]).refused();
    assert_eq!(code, "ERR-20-008", "{words}");
    stage.compose(&COMPOSE.replace("image", "build"));
    let (code, words) = stage.run(&["deploy", "--kms", "base"]).refused();
    assert_eq!(code, "compose-file", "{words}");
}
