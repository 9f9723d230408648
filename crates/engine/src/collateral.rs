//! Collateral of TDX quotes from a PCCS or from Intel's PCS: what its vendor says about a platform. Paths and
//! headers are those of version 4 of the certification service (`…/certification/v4`), as
//! `dcap_qvl::collateral` asks for them; that module is not used because it brings an HTTP client of its own.

use std::time::Duration;

use dcap_qvl::{QuoteCollateralV3, intel, quote::Quote};
use reqwest::{Client, StatusCode, Url, redirect::Policy};
use serde::Deserialize;
use serde_json::value::RawValue;

/// A list of revoked certificates has some 100 KiB at most.
const MAX_ANSWER: usize = 1024 * 1024;
/// The revocation list of Intel's root, which the PCS does not serve itself.
const INTEL_ROOT_CRL: &str = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der";

/// Why there is no collateral.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CollateralError {
    /// The quote does not say which platform it is from.
    #[error("the quote does not name its platform: {0}")]
    Quote(String),
    /// The service does not answer. Nothing is said about the platform.
    #[error("collateral is not reachable: {0}")]
    Unreachable(String),
    /// The service answers, but not with collateral.
    #[error("collateral of {what}: {why}")]
    Answer { what: &'static str, why: String },
}

/// The platform that a quote is from; equal platforms have equal collateral.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Platform {
    /// Family, model, stepping, platform and SKU, 12 hex digits.
    pub fmspc: String,
    /// `processor` or `platform`: which authority certifies it.
    pub ca: String,
    /// The quote is of SGX and not of TDX.
    pub sgx: bool,
}

impl Platform {
    /// The platform of a quote.
    pub fn of(quote: &[u8]) -> Result<Self, CollateralError> {
        let wrong = |error: &dyn std::fmt::Display| CollateralError::Quote(error.to_string());
        let quote = Quote::parse(quote).map_err(|error| wrong(&error))?;
        let fmspc = intel::quote_fmspc(&quote).map_err(|error| wrong(&error))?;
        let ca = intel::quote_ca(&quote).map_err(|error| wrong(&error))?;
        Ok(Self {
            fmspc: hex::encode_upper(fmspc),
            ca: ca.as_id_str().to_owned(),
            sgx: quote.header.is_sgx(),
        })
    }
}

/// The fields of a quote; nothing is verified. `None`: these bytes are none.
pub fn parse(quote: &[u8]) -> Option<Quote> {
    Quote::parse(quote).ok()
}

/// The platform id in the certificate of a quote; nothing is verified.
pub fn ppid(quote: &[u8]) -> Option<Vec<u8>> {
    let quote = Quote::parse(quote).ok()?;
    let chain = intel::extract_cert_chain(&quote).ok()?;
    Some(intel::parse_pck_extension(chain.first()?).ok()?.ppid)
}

/// The root certificate in a quote, DER; nothing is verified.
pub fn root_of(quote: &[u8]) -> Option<Vec<u8>> {
    let quote = Quote::parse(quote).ok()?;
    intel::extract_cert_chain(&quote).ok()?.pop()
}

/// Which data of the vendor count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Update {
    /// Those in force.
    Standard,
    /// The newest that were published.
    Early,
}

/// A certification service.
#[derive(Debug, Clone)]
pub struct Pccs {
    http: Client,
    /// Without `/sgx/certification/v4`.
    base: String,
}

