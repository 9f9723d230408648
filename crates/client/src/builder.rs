//! Builds a [`Client`]; the only place that creates an HTTP client.

use std::{error::Error, sync::Arc, time::Duration};

use casemate_api::version::{self, ApiVersion};
use casemate_core::time::Entropy;
use reqwest::{
    Url,
    header::{HeaderMap, HeaderName, HeaderValue},
    redirect,
};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    entropy::OsEntropy,
    http::{Client, Inner},
    path,
    retry::Policy,
};

/// Why a client cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The base URL is invalid.
    #[error("not the base URL of an API: {reason}")]
    Url { reason: String },
    /// The key has characters that a header cannot contain.
    #[error("the API key holds characters that no key has")]
    Key,
    /// The HTTP client; with https often because the system has no root certificates.
    #[error("HTTP client: {}", root(.0))]
    Http(reqwest::Error),
}

/// The root cause of an error; reqwest's own text does not contain it.
fn root(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| (**cause).source());
    causes.last().map_or_else(|| error.to_string(), ToString::to_string)
}

/// Settings of a [`Client`].
#[derive(Debug)]
pub struct Builder {
    base: String,
    key: SecretString,
    version: ApiVersion,
    timeout: Duration,
    connect_timeout: Duration,
    policy: Policy,
    entropy: Arc<dyn Entropy>,
}

impl Builder {
    pub(crate) fn new(base: &str, key: SecretString) -> Self {
        Self {
            base: base.to_owned(),
            key,
            version: ApiVersion::NEWEST,
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            policy: Policy::default(),
            entropy: Arc::new(OsEntropy),
        }
    }

    /// API version; default: the newest.
    pub const fn version(mut self, version: ApiVersion) -> Self {
        self.version = version;
        self
    }

    /// Timeout of one attempt, from the connection to the last byte; default 30 s. Streams have their own
    /// options instead.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Timeout of a connection attempt; default 5 s.
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Retry policy.
    pub const fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Source of idempotency keys and of the jitter of retries; default: the operating system.
    pub fn entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = entropy;
        self
    }

    pub fn build(self) -> Result<Client, BuildError> {
        let base = path::base(&self.base)?;
        let http = self.http(&base)?;
        Ok(Client::from_inner(Inner {
            http,
            base,
            key: self.key,
            timeout: self.timeout,
            policy: self.policy,
            entropy: self.entropy,
        }))
    }

    /// Certificates are verified against the system's roots (including `SSL_CERT_FILE` and `SSL_CERT_DIR`):
    /// with `rustls-no-provider` reqwest uses rustls-platform-verifier, and the process chooses the
    /// cryptography, here ring. A plain http base URL needs no roots and must work on a machine without any.
    fn http(&self, base: &Url) -> Result<reqwest::Client, BuildError> {
        // Fails only if the process has already installed a provider, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .default_headers(self.headers()?)
            .user_agent(concat!("casemate/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(self.connect_timeout)
            .tcp_keepalive(Duration::from_secs(30));
        if base.scheme() == "http" {
            builder = builder.tls_certs_only([]);
        }
        if path::is_loopback(base) {
            builder = builder.no_proxy();
        }
        builder.build().map_err(BuildError::Http)
    }

    fn headers(&self) -> Result<HeaderMap, BuildError> {
        let key = self.key.expose_secret().trim();
        let mut key = HeaderValue::from_str(key).map_err(|_| BuildError::Key)?;
        key.set_sensitive(true);
        let version_name =
            HeaderName::from_bytes(version::HEADER.as_bytes()).map_err(|_| BuildError::Key)?;
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", key);
        headers.insert(version_name, HeaderValue::from_static(self.version.as_str()));
        Ok(headers)
    }
}
