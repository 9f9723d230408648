//! Sends calls: one attempt, the decision about a retry, the reading of the response.

use std::{fmt, sync::Arc, time::Duration};

use casemate_api::error::ErrorBody;
use casemate_core::time::Entropy;
use reqwest::{Method, Response, StatusCode, Url, header};
use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    builder::{BuildError, Builder},
    error::{ApiError, Error, TransportKind, transport},
    path,
    retry::{self, Policy},
};

/// Maximum size of a response in bytes. The largest one, a page of 100 CVMs with documents, is smaller.
const MAX_REPLY: usize = 32 * 1024 * 1024;
/// Maximum length of an error text that is not JSON.
const MAX_ERROR_TEXT: usize = 300;

/// A connection to an API. Cheap to clone.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

pub(crate) struct Inner {
    pub http: reqwest::Client,
    pub base: Url,
    pub key: SecretString,
    pub timeout: Duration,
    pub policy: Policy,
    pub entropy: Arc<dyn Entropy>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.0.base)
    }
}

/// A request that can be sent several times.
pub(crate) struct Call {
    method: Method,
    url: Url,
    body: Option<Body>,
    /// Headers of this request only.
    headers: Vec<(&'static str, String)>,
    /// The same for all attempts, so that the server treats them as one request.
    idempotency_key: Option<String>,
    /// Method and URL without the query, for errors.
    pub name: String,
}

/// A body with its media type.
struct Body {
    bytes: Vec<u8>,
    kind: &'static str,
}

impl Call {
    fn changes(&self) -> bool {
        self.method != Method::GET
    }

    /// Sets a JSON body.
    pub(crate) fn json(mut self, body: &impl Serialize) -> Result<Self, Error> {
        let bytes = serde_json::to_vec(body).map_err(Error::Encode)?;
        self.body = Some(Body { bytes, kind: "application/json" });
        Ok(self)
    }

