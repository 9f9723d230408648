//! The embedded gateway: `http://<app id or instance id>[-<port>].<base domain>` to the CVM's
//! published port, bodies streamed, upgrades (WebSockets) passed through.
//!
//! Answers that are the gateway's own say why in one line: 404 for an id nobody has or a port nobody
//! publishes, 503 for a CVM that is not up, 502 for one that does not answer, 421 for a host name
//! that is not the gateway's. An app id leads to any of its running CVMs, newest first.
//!
//! A CVM on the node of another process is reached through that process' gateway.
//!
//! Deliberately absent for now: TLS, and with it the suffixes `s` and `g` of dstack's gateway, which
//! are refused by name.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use axum::{
    body::Body,
    http::{HeaderValue, Request, Response, StatusCode, Uri, header, uri::Authority},
};
use casemate_core::{
    cvm::{EngineState, Phase},
    id::AppId,
};
use casemate_engine::node::{Dial, DialError};
use casemate_store::cvms::{self, Cvm};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};

use crate::app::Ctx;

/// Port of a host name without one.
const DEFAULT_PORT: u16 = 80;

/// The gateway.
#[derive(Clone, Debug)]
pub struct Gateway {
    ctx: Ctx,
    domain: Arc<str>,
    /// Where this gateway listens.
    own: Option<SocketAddr>,
    client: Client<HttpConnector, Body>,
}

/// A request that the gateway answers itself.
struct Own(StatusCode, String);

