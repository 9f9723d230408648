//! JSON-RPC to one endpoint of a chain.

use std::{fmt, sync::Arc, time::Duration};

use casemate_core::{
    governance::{Account, returned, returned::CallResult, view},
    id::Address,
};
use reqwest::{StatusCode, Url, redirect};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::error::ChainError;
use crate::path;

/// Timeout of one request.
const TIMEOUT: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum size of a response in bytes.
const MAX_REPLY: usize = 4 * 1024 * 1024;
/// Delays between attempts; there is one attempt more than delays.
const AGAIN: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(1)];

/// An endpoint that serves the expected chain. Cheap to clone.
#[derive(Clone)]
pub struct Rpc(Arc<Inner>);

struct Inner {
    http: reqwest::Client,
    url: Url,
    host: String,
    chain_id: u64,
}

impl fmt::Debug for Rpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rpc(chain {} at {})", self.0.chain_id, self.0.host)
    }
}

/// The default public endpoint of common clients for a chain; for 31337, a local one.
#[must_use]
pub const fn well_known(chain_id: u64) -> Option<&'static str> {
    match chain_id {
        1 => Some("https://eth.merkle.io"),
        8453 => Some("https://mainnet.base.org"),
        31337 => Some("http://127.0.0.1:8545"),
        _ => None,
    }
}

/// A JSON-RPC error.
#[derive(Debug, Deserialize)]
struct Refusal {
    #[serde(default)]
    code: i64,
    #[serde(default)]
    message: String,
    #[serde(default)]
    data: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Reply {
    #[serde(default)]
    result: Value,
    #[serde(default)]
    error: Option<Refusal>,
}

enum Fault {
    Silence(String),
    Refusal(Refusal),
}

impl Rpc {
    /// Opens an endpoint and checks its chain id. [`ChainError::WrongChain`]: it is another one.
    pub async fn open(url: &str, chain_id: u64) -> Result<Self, ChainError> {
        let refuse = |reason: &str| ChainError::Url(reason.to_owned());
        let url = Url::parse(url.trim()).map_err(|error| ChainError::Url(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refuse("it must begin with http:// or https://"));
        }
        let host = url.host_str().ok_or_else(|| refuse("it names no host"))?.to_owned();
        let http = http(&url).map_err(|error| ChainError::Unanswered {
            host: host.clone(),
            reason: error.without_url().to_string(),
        })?;
        let rpc = Self(Arc::new(Inner { http, url, host, chain_id }));
        let serves = number(&rpc.ask::<Value>("eth_chainId", json!([])).await?);
        match serves.and_then(|serves| u64::try_from(serves).ok()) {
            Some(serves) if serves == chain_id => Ok(rpc),
            Some(serves) => {
                let host = rpc.0.host.clone();
                Err(ChainError::WrongChain { host, serves, wanted: chain_id })
            }
            None => Err(rpc.senseless("eth_chainId")),
        }
    }

    pub fn chain_id(&self) -> u64 {
        self.0.chain_id
    }

    /// The result of a call at the newest block.
    pub async fn call(
        &self,
        from: Option<Address>,
        to: Address,
        data: &[u8],
    ) -> Result<CallResult, ChainError> {
        let mut call = json!({ "to": hex0x(to.as_bytes()), "data": hex0x(data) });
        if let Some(from) = from {
            call["from"] = json!(hex0x(from.as_bytes()));
        }
        match self.retried("eth_call", &json!([call, "latest"])).await {
            Ok(result) => {
                bytes(&result).map(CallResult::Data).ok_or_else(|| self.senseless("eth_call"))
            }
            Err(Fault::Refusal(refusal)) => {
                let Refusal { code, message, data } = &refusal;
                match returned::revert_of_error(*code, message, data.as_ref()) {
                    Some(data) => Ok(CallResult::Reverted(data)),
                    None => Err(self.error(Fault::Refusal(refusal))),
                }
            }
            Err(fault) => Err(self.error(fault)),
        }
    }

