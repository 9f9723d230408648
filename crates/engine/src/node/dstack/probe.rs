//! What pre-flight asks of a host: whether strangers may call its VMM, what its build lacks, whether its KMS
//! answers the VMM, whether its gateway says the same of itself as the node, and the time.
//!
//! The gateway is asked without a check of its certificate: that is of the KMS of the host, which is not known
//! here. Nothing secret is sent, and the answer is only shown.

use std::time::Duration;

use casemate_core::{
    preflight::{Anonymous, GatewayProbe, KmsProbe, Probe},
    time::{Clock, Timestamp},
};
use reqwest::{Client, StatusCode, redirect::Policy};

use super::{
    DstackNode, VmmAddress,
    wire::{AppId, GatewayInfo, Ignored, Meta, Nothing},
};
use crate::node::{CallError, Tee};

/// An app that nobody has: the KMS derives a key for any.
const NO_APP: [u8; 20] = [0; 20];
const GATEWAY_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer of a gateway that is read.
const LONGEST_ANSWER: usize = 64 << 10;
/// Two clocks that are this close agree: the header has whole seconds, and the answer takes time.
const CLOCK_GRAIN_S: i64 = 3;

impl DstackNode {
    /// Asks everything once.
    pub(super) async fn look_closely(&self, clock: &dyn Clock) -> Result<Probe, CallError> {
        let (anonymous, date) = self.knock().await;
        let clock_skew_s = date.map(|date| skew(date, clock.now()));
        let meta: Meta = self.vmm.call("GetMeta", &Nothing {}).await?;
        let features = self.features().await?;
        let tee_field = match self.config.tee {
            Tee::Tdx | Tee::SevSnp => None,
            Tee::Simulated => Some("simulated_tee"),
            Tee::None => Some("no_tee"),
        };
        let (kms, gateway) = tokio::join!(self.ask_kms(&meta), ask_gateway(&meta));
        Ok(Probe {
            anonymous,
            document: features.is_documented(),
            missing: features.missing(tee_field),
            kms,
            gateway,
            clock_skew_s,
            guest_token: self.config.guest_token_file.is_some(),
        })
    }

    /// Calls without a credential.
    async fn knock(&self) -> (Anonymous, Option<Timestamp>) {
        let (status, date) = match self.vmm.call_anonymously().await {
            Ok(answer) => answer,
            Err(error) => return (Anonymous::Unknown { why: error.to_string() }, None),
        };
        let date = date.as_deref().and_then(Timestamp::from_http_date);
        let is_socket = matches!(self.config.address, VmmAddress::Unix(_));
        let anonymous = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Anonymous::Refused,
            StatusCode::OK if is_socket => Anonymous::SocketOnly,
            StatusCode::OK => Anonymous::Answered,
            other => Anonymous::Unknown { why: format!("the answer was {other}") },
        };
        (anonymous, date)
    }

    /// Has the VMM ask its KMS for the public key of an app.
    async fn ask_kms(&self, meta: &Meta) -> KmsProbe {
        let trimmed = |url: &String| url.trim_end_matches('/').to_owned();
        let (host, guests) = (trimmed(&meta.kms.url), meta.kms.urls.iter().map(trimmed).collect());
        if host.is_empty() {
            if meta.kms.urls.is_empty() {
                return KmsProbe::NotConfigured;
            }
            return KmsProbe::NotAsked { why: "the VMM has no kms_url of its own".to_owned() };
        }
        let request = AppId { app_id: hex::encode(NO_APP) };
        match self.vmm.call::<_, Ignored>("GetAppEnvEncryptPubKey", &request).await {
            Ok(Ignored) => KmsProbe::Answers { host, guests },
            Err(CallError::Rejected(why)) if why.starts_with("Service not found") => {
                KmsProbe::NotAsked { why: "the build cannot ask it".to_owned() }
            }
            Err(CallError::Rejected(why)) => KmsProbe::Silent { why },
            Err(CallError::Unreachable(why) | CallError::Unknown(why)) => {
                KmsProbe::NotAsked { why }
            }
        }
    }
}

/// Seconds by which a host is ahead.
fn skew(host: Timestamp, now: Timestamp) -> i64 {
    let seconds = host.micros().saturating_sub(now.micros()) / 1_000_000;
    if seconds.abs() <= CLOCK_GRAIN_S { 0 } else { seconds }
}

async fn ask_gateway(meta: &Meta) -> GatewayProbe {
    let Some(url) = meta.gateway.urls.first().filter(|url| !url.is_empty()) else {
        return GatewayProbe::NotConfigured;
    };
    let url = url.trim_end_matches('/').to_owned();
    match gateway_info(&url).await {
        Ok(info) => GatewayProbe::Answers {
            url,
            base_domain: info.base_domain,
            external_port: match info.external_port {
                0 => 443,
                port => port,
            },
            version: info.version,
        },
        Err(why) => GatewayProbe::Silent { url, why },
    }
}

async fn gateway_info(url: &str) -> Result<GatewayInfo, String> {
    // Fails only if the process has chosen already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .timeout(GATEWAY_TIMEOUT)
        .tls_danger_accept_invalid_certs(true)
        .build()
        .map_err(|error| error.to_string())?;
    let sent = client.get(format!("{url}/prpc/Info")).send().await;
    let mut response = sent.map_err(|error| {
        let mut cause: &dyn std::error::Error = &error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        cause.to_string()
    })?;
    let status = response.status();
    if status != StatusCode::OK {
        return Err(format!("the answer was {status}"));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| "the connection broke".to_owned())? {
        body.extend_from_slice(&chunk);
        if body.len() > LONGEST_ANSWER {
            return Err("the answer is too long".to_owned());
        }
    }
    serde_json::from_slice(&body).map_err(|_| "the answer is not of a gateway".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_agree_within_the_grain() {
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        assert_eq!(skew(at(100), at(103)), 0);
        assert_eq!(skew(at(100), at(160)), -60);
        assert_eq!(skew(at(160), at(100)), 60);
    }
}
