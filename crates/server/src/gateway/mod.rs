//! The embedded gateway: `http://<app id or instance id>[-<port>].<base domain>` to the published port of a
//! CVM. Bodies are streamed, upgrades (WebSockets) are passed through.
//!
//! An app id selects one of its instances that are up and ready ([`health`]): the one with the fewest
//! in-flight requests. An instance id selects that instance while it is up, ready or not. A request that an
//! instance did not answer goes to the next one if it cannot be executed twice ([`send`]). A request is
//! counted before the check whether its CVM still serves ([`crate::inflight`]), so that a CVM is brought down
//! only without in-flight requests.
//!
//! The gateway's own responses give the cause in one line: 404 for an unknown id or an unpublished port, 503
//! if no instance is up and ready, 502 if the ready ones do not answer, 421 for a host name outside of its
//! domain.
//!
//! A CVM on a node of another process is reached through that process's gateway. The first gateway names the
//! CVM ([`INSTANCE`]); the second forwards the request to it or refuses, so there is no loop. The second
//! knows whether the CVM is ready; if it is not, the first tries another instance.
//!
//! Absent on purpose, for now: TLS, and with it the suffixes `s` and `g` of dstack's gateway, which are
//! refused by name; a shared view of load across processes.

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
    health::HealthTable,
    pick::PickRequest,
    send::{CONNECT, Failed, ReplayableRequest},
    target::{Target, host},
};
use crate::app::Ctx;

/// Header in which a gateway tells another one the UUID of the CVM. It is valid only within the app of the
/// host name, and is not forwarded to the app.
pub const INSTANCE: HeaderName = HeaderName::from_static("x-casemate-instance");
/// Header of a gateway's own responses: `not-sent`, or `failed` if the app may have seen the request.
pub const OWN: HeaderName = HeaderName::from_static("x-casemate-gateway");

/// Maximum number of instances tried for one request.
const ATTEMPTS: usize = 8;

#[derive(Clone, Debug)]
pub struct Gateway {
    ctx: Ctx,
    domain: Arc<str>,
    /// Listen address of this gateway.
    own: Option<SocketAddr>,
    /// Keeps connections open; for requests that may be repeated.
    client: Client<HttpConnector, Body>,
    health: Arc<HealthTable>,
}

/// A response of the gateway itself.
#[derive(Debug)]
struct OwnResponse {
    status: StatusCode,
    why: String,
    /// The app may have seen the request.
    sent: bool,
}

impl OwnResponse {
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
    /// The gateway for `*.<base domain>` (given without a port), listening at `own` if that is known.
    pub fn new(ctx: Ctx, base_domain: &str, own: Option<SocketAddr>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Self { ctx, domain: base_domain.into(), own, client, health: Arc::default() }
    }

    pub async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, Infallible> {
        let outcome = Box::pin(self.route(request)).await;
        let label = if outcome.is_ok() { "proxied" } else { "own" };
        metrics::counter!("casemate_gateway_requests_total", "answer" => label).increment(1);
        Ok(outcome.unwrap_or_else(|own| own.answer()))
    }

    async fn route(&self, mut request: Request<Body>) -> Result<Response<Body>, OwnResponse> {
        let host = host(&request).ok_or_else(|| {
            OwnResponse::new(StatusCode::BAD_REQUEST, "the request names no host")
        })?;
        let target = Target::parse(&host, &self.domain)?;
        let only = only(request.headers_mut().remove(INSTANCE).as_ref())?;
        let mut carried = ReplayableRequest::from_request(request, &host).await?;
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
                    self.health.clear_suspect(cvm);
                    return Ok(response);
                }
                Err(failed) => last = Some(self.failed(cvm, &name, failed)),
            }
            if !carried.may_retry(last.as_ref()) {
                break;
            }
        }
        last.unwrap_or_else(|| Err(OwnResponse::unavailable("no instance was tried")))
    }

    /// The response to the client if no other instance answers.
    fn failed(
        &self,
        cvm: CvmId,
        name: &str,
        failed: Failed,
    ) -> Result<Response<Body>, OwnResponse> {
        self.health.mark_suspect(cvm, self.ctx.now());
        let bad = |why: String, sent| {
            let why = format!("{name} does not answer: {why}");
            OwnResponse { status: StatusCode::BAD_GATEWAY, why, sent }
        };
        match failed {
            Failed::NotSent(why) => Err(bad(why, false)),
            Failed::Sent(why) => Err(bad(why, true)),
            Failed::Elsewhere(response) => Ok(*response),
        }
    }
}

/// The CVM named by another gateway.
fn only(header: Option<&HeaderValue>) -> Result<Option<VmUuid>, OwnResponse> {
    let Some(value) = header else { return Ok(None) };
    let uuid = value.to_str().ok().and_then(|text| text.parse().ok());
    uuid.map(Some).ok_or_else(|| {
        OwnResponse::new(
            StatusCode::BAD_REQUEST,
            format!("the header {INSTANCE} is not a CVM's uuid"),
        )
    })
}