    /// The kind of account at an address.
    pub async fn account(&self, address: Address) -> Result<Account, ChainError> {
        let code: Value =
            self.ask("eth_getCode", json!([hex0x(address.as_bytes()), "latest"])).await?;
        let code = bytes(&code).ok_or_else(|| self.senseless("eth_getCode"))?;
        // EIP-7702: a key that delegates to code still is a key.
        if code.is_empty() || code.starts_with(&[0xef, 0x01, 0x00]) {
            return Ok(Account::Eoa);
        }
        let threshold = self.call(None, address, &view::safe_threshold()).await?;
        let owners = self.call(None, address, &view::safe_owners()).await?;
        Ok(match (returned::safe_threshold(&threshold), returned::safe_owners(&owners)) {
            (Some(threshold), Some(owners)) => Account::Safe { threshold, owners },
            _ => Account::Contract,
        })
    }

    /// The numeric result of a method.
    pub(super) async fn number(&self, method: &str, params: Value) -> Result<u128, ChainError> {
        let result: Value = self.ask(method, params).await?;
        number(&result).ok_or_else(|| self.senseless(method))
    }

    /// Calls a method, with retries if there is no response.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        method: &str,
        params: Value,
    ) -> Result<T, ChainError> {
        let result = self.retried(method, &params).await.map_err(|fault| self.error(fault))?;
        serde_json::from_value(result).map_err(|_| self.senseless(method))
    }

    /// Calls a method once, for calls that must not be repeated.
    pub(super) async fn send_raw(&self, method: &str, params: Value) -> Result<Value, ChainError> {
        self.once(method, &params).await.map_err(|fault| self.error(fault))
    }

    async fn retried(&self, method: &str, params: &Value) -> Result<Value, Fault> {
        for wait in AGAIN {
            match self.once(method, params).await {
                Err(Fault::Silence(_)) => tokio::time::sleep(wait).await,
                answer => return answer,
            }
        }
        self.once(method, params).await
    }

    async fn once(&self, method: &str, params: &Value) -> Result<Value, Fault> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let silence = |error: reqwest::Error| Fault::Silence(said(&error));
        let request = self.0.http.post(self.0.url.clone()).json(&body).timeout(TIMEOUT);
        let mut response = request.send().await.map_err(silence)?;
        let status = response.status();
        let mut whole = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(silence)? {
            if whole.len() + chunk.len() > MAX_REPLY {
                return Err(Fault::Silence("its answer is too large".to_owned()));
            }
            whole.extend_from_slice(&chunk);
        }
        // Some endpoints set an HTTP error status too; a JSON-RPC body is more specific.
        match serde_json::from_slice::<Reply>(&whole) {
            Ok(Reply { error: Some(refusal), .. }) => Err(Fault::Refusal(refusal)),
            Ok(Reply { result, error: None }) if status.is_success() => Ok(result),
            _ if status == StatusCode::OK => {
                Err(Fault::Silence("its answer is not JSON-RPC".to_owned()))
            }
            _ => Err(Fault::Silence(format!("HTTP {}", status.as_u16()))),
        }
    }

    fn error(&self, fault: Fault) -> ChainError {
        match fault {
            Fault::Silence(reason) => ChainError::Unanswered { host: self.0.host.clone(), reason },
            Fault::Refusal(refusal) => ChainError::Refused(refusal.message),
        }
    }

    pub(super) fn senseless(&self, method: &str) -> ChainError {
        let reason = format!("its answer to {method} makes no sense");
        ChainError::Unanswered { host: self.0.host.clone(), reason }
    }
}

/// As for the API: ring, the system's roots, no redirects, no proxy for loopback.
fn http(url: &Url) -> Result<reqwest::Client, reqwest::Error> {
    // Fails only if the process has already installed a provider, which is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("casemate/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT_TIMEOUT);
    if url.scheme() == "http" {
        builder = builder.tls_certs_only([]);
    }
    if path::is_loopback(url) {
        builder = builder.no_proxy();
    }
    builder.build()
}

fn said(error: &reqwest::Error) -> String {
    let words = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection broke"
    };
    words.to_owned()
}

/// Hex with `0x`.
#[must_use]
pub fn hex0x(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

/// Parses a hex string.
pub(super) fn bytes(value: &Value) -> Option<Vec<u8>> {
    hex::decode(value.as_str()?.strip_prefix("0x")?).ok()
}

/// Parses a JSON-RPC quantity.
pub(super) fn number(value: &Value) -> Option<u128> {
    u128::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}
