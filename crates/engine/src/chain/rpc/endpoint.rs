//! One endpoint: its calls, its health, and whether it is on our chain.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use casemate_core::{
    governance::{Block, judge::Receipt, returned::CallResult, rules::Rule},
    id::{Address, TxHash},
    time::{Clock, Timestamp},
};
use reqwest::{Client, Response, Url, header::RETRY_AFTER};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{
    breaker::Breaker,
    config::{Config, ConfigError, Tip},
    reply::{self, Failure},
    wire::{self, At, Senseless},
};

/// Calls that may be under way at one endpoint.
const SLOTS: usize = 32;
/// Bytes of a reply that are read at most.
const LONGEST_REPLY: usize = 8 << 20;
/// How long a connection that nobody uses is kept; whoever comes later may meet another server.
const IDLE: Duration = Duration::from_secs(30);

pub(super) struct Endpoint {
    /// Its name without anything secret.
    host: String,
    url: Url,
    http: Client,
    clock: Arc<dyn Clock>,
    chain_id: u64,
    slots: Semaphore,
    calls: AtomicU64,
    health: Mutex<Health>,
}

/// Why an endpoint did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    /// Who; nothing secret.
    pub host: String,
    /// Why, fit for users.
    pub what: String,
    /// It serves another chain.
    pub other_chain: bool,
}

