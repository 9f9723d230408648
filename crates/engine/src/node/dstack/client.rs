//! pRPC of the programs of dstack as JSON over HTTP, HTTPS or a unix socket: of dstack-vmm
//! (`dstack/vmm/rpc/proto/vmm_rpc.proto`) and of dstack-kms (`crate::kms::dstack`).
//!
//! `POST /prpc/<Method>?json`; the guest's methods of dstack-vmm are under `/guest/`. A refusal is status 400
//! (older builds: for everything; newer ones: 404 for an unknown method) with `{"error": "…"}`.
//!
//! | what came | [`PrpcError`] | outcome for a node |
//! |---|---|---|
//! | no connection | `NoConnection` | [`CallError::Unreachable`]: nothing was sent |
//! | 401, 403 | `Unauthorized` | [`CallError::Unreachable`]: the node does not accept our credential |
//! | 400, 404, 409, 413, 422 | `Refused` | [`CallError::Rejected`]: the VMM refused the call |
//! | 503 | `Unavailable` | [`CallError::Unreachable`]: nobody took the call |
//! | any other status | `Failed` | [`CallError::Unknown`] |
//! | no answer in time, a broken connection, an answer that cannot be read | `Silent`, `Broken`, `TooLong`, `Unreadable` | [`CallError::Unknown`] |

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, PoisonError, RwLock},
    time::Duration,
};

use reqwest::{Certificate, Client, RequestBuilder, Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::sync::Semaphore;
use tower::{limit::GlobalConcurrencyLimitLayer, timeout::TimeoutLayer};

use crate::node::CallError;

/// The longest answer that is read: 1,000 VMs with events of 4 KiB each are well below it.
const LONGEST_ANSWER: usize = 64 << 20;
/// The longest error text that is shown.
const LONGEST_ERROR: usize = 2000;
const CONNECT: Duration = Duration::from_secs(5);
/// Connections that this process opens at the same time, to all hosts together: a fleet that is looked at for the
/// first time does not open one for each host at once. A host that is away keeps one of them for [`CONNECT`].
static CONNECTS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(256)));
const IDLE: Duration = Duration::from_secs(30);

/// Where a VMM listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VmmAddress {
    /// `http://` or `https://`, with a path before `/prpc` where a proxy adds one.
    Url(Url),
    /// `unix:/run/dstack/vmm.sock`.
    Unix(PathBuf),
}

impl std::str::FromStr for VmmAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = Path::new(path.strip_prefix("//").unwrap_or(path));
            return if path.is_absolute() {
                Ok(Self::Unix(path.to_owned()))
            } else {
                Err(format!("{text}: the path of a unix socket must be absolute"))
            };
        }
        let url: Url = text.parse().map_err(|error| format!("{text}: {error}"))?;
        let plain = url.query().is_none() && url.fragment().is_none();
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() || !plain {
            return Err(format!(
                "{text}: expected http://HOST:PORT, https://HOST:PORT or unix:/PATH"
            ));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("credentials in the address are not accepted: put the token into a file \
                        and name it with token_file"
                .to_owned());
        }
        Ok(Self::Url(url))
    }
}

impl fmt::Display for VmmAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => f.write_str(url.as_str().trim_end_matches('/')),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How the VMM knows us. Its `[auth]` accepts a token (`Authorization: Bearer`) or a user of its
/// htpasswd file.
#[derive(Debug, Clone, Default)]
pub enum Credential {
    /// `[auth] enabled = false`.
    #[default]
    None,
    /// One of `[auth] tokens`.
    Token(SecretString),
    /// A user of `htpasswd_file`.
    Basic {
        /// Its name.
        user: String,
        /// Its password.
        password: SecretString,
    },
}

impl Credential {
    fn sign(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::None => request,
            Self::Token(token) => request.bearer_auth(token.expose_secret()),
            Self::Basic { user, password } => {
                request.basic_auth(user, Some(password.expose_secret()))
            }
        }
    }
}

