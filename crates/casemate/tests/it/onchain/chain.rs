//! A chain with a KMS contract: `contracts/chain.mjs`.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// anvil mines immediately; anything slower is stuck.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub struct Account {
    pub address: String,
    pub private_key: String,
}

/// Stopped on drop.
pub struct Chain {
    process: Child,
    pub rpc: String,
    pub id: u64,
    pub kms: String,
    /// The code behind `kms`.
    pub kms_implementation: String,
    /// The code behind apps.
    pub app_implementation: String,
    pub accounts: Vec<Account>,
    http: reqwest::Client,
}

impl Chain {
    pub fn start(chain_id: u64) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../contracts/chain.mjs");
        let mut process = Command::new("node")
            .args([script, "--chain-id", &chain_id.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node runs: scripts/test-env.sh chain says what is missing");
        let mut line = String::new();
        let out = process.stdout.take().expect("stdout");
        BufReader::new(out).read_line(&mut line).expect("a line");
        let said: Value = serde_json::from_str(&line).expect(
            "the chain starts: run scripts/test-env.sh chain, and source target/test-env/env",
        );
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let account = |one: &Value| Account {
            address: text(&one["address"]),
            private_key: text(&one["private_key"]),
        };
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            process,
            rpc: text(&said["rpc"]),
            id: chain_id,
            kms: text(&said["kms_contract"]),
            kms_implementation: text(&said["kms_implementation"]),
            app_implementation: text(&said["app_implementation"]),
            accounts: said["accounts"].as_array().expect("accounts").iter().map(account).collect(),
            http: reqwest::Client::builder().no_proxy().build().expect("a client"),
        }
    }

    pub async fn call(&self, method: &str, params: Value) -> Value {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let answer = self.http.post(&self.rpc).json(&body).send().await.expect("an answer");
        let mut answer: Value = answer.json().await.expect("JSON");
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].take()
    }

    /// Sends from an unlocked account of anvil; returns the receipt.
    pub async fn send(&self, from: &str, to: &str, data: &str) -> Value {
        self.call("anvil_impersonateAccount", json!([from])).await;
        let transaction = json!({"from": from, "to": to, "data": data, "gas": "0x989680"});
        let hash = self.call("eth_sendTransaction", json!([transaction])).await;
        let deadline = Instant::now() + PATIENCE;
        let mut receipt = Value::Null;
        while receipt.is_null() {
            assert!(Instant::now() < deadline, "{hash} is not mined");
            receipt = self.call("eth_getTransactionReceipt", json!([hash])).await;
        }
        assert_eq!(receipt["status"], "0x1", "{receipt}");
        receipt
    }

    pub async fn fund(&self, address: &str) {
        self.call("anvil_setBalance", json!([address, "0xde0b6b3a7640000"])).await;
    }

    /// Number of transactions that an account has sent.
    pub async fn nonce(&self, address: &str) -> Value {
        self.call("eth_getTransactionCount", json!([address, "latest"])).await
    }

    /// The 32-byte result of a view.
    pub async fn word(&self, to: &str, data: &str) -> String {
        let word = self.call("eth_call", json!([{"to": to, "data": data}, "latest"])).await;
        word.as_str().expect("a word").trim_start_matches("0x").to_owned()
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        // It stops its anvil on SIGTERM.
        let pid = self.process.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.process.wait();
    }
}