#[derive(Debug, Default)]
struct Health {
    breaker: Breaker,
    last: Option<Trouble>,
    /// When it was last used, if it was on our chain when its connections were made.
    on_our_chain: Option<Timestamp>,
    /// It does not know EIP-1898.
    by_number: bool,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// `place`: which one of the list it is, from 1.
    pub fn new(
        config: &Config,
        (place, address): (usize, &str),
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ConfigError> {
        let wrong = || ConfigError::Address(config.chain_id, place);
        let url: Url = address.trim().parse().map_err(|_| wrong())?;
        let host = host(&url).ok_or_else(wrong)?;
        let http = client(&url, config.call_timeout)
            .map_err(|error| ConfigError::Http(config.chain_id, error))?;
        Ok(Self {
            host,
            url,
            http,
            clock,
            chain_id: config.chain_id,
            slots: Semaphore::new(SLOTS),
            calls: AtomicU64::new(1),
            health: Mutex::default(),
        })
    }

    /// Why it is not to be asked now, if it is not.
    pub fn left_alone(&self) -> Option<Trouble> {
        let health = self.health();
        if health.breaker.admits(self.clock.now()) {
            return None;
        }
        health.last.clone()
    }

    /// It answered a question.
    pub fn succeeded(&self) {
        let now = self.clock.now();
        let mut health = self.health();
        health.breaker.succeeded();
        health.on_our_chain = health.on_our_chain.map(|_| now);
    }

    /// It did not. What is asked of it next may meet another server.
    pub fn failed(&self, failure: &Failure) -> Trouble {
        let (what, pause) = failure.message_and_retry_after();
        let other_chain = matches!(failure, Failure::OtherChain(_));
        let trouble = Trouble { host: self.host.clone(), what, other_chain };
        self.log(&trouble);
        let now = self.clock.now();
        let mut health = self.health();
        health.breaker.failed(now, pause);
        health.on_our_chain = None;
        health.last = Some(trouble.clone());
        trouble
    }

    fn log(&self, trouble: &Trouble) {
        let Trouble { host, what, other_chain } = trouble;
        let chain = self.chain_id;
        if *other_chain {
            tracing::error!(%host, chain, what, "an endpoint is not on the chain it is configured for");
        } else {
            tracing::warn!(%host, chain, what, "an endpoint of a chain did not answer");
        }
    }

    /// Makes sure that it serves our chain: once, and again when its connections may be new.
    pub async fn check_chain(&self) -> Result<(), Failure> {
        let now = self.clock.now();
        let fresh = self.health().on_our_chain.is_some_and(|used| now.since(used) < IDLE);
        if fresh || !Rule::ChainId.applies() {
            return Ok(());
        }
        let said = self.call("eth_chainId", json!([])).await?;
        let id = said.as_str().ok_or(Senseless).and_then(wire::number);
        match id.map_err(|Senseless| Failure::senseless("eth_chainId"))? {
            id if id == self.chain_id => self.health().on_our_chain = Some(now),
            id => return Err(Failure::OtherChain(id)),
        }
        Ok(())
    }

    /// The newest block that is called so.
    pub async fn tip(&self, tip: Tip) -> Result<Block, Failure> {
        self.block(At::Tip(tip)).await?.ok_or(Failure::Behind)
    }

    /// The block of a height; `None`: there is none yet.
    pub async fn block_at(&self, number: u64) -> Result<Option<Block>, Failure> {
        self.block(At::Number(number)).await
    }

    async fn block(&self, at: At) -> Result<Option<Block>, Failure> {
        let method = "eth_getBlockByNumber";
        let said = match self.call(method, json!([at.parameter(), false])).await {
            Err(Failure::Behind) => return Ok(None),
            said => said?,
        };
        wire::block(said).map_err(|Senseless| Failure::senseless(method))
    }

    /// What came of a transaction; its block has still to be found in the chain.
    pub async fn receipt(&self, transaction: &TxHash) -> Result<Option<Receipt>, Failure> {
        let method = "eth_getTransactionReceipt";
        let said = match self.call(method, json!([wire::transaction(transaction)])).await {
            // Some say so instead of null.
            Err(Failure::Behind) => return Ok(None),
            said => said?,
        };
        wire::receipt(said).map_err(|Senseless| Failure::senseless(method))
    }

    /// A call that changes nothing, by `from` or by nobody.
    pub async fn eth_call(
        &self,
        from: Option<&Address>,
        to: &Address,
        data: &[u8],
        block: &Block,
    ) -> Result<CallResult, Failure> {
        let mut call = json!({"to": wire::address(to), "data": wire::data(data)});
        if let Some(from) = from {
            call["from"] = wire::address(from).into();
        }
        match self.at_block("eth_call", vec![call], block).await {
            Ok(data) => Ok(CallResult::Data(data)),
            Err(Failure::Reverted(data)) => Ok(CallResult::Reverted(data)),
            Err(failure) => Err(failure),
        }
    }

    /// The code of a contract; none: nobody's.
    pub async fn code(&self, of: &Address, block: &Block) -> Result<Vec<u8>, Failure> {
        self.at_block("eth_getCode", vec![wire::address(of).into()], block).await
    }

    /// A slot of a contract's storage.
    pub async fn storage(
        &self,
        of: &Address,
        slot: u64,
        block: &Block,
    ) -> Result<Vec<u8>, Failure> {
        let arguments = vec![wire::address(of).into(), wire::quantity(slot).into()];
        self.at_block("eth_getStorageAt", arguments, block).await
    }

    /// A block that was read by its number has to be the same one still.
    pub async fn still(&self, block: &Block) -> Result<(), Failure> {
        if !self.health().by_number || self.block_at(block.number).await? == Some(*block) {
            return Ok(());
        }
        Err(Failure::Behind)
    }

    /// Bytes at one block: by its hash, or by its number where hashes are not understood.
    async fn at_block(
        &self,
        method: &'static str,
        arguments: Vec<Value>,
        block: &Block,
    ) -> Result<Vec<u8>, Failure> {
        let said = if self.health().by_number {
            self.at(method, arguments, At::Number(block.number)).await
        } else {
            match self.at(method, arguments.clone(), At::Hash(block.hash)).await {
                Err(Failure::Arguments) => {
                    let said = self.at(method, arguments, At::Number(block.number)).await;
                    self.health().by_number = said != Err(Failure::Arguments);
                    said
                }
                said => said,
            }
        };
        wire::bytes(&said?).map_err(|Senseless| Failure::senseless(method))
    }

    async fn at(
        &self,
        method: &'static str,
        mut arguments: Vec<Value>,
        at: At,
    ) -> Result<Value, Failure> {
        arguments.push(at.parameter());
        self.call(method, Value::from(arguments)).await
    }

    async fn call(&self, method: &'static str, params: Value) -> Result<Value, Failure> {
        // Fails only when the semaphore is closed, and nobody closes it.
        let _slot = self.slots.acquire().await.map_err(|_| Failure::down("closed"))?;
        let id = self.calls.fetch_add(1, Ordering::Relaxed);
        let call = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let request = self.http.post(self.url.clone()).json(&call);
        let response = request.send().await.map_err(|error| broken(&error))?;
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        if let Some(failure) = reply::by_status(response.status().as_u16(), retry_after) {
            return Err(failure);
        }
        reply::by_body(method, id, &body(response).await?)
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Host and port, which are fit to be shown; `None` for what is no address of an endpoint.
fn host(url: &Url) -> Option<String> {
    let host = url.host_str().filter(|_| matches!(url.scheme(), "http" | "https"))?;
    Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

/// Roots come from the system and cryptography is ring. An address of plain http needs no roots, and one of
/// this machine no proxy.
fn client(url: &Url, timeout: Duration) -> Result<Client, reqwest::Error> {
    // Fails only if the process has chosen already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("casemate/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .timeout(timeout)
        .pool_idle_timeout(IDLE);
    if url.scheme() == "http" {
        builder = builder.tls_certs_only([]);
    }
    if matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]")) {
        builder = builder.no_proxy();
    }
    builder.build()
}

async fn body(mut response: Response) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| broken(&error))? {
        if body.len() + chunk.len() > LONGEST_REPLY {
            return Err(Failure::down("its answer is too long"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// In our words: those of the error name the address.
fn broken(error: &reqwest::Error) -> Failure {
    Failure::down(if error.is_timeout() {
        "timed out"
    } else if error.is_connect() {
        "cannot be reached"
    } else {
        "the connection broke"
    })
}
