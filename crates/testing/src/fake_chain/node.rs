//! A JSON-RPC endpoint of a chain in memory, over HTTP on a loopback port, with faults on demand.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use casemate_core::{
    governance::judge::Log,
    id::{Address, BlockHash, TxHash},
};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use super::{
    FakeChain, SOMEBODY, World,
    contracts::{Contracts, Run},
    ledger::Mined,
};

/// How an endpoint answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behaviour {
    /// This HTTP status without a useful body; `Retry-After` in seconds.
    Status(u16, Option<u64>),
    /// Closes the connection.
    Drop,
    /// A body that is not JSON.
    Garbage,
    /// A body of unlimited length.
    Endless,
    /// As if it were this number of blocks behind.
    Behind(u64),
    /// As if it served this chain.
    ChainId(u64),
    /// As if it did not support blocks by hash (EIP-1898).
    NoHashes,
    /// After this delay.
    Slow(Duration),
    Error(i64, &'static str),
}

/// An endpoint; stopped on drop.
#[derive(Debug)]
pub struct FakeNode {
    url: String,
    shared: Arc<Manners>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Manners {
    chain: FakeChain,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    always: Vec<Behaviour>,
    next: VecDeque<(Option<&'static str>, Behaviour)>,
    calls: Vec<String>,
}

impl FakeNode {
    /// An endpoint of this chain without faults.
    pub async fn start(chain: &FakeChain) -> Self {
        #[expect(clippy::expect_used, reason = "there is a loopback in every test")]
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        #[expect(clippy::expect_used, reason = "it is bound")]
        let address = listener.local_addr().expect("a bound port");
        let shared = Arc::new(Manners { chain: chain.clone(), state: Mutex::default() });
        let server = tokio::spawn(serve(listener, Arc::clone(&shared)));
        // The path represents an API key in the URL.
        Self { url: format!("http://{address}/v2/s3cr3t-key"), shared, server }
    }

    /// Its URL, with a key.
    #[must_use]
    pub fn url(&self) -> SecretString {
        SecretString::from(self.url.clone())
    }

    /// Adds a behaviour for all further calls.
    pub fn behave(&self, behaviour: Behaviour) {
        self.shared.state().always.push(behaviour);
    }

    /// Removes all behaviours.
    pub fn heal(&self) {
        let mut state = self.shared.state();
        state.always.clear();
        state.next.clear();
    }

    /// The next `n` calls, or those of one method, get this behaviour.
    pub fn behave_next(&self, n: usize, method: Option<&'static str>, behaviour: &Behaviour) {
        let next = std::iter::repeat_n((method, behaviour.clone()), n);
        self.shared.state().next.extend(next);
    }

    /// Number of calls of a method.
    #[must_use]
    pub fn calls(&self, method: &str) -> usize {
        self.shared.state().calls.iter().filter(|called| *called == method).count()
    }
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Manners>) {
    // Its connections end with it.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
        connections.spawn(async move {
            // Connections that are closed on purpose end here with an error.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// The connection is closed without a response.
#[derive(Debug, thiserror::Error)]
#[error("hung up on purpose")]
struct ConnectionClosed;

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Manners>,
) -> Result<Response<Full<Bytes>>, ConnectionClosed> {
    let body = request.into_body().collect().await.map_err(|_| ConnectionClosed)?.to_bytes();
    let call: Value = serde_json::from_slice(&body).map_err(|_| ConnectionClosed)?;
    let method = call["method"].as_str().unwrap_or_default();
    let mut view = View { behind: 0, chain_id: None, hashes: true };
    for behaviour in shared.behaviour(method) {
        match behaviour {
            Behaviour::Status(status, retry_after) => return Ok(refusal(status, retry_after)),
            Behaviour::Drop => return Err(ConnectionClosed),
            Behaviour::Garbage => return Ok(reply("<html>bad gateway</html>".to_owned())),
            Behaviour::Endless => return Ok(reply(" ".repeat(9 << 20))),
            Behaviour::Behind(blocks) => view.behind = blocks,
            Behaviour::ChainId(id) => view.chain_id = Some(id),
            Behaviour::NoHashes => view.hashes = false,
            Behaviour::Slow(time) => tokio::time::sleep(time).await,
            Behaviour::Error(code, message) => {
                return Ok(reply(envelope(&call["id"], Err(error(code, message)))));
            }
        }
    }
    let outcome = view.call(&mut shared.chain.world(), method, &call["params"]);
    Ok(reply(envelope(&call["id"], outcome)))
}

impl Manners {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call and returns its behaviours.
    fn behaviour(&self, method: &str) -> Vec<Behaviour> {
        let mut state = self.state();
        state.calls.push(method.to_owned());
        let meant = |(named, _): &(Option<&'static str>, Behaviour)| {
            named.is_none_or(|name| name == method)
        };
        let next = state.next.iter().position(meant).and_then(|place| state.next.remove(place));
        state.always.iter().cloned().chain(next.map(|(_, behaviour)| behaviour)).collect()
    }
}

fn refusal(status: u16, retry_after: Option<u64>) -> Response<Full<Bytes>> {
    let mut response = reply("no".to_owned());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::IM_A_TEAPOT);
    if let Some(seconds) = retry_after {
        response.headers_mut().insert("retry-after", seconds.into());
    }
    response
}

fn reply(body: String) -> Response<Full<Bytes>> {
    Response::new(Full::new(Bytes::from(body)))
}

fn envelope(id: &Value, outcome: Result<Value, Value>) -> String {
    match outcome {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err(error) => json!({"jsonrpc": "2.0", "id": id, "error": error}),
    }
    .to_string()
}

fn error(code: i64, message: &str) -> Value {
    json!({"code": code, "message": message})
}

/// The chain as an endpoint sees it.
struct View {
    behind: u64,
    chain_id: Option<u64>,
    hashes: bool,
}

impl View {
    fn call(&self, world: &mut World, method: &str, params: &Value) -> Result<Value, Value> {
        let text = |index: usize| params[index].as_str().unwrap_or_default();
        match method {
            "eth_chainId" => {
                Ok(hex_number(self.chain_id.unwrap_or_else(|| world.ledger.chain_id())))
            }
            "eth_getBlockByNumber" => Ok(self.tagged(world, text(0)).map_or(Value::Null, block)),
            "eth_getTransactionReceipt" => Ok(self.receipt(world, text(0))),
            "eth_call" => eth_call(self.at(world, &params[1])?, &params[0]),
            "eth_getCode" => {
                let contracts = &self.at(world, &params[1])?.contracts;
                Ok(data(&contracts.code(&address(&params[0]))))
            }
            "eth_getStorageAt" => {
                let contracts = &self.at(world, &params[2])?.contracts;
                Ok(data(&contracts.storage(&address(&params[0]), number(text(1)))))
            }
            _ => Err(error(-32_601, "method not found")),
        }
    }

    fn newest(&self, world: &World) -> u64 {
        world.ledger.head().block.number.saturating_sub(self.behind)
    }

    /// The block of a tag or number, if this endpoint has it.
    fn tagged<'w>(&self, world: &'w World, text: &str) -> Option<&'w Mined> {
        let newest = self.newest(world);
        let wanted = match text {
            "latest" => newest,
            "safe" => newest.saturating_sub(1),
            "finalized" => newest.saturating_sub(2),
            text => number(text),
        };
        world.ledger.at(wanted).filter(|_| wanted <= newest)
    }

    /// The block that a call refers to.
    fn at<'w>(&self, world: &'w World, parameter: &Value) -> Result<&'w Mined, Value> {
        let missing = || error(-32_000, "header not found");
        let Some(hash) = parameter["blockHash"].as_str() else {
            return self.tagged(world, parameter.as_str().unwrap_or_default()).ok_or_else(missing);
        };
        if !self.hashes {
            return Err(error(
                -32_602,
                "invalid argument 1: cannot unmarshal object into a block number",
            ));
        }
        let hash: BlockHash = hash.parse().map_err(|_| missing())?;
        let newest = self.newest(world);
        world
            .ledger
            .with_hash(&hash)
            .filter(|mined| mined.block.number <= newest)
            .ok_or_else(missing)
    }

    fn receipt(&self, world: &World, hash: &str) -> Value {
        let Ok(hash) = hash.parse::<TxHash>() else { return Value::Null };
        let found = world.ledger.find(&hash);
        let Some((mined, included)) =
            found.filter(|(mined, _)| mined.block.number <= self.newest(world))
        else {
            return Value::Null;
        };
        json!({
            "transactionHash": format!("0x{hash}"),
            "blockHash": format!("0x{}", mined.block.hash),
            "blockNumber": hex_number(mined.block.number),
            "status": if included.succeeded { "0x1" } else { "0x0" },
            "logs": included.logs.iter().map(log).collect::<Vec<Value>>(),
        })
    }
}