impl Pccs {
    /// The service at this address. The error names what is wrong with it.
    pub fn new(url: &str, timeout: Duration) -> Result<Self, String> {
        let parsed = Url::parse(url).map_err(|error| error.to_string())?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err("must begin with https:// or http://".to_owned());
        }
        // Fails only if the process has chosen already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder()
            .redirect(Policy::none())
            .timeout(timeout)
            .build()
            .map_err(|error| error.to_string())?;
        let base = url.trim_end_matches('/').trim_end_matches("/sgx/certification/v4");
        Ok(Self { http, base: base.to_owned() })
    }

    /// The collateral of a platform, without the certificate chain of a quote.
    pub async fn collateral(
        &self,
        platform: &Platform,
        update: Update,
    ) -> Result<QuoteCollateralV3, CollateralError> {
        let tee = if platform.sgx { "sgx" } else { "tdx" };
        let update = match update {
            Update::Standard => "standard",
            Update::Early => "early",
        };
        let (fmspc, ca) = (&platform.fmspc, &platform.ca);
        let v4 = format!("{}/{{}}/certification/v4", self.base);
        let at = |tee: &str, path: String| format!("{}/{path}", v4.replace("{}", tee));
        let (crl, tcb, qe, root) = tokio::try_join!(
            self.get("the revocation list", at("sgx", format!("pckcrl?ca={ca}&encoding=der"))),
            self.get("the TCB levels", at(tee, format!("tcb?fmspc={fmspc}&update={update}"))),
            self.get("the quoting enclave", at(tee, format!("qe/identity?update={update}"))),
            self.root_crl(at("sgx", "rootcacrl".to_owned())),
        )?;
        let levels: TcbInfo = tcb.json()?;
        let identity: QeIdentity = qe.json()?;
        Ok(QuoteCollateralV3 {
            pck_crl_issuer_chain: crl.chain(&["SGX-PCK-CRL-Issuer-Chain"])?,
            root_ca_crl: root,
            pck_crl: crl.body,
            tcb_info_issuer_chain: tcb
                .chain(&["SGX-TCB-Info-Issuer-Chain", "TCB-Info-Issuer-Chain"])?,
            tcb_info: levels.tcb_info.get().to_owned(),
            tcb_info_signature: signature("the TCB levels", &levels.signature)?,
            qe_identity_issuer_chain: qe.chain(&["SGX-Enclave-Identity-Issuer-Chain"])?,
            qe_identity: identity.enclave_identity.get().to_owned(),
            qe_identity_signature: signature("the quoting enclave", &identity.signature)?,
            pck_certificate_chain: None,
        })
    }

    /// A PCCS serves the list of the root, as DER or as its hex digits. Intel's own service does not.
    async fn root_crl(&self, url: String) -> Result<Vec<u8>, CollateralError> {
        const WHAT: &str = "the revocation list of the root";
        let answer = match self.get(WHAT, url).await {
            Err(CollateralError::Answer { .. }) => {
                self.get(WHAT, INTEL_ROOT_CRL.to_owned()).await?
            }
            answer => answer?,
        };
        Ok(hex::decode(answer.body.trim_ascii()).unwrap_or(answer.body))
    }

    async fn get(&self, what: &'static str, url: String) -> Result<Answer, CollateralError> {
        let unreachable = |error: reqwest::Error| {
            // The address may hold a key.
            let error = error.without_url();
            let mut cause: &dyn std::error::Error = &error;
            while let Some(source) = cause.source() {
                cause = source;
            }
            CollateralError::Unreachable(cause.to_string())
        };
        let mut response = self.http.get(url).send().await.map_err(unreachable)?;
        let refused = |why: String| CollateralError::Answer { what, why };
        match response.status() {
            StatusCode::OK => {}
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                return Err(CollateralError::Unreachable(format!("the answer was {status}")));
            }
            status => return Err(refused(format!("the answer was {status}"))),
        }
        let headers = response.headers().clone();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(refused(format!("the answer is longer than {MAX_ANSWER} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { what, headers, body })
    }
}

struct Answer {
    what: &'static str,
    headers: reqwest::header::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn wrong(&self, why: impl Into<String>) -> CollateralError {
        CollateralError::Answer { what: self.what, why: why.into() }
    }

    /// Certificates, PEM, percent-encoded in a header of one of these names.
    fn chain(&self, names: &[&str]) -> Result<String, CollateralError> {
        let found = names.iter().find_map(|name| self.headers.get(*name));
        let text = found.and_then(|value| value.to_str().ok());
        let text = text.ok_or_else(|| self.wrong(format!("it has no header {}", names[0])))?;
        let decoded = percent_encoding::percent_decode_str(text).decode_utf8();
        decoded.map(Into::into).map_err(|_| self.wrong("its issuer chain is no text"))
    }

    fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, CollateralError> {
        serde_json::from_slice(&self.body).map_err(|error| self.wrong(error.to_string()))
    }
}

fn signature(what: &'static str, text: &str) -> Result<Vec<u8>, CollateralError> {
    hex::decode(text)
        .map_err(|_| CollateralError::Answer { what, why: "its signature is not hex".to_owned() })
}

/// The signature is over the bytes of the member.
#[derive(Deserialize)]
struct TcbInfo<'a> {
    #[serde(borrow, rename = "tcbInfo")]
    tcb_info: &'a RawValue,
    signature: String,
}

#[derive(Deserialize)]
struct QeIdentity<'a> {
    #[serde(borrow, rename = "enclaveIdentity")]
    enclave_identity: &'a RawValue,
    signature: String,
}

