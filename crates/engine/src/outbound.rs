//! Requests to URLs that users gave. The name of the host is resolved once, every address is checked, and the
//! connection goes to a checked address, so a name that changes its mind in between (rebinding) leads nowhere.
//! No proxy, no redirect, no connection that is used twice; time and size of the reply are bounded.

use std::{error::Error as StdError, fmt, io, net::IpAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use casemate_core::{
    address,
    webhook::{InvalidTarget, TargetPolicy},
};
use reqwest::{
    Client, Method, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{HeaderMap, HeaderName, HeaderValue},
    redirect::Policy,
};

/// A way to find the addresses of a host.
#[async_trait]
pub trait Lookup: Send + Sync + fmt::Debug {
    async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The resolver of this host.
#[derive(Debug, Clone, Copy)]
pub struct SystemLookup;

#[async_trait]
impl Lookup for SystemLookup {
    async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// Bounds of a request.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The whole request may take this long.
    pub timeout: Duration,
    /// Maximum number of bytes of a reply that are read.
    pub reply: usize,
}

/// Why there is no reply. `Display` is for users: it has no URL and no part of a reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutboundError {
    #[error("the URL {0}")]
    Target(#[from] InvalidTarget),
    #[error("the host has no address: {0}")]
    NoSuchHost(String),
    #[error("no answer in time")]
    Timeout,
    #[error("the request failed: {0}")]
    Failed(String),
}

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    /// At most [`Limits::reply`] bytes.
    pub body: Vec<u8>,
    /// The body is longer than that.
    pub cut: bool,
    /// It came from an address of the public network.
    pub is_public: bool,
}

/// A client for URLs that users gave.
#[derive(Debug, Clone)]
pub struct Outbound {
    http: Client,
    lookup: Arc<dyn Lookup>,
    policy: TargetPolicy,
    limits: Limits,
}

impl Outbound {
    /// A client under these rules.
    pub fn new(
        policy: TargetPolicy,
        limits: Limits,
        lookup: Arc<dyn Lookup>,
    ) -> Result<Self, String> {
        // Fails only if the process has chosen already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .timeout(limits.timeout)
            .pool_max_idle_per_host(0)
            .dns_resolver(Arc::new(CheckedResolver { lookup: lookup.clone(), policy }))
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { http, lookup, policy, limits })
    }

    /// Checks a URL before it is stored. A host that is not found now may be found later.
    pub async fn check(&self, url: &str) -> Result<(), InvalidTarget> {
        let url = self.policy.check(url)?;
        let Some(host) = url.domain() else { return Ok(()) };
        let found = tokio::time::timeout(self.limits.timeout, self.lookup.addresses(host)).await;
        match found {
            Ok(Ok(addresses)) if !addresses.is_empty() => self.policy.check_addresses(&addresses),
            _ => Ok(()),
        }
    }

    /// `POST`s a JSON body.
    pub async fn post(
        &self,
        url: &str,
        headers: &[(&'static str, String)],
        body: Vec<u8>,
    ) -> Result<Reply, OutboundError> {
        let mut all = HeaderMap::new();
        all.insert("content-type", HeaderValue::from_static("application/json"));
        for (name, value) in headers {
            let value = HeaderValue::from_str(value)
                .map_err(|_| OutboundError::Failed(format!("header {name} is invalid")))?;
            all.insert(HeaderName::from_static(name), value);
        }
        let url = self.policy.check(url)?;
        self.send(self.http.request(Method::POST, url).headers(all).body(body)).await
    }

    /// `GET`s a text.
    pub async fn get(&self, url: Url) -> Result<Reply, OutboundError> {
        let url = self.policy.check(url.as_str())?;
        self.send(self.http.request(Method::GET, url)).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Reply, OutboundError> {
        let mut response = request.send().await.map_err(|error| described(&error))?;
        let is_public =
            response.remote_addr().is_some_and(|address| address::is_global(address.ip()));
        let status = response.status().as_u16();
        let (mut body, mut cut) = (Vec::new(), false);
        while let Some(chunk) = response.chunk().await.map_err(|error| described(&error))? {
            let room = self.limits.reply - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                cut = true;
                break;
            }
        }
        Ok(Reply { status, body, cut, is_public })
    }
}

/// Resolves names to addresses that were checked.
#[derive(Debug)]
struct CheckedResolver {
    lookup: Arc<dyn Lookup>,
    policy: TargetPolicy,
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (lookup, policy) = (self.lookup.clone(), self.policy);
        Box::pin(async move {
            let found = lookup.addresses(name.as_str()).await;
            let addresses = found.map_err(|error| OutboundError::NoSuchHost(root_cause(&error)))?;
            if addresses.is_empty() {
                return Err(OutboundError::NoSuchHost("there is none".to_owned()).into());
            }
            policy.check_addresses(&addresses).map_err(OutboundError::Target)?;
            // The port is that of the URL.
            let addresses: Addrs =
                Box::new(addresses.into_iter().map(|address| (address, 0).into()));
            Ok(addresses)
        })
    }
}

/// The innermost cause says what happened; the outer ones repeat the URL, which may contain a token.
fn described(error: &reqwest::Error) -> OutboundError {
    let mut cause: &dyn StdError = error;
    while let Some(next) = cause.source() {
        cause = next;
        if let Some(own) = cause.downcast_ref::<OutboundError>() {
            return own.clone();
        }
    }
    if error.is_timeout() {
        return OutboundError::Timeout;
    }
    if error.source().is_none() {
        return OutboundError::Failed("the connection ended".to_owned());
    }
    OutboundError::Failed(cause.to_string())
}

fn root_cause(error: &dyn StdError) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use std::{
        net::SocketAddr,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    const LIMITS: Limits = Limits { timeout: Duration::from_secs(5), reply: 16 };
    const LOCAL: TargetPolicy =
        TargetPolicy { allow_private: true, allow_http: true, any_port: true };

    /// Says one address after the other, each time it is asked.
    #[derive(Debug)]
    struct Changing(Vec<&'static str>, AtomicUsize);

    impl Changing {
        fn new(addresses: &[&'static str]) -> Arc<Self> {
            Arc::new(Self(addresses.to_vec(), AtomicUsize::new(0)))
        }
    }

    #[async_trait]
    impl Lookup for Changing {
        async fn addresses(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            let asked = self.1.fetch_add(1, Ordering::SeqCst);
            let text = self.0.get(asked).or(self.0.last());
            text.map(|text| vec![text.parse().unwrap()])
                .ok_or_else(|| io::Error::other("no such host"))
        }
    }

    /// Answers every connection with this text, and counts them.
    async fn server(answer: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let counted = count.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let mut buffer = [0; 4096];
                let _ = stream.read(&mut buffer).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        (address, count)
    }

    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";

    #[tokio::test]
    async fn a_name_that_leads_elsewhere_after_the_check_is_not_followed() {
        let (address, connections) = server(OK).await;
        let policy = TargetPolicy { allow_private: false, ..LOCAL };
        let lookup = Changing::new(&["93.184.215.14", "127.0.0.1"]);
        let outbound = Outbound::new(policy, LIMITS, lookup.clone()).unwrap();
        let url = format!("http://hook.test:{}/", address.port());
        assert_eq!(outbound.check(&url).await, Ok(()), "it is public when it is stored");
        let refused = outbound.post(&url, &[], Vec::new()).await;
        assert_eq!(refused, Err(OutboundError::Target(InvalidTarget::Address)));
        assert_eq!(lookup.1.load(Ordering::SeqCst), 2, "one lookup a request");
        assert_eq!(connections.load(Ordering::SeqCst), 0, "nobody was connected to");
    }

    #[tokio::test]
    async fn the_connection_goes_to_the_address_that_was_checked() {
        let (address, connections) = server(OK).await;
        // The second answer is an address where nobody listens.
        let lookup = Changing::new(&["127.0.0.1", "127.0.0.2"]);
        let outbound = Outbound::new(LOCAL, LIMITS, lookup.clone()).unwrap();
        let url = format!("http://hook.test:{}/", address.port());
        let reply = outbound.post(&url, &[("x-a", "b".to_owned())], b"{}".to_vec()).await.unwrap();
        assert_eq!((reply.status, &*reply.body, reply.is_public), (200, &b"ok"[..], false));
        assert_eq!(lookup.1.load(Ordering::SeqCst), 1);
        assert_eq!(connections.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn addresses_are_checked_where_no_name_is_resolved() {
        let (address, connections) = server(OK).await;
        let policy = TargetPolicy { allow_private: false, ..LOCAL };
        let outbound = Outbound::new(policy, LIMITS, Arc::new(SystemLookup)).unwrap();
        let refused = Err(OutboundError::Target(InvalidTarget::Address));
        assert_eq!(outbound.post(&format!("http://{address}/"), &[], Vec::new()).await, refused);
        assert_eq!(connections.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn a_redirect_is_a_reply_and_a_long_reply_is_cut() {
        let (target, connections) = server(OK).await;
        let answer = format!(
            "HTTP/1.1 302 Found\r\nlocation: http://{target}/\r\ncontent-length: 40\r\n\r\n{}",
            "x".repeat(40)
        );
        let (address, _) = server(answer.leak()).await;
        let outbound = Outbound::new(LOCAL, LIMITS, Arc::new(SystemLookup)).unwrap();
        let reply = outbound.get(format!("http://{address}/").parse().unwrap()).await.unwrap();
        assert_eq!((reply.status, reply.body.len(), reply.cut), (302, 16, true));
        assert_eq!(connections.load(Ordering::SeqCst), 0, "it was not followed");
    }

    #[tokio::test]
    async fn errors_say_what_happened_without_the_url() {
        let limits = Limits { timeout: Duration::from_millis(50), ..LIMITS };
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = silent.local_addr().unwrap();
        let outbound = Outbound::new(LOCAL, limits, Arc::new(SystemLookup)).unwrap();
        let url = format!("http://{address}/?token=secret");
        assert_eq!(outbound.post(&url, &[], Vec::new()).await, Err(OutboundError::Timeout));
        drop(silent);
        let outbound = Outbound::new(LOCAL, LIMITS, Arc::new(SystemLookup)).unwrap();
        let error = outbound.post(&url, &[], Vec::new()).await.unwrap_err().to_string();
        assert!(error.contains("refused") && !error.contains("secret"), "{error}");
        let none = Outbound::new(LOCAL, LIMITS, Changing::new(&[])).unwrap();
        let error = none.post("http://hook.test/", &[], Vec::new()).await.unwrap_err();
        assert_eq!(error, OutboundError::NoSuchHost("no such host".to_owned()));
    }
}
