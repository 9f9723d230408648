//! The embedded gateway: `http://<app id or instance id>[-<port>].<base domain>` to the published port
//! of a CVM, bodies streamed, upgrades (WebSockets) passed through.
//!
//! An app id leads to one of its instances that are up and ready ([`health`]): the one with the fewest
//! requests under way. An instance id leads to that instance as long as it is up, ready or not. What an
//! instance did not answer goes to the next one if that cannot do anything twice ([`send`]). A request is
//! counted in before it is looked whether its CVM still serves ([`crate::inflight`]), so that a CVM is
//! brought down when it has no requests left.
//!
//! Answers that are the gateway's own say why in one line: 404 for an id nobody has or a port nobody
//! publishes, 503 where no instance is up and ready, 502 where those that are do not answer, 421 for a
//! host name that is not the gateway's.
//!
//! A CVM on the node of another process is reached through that process' gateway. The first gateway
//! names the CVM ([`INSTANCE`]); the second sends the request there or nowhere, so it never comes back. It
//! is the second that knows whether the CVM is ready; where it is not, the first tries another.
//!
//! Deliberately absent for now: TLS, and with it the suffixes `s` and `g` of dstack's gateway, which
//! are refused by name; a common view of load over several processes.

mod health;
mod pick;
mod send;
mod target;

use std::{collections::HashSet, convert::Infallible, net::SocketAddr, sync::Arc};

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, Request, Response, StatusCode, header},
};
use casemate_core::id::{CvmId, VmUuid};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

use self::{
    health::Table,
    pick::PickRequest,
    send::{CONNECT, Carried, Failed},
    target::{Target, host},
};
use crate::app::Ctx;

/// Header by which a gateway tells another one which CVM of the app it means, by uuid. It counts within
/// the app of the host name only, and no app sees it.
pub const INSTANCE: HeaderName = HeaderName::from_static("x-casemate-instance");
/// Header of a gateway's own answers: `not-sent`, or `failed` where the app may have seen the request.
pub const OWN: HeaderName = HeaderName::from_static("x-casemate-gateway");

/// So many instances are tried for one request.
const ATTEMPTS: usize = 8;

#[derive(Clone, Debug)]
pub struct Gateway {
    ctx: Ctx,
    domain: Arc<str>,
    /// Where this gateway listens.
    own: Option<SocketAddr>,
    /// Keeps connections; for requests that may be repeated.
    client: Client<HttpConnector, Body>,
    health: Arc<Table>,
}

/// An answer of the gateway itself.
#[derive(Debug)]
struct Own {
    status: StatusCode,
    why: String,
    /// The app may have seen the request.
    sent: bool,
}

impl Own {
    fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self { status, why: why.into(), sent: false }
    }

    fn unavailable(why: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, why)
    }

    fn answer(&self) -> Response<Body> {
        let mut response = Response::new(Body::from(format!("casemate gateway: {}\n", self.why)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers
            .insert(OWN, HeaderValue::from_static(if self.sent { "failed" } else { "not-sent" }));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl Gateway {
    /// The gateway for `*.<base domain>`; the domain without a port.
    /// It listens at `own`, if that is known.
    pub fn new(ctx: Ctx, base_domain: &str, own: Option<SocketAddr>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Self { ctx, domain: base_domain.into(), own, client, health: Arc::default() }
    }

    /// Answers one request.
    pub async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, Infallible> {
        let outcome = Box::pin(self.route(request)).await;
        let label = if outcome.is_ok() { "proxied" } else { "own" };
        metrics::counter!("casemate_gateway_requests_total", "answer" => label).increment(1);
        Ok(outcome.unwrap_or_else(|own| own.answer()))
    }

    async fn route(&self, mut request: Request<Body>) -> Result<Response<Body>, Own> {
        let host = host(&request)
            .ok_or_else(|| Own::new(StatusCode::BAD_REQUEST, "the request names no host"))?;
        let target = Target::parse(&host, &self.domain)?;
        let only = only(request.headers_mut().remove(INSTANCE).as_ref())?;
        let mut carried = Carried::from_request(request, &host).await?;
        let mut tried = HashSet::new();
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let pick_request = PickRequest { target: &target, only, tried: &tried };
            let chosen = match self.pick(&pick_request).await {
                Ok(chosen) => chosen,
                Err(own) => return last.unwrap_or(Err(own)),
            };
            let cvm = chosen.cvm.id;
            if last.is_some() {
                metrics::counter!("casemate_gateway_retries_total").increment(1);
            }
            let name = chosen.cvm.spec.name.clone();
            let outcome = self.send(chosen, &mut carried).await;
            tried.insert(cvm);
            match outcome {
                Ok(response) => {
                    self.health.trust(cvm);
                    return Ok(response);
                }
                Err(failed) => last = Some(self.failed(cvm, &name, failed)),
            }
            if !carried.may_go_on(last.as_ref()) {
                break;
            }
        }
        last.unwrap_or_else(|| Err(Own::unavailable("no instance was tried")))
    }

    /// What a client is told of it if nobody else answers.
    fn failed(&self, cvm: CvmId, name: &str, failed: Failed) -> Result<Response<Body>, Own> {
        self.health.suspect(cvm, self.ctx.now());
        let bad = |why: String, sent| {
            let why = format!("{name} does not answer: {why}");
            Own { status: StatusCode::BAD_GATEWAY, why, sent }
        };
        match failed {
            Failed::NotSent(why) => Err(bad(why, false)),
            Failed::Sent(why) => Err(bad(why, true)),
            Failed::Elsewhere(response) => Ok(*response),
        }
    }
}

/// The CVM that another gateway means.
fn only(header: Option<&HeaderValue>) -> Result<Option<VmUuid>, Own> {
    let Some(value) = header else { return Ok(None) };
    let uuid = value.to_str().ok().and_then(|text| text.parse().ok());
    uuid.map(Some).ok_or_else(|| {
        Own::new(StatusCode::BAD_REQUEST, format!("the header {INSTANCE} is not a CVM's uuid"))
    })
}