    /// Sets a text body.
    pub(crate) fn text(mut self, text: &str, kind: &'static str) -> Self {
        self.body = Some(Body { bytes: text.as_bytes().to_vec(), kind });
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl Client {
    /// A client with default settings. `base_url` includes `/api/v1`, like `PHALA_CLOUD_API_PREFIX`.
    pub fn new(base_url: &str, key: SecretString) -> Result<Self, BuildError> {
        Self::builder(base_url, key).build()
    }

    /// A builder for a client.
    pub fn builder(base_url: &str, key: SecretString) -> Builder {
        Builder::new(base_url, key)
    }

    pub fn base_url(&self) -> &str {
        self.0.base.as_str()
    }

    pub(crate) fn from_inner(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    pub(crate) fn entropy(&self) -> &dyn Entropy {
        &*self.0.entropy
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.0.policy
    }

    /// A request without side effects.
    pub(crate) fn reading(&self, parts: &[&str], query: &[(&str, String)]) -> Result<Call, Error> {
        call(Method::GET, &self.0.base, parts, query)
    }

    /// A request without side effects on the root of the server, outside of `/api/v1`.
    pub(crate) fn root_reading(&self, part: &str) -> Result<Call, Error> {
        let mut root = self.0.base.clone();
        let above = root.path().strip_suffix("/api/v1").unwrap_or_default().to_owned();
        root.set_path(&above);
        call(Method::GET, &root, &[part], &[])
    }

    /// A request with side effects.
    pub(crate) fn changing(&self, method: Method, parts: &[&str]) -> Result<Call, Error> {
        let mut call = call(method, &self.0.base, parts, &[])?;
        call.idempotency_key = Some(self.entropy().uuid_v4().to_string());
        Ok(call)
    }

    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        parts: &[&str],
        query: &[(&str, String)],
    ) -> Result<T, Error> {
        let call = self.reading(parts, query)?;
        decode(&call.name, &self.send(&call).await?)
    }

    pub(crate) async fn get_text(&self, parts: &[&str]) -> Result<String, Error> {
        let call = self.reading(parts, &[])?;
        let bytes = self.send(&call).await?;
        String::from_utf8(bytes)
            .map_err(|error| Error::Decode { call: call.name, reason: error.to_string() })
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        parts: &[&str],
        body: Option<&impl Serialize>,
    ) -> Result<T, Error> {
        let call = self.changing(Method::POST, parts)?;
        self.ask(match body {
            Some(body) => call.json(body)?,
            None => call,
        })
        .await
    }

    pub(crate) async fn patch<T: DeserializeOwned>(
        &self,
        parts: &[&str],
        body: &impl Serialize,
    ) -> Result<T, Error> {
        self.ask(self.changing(Method::PATCH, parts)?.json(body)?).await
    }

    /// Sends a request and parses its response as JSON.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, call: Call) -> Result<T, Error> {
        decode(&call.name, &self.send(&call).await?)
    }

    /// The same once: a request that makes a secret, whose reply the server does not keep.
    pub(crate) async fn ask_once_for<T: DeserializeOwned>(&self, call: Call) -> Result<T, Error> {
        decode(&call.name, &self.once(&call).await?)
    }

    pub(crate) async fn delete_with(
        &self,
        parts: &[&str],
        query: &[(&str, String)],
    ) -> Result<(), Error> {
        let mut call = call(Method::DELETE, &self.0.base, parts, query)?;
        call.idempotency_key = Some(self.entropy().uuid_v4().to_string());
        self.send(&call).await.map(drop)
    }

    pub(crate) async fn delete(&self, parts: &[&str]) -> Result<(), Error> {
        let call = self.changing(Method::DELETE, parts)?;
        self.send(&call).await.map(drop)
    }

    /// Sends with retries; returns the body of the successful response.
    pub(crate) async fn send(&self, call: &Call) -> Result<Vec<u8>, Error> {
        let mut attempt = 1;
        loop {
            let error = match self.once(call).await {
                Ok(body) => return Ok(body),
                Err(error) => error,
            };
            let chance = self.entropy().u64();
            let wait =
                retry::delay_before_retry(self.policy(), call.changes(), &error, attempt, chance);
            let Some(wait) = wait else { return Err(error) };
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    pub(crate) async fn once(&self, call: &Call) -> Result<Vec<u8>, Error> {
        let request = self.request(call).timeout(self.0.timeout);
        let response = request.send().await.map_err(|error| transport(&call.name, error))?;
        let response = self.check(call, response).await?;
        whole(&call.name, response).await
    }

    /// Opens a stream. The timeout covers the response head, not the body.
    pub(crate) async fn open(&self, call: &Call, accept: &'static str) -> Result<Response, Error> {
        let request = self.request(call).header(header::ACCEPT, accept).send();
        let Ok(response) = tokio::time::timeout(self.0.timeout, request).await else {
            let call = call.name.clone();
            return Err(Error::Transport { call, kind: TransportKind::Timeout, source: None });
        };
        let response = response.map_err(|error| transport(&call.name, error))?;
        self.check(call, response).await
    }

    fn request(&self, call: &Call) -> reqwest::RequestBuilder {
        let mut request = self.0.http.request(call.method.clone(), call.url.clone());
        if let Some(key) = &call.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        match &call.body {
            Some(body) => request.header(header::CONTENT_TYPE, body.kind).body(body.bytes.clone()),
            None => request,
        }
    }

    /// The response if it is a success, else its error.
    async fn check(&self, call: &Call, response: Response) -> Result<Response, Error> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = |name: &str| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let (id, wait) = (text("x-request-id"), text("retry-after"));
        let redirected = status.is_redirection();
        let bytes = whole(&call.name, response).await.unwrap_or_default();
        let body = if redirected {
            ErrorBody::plain(
                "the server answers with a redirect, which is not followed: it would carry the API key away; check the API URL",
            )
        } else {
            self.error_body(status, &bytes)
        };
        Err(Error::Api(Box::new(ApiError {
            call: call.name.clone(),
            status: status.as_u16(),
            request_id: id.or_else(|| body.request_id().map(str::to_owned)),
            retry_after: wait.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs),
            body,
        })))
    }

    /// Any body as an error body. The API key is redacted if the server echoed it.
    fn error_body(&self, status: StatusCode, bytes: &[u8]) -> ErrorBody {
        let text = String::from_utf8_lossy(bytes);
        let key = self.0.key.expose_secret().trim();
        let text = if key.is_empty() { text.into_owned() } else { text.replace(key, "***") };
        serde_json::from_str(&text).unwrap_or_else(|_| {
            let start: String = text.trim().chars().take(MAX_ERROR_TEXT).collect();
            let reason = status.canonical_reason().unwrap_or("no reason given");
            ErrorBody::plain(if start.is_empty() { reason.to_owned() } else { start })
        })
    }
}

fn call(
    method: Method,
    base: &Url,
    parts: &[&str],
    query: &[(&str, String)],
) -> Result<Call, Error> {
    let url = path::join(base, parts, query)?;
    let name = format!("{method} {}{}", url.origin().ascii_serialization(), url.path());
    Ok(Call { method, url, body: None, headers: Vec::new(), idempotency_key: None, name })
}

async fn whole(call: &str, mut response: Response) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| transport(call, error))? {
        if bytes.len() + chunk.len() > MAX_REPLY {
            let kind = TransportKind::TooLarge;
            return Err(Error::Transport { call: call.to_owned(), kind, source: None });
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn decode<T: DeserializeOwned>(call: &str, bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::Decode { call: call.to_owned(), reason: error.to_string() })
}
