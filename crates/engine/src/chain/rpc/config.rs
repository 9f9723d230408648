//! How a chain is asked.

use std::time::Duration;

use secrecy::SecretString;

/// Up to which block a transaction counts as confirmed. The state is always read at the newest block:
/// that is where a KMS reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tip {
    /// The newest block.
    #[default]
    Latest,
    /// The newest that the chain calls safe.
    Safe,
    /// The newest that the chain calls final.
    Finalized,
}

impl Tip {
    /// Its name in JSON-RPC.
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Latest => "latest",
            Self::Safe => "safe",
            Self::Finalized => "finalized",
        }
    }
}

/// A chain and who is asked about it.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its id. Endpoints that say another one are not asked.
    pub chain_id: u64,
    /// Addresses of endpoints, `http` or `https`, in the order in which they are asked. They may hold keys.
    pub endpoints: Vec<SecretString>,
    /// In how many blocks a transaction has to be, its own included.
    pub confirmations: u64,
    /// Up to which block they count.
    pub tip: Tip,
    /// How long one call may take.
    pub call_timeout: Duration,
    /// How long to wait before looking again: for a transaction, and at a node that lags.
    pub poll: Duration,
    /// How long an answer of `state` is given again; zero: never.
    pub keep: Duration,
    /// How many questions may be under way, of those that wait for transactions and of the others each.
    pub at_once: usize,
}

impl Config {
    /// What is usual, for this chain and these endpoints.
    #[must_use]
    pub fn new(chain_id: u64, endpoints: Vec<SecretString>) -> Self {
        Self {
            chain_id,
            endpoints,
            confirmations: 1,
            tip: Tip::Latest,
            call_timeout: Duration::from_secs(4),
            poll: Duration::from_millis(500),
            keep: Duration::from_secs(2),
            at_once: 64,
        }
    }
}

/// Why a chain cannot be asked as configured. Addresses are not repeated: they may hold keys.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Nobody to ask.
    #[error("chain {0} has no endpoint")]
    NoEndpoint(u64),
    /// No address: its place in the list, from 1.
    #[error("endpoint {1} of chain {0} is no http or https URL")]
    Address(u64, usize),
    /// The HTTP client cannot be made, for want of root certificates for example.
    #[error("no HTTP client for chain {0}")]
    Http(u64, #[source] reqwest::Error),
}
