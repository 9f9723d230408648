//! A KMS inside this process, for nodes without TEE: whoever can read this process has all keys.
//!
//! Everything is derived from [`RootKeys`], nothing is stored, and everything equals what dstack-kms
//! 0.6.0 and the guest agent make of the same root keys (`ra-tls/src/kdf.rs`, `kms/src/crypto.rs`,
//! `kms/src/main_service.rs`, `guest-agent/src/rpc_service.rs`):
//!
//! ```text
//! derive(parent, context…) = HKDF-SHA256(salt "RATLS", ikm parent scalar, info context ‖ …, 32 bytes)
//! dh(context…)             = SHA-256(PKCS#8 DER, public key included, of the P-256 key whose scalar
//!                            is derive(root CA key, context…))
//! env key    X25519        dh(app id, "env-encrypt-key")
//! disk key   32 bytes      dh(app id, instance id, "app-disk-crypt-key")
//! app key    secp256k1     derive(root k256 key, app id, "app-key")
//! guest key  32 bytes      derive(app key, path)
//! ```
//!
//! Contexts are joined without separators; what keeps them apart is that ids have one length. A
//! derived scalar outside the range of its curve (P-256: 1 in 2³²) has no key in dstack; it has none
//! here either, and the call is rejected for ever.

use async_trait::async_trait;
use casemate_core::{
    at_rest::AtRestKey,
    id::{AppId, InstanceId},
    pubkey,
    seal::EnvSecretKey,
};
use casemate_verify::simulate::DevelopmentRoot;
use hkdf::Hkdf;
use k256::ecdsa::{SigningKey, VerifyingKey};
use p256::pkcs8::{EncodePrivateKey, EncodePublicKey};
use secrecy::SecretBox;
use sha2::{Digest, Sha256};
use sha3::Keccak256;
use zeroize::Zeroizing;

use super::{Kms, KmsError, RootKeys, Signature, SignedEnvKey};

#[cfg(test)]
mod tests;

/// The KMS with these root keys.
#[derive(Debug, Clone)]
pub struct BuiltinKms {
    root: RootKeys,
}

/// Answer of the guest agent's `GetKey` for secp256k1.
#[derive(Debug)]
pub struct GuestKey {
    /// The scalar, big endian.
    pub key: SecretBox<[u8; 32]>,
    /// From the key to the KMS: the app key's signature over
    /// `keccak256("<purpose>:<hex of the compressed public key>")`, then the root key's over
    /// [`pubkey::kms_issued_digest`]. The same for every node that has the root keys.
    pub signature_chain: [Signature; 2],
}

impl BuiltinKms {
    /// The KMS with these root keys.
    pub const fn new(root: RootKeys) -> Self {
        Self { root }
    }

    /// A KMS of the same operator with root keys of its own: they follow from these and from the name,
    /// so every process that has these root keys has those too, and neither opens what was sealed for
    /// the other.
    pub fn separate(&self, name: &[&[u8]]) -> Result<Self, KmsError> {
        let context: Vec<&[u8]> =
            [b"casemate kms root".as_slice()].into_iter().chain(name.iter().copied()).collect();
        let ca = Zeroizing::new(self.root.ca.to_bytes().into());
        let (ca, k256) = (derive(&ca, &context)?, derive(&k256_scalar(&self.root.k256), &context)?);
        let mut scalars = Zeroizing::new([0; 64]);
        scalars[..32].copy_from_slice(&*ca);
        scalars[32..].copy_from_slice(&*k256);
        RootKeys::from_bytes(&scalars).map(Self::new).map_err(|_| rejected(NO_KEY))
    }

    /// The key for secrets in the database; the same for every process that has the root keys. Its salt keeps it
    /// apart from everything that is derived as dstack-kms does.
    pub fn at_rest_key(&self) -> Result<AtRestKey, KmsError> {
        let mut key = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(Some(b"casemate at rest"), &*k256_scalar(&self.root.k256))
            .expand(b"database", &mut *key)
            .map_err(|_| rejected(NO_KEY))?;
        Ok(AtRestKey::new(&key))
    }

    /// Opens what was sealed to the app's public key; the same for all its instances.
    pub fn env_secret_key(&self, app: &AppId) -> Result<EnvSecretKey, KmsError> {
        let key = self.dh_secret(&[app.as_bytes(), b"env-encrypt-key"])?;
        Ok(EnvSecretKey::from_bytes(*key))
    }

    /// Encrypts the disk of an instance. `None`: the app has `no_instance_id`, and all its instances
    /// share one key.
    pub fn disk_key(
        &self,
        app: &AppId,
        instance: Option<&InstanceId>,
    ) -> Result<SecretBox<[u8; 32]>, KmsError> {
        let instance = instance.map_or(&[][..], |id| id.as_bytes());
        let key = self.dh_secret(&[app.as_bytes(), instance, b"app-disk-crypt-key"])?;
        Ok(SecretBox::new(Box::new(*key)))
    }