#[cfg(test)]
mod tests {
    use axum::{
        Router,
        http::HeaderName,
        response::{IntoResponse, Response},
        routing::get,
    };
    use casemate_verify::simulate::{DevelopmentRoot, TdReport};
    use dcap_qvl::verify::QuoteVerifier;
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

    use super::*;

    const NOW: u64 = 1_780_000_000;

    fn with(name: &'static str, chain: &str, body: Vec<u8>) -> Response {
        let chain = utf8_percent_encode(chain, NON_ALPHANUMERIC).to_string();
        ([(HeaderName::from_bytes(name.as_bytes()).unwrap(), chain)], body).into_response()
    }

    fn signed(name: &str, value: &str, signature: &[u8]) -> Vec<u8> {
        format!(r#"{{"{name}":{value},"signature":"{}"}}"#, hex::encode(signature)).into_bytes()
    }

    /// A service with the collateral of a development root.
    async fn service(root: &DevelopmentRoot) -> String {
        let now = jiff::Timestamp::from_second(i64::try_from(NOW).unwrap()).unwrap();
        let has = root.collateral(now).unwrap();
        let (crl, tcb, qe) = (has.clone(), has.clone(), has.clone());
        let router = Router::new()
            .route(
                "/sgx/certification/v4/pckcrl",
                get(async move || {
                    with("SGX-PCK-CRL-Issuer-Chain", &crl.pck_crl_issuer_chain, crl.pck_crl)
                }),
            )
            .route(
                "/tdx/certification/v4/tcb",
                get(async move || {
                    let body = signed("tcbInfo", &tcb.tcb_info, &tcb.tcb_info_signature);
                    with("TCB-Info-Issuer-Chain", &tcb.tcb_info_issuer_chain, body)
                }),
            )
            .route(
                "/tdx/certification/v4/qe/identity",
                get(async move || {
                    let body =
                        signed("enclaveIdentity", &qe.qe_identity, &qe.qe_identity_signature);
                    let chain = &qe.qe_identity_issuer_chain;
                    with("SGX-Enclave-Identity-Issuer-Chain", chain, body)
                }),
            )
            .route(
                "/sgx/certification/v4/rootcacrl",
                get(async move || hex::encode(has.root_ca_crl)),
            );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn pccs(url: &str) -> Pccs {
        Pccs::new(url, Duration::from_secs(10)).unwrap()
    }

    #[tokio::test]
    async fn a_quote_verifies_with_the_collateral_of_its_platform() {
        let root = DevelopmentRoot::from_seed(&[7; 32]).unwrap();
        let quote = root.quote(&TdReport::default()).unwrap();
        let platform = Platform::of(&quote).unwrap();
        assert!(!platform.sgx);
        let url = service(&root).await;
        let found = pccs(&url).collateral(&platform, Update::Standard).await.unwrap();
        let verifier = QuoteVerifier::new(root.certificate_der().unwrap());
        assert_eq!(verifier.verify(&quote, &found, NOW).unwrap().status, "UpToDate");
        // The path of a PCCS may be a part of its address.
        let again = pccs(&format!("{url}/sgx/certification/v4/"));
        assert_eq!(again.collateral(&platform, Update::Standard).await.unwrap(), found);
    }

    #[tokio::test]
    async fn silence_and_refusals_are_told_apart() {
        let root = DevelopmentRoot::from_seed(&[7; 32]).unwrap();
        let platform = Platform::of(&root.quote(&TdReport::default()).unwrap()).unwrap();
        let silent = pccs("http://127.0.0.1:1").collateral(&platform, Update::Standard).await;
        assert!(matches!(silent, Err(CollateralError::Unreachable(_))), "{silent:?}");
        let url = service(&root).await;
        let sgx = Platform { sgx: true, ..platform };
        let refused = pccs(&url).collateral(&sgx, Update::Early).await;
        let Err(CollateralError::Answer { why, .. }) = refused else { panic!("{refused:?}") };
        assert!(why.contains("404"), "{why}");
    }

    #[test]
    fn what_is_no_quote_names_no_platform() {
        for bytes in [&b""[..], b"quote", &[0; 5000]] {
            assert!(matches!(Platform::of(bytes), Err(CollateralError::Quote(_))));
        }
        assert!(Pccs::new("ftp://x", Duration::from_secs(1)).is_err());
        assert!(Pccs::new("x", Duration::from_secs(1)).is_err());
    }
}
