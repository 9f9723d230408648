//! Quotes in TDX format under a development root.
//!
//! A machine without a TEE can answer every call of a guest agent, except that its quotes prove nothing about
//! hardware. These quotes have the structure, the signatures and the collateral of real ones, so that the same
//! verifier judges them, but their chain ends at a root that somebody generated. A verifier that trusts Intel's
//! root alone refuses them; one that was given this root by name reports them as simulated.
//!
//! Every key below the root is derived from the root's key, so the same root gives the same certificates on every
//! replica and after every restart.

mod pki;
mod quote;

use std::fmt;

use dcap_qvl::QuoteCollateralV3;
use jiff::Timestamp;
use p256::{
    ecdsa::SigningKey,
    pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding},
};
use sha2::{Digest, Sha256};
use x509_cert::{
    Certificate,
    der::{DecodePem, Encode, EncodePem},
};
use zeroize::Zeroizing;

pub use quote::TdReport;

/// The attributes of a production TD: no debugging, `SEPT_VE_DISABLE` set.
const TD_ATTRIBUTES: [u8; 8] = [0, 0, 0, 0x10, 0, 0, 0, 0];

/// Why a development quote or its collateral could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// The key file is not a P-256 private key in PKCS#8 PEM.
    #[error("the development root's key is not a P-256 private key in PKCS#8 PEM")]
    Key,
    /// The certificate file is not an X.509 certificate in PEM.
    #[error("the development root's certificate is not an X.509 certificate in PEM")]
    Certificate,
    /// Key and certificate are not a pair.
    #[error("the development root's certificate was not made for its key")]
    Pair,
    /// The system's source of randomness failed.
    #[error("no randomness for a new development root: {0}")]
    Random(getrandom::Error),
    /// A certificate, a revocation list or a quote could not be encoded.
    #[error("a development certificate could not be encoded: {0}")]
    Encode(String),
    /// The time lies outside of what a certificate can hold.
    #[error("the time {0} does not fit into a certificate")]
    Time(Timestamp),
}

impl From<x509_cert::der::Error> for SimulateError {
    fn from(error: x509_cert::der::Error) -> Self {
        Self::Encode(error.to_string())
    }
}

impl From<x509_cert::builder::Error> for SimulateError {
    fn from(error: x509_cert::builder::Error) -> Self {
        Self::Encode(error.to_string())
    }
}

/// What collateral under a development root says. [`Collateral::up_to_date`] is what a healthy platform has; tests
/// change single fields.
#[derive(Debug, Clone)]
pub struct Collateral {
    /// TCB info, QE identity and revocation lists are issued one day before this time and expire 30 days after it.
    pub now: Timestamp,
    /// The TCB status of the platform, as Intel spells it.
    pub tcb_status: String,
    /// The advisories that apply to the platform at that status.
    pub advisories: Vec<String>,
    /// The TCB status of the quoting enclave.
    pub qe_status: String,
    /// The PPIDs of platforms whose certificates are revoked.
    pub revoked: Vec<[u8; 16]>,
    /// Whether the root's revocation list names the platform CA.
    pub platform_ca_revoked: bool,
}

impl Collateral {
    /// Every platform is up to date and none is revoked.
    pub fn up_to_date(now: Timestamp) -> Self {
        Self {
            now,
            tcb_status: "UpToDate".to_owned(),
            advisories: Vec::new(),
            qe_status: "UpToDate".to_owned(),
            revoked: Vec::new(),
            platform_ca_revoked: false,
        }
    }
}

/// A root that signs development quotes. It stands where Intel's root stands in a real one.
#[derive(Clone)]
pub struct DevelopmentRoot {
    key: SigningKey,
    certificate: Certificate,
}

impl fmt::Debug for DevelopmentRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DevelopmentRoot")
            .field("subject", &self.certificate.tbs_certificate.subject)
            .finish_non_exhaustive()
    }
}

impl DevelopmentRoot {
    /// A new root with a random key. Code with its own source of randomness calls [`Self::from_seed`].
    #[expect(clippy::disallowed_methods, reason = "not part of the verifier, which is pure")]
    pub fn generate() -> Result<Self, SimulateError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut()).map_err(SimulateError::Random)?;
        Self::from_seed(&seed)
    }

    /// The root that belongs to a secret of 32 bytes: the same secret gives the same key and certificate.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, SimulateError> {
        let key = derive(seed, "root");
        let certificate = pki::root_certificate(&key)?;
        Ok(Self { key, certificate })
    }

    /// The root kept in two PEM texts, as [`Self::key_pem`] and [`Self::certificate_pem`] write them.
    pub fn from_pem(key: &str, certificate: &str) -> Result<Self, SimulateError> {
        let key = SigningKey::from_pkcs8_pem(key).map_err(|_| SimulateError::Key)?;
        let certificate =
            Certificate::from_pem(certificate).map_err(|_| SimulateError::Certificate)?;
        if certificate.tbs_certificate.subject_public_key_info != pki::public_key(&key)? {
            return Err(SimulateError::Pair);
        }
        Ok(Self { key, certificate })
    }

    /// The private key in PKCS#8 PEM. It belongs in a file of mode 0600.
    pub fn key_pem(&self) -> Result<Zeroizing<String>, SimulateError> {
        self.key
            .to_pkcs8_pem(LineEnding::LF)
            .map_err(|error| SimulateError::Encode(error.to_string()))
    }

    /// The certificate in PEM: what a verifier takes to accept quotes under this root as simulated.
    pub fn certificate_pem(&self) -> Result<String, SimulateError> {
        Ok(self.certificate.to_pem(LineEnding::LF)?)
    }

    /// The certificate in DER.
    pub fn certificate_der(&self) -> Result<Vec<u8>, SimulateError> {
        Ok(self.certificate.to_der()?)
    }

    /// A signed quote (version 4, TDX 1.0 body) for this report.
    pub fn quote(&self, report: &TdReport) -> Result<Vec<u8>, SimulateError> {
        quote::build(self, report)
    }

    /// Collateral in which every platform under this root is up to date, valid around `now`.
    pub fn collateral(&self, now: Timestamp) -> Result<QuoteCollateralV3, SimulateError> {
        self.collateral_saying(&Collateral::up_to_date(now))
    }

    /// Collateral that says what the argument says, signed by this root.
    pub fn collateral_saying(
        &self,
        collateral: &Collateral,
    ) -> Result<QuoteCollateralV3, SimulateError> {
        pki::collateral(self, collateral)
    }

    /// The key of a certificate below this root.
    fn key_of(&self, label: &str) -> SigningKey {
        derive(&self.key.to_bytes(), label)
    }
}

/// A P-256 key from a secret and a label. A hash that is no valid scalar (one in 2^32) is hashed again.
fn derive(secret: &[u8], label: &str) -> SigningKey {
    let mut bytes = Sha256::new()
        .chain_update(b"casemate-development-quote/1:")
        .chain_update(label.as_bytes())
        .chain_update(b":")
        .chain_update(secret)
        .finalize();
    loop {
        if let Ok(key) = SigningKey::from_bytes(&bytes) {
            return key;
        }
        bytes = Sha256::digest(bytes);
    }
}

#[cfg(test)]
mod tests;