/// Certificates of `https://`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Trust<'a> {
    /// Those of the system.
    System,
    /// Those of the system and these, PEM.
    SystemAnd(&'a [u8]),
    /// These and no other, PEM.
    Only(&'a [u8]),
}

/// A program of dstack that serves pRPC.
#[derive(Debug)]
pub(crate) struct PrpcClient {
    http: Client,
    base: Url,
    address: VmmAddress,
    credential: RwLock<Credential>,
    timeout: Duration,
    longest_answer: usize,
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PrpcError {
    /// Nothing was sent; the cause.
    NoConnection(String),
    /// Our credential is not accepted.
    Unauthorized(StatusCode),
    /// The call is refused, in these words.
    Refused(String),
    /// Nobody took the call; the text of the answer.
    Unavailable(String),
    /// Another status, and the text of the answer.
    Failed(StatusCode, String),
    /// No answer within so many seconds.
    Silent(u64),
    /// The connection ended before the answer did.
    Broken,
    /// The answer is longer than so many bytes.
    TooLong(usize),
    /// The answer to a path is not of its type.
    Unreadable {
        /// Which call.
        path: String,
        /// What is wrong, without the answer.
        why: String,
    },
}

/// The body of a refusal.
#[derive(Debug, Deserialize)]
struct Refusal {
    error: String,
}

impl PrpcClient {
    /// Nothing is sent yet.
    pub fn new(
        address: VmmAddress,
        credential: Credential,
        trust: Trust<'_>,
        timeout: Duration,
    ) -> Result<Self, String> {
        // Fails only if the process has chosen already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .user_agent(concat!("casemate/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connector_layer(TimeoutLayer::new(CONNECT))
            // Outside of the timeout: whoever waits for its turn has not tried yet.
            .connector_layer(GlobalConcurrencyLimitLayer::with_semaphore(CONNECTS.clone()))
            .pool_idle_timeout(IDLE)
            .no_proxy();
        let base = match &address {
            VmmAddress::Url(url) => {
                if url.scheme() == "http" {
                    builder = builder.tls_certs_only([]);
                }
                url.clone()
            }
            VmmAddress::Unix(path) => {
                builder = builder.unix_socket(path.as_path()).tls_certs_only([]);
                Url::parse("http://vmm/").map_err(|error| error.to_string())?
            }
        };
        let certificates = |pem: &[u8]| match Certificate::from_pem_bundle(pem) {
            Ok(found) if found.is_empty() => Err("there is no certificate in it".to_owned()),
            Ok(found) => Ok(found),
            Err(error) => Err(format!("the CA certificates cannot be read: {error}")),
        };
        match trust {
            Trust::System => {}
            Trust::SystemAnd(pem) => builder = builder.tls_certs_merge(certificates(pem)?),
            Trust::Only(pem) => builder = builder.tls_certs_only(certificates(pem)?),
        }
        let http = builder.build().map_err(|error| error.to_string())?;
        let credential = RwLock::new(credential);
        Ok(Self { http, base, address, credential, timeout, longest_answer: LONGEST_ANSWER })
    }

    /// Reads no answer that is longer than so many bytes.
    #[must_use]
    pub fn with_longest_answer(self, longest_answer: usize) -> Self {
        Self { longest_answer, ..self }
    }

    /// Uses this credential from now on.
    pub fn set_credential(&self, credential: Credential) {
        *self.credential.write().unwrap_or_else(PoisonError::into_inner) = credential;
    }

    fn signed(&self, request: RequestBuilder) -> RequestBuilder {
        self.credential.read().unwrap_or_else(PoisonError::into_inner).sign(request)
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", self.base.path().trim_end_matches('/')));
        url
    }

    /// A method of the service `Vmm`.
    pub async fn call<Q: Serialize + Sync, R: DeserializeOwned>(
        &self,
        method: &str,
        request: &Q,
    ) -> Result<R, CallError> {
        let answer = self.post(&format!("prpc/{method}"), request).await;
        answer.map_err(|error| self.call_error(error))
    }

    /// A method of the service `Vmm` whose answer the caller reads.
    pub async fn call_unread<Q: Serialize + Sync>(
        &self,
        method: &str,
        request: &Q,
    ) -> Result<Vec<u8>, CallError> {
        let answer = self.post_unread(&format!("prpc/{method}"), request).await;
        answer.map_err(|error| self.call_error(error))
    }

    /// Reads an answer of a method of the service `Vmm`.
    pub fn read<R: DeserializeOwned>(&self, method: &str, body: &[u8]) -> Result<R, CallError> {
        read(&format!("prpc/{method}"), body).map_err(|error| self.call_error(error))
    }

    /// A method of the guest agent of a VM, through the VMM.
    pub async fn guest<R: DeserializeOwned>(&self, method: &str, vm: &str) -> Result<R, CallError> {
        let request = super::wire::Id { id: vm.to_owned() };
        let answer = self.post(&format!("guest/{method}"), &request).await;
        answer.map_err(|error| self.call_error(error))
    }

    /// `POST` of a message to a path.
    pub async fn post<Q: Serialize + Sync, R: DeserializeOwned>(
        &self,
        path: &str,
        request: &Q,
    ) -> Result<R, PrpcError> {
        read(path, &self.post_unread(path, request).await?)
    }

    async fn post_unread<Q: Serialize + Sync>(
        &self,
        path: &str,
        request: &Q,
    ) -> Result<Vec<u8>, PrpcError> {
        let mut url = self.url(path);
        url.set_query(Some("json"));
        let sent = self.signed(self.http.post(url).json(request).timeout(self.timeout)).send();
        let response = sent.await.map_err(|error| self.not_answered(&error))?;
        let status = response.status();
        let body = self.body(response).await?;
        if status == StatusCode::OK { Ok(body) } else { Err(refused(status, &body)) }
    }

    /// The status and the `Date` of the answer to a call without a credential.
    pub async fn call_anonymously(&self) -> Result<(StatusCode, Option<String>), CallError> {
        let mut url = self.url("prpc/Version");
        url.set_query(Some("json"));
        let sent = self.http.post(url).json(&super::wire::Nothing {}).timeout(self.timeout).send();
        let response = sent.await.map_err(|error| self.call_error(self.not_answered(&error)))?;
        let date = response.headers().get(reqwest::header::DATE);
        let date = date.and_then(|date| date.to_str().ok()).map(str::to_owned);
        Ok((response.status(), date))
    }

    /// The OpenAPI document of the VMM. `None`: this build serves none.
    pub async fn openapi(&self) -> Result<Option<serde_json::Value>, CallError> {
        self.document().await.map_err(|error| self.call_error(error))
    }

    async fn document(&self) -> Result<Option<serde_json::Value>, PrpcError> {
        let url = self.url("api-docs/openapi.json");
        let sent = self.signed(self.http.get(url).timeout(self.timeout)).send();
        let response = sent.await.map_err(|error| self.not_answered(&error))?;
        let status = response.status();
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let body = self.body(response).await?;
        if status != StatusCode::OK {
            return Err(refused(status, &body));
        }
        Ok(serde_json::from_slice(&body).ok())
    }

    /// A text that may have no end, such as a followed log. `query` is added to the path.
    pub async fn stream(&self, path: &str, query: &[(&str, &str)]) -> Result<Response, CallError> {
        self.opened(path, query).await.map_err(|error| self.call_error(error))
    }

    async fn opened(&self, path: &str, query: &[(&str, &str)]) -> Result<Response, PrpcError> {
        let request = self.http.get(self.url(path)).query(query);
        let sent = tokio::time::timeout(self.timeout, self.signed(request).send()).await;
        let sent = sent.map_err(|_| self.silent())?;
        let response = sent.map_err(|error| self.not_answered(&error))?;
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(response);
        }
        let body = self.body(response).await?;
        Err(refused(status, &body))
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, PrpcError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.not_answered(&error))? {
            if body.len() + chunk.len() > self.longest_answer {
                return Err(PrpcError::TooLong(self.longest_answer));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn silent(&self) -> PrpcError {
        PrpcError::Silent(self.timeout.as_secs())
    }

    fn not_answered(&self, error: &reqwest::Error) -> PrpcError {
        if error.is_connect() {
            let mut cause: &dyn std::error::Error = error;
            while let Some(source) = cause.source() {
                cause = source;
            }
            return PrpcError::NoConnection(cause.to_string());
        }
        if error.is_timeout() { self.silent() } else { PrpcError::Broken }
    }

    /// What a failed call to a node means.
    fn call_error(&self, error: PrpcError) -> CallError {
        let address = &self.address;
        match error {
            PrpcError::NoConnection(why) | PrpcError::Unavailable(why) => {
                CallError::Unreachable(format!("{address}: {why}"))
            }
            PrpcError::Unauthorized(status) => CallError::Unreachable(format!(
                "{address} does not accept the credential of this node ({status}): check its token"
            )),
            PrpcError::Refused(why) => CallError::Rejected(why),
            PrpcError::Failed(status, why) => {
                CallError::Unknown(format!("{address}: {status}: {why}"))
            }
            PrpcError::Silent(seconds) => {
                CallError::Unknown(format!("{address} did not answer within {seconds} s"))
            }
            PrpcError::Broken => CallError::Unknown(format!("the connection to {address} broke")),
            PrpcError::TooLong(_) => {
                CallError::Unknown(format!("the answer of {address} is too long"))
            }
            PrpcError::Unreadable { path, why } => {
                CallError::Unknown(format!("{path} of {address} answered what is no answer: {why}"))
            }
        }
    }
}

fn read<R: DeserializeOwned>(path: &str, body: &[u8]) -> Result<R, PrpcError> {
    serde_json::from_slice(body)
        .map_err(|error| PrpcError::Unreadable { path: path.to_owned(), why: error.to_string() })
}

fn refused(status: StatusCode, body: &[u8]) -> PrpcError {
    let text = match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) => refusal.error,
        Err(_) => String::from_utf8_lossy(body).trim().to_owned(),
    };
    let text: String = text.chars().take(LONGEST_ERROR).collect();
    let text = if text.is_empty() { status.to_string() } else { text };
    match status.as_u16() {
        400 | 404 | 409 | 413 | 422 => PrpcError::Refused(text),
        401 | 403 => PrpcError::Unauthorized(status),
        503 => PrpcError::Unavailable(text),
        _ => PrpcError::Failed(status, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_of_three_forms_and_no_secret() {
        let good = [
            ("http://10.0.0.7:9080", "http://10.0.0.7:9080"),
            ("https://rack-1.example/vmm/", "https://rack-1.example/vmm"),
            ("unix:/run/vmm.sock", "unix:/run/vmm.sock"),
            ("unix:///run/vmm.sock", "unix:/run/vmm.sock"),
        ];
        for (text, shown) in good {
            assert_eq!(text.parse::<VmmAddress>().unwrap().to_string(), shown);
        }
        let bad = ["", "rack-1", "ftp://a", "unix:vmm.sock", "http://u:p@a", "http://a/?token=x"];
        for text in bad {
            assert!(text.parse::<VmmAddress>().is_err(), "{text}");
        }
        let secret = "http://u:hunter2@a".parse::<VmmAddress>().unwrap_err();
        assert!(!secret.contains("hunter2"));
    }

    #[test]
    fn a_path_before_the_method_is_kept() {
        let client = |address: &str| {
            let address = address.parse().unwrap();
            PrpcClient::new(address, Credential::None, Trust::System, CONNECT).unwrap()
        };
        assert_eq!(client("http://a:1").url("prpc/Status").as_str(), "http://a:1/prpc/Status");
        assert_eq!(client("http://a/x/").url("prpc/Status").as_str(), "http://a/x/prpc/Status");
        assert_eq!(client("unix:/s").url("logs").as_str(), "http://vmm/logs");
    }
}
