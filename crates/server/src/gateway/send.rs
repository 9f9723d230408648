//! Sends one request to one instance, and decides what may be repeated after a failure.
//!
//! | failure | next |
//! |---|---|
//! | no connection; nothing was sent | the next instance, for any method |
//! | sent, without a whole response | the next instance, if the method is idempotent and the body is in memory |
//! | the response head was forwarded | none: the client sees the connection end |
//!
//! A body of at most [`KEPT`] bytes is buffered, so that it can be sent again. A small response of known
//! length to a repeatable request is read whole before its head is forwarded: an instance that dies halfway
//! did not answer. Streams and upgrades are forwarded immediately. Requests that must not be repeated never
//! use a pooled connection: if the instance closed it at the same time, it would be unknown whether the
//! request arrived.

use std::{
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, to_bytes},
    http::{
        HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header,
        uri::{PathAndQuery, Scheme},
    },
};
use casemate_engine::node::Dial;
use hyper::{
    body::{Body as _, Frame, SizeHint},
    client::conn::http1,
    upgrade::OnUpgrade,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Gateway, INSTANCE, OWN, OwnResponse, pick::PickedInstance};
use crate::inflight::InFlightGuard;

/// Maximum number of buffered bytes of a request or response body.
const KEPT: u64 = 64 * 1024;
/// Timeout of a connection attempt.
pub(super) const CONNECT: Duration = Duration::from_secs(5);

/// A request that can be sent to one instance after another.
pub(super) struct ReplayableRequest {
    method: Method,
    /// Begins with `/`: any other target would be read as a part of the address.
    path: PathAndQuery,
    headers: HeaderMap,
    body: Load,
    /// The client's side of an upgrade.
    inbound: Option<OnUpgrade>,
}

enum Load {
    /// Buffered: it can be sent any number of times.
    Kept(Bytes),
    /// Streamed: it can be sent once.
    Stream(Body),
    /// Already sent.
    Gone,
}

/// Why an instance did not answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// It did not see the request.
    NotSent(String),
    /// It may have seen the request.
    Sent(String),
    /// The response of its process's gateway.
    Elsewhere(Box<Response<Body>>),
}

impl ReplayableRequest {
    /// Splits a request; buffers a small body.
    pub(super) async fn from_request(
        mut request: Request<Body>,
        host: &str,
    ) -> Result<Self, OwnResponse> {
        let upgrade = request.headers().contains_key(header::UPGRADE);
        let inbound = upgrade.then(|| hyper::upgrade::on(&mut request));
        let (mut parts, body) = request.into_parts();
        let path = match parts.uri.path_and_query() {
            None => PathAndQuery::from_static("/"),
            Some(path) if path.as_str().starts_with('/') => path.clone(),
            Some(_) => {
                let why = "the request target must begin with a slash";
                return Err(OwnResponse::new(StatusCode::BAD_REQUEST, why));
            }
        };
        strip_hop_headers(&mut parts.headers, upgrade);
        if !parts.headers.contains_key(header::HOST)
            && let Ok(host) = HeaderValue::from_str(host)
        {
            parts.headers.insert(header::HOST, host);
        }
        let body = if body.size_hint().upper().is_some_and(|length| length <= KEPT) {
            let limit = usize::try_from(KEPT).unwrap_or(usize::MAX);
            Load::Kept(to_bytes(body, limit).await.map_err(|error| {
                let why = format!("the request ended early: {}", root_cause(&error));
                OwnResponse::new(StatusCode::BAD_REQUEST, why)
            })?)
        } else {
            Load::Stream(body)
        };
        Ok(Self { method: parts.method, path, headers: parts.headers, body, inbound })
    }

    /// Whether the request is idempotent and its body is buffered.
    fn is_repeatable(&self) -> bool {
        let idempotent = matches!(
            self.method,
            Method::GET
                | Method::HEAD
                | Method::OPTIONS
                | Method::PUT
                | Method::DELETE
                | Method::TRACE
        );
        idempotent && self.inbound.is_none() && matches!(self.body, Load::Kept(_))
    }

    /// Whether another instance may be tried after this result.
    pub(super) fn may_retry(&self, last: Option<&Result<Response<Body>, OwnResponse>>) -> bool {
        let sent = match last {
            None => return true,
            Some(Err(own)) => own.sent,
            Some(Ok(response)) => response.headers().get(OWN).is_none_or(|own| own != "not-sent"),
        };
        self.is_repeatable() || (!sent && !matches!(self.body, Load::Gone))
    }

    /// Builds the request for one attempt. `uri` is in the form that the connection needs.
    fn request(&mut self, uri: Uri, instance: Option<HeaderValue>) -> Request<Body> {
        let body = match std::mem::replace(&mut self.body, Load::Gone) {
            Load::Kept(bytes) => {
                self.body = Load::Kept(bytes.clone());
                Body::from(bytes)
            }
            Load::Stream(body) => body,
            Load::Gone => Body::empty(),
        };
        let mut request = Request::new(body);
        request.method_mut().clone_from(&self.method);
        request.headers_mut().clone_from(&self.headers);
        *request.uri_mut() = uri;
        if let Some(instance) = instance {
            request.headers_mut().insert(INSTANCE, instance);
        }
        request
    }
}

