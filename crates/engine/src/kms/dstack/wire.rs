//! Messages of dstack-kms. Names are those of its proto; bytes are hex. Fields that later versions add are
//! ignored.

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use serde::{Deserialize, Serialize};

use super::{KmsMeta, PinnedKeys};
use crate::kms::{KmsError, SignedEnvKey};

/// `AppId`.
#[derive(Debug, Serialize)]
pub(super) struct AppIdMessage {
    pub app_id: String,
}

/// `google.protobuf.Empty`.
#[derive(Debug, Serialize)]
pub(super) struct Nothing {}

/// Answer of `GetAppEnvEncryptPubKey`. A field that is empty is missing: protobuf does not tell them apart.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PublicKeyResponse {
    public_key: Option<String>,
    signature: Option<String>,
    /// Seconds since 1970 UTC.
    timestamp: Option<u64>,
    signature_v1: Option<String>,
}

impl PublicKeyResponse {
    pub fn read(self) -> Result<SignedEnvKey, KmsError> {
        Ok(SignedEnvKey {
            public_key: casemate_core::seal::EnvPublicKey::from_bytes(bytes(
                "public_key",
                self.public_key.as_deref(),
            )?),
            signature: bytes("signature", self.signature.as_deref())?,
            timestamp: self
                .timestamp
                .filter(|seconds| *seconds != 0)
                .ok_or(KmsError::MissingField("timestamp"))?,
            signature_v1: bytes("signature_v1", self.signature_v1.as_deref())?,
        })
    }
}

/// Answer of `GetMeta`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Meta {
    ca_cert: Option<String>,
    k256_pubkey: Option<String>,
    is_dev: bool,
    gateway_app_id: Option<String>,
    kms_contract_address: Option<String>,
    chain_id: Option<u64>,
}

impl Meta {
    pub fn read(self, keys: &PinnedKeys) -> Result<KmsMeta, KmsError> {
        const KEY: &str = "k256_pubkey";
        let key: [u8; 33] = bytes(KEY, self.k256_pubkey.as_deref())?;
        let unknown = || KmsError::UnknownKey { field: KEY, key: hex::encode(key) };
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        Ok(KmsMeta {
            ca_public_spki: self.ca_cert.as_deref().and_then(public_key),
            epoch: keys.epoch_of(&key).ok_or_else(unknown)?,
            is_dev: self.is_dev,
            gateway_app_id: given(self.gateway_app_id),
            contract: given(self.kms_contract_address),
            chain_id: self.chain_id.filter(|id| *id != 0),
        })
    }
}

fn bytes<const N: usize>(field: &'static str, text: Option<&str>) -> Result<[u8; N], KmsError> {
    let text = text.filter(|text| !text.is_empty()).ok_or(KmsError::MissingField(field))?;
    let mut bytes = [0; N];
    let invalid = |_| KmsError::InvalidField { field, why: format!("is not {N} bytes in hex") };
    hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(text), &mut bytes).map_err(invalid)?;
    Ok(bytes)
}

/// The `SubjectPublicKeyInfo` of the first certificate of a PEM text, DER. `None`: there is none.
fn public_key(pem: &str) -> Option<Vec<u8>> {
    const SEQUENCE: u8 = 0x30;
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    let mut store = RootCertStore::empty();
    store.add(certificate).ok()?;
    // Without the tag and length around it.
    let inner = store.roots.first()?.subject_public_key_info.to_vec();
    let length = u8::try_from(inner.len()).ok().filter(|length| *length < 0x80)?;
    Some([SEQUENCE, length].into_iter().chain(inner).collect())
}
