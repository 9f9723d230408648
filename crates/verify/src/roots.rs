//! The roots of trust, which are arguments: Intel's and AMD's are built in, development roots are given by name.

use p384::ecdsa::VerifyingKey;
use serde::Deserialize;
use x509_cert::{
    Certificate,
    der::{Decode, DecodePem, Encode},
};

/// Intel's root, from
/// <https://certificates.trustedservices.intel.com/Intel_SGX_Provisioning_Certification_RootCA.cer>.
pub(crate) const INTEL: &[u8] = include_bytes!("intel_root.der");

/// The roots that a verification may end at.
#[derive(Debug, Clone, Default)]
pub struct Roots {
    pub(crate) development: Vec<DevelopmentCertificate>,
    pub(crate) gpu_keys: Vec<GpuKey>,
}

#[derive(Debug, Clone)]
pub(crate) struct DevelopmentCertificate {
    pub(crate) name: String,
    pub(crate) der: Vec<u8>,
}

#[derive(Debug, Clone)]
pub(crate) struct GpuKey {
    pub(crate) id: String,
    pub(crate) key: VerifyingKey,
}

/// Why a root was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    /// Neither PEM nor DER.
    #[error("the root {name} is not an X.509 certificate in PEM or DER")]
    Certificate {
        /// The name that the caller gave it.
        name: String,
    },
    /// Not a JSON Web Key Set.
    #[error("the GPU keys are not a JSON Web Key Set")]
    KeySet,
    /// No key of the set can be used.
    #[error("the GPU key set has no ES384 key")]
    NoKey,
}

impl Roots {
    /// Intel's and AMD's roots, and nothing else.
    pub fn vendors() -> Self {
        Self::default()
    }

    /// Adds a development root. Evidence under it is reported as simulated.
    pub fn with_development(mut self, name: &str, certificate: &[u8]) -> Result<Self, RootError> {
        let parsed =
            Certificate::from_pem(certificate).or_else(|_| Certificate::from_der(certificate));
        let der = parsed.and_then(|certificate| certificate.to_der());
        let der = der.map_err(|_| RootError::Certificate { name: name.to_owned() })?;
        self.development.push(DevelopmentCertificate { name: name.to_owned(), der });
        Ok(self)
    }

    /// Adds the keys that sign GPU tokens: a JSON Web Key Set. Keys of other kinds than ES384 are skipped.
    pub fn with_gpu_keys(mut self, key_set: &str) -> Result<Self, RootError> {
        #[derive(Deserialize)]
        struct KeySet {
            keys: Vec<Key>,
        }
        #[derive(Deserialize)]
        struct Key {
            #[serde(default)]
            kid: String,
            #[serde(default)]
            crv: String,
            #[serde(default)]
            x: String,
            #[serde(default)]
            y: String,
        }
        let set: KeySet = serde_json::from_str(key_set).map_err(|_| RootError::KeySet)?;
        for Key { kid, crv, x, y } in set.keys {
            let point = crate::gpu::decode(&x).zip(crate::gpu::decode(&y));
            let Some((x, y)) = point.filter(|_| crv == "P-384") else { continue };
            let sec1 = [&[4], x.as_slice(), y.as_slice()].concat();
            if let Ok(key) = VerifyingKey::from_sec1_bytes(&sec1) {
                self.gpu_keys.push(GpuKey { id: kid, key });
            }
        }
        if self.gpu_keys.is_empty() { Err(RootError::NoKey) } else { Ok(self) }
    }
}