fn eth_call(mined: &Mined, call: &Value) -> Result<Value, Value> {
    let from = call["from"].as_str().and_then(|text| text.parse().ok()).unwrap_or(SOMEBODY);
    let input = call["data"].as_str().and_then(|text| hex::decode(text.get(2..)?).ok());
    let mut contracts = Contracts::clone(&mined.contracts);
    match contracts.call(from, address(&call["to"]), &input.unwrap_or_default()) {
        Ok(Run { returned, .. }) => Ok(data(&returned)),
        Err(revert) => {
            let mut error = error(3, "execution reverted");
            error["data"] = data(&revert);
            Err(error)
        }
    }
}

fn block(mined: &Mined) -> Value {
    json!({"number": hex_number(mined.block.number), "hash": format!("0x{}", mined.block.hash)})
}

fn log(log: &Log) -> Value {
    let topics: Vec<Value> = log.topics.iter().map(|topic| data(topic)).collect();
    json!({"address": format!("0x{}", log.address), "topics": topics, "data": data(&log.data),
           "removed": log.removed})
}

fn address(value: &Value) -> Address {
    let text = value.as_str().unwrap_or_default();
    text.parse().unwrap_or(Address::from_bytes([0; 20]))
}

fn number(text: &str) -> u64 {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or(u64::MAX)
}

fn hex_number(number: u64) -> Value {
    format!("{number:#x}").into()
}

fn data(bytes: &[u8]) -> Value {
    format!("0x{}", hex::encode(bytes)).into()
}