impl Gateway {
    /// The gateway for `*.<base domain>`; the domain without a port.
    /// It listens at `own`, if that is known.
    pub fn new(ctx: Ctx, base_domain: &str, own: Option<SocketAddr>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(std::time::Duration::from_secs(5)));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Self { ctx, domain: base_domain.into(), own, client }
    }

    /// Answers one request.
    pub async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, Infallible> {
        let outcome = self.route(request).await;
        let label = match &outcome {
            Ok(_) => "proxied",
            Err(Own(..)) => "own",
        };
        metrics::counter!("casemate_gateway_requests_total", "answer" => label).increment(1);
        Ok(outcome.unwrap_or_else(|Own(status, why)| {
            let mut response = Response::new(Body::from(format!("casemate gateway: {why}\n")));
            *response.status_mut() = status;
            let text = HeaderValue::from_static("text/plain; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, text);
            if status == StatusCode::SERVICE_UNAVAILABLE {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            response
        }))
    }

    async fn route(&self, request: Request<Body>) -> Result<Response<Body>, Own> {
        let host = host(&request)
            .ok_or_else(|| Own(StatusCode::BAD_REQUEST, "the request names no host".to_owned()))?;
        let target = Target::parse(&host, &self.domain)?;
        match self.dial(&target).await? {
            Dial::Page(html) => Ok(page(html)),
            Dial::Tcp(address) => self.proxy(request, address).await,
        }
    }

    async fn dial(&self, target: &Target) -> Result<Dial, Own> {
        let found =
            cvms::for_gateway(&self.ctx.db, target.id.as_bytes()).await.map_err(|error| {
                tracing::error!(error = &error as &dyn std::error::Error, "gateway look-up failed");
                Own(StatusCode::SERVICE_UNAVAILABLE, "the database does not answer".to_owned())
            })?;
        if found.is_empty() {
            return Err(Own(StatusCode::NOT_FOUND, format!("no app or instance {}", target.id)));
        }
        let mut why = None;
        for cvm in found.iter().filter(|cvm| cvm.spec.facts.gateway_enabled) {
            match self.dial_one(cvm, target.port).await {
                Ok(dial) => return Ok(dial),
                Err(own) => why = why.or(Some(own)),
            }
        }
        Err(why.unwrap_or_else(|| {
            Own(StatusCode::NOT_FOUND, format!("{} has the gateway switched off", target.id))
        }))
    }

    async fn dial_one(&self, cvm: &Cvm, port: u16) -> Result<Dial, Own> {
        let down = |why: String| Own(StatusCode::SERVICE_UNAVAILABLE, why);
        let EngineState::Present { vm } = &cvm.status.engine else {
            return Err(down(format!("{} is {}", cvm.spec.name, cvm.phase.as_str())));
        };
        if matches!(cvm.phase, Phase::Stopped | Phase::Error | Phase::Deleted) {
            return Err(down(format!("{} is {}", cvm.spec.name, cvm.phase.as_str())));
        }
        let node = self.ctx.fleet.node(cvm.node).ok_or_else(|| {
            down(format!("the node of {} is not served by this process", cvm.spec.name))
        })?;
        let dialled = node.node.dial(vm, port).await;
        if let Ok(Dial::Tcp(address)) = &dialled
            && Some(*address) == self.own
        {
            return Err(down(format!("{}: its node is not served", cvm.spec.name)));
        }
        dialled.map_err(|error| match error {
            DialError::NotPublished { .. } => {
                Own(StatusCode::NOT_FOUND, format!("{}: {error}", cvm.spec.name))
            }
            DialError::NotUp(why) => down(format!("{}: {why}", cvm.spec.name)),
            DialError::Unreachable(why) => down(format!("{}: node: {why}", cvm.spec.name)),
        })
    }

    async fn proxy(
        &self,
        mut request: Request<Body>,
        address: SocketAddr,
    ) -> Result<Response<Body>, Own> {
        let bad = |why: String| Own(StatusCode::BAD_GATEWAY, why);
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let uri: Uri = format!("http://{address}{path}")
            .parse()
            .map_err(|_| Own(StatusCode::BAD_REQUEST, "the path is not valid".to_owned()))?;
        *request.uri_mut() = uri;
        *request.version_mut() = http::Version::HTTP_11;
        let upgrade = request.headers().contains_key(header::UPGRADE);
        let inbound = upgrade.then(|| hyper::upgrade::on(&mut request));
        strip_hop_headers(request.headers_mut(), upgrade);
        let mut response = self
            .client
            .request(request)
            .await
            .map_err(|error| bad(format!("the app does not answer: {}", root_cause(&error))))?;
        if let Some(inbound) = inbound
            && response.status() == StatusCode::SWITCHING_PROTOCOLS
        {
            let outbound = hyper::upgrade::on(&mut response);
            tokio::spawn(async move {
                if let (Ok(inbound), Ok(outbound)) = tokio::join!(inbound, outbound) {
                    let (mut inbound, mut outbound) =
                        (TokioIo::new(inbound), TokioIo::new(outbound));
                    let _ = tokio::io::copy_bidirectional(&mut inbound, &mut outbound).await;
                }
            });
        } else {
            strip_hop_headers(response.headers_mut(), false);
        }
        Ok(response.map(Body::new))
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
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

/// Headers that belong to one connection; an upgrade keeps the two it is made of.
fn strip_hop_headers(headers: &mut http::HeaderMap, upgrade: bool) {
    for name in ["keep-alive", "proxy-connection", "te", "transfer-encoding", "trailer"] {
        headers.remove(name);
    }
    if !upgrade {
        headers.remove(header::CONNECTION);
        headers.remove(header::UPGRADE);
    }
}

fn host(request: &Request<Body>) -> Option<String> {
    let header = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let authority: Authority = match header {
        Some(host) => host.parse().ok()?,
        None => request.uri().authority()?.clone(),
    };
    Some(authority.host().to_ascii_lowercase())
}

/// What a host name asks for.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    id: AppId,
    port: u16,
}

impl Target {
    fn parse(host: &str, domain: &str) -> Result<Self, Own> {
        let label = host
            .strip_suffix(domain)
            .and_then(|rest| rest.strip_suffix('.'))
            .filter(|label| !label.contains('.'))
            .ok_or_else(|| {
                Own(StatusCode::MISDIRECTED_REQUEST, format!("{host} is not below {domain}"))
            })?;
        let (id, port) = label.split_once('-').unwrap_or((label, ""));
        let id = id
            .parse()
            .map_err(|_| Own(StatusCode::NOT_FOUND, format!("{id} is no app id or instance id")))?;
        if port.ends_with(['s', 'g']) {
            let why = format!("{port}: the suffixes s (TLS) and g (gRPC) are not served here");
            return Err(Own(StatusCode::NOT_IMPLEMENTED, why));
        }
        let port = match port {
            "" => DEFAULT_PORT,
            port => port
                .parse()
                .map_err(|_| Own(StatusCode::NOT_FOUND, format!("{port} is no port")))?,
        };
        Ok(Self { id, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_read_as_dstack_writes_them() {
        let hex = "0123456789abcdef0123456789abcdef01234567";
        let parse = |host: &str| Target::parse(host, "localhost").map_err(|Own(status, _)| status);
        let id: AppId = hex.parse().unwrap();
        assert_eq!(parse(&format!("{hex}-8080.localhost")), Ok(Target { id, port: 8080 }));
        assert_eq!(parse(&format!("{hex}.localhost")), Ok(Target { id, port: 80 }));
        let refused = [
            (format!("{hex}-8443s.localhost"), StatusCode::NOT_IMPLEMENTED),
            (format!("{hex}-x.localhost"), StatusCode::NOT_FOUND),
            ("abc-80.localhost".to_owned(), StatusCode::NOT_FOUND),
            ("localhost".to_owned(), StatusCode::MISDIRECTED_REQUEST),
            (format!("a.{hex}-80.localhost"), StatusCode::MISDIRECTED_REQUEST),
            (format!("{hex}-80.example.org"), StatusCode::MISDIRECTED_REQUEST),
        ];
        for (host, status) in refused {
            assert_eq!(parse(&host), Err(status), "{host}");
        }
    }
}
