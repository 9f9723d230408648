//! Evidence of guests: collected by the process that serves the node, verified there with the collateral of
//! its vendor, and shown from the database. Only requests for the newest TCB data, and quotes that somebody
//! uploads, ask the certification service while a client waits, and outside of any transaction.

mod bundle;
mod certificates;
mod collect;
mod fleet;
mod policy;
mod quotes;
mod read;
mod request;
mod verify_page;

use std::{sync::Arc, time::Duration};

use casemate_core::time::Timestamp;
use casemate_engine::collateral::{CollateralError, Pccs, Platform, Update};
use casemate_verify::{QuoteCollateralV3, Roots, simulate::DevelopmentRoot};

pub use self::{
    bundle::export,
    collect::{CollectError, Collection, collect, record},
    fleet::{device_ids, nodes, ppids},
    policy::{policy, set_policy},
    quotes::{collateral, raw, recent, upload, view},
    read::{app, cvm, tcb_evaluation},
    request::{request, request_state},
    verify_page::VerifyPage,
};
use crate::config;

/// The name of the root of guests without a TEE, in verdicts.
pub const DEVELOPMENT: &str = "of this service";
/// Platforms whose collateral is kept.
const PLATFORMS: u64 = 1000;

/// What evidence is verified with.
#[derive(Debug)]
pub struct Attestation {
    /// Signs quotes of guests without a TEE.
    root: Arc<DevelopmentRoot>,
    root_der: Vec<u8>,
    roots: Roots,
    pccs: Option<Pccs>,
    kept: moka::sync::Cache<Platform, Arc<QuoteCollateralV3>>,
    verify_page: Option<VerifyPage>,
}

impl Attestation {
    /// As configured. The error is the key and what is wrong with its value.
    pub fn open(
        config: &config::Attestation,
        root: DevelopmentRoot,
    ) -> Result<Self, (String, String)> {
        let own = |error: casemate_verify::simulate::SimulateError| {
            ("kms.root_key_file".to_owned(), error.to_string())
        };
        let root_der = root.certificate_der().map_err(own)?;
        let mut roots = Roots::vendors()
            .with_development(DEVELOPMENT, &root_der)
            .map_err(|error| ("kms.root_key_file".to_owned(), error.to_string()))?;
        for (number, configured) in config.development_roots.iter().enumerate() {
            let key = format!("attestation.development_roots[{number}].file");
            let pem = std::fs::read(&configured.file).map_err(|error| {
                (key.clone(), format!("{}: {error}", configured.file.display()))
            })?;
            roots = roots
                .with_development(&configured.name, &pem)
                .map_err(|error| (key, error.to_string()))?;
        }
        let timeout = Duration::from_secs(config.timeout_s);
        let pccs = (!config.pccs_url.is_empty())
            .then(|| Pccs::new(&config.pccs_url, timeout))
            .transpose()
            .map_err(|why| ("attestation.pccs_url".to_owned(), why))?;
        let kept = moka::sync::Cache::builder()
            .max_capacity(PLATFORMS)
            .time_to_live(Duration::from_secs(config.collateral_kept_s))
            .build();
        let verify_page = (!config.verify_page.as_os_str().is_empty())
            .then(|| VerifyPage::read(&config.verify_page))
            .transpose()
            .map_err(|why| ("attestation.verify_page".to_owned(), why))?;
        Ok(Self { root: Arc::new(root), root_der, roots, pccs, kept, verify_page })
    }

    /// The verifier as a page, if one is configured.
    pub const fn verify_page(&self) -> Option<&VerifyPage> {
        self.verify_page.as_ref()
    }

    /// The certificate of the root of guests without a TEE, PEM.
    pub fn development_certificate(&self) -> Option<String> {
        self.root.certificate_pem().ok()
    }

    /// Whether a quote is of a guest without a TEE of this service.
    fn is_development(&self, quote: &[u8]) -> bool {
        casemate_engine::collateral::root_of(quote).is_some_and(|root| root == self.root_der)
    }

    /// The collateral of a quote, from memory if it was asked for lately.
    async fn collateral(
        &self,
        quote: &[u8],
        now: Timestamp,
    ) -> Result<Arc<QuoteCollateralV3>, CollateralError> {
        if self.is_development(quote) {
            return self.development_collateral(now).map(Arc::new);
        }
        let platform = Platform::of(quote)?;
        if let Some(kept) = self.kept.get(&platform) {
            return Ok(kept);
        }
        let found = Arc::new(self.pccs()?.collateral(&platform, Update::Standard).await?);
        self.kept.insert(platform, found.clone());
        Ok(found)
    }

    /// The newest data about the platform of a quote, always asked for.
    async fn early_collateral(&self, quote: &[u8]) -> Result<QuoteCollateralV3, CollateralError> {
        self.pccs()?.collateral(&Platform::of(quote)?, Update::Early).await
    }

    fn pccs(&self) -> Result<&Pccs, CollateralError> {
        let none = "attestation.pccs_url is not configured";
        self.pccs.as_ref().ok_or_else(|| CollateralError::Unreachable(none.to_owned()))
    }

    fn development_collateral(&self, now: Timestamp) -> Result<QuoteCollateralV3, CollateralError> {
        // The data change once a day, so equal questions on a day have equal answers.
        let day = now.micros().div_euclid(86_400_000_000) * 86_400;
        let wrong = |why: String| CollateralError::Quote(why);
        let day = jiff::Timestamp::from_second(day).map_err(|error| wrong(error.to_string()))?;
        self.root.collateral(day).map_err(|error| wrong(error.to_string()))
    }
}