impl Gateway {
    /// Sends the request to an instance. It counts as in flight until the end of its response.
    pub(super) async fn send(
        &self,
        chosen: PickedInstance,
        carried: &mut ReplayableRequest,
    ) -> Result<Response<Body>, Failed> {
        let PickedInstance { cvm, dial, in_flight_guard, elsewhere } = chosen;
        let address = match dial {
            Dial::Page(html) => return Ok(page(html)),
            Dial::Tcp(address) => address,
        };
        let instance =
            if elsewhere { HeaderValue::from_str(&cvm.uuid.to_string()).ok() } else { None };
        let repeatable = carried.is_repeatable();
        let mut response = if repeatable {
            self.send_pooled(address, carried, instance).await?
        } else {
            send_fresh(address, carried, instance).await?
        };
        if let Some(inbound) = carried.inbound.take()
            && response.status() == StatusCode::SWITCHING_PROTOCOLS
        {
            join(inbound, hyper::upgrade::on(&mut response), in_flight_guard);
            return Ok(response);
        }
        strip_hop_headers(response.headers_mut(), false);
        if elsewhere && response.headers().contains_key(OWN) {
            return Err(Failed::Elsewhere(Box::new(response)));
        }
        response.headers_mut().remove(OWN);
        let small = response.body().size_hint().exact().is_some_and(|length| length <= KEPT);
        if !(repeatable && small) {
            return Ok(response
                .map(|body| Body::new(InFlightBody { body, _in_flight_guard: in_flight_guard })));
        }
        let (parts, body) = response.into_parts();
        let limit = usize::try_from(KEPT).unwrap_or(usize::MAX);
        match to_bytes(body, limit).await {
            Ok(bytes) => Ok(Response::from_parts(parts, Body::from(bytes))),
            Err(error) => Err(Failed::Sent(root_cause(&error))),
        }
    }

    async fn send_pooled(
        &self,
        address: SocketAddr,
        carried: &mut ReplayableRequest,
        instance: Option<HeaderValue>,
    ) -> Result<Response<Body>, Failed> {
        let uri = Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(address.to_string())
            .path_and_query(carried.path.clone())
            .build()
            .map_err(|error| Failed::NotSent(error.to_string()))?;
        let request = carried.request(uri, instance);
        match self.client.request(request).await {
            Ok(response) => Ok(response.map(Body::new)),
            Err(error) if error.is_connect() => Err(Failed::NotSent(root_cause(&error))),
            Err(error) => Err(Failed::Sent(root_cause(&error))),
        }
    }
}

async fn send_fresh(
    address: SocketAddr,
    carried: &mut ReplayableRequest,
    instance: Option<HeaderValue>,
) -> Result<Response<Body>, Failed> {
    let not_sent = |error: &dyn std::error::Error| Failed::NotSent(root_cause(error));
    let uri = Uri::from(carried.path.clone());
    let stream = tokio::time::timeout(CONNECT, TcpStream::connect(address))
        .await
        .map_err(|_| Failed::NotSent("no connection in time".to_owned()))?
        .map_err(|error| not_sent(&error))?;
    let _ = stream.set_nodelay(true);
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| not_sent(&error))?;
    tokio::spawn(connection.with_upgrades());
    let response = sender.send_request(carried.request(uri, instance)).await;
    response
        .map(|response| response.map(Body::new))
        .map_err(|error| Failed::Sent(root_cause(&error)))
}

/// Copies between both sides of an upgrade until one of them ends.
fn join(inbound: OnUpgrade, outbound: OnUpgrade, in_flight_guard: InFlightGuard) {
    tokio::spawn(async move {
        if let (Ok(inbound), Ok(outbound)) = tokio::join!(inbound, outbound) {
            let (mut inbound, mut outbound) = (TokioIo::new(inbound), TokioIo::new(outbound));
            let _ = tokio::io::copy_bidirectional(&mut inbound, &mut outbound).await;
        }
        drop(in_flight_guard);
    });
}

/// A response body that keeps its request in flight until its end.
struct InFlightBody {
    body: Body,
    _in_flight_guard: InFlightGuard,
}

impl hyper::body::Body for InFlightBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

pub(super) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

fn page(html: String) -> Response<Body> {
    let mut response = Response::new(Body::from(html));
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, html);
    response
}

/// Removes hop-by-hop headers; an upgrade keeps `connection` and `upgrade`.
fn strip_hop_headers(headers: &mut HeaderMap, upgrade: bool) {
    for name in ["keep-alive", "proxy-connection", "te", "transfer-encoding", "trailer"] {
        headers.remove(name);
    }
    if !upgrade {
        headers.remove(header::CONNECTION);
        headers.remove(header::UPGRADE);
    }
}
