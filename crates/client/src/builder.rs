//! Making a [`Client`]: the one place that builds an HTTP client.

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

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The base URL is no good.
    #[error("not the base URL of an API: {reason}")]
    Url {
        /// Why not.
        reason: String,
    },
    /// The key holds something that no header can carry.
    #[error("the API key holds characters that no key has")]
    Key,
    /// The HTTP client; over https most often because the system has no root certificates.
    #[error("HTTP client: {}", root(.0))]
    Http(reqwest::Error),
}

/// What is at the bottom of an error: reqwest's own text says only that building failed.
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

    /// The version of the API to speak; the newest if not set.
    pub const fn version(mut self, version: ApiVersion) -> Self {
        self.version = version;
        self
    }

    /// How long one try may take, from the connection to the last byte; 30 s if not set. Streams are
    /// bounded by their own options instead.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long connecting may take; 5 s if not set.
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How often failed requests are repeated.
    pub const fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Where idempotency keys and the jitter of waits come from; the operating system if not set.
    pub fn entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = entropy;
        self
    }

    /// The client.
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

    /// Certificates are verified against the system's roots (`SSL_CERT_FILE` and `SSL_CERT_DIR`
    /// included): with `rustls-no-provider` reqwest brings rustls-platform-verifier and leaves the
    /// choice of cryptography to the process, which is ring here. A base URL of plain http needs no
    /// roots, and must work on a machine that has none.
    fn http(&self, base: &Url) -> Result<reqwest::Client, BuildError> {
        // Fails only if the process has chosen already, which is as good.
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
