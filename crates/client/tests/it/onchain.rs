//! Transactions over a faulty endpoint: what is retried, what is not, and the errors.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::post};
use casemate_client::onchain::{ChainError, Key, Rpc};
use casemate_core::id::Address;
use serde_json::{Value, json};

const TO: Address = Address::from_bytes([9; 20]);
const KEY: &str = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d";

/// Responses by method, in order.
type Answers = Vec<(&'static str, VecDeque<Value>)>;

/// Responses by method, in order; the last one is repeated.
#[derive(Clone, Default)]
struct Stub(Arc<Mutex<Answers>>, Arc<Mutex<Vec<String>>>);

impl Stub {
    fn new() -> Self {
        let stub = Self::default();
        stub.say("eth_chainId", &[json!("0x2105")]);
        stub.say("eth_call", &[json!("0x")]);
        stub.say("eth_estimateGas", &[json!("0xd000")]);
        stub.say("eth_getBlockByNumber", &[json!({"baseFeePerGas": "0x3b9aca00"})]);
        stub.say("eth_maxPriorityFeePerGas", &[json!("0x1")]);
        stub.say("eth_getBalance", &[json!("0xde0b6b3a7640000")]);
        stub.say("eth_getTransactionCount", &[json!("0x7")]);
        stub.say("eth_blockNumber", &[json!("0x10")]);
        stub
    }

    /// `{"status": n}` is an HTTP error, `{"error": …}` one of JSON-RPC.
    fn say(&self, method: &'static str, answers: &[Value]) {
        let mut all = self.0.lock().unwrap();
        all.retain(|(known, _)| *known != method);
        all.push((method, answers.iter().cloned().collect()));
    }

    fn asked(&self, method: &str) -> usize {
        self.1.lock().unwrap().iter().filter(|asked| *asked == method).count()
    }

    async fn start(&self) -> String {
        let router = Router::new().route("/{*path}", post(answer)).with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v3/hunter2", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }
}

async fn answer(State(stub): State<Stub>, Json(call): Json<Value>) -> axum::response::Response {
    let method = call["method"].as_str().unwrap().to_owned();
    stub.1.lock().unwrap().push(method.clone());
    let mut all = stub.0.lock().unwrap();
    let answers = all.iter_mut().find(|(known, _)| *known == method);
    let (_, answers) = answers.unwrap_or_else(|| panic!("nobody said what {method} answers"));
    let said = if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0].clone() };
    if let Some(status) = said.get("status").and_then(Value::as_u64).filter(|code| *code > 1) {
        let status = StatusCode::from_u16(u16::try_from(status).unwrap()).unwrap();
        return (status, "try later").into_response();
    }
    match said.get("error") {
        Some(error) => Json(json!({"jsonrpc": "2.0", "id": 1, "error": error})).into_response(),
        None => Json(json!({"jsonrpc": "2.0", "id": 1, "result": said})).into_response(),
    }
}

fn receipt(status: &str) -> Value {
    json!({
        "status": status, "blockNumber": "0x10", "gasUsed": "0xc000",
        "blockHash": format!("0x{}", "ab".repeat(32)), "logs": [],
    })
}

async fn open(stub: &Stub) -> Rpc {
    Rpc::open(&stub.start().await, 8453).await.unwrap()
}

fn key() -> Key {
    Key::parse(&KEY.into()).unwrap()
}

#[tokio::test]
async fn a_question_is_asked_again_and_a_transaction_is_sent_once() {
    let stub = Stub::new();
    stub.say(
        "eth_getBalance",
        &[json!({"status": 503}), json!({"status": 429}), json!("0xde0b6b3a7640000")],
    );
    stub.say("eth_sendRawTransaction", &[json!({"status": 502})]);
    stub.say("eth_getTransactionReceipt", &[Value::Null, receipt("0x1")]);
    let rpc = open(&stub).await;
    let prepared = rpc.prepare(key().address(), TO, vec![1, 2]).await.unwrap();
    assert_eq!((prepared.gas, prepared.cost), (66560, 66560 * 2_000_000_001));
    // Whether it arrived is unknown, but its hash is known.
    let hash = rpc.send(&key(), &prepared).await.unwrap();
    let mined = rpc.mined(hash, 1, Duration::from_secs(20)).await.unwrap();
    assert_eq!((mined.hash, mined.block, mined.gas_used), (hash, 16, 49152));
    assert_eq!((stub.asked("eth_getBalance"), stub.asked("eth_sendRawTransaction")), (3, 1));
    assert_eq!(rpc.send(&key(), &prepared).await.unwrap(), hash, "the same bytes");
}