    /// The app's own secp256k1 key and the root key's signature over it
    /// ([`pubkey::kms_issued_digest`]).
    pub fn app_k256(&self, app: &AppId) -> Result<(SigningKey, Signature), KmsError> {
        let key = derive(&k256_scalar(&self.root.k256), &[app.as_bytes(), b"app-key"])?;
        let key = k256_key(&key)?;
        let public = compressed(key.verifying_key())?;
        let signature = sign(&self.root.k256, &pubkey::kms_issued_digest(app, &public))?;
        Ok((key, signature))
    }

    /// What the guest agent of an instance of `app` answers to `GetKey`. `path` alone decides the
    /// key, `purpose` is only signed; both are any text.
    pub fn get_key(&self, app: &AppId, path: &str, purpose: &str) -> Result<GuestKey, KmsError> {
        let (app_key, issued) = self.app_k256(app)?;
        let key = derive(&k256_scalar(&app_key), &[path.as_bytes()])?;
        let public = compressed(k256_key(&key)?.verifying_key())?;
        let message = format!("{purpose}:{}", hex::encode(public));
        let signature = sign(&app_key, &Keccak256::digest(message).into())?;
        Ok(GuestKey { key: SecretBox::new(Box::new(*key)), signature_chain: [signature, issued] })
    }

    /// The root of development quotes: those of nodes without a TEE. The same for every process with these
    /// root keys.
    pub fn development_root(&self) -> Result<DevelopmentRoot, KmsError> {
        let parent = Zeroizing::new(self.root.ca.to_bytes().into());
        let seed = derive(&parent, &[b"casemate development root".as_slice()])?;
        DevelopmentRoot::from_seed(&seed).map_err(|error| rejected(&error.to_string()))
    }

    /// The public key behind all signatures: `k256_pubkey` of `GetMeta`, SEC1, compressed.
    pub fn k256_public(&self) -> Result<[u8; 33], KmsError> {
        compressed(self.root.k256.verifying_key())
    }

    /// The public key of the root CA, as a `SubjectPublicKeyInfo` in DER (91 bytes).
    pub fn ca_public_spki(&self) -> Result<Vec<u8>, KmsError> {
        let spki = self.root.ca.public_key().to_public_key_der();
        Ok(spki.map_err(|_| rejected("the root CA key has no DER form"))?.into_vec())
    }

    fn dh_secret(&self, context: &[&[u8]]) -> Result<Zeroizing<[u8; 32]>, KmsError> {
        let parent = Zeroizing::new(self.root.ca.to_bytes().into());
        let scalar = derive(&parent, context)?;
        let key = p256::SecretKey::from_slice(&*scalar).map_err(|_| rejected(NO_KEY))?;
        let der = key.to_pkcs8_der().map_err(|_| rejected("the derived key has no DER form"))?;
        Ok(Zeroizing::new(Sha256::digest(der.as_bytes()).into()))
    }
}

#[async_trait]
impl Kms for BuiltinKms {
    async fn env_public_key(&self, app: &AppId, now_secs: u64) -> Result<SignedEnvKey, KmsError> {
        let public_key = self.env_secret_key(app)?.public();
        let sign_at = |timestamp| {
            sign(&self.root.k256, &pubkey::env_pubkey_digest(app, &public_key, timestamp))
        };
        Ok(SignedEnvKey {
            public_key,
            signature: sign_at(None)?,
            timestamp: now_secs,
            signature_v1: sign_at(Some(now_secs))?,
        })
    }
}

const NO_KEY: &str = "the KMS has no key for this app: the derived scalar is out of range";

fn derive(parent: &[u8; 32], context: &[&[u8]]) -> Result<Zeroizing<[u8; 32]>, KmsError> {
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(Some(b"RATLS"), parent)
        .expand_multi_info(context, &mut *key)
        .map_err(|_| rejected("key derivation failed"))?;
    Ok(key)
}

fn k256_key(scalar: &[u8; 32]) -> Result<SigningKey, KmsError> {
    SigningKey::from_slice(scalar).map_err(|_| rejected(NO_KEY))
}

fn k256_scalar(key: &SigningKey) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(key.to_bytes().into())
}

fn compressed(key: &VerifyingKey) -> Result<[u8; 33], KmsError> {
    let point = key.to_encoded_point(true);
    point.as_bytes().try_into().map_err(|_| rejected("public key is not a point"))
}

fn sign(key: &SigningKey, digest: &[u8; 32]) -> Result<Signature, KmsError> {
    let (signature, recovery) =
        key.sign_prehash_recoverable(digest).map_err(|_| rejected("signing failed"))?;
    let mut bytes = [recovery.to_byte(); 65];
    bytes[..64].copy_from_slice(&signature.to_bytes());
    Ok(bytes)
}

fn rejected(why: &str) -> KmsError {
    KmsError::Rejected(why.to_owned())
}