#[tokio::test]
async fn what_cannot_be_is_not_signed_and_what_is_said_holds_no_secrets() {
    let stub = Stub::new();
    let rpc = open(&stub).await;
    let prepare = || rpc.prepare(key().address(), TO, vec![1]);
    let revert = json!({"error": {"code": 3, "message": "execution reverted", "data": "0x118cdaa7000000000000000000000000008aeeda4d805471df9b2a5b0f38a0c3bcba786b"}});
    stub.say("eth_call", &[revert]);
    let Err(ChainError::Reverts(why)) = prepare().await else { panic!("it would fail") };
    assert!(why.contains("OwnableUnauthorizedAccount"), "{why}");
    stub.say("eth_call", &[json!("0x")]);
    stub.say("eth_getBalance", &[json!("0x1")]);
    let Err(ChainError::Funds { has, needs, .. }) = prepare().await else { panic!("no funds") };
    assert_eq!((has, needs), (1, 66560 * 2_000_000_001));
    stub.say("eth_getBalance", &[json!({"status": 500})]);
    let error = prepare().await.unwrap_err();
    let ChainError::Unanswered { host, reason } = &error else { panic!("{error}") };
    assert_eq!((host.as_str(), reason.as_str()), ("127.0.0.1", "HTTP 500"));
    assert!(!format!("{error} {error:?} {rpc:?}").contains("hunter2"), "{error:?}");
    stub.say("eth_getBalance", &[json!({"colour": "red"})]);
    assert!(matches!(prepare().await.unwrap_err(), ChainError::Unanswered { .. }));
    assert_eq!(stub.asked("eth_sendRawTransaction"), 0);
    let other = Rpc::open(&stub.start().await, 1).await.unwrap_err();
    assert_eq!(
        other,
        ChainError::WrongChain { host: "127.0.0.1".to_owned(), serves: 8453, wanted: 1 }
    );
    for url in ["", "ftp://h", "h:80"] {
        assert!(matches!(Rpc::open(url, 1).await, Err(ChainError::Url(_))), "{url}");
    }
}

#[tokio::test]
async fn a_transaction_counts_once_it_is_deep_enough_and_succeeded() {
    let stub = Stub::new();
    let rpc = open(&stub).await;
    let hash = "11".repeat(32).parse().unwrap();
    stub.say("eth_getTransactionReceipt", &[receipt("0x1")]);
    stub.say("eth_blockNumber", &[json!("0x10"), json!("0x11"), json!("0x12")]);
    assert_eq!(rpc.mined(hash, 3, Duration::from_secs(20)).await.unwrap().block, 16);
    assert_eq!(stub.asked("eth_blockNumber"), 3);
    let late = rpc.mined(hash, 30, Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(late, ChainError::NotMined { hash, seconds: 1 });
    stub.say("eth_getTransactionReceipt", &[receipt("0x0")]);
    assert_eq!(
        rpc.mined(hash, 1, Duration::from_secs(5)).await.unwrap_err(),
        ChainError::Failed(hash)
    );
    stub.say(
        "eth_sendRawTransaction",
        &[json!({"error": {"code": -32000, "message": "nonce too low"}})],
    );
    stub.say("eth_getTransactionByHash", &[Value::Null]);
    let prepared = rpc.prepare(key().address(), TO, Vec::new()).await.unwrap();
    let refused = rpc.send(&key(), &prepared).await.unwrap_err();
    assert_eq!(refused, ChainError::Refused("nonce too low".to_owned()));
    stub.say(
        "eth_sendRawTransaction",
        &[json!({"error": {"code": -32000, "message": "in the pool since yesterday"}})],
    );
    stub.say("eth_getTransactionByHash", &[json!({"nonce": "0x0"})]);
    rpc.send(&key(), &prepared).await.unwrap();
}
