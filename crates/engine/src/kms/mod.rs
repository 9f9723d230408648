//! The KMS: gives every app its keys. Casemate asks it for one thing, the public key that clients
//! seal environments to; all secret keys go from the KMS to guests, past the control plane.
//!
//! [`builtin`] is a KMS inside this process, for nodes without TEE. Its keys and signatures are those
//! of a dstack-kms with the same root keys. [`dstack`] is a client of a real one.

pub mod builtin;
pub mod dstack;
mod error;
pub mod root;

use std::fmt::Debug;

use async_trait::async_trait;
use casemate_core::{id::AppId, seal::EnvPublicKey};

pub use self::{
    builtin::{BuiltinKms, GuestKey},
    error::KmsError,
    root::{InvalidRootKeys, RootFileError, RootKeys},
};

/// A secp256k1 signature over a digest of [`casemate_core::pubkey`]: r ‖ s ‖ recovery id (0 or 1),
/// s in the lower half.
pub type Signature = [u8; 65];

/// Something that gives apps their keys.
#[async_trait]
pub trait Kms: Send + Sync + Debug {
    /// The key that environments of `app` are sealed to; the same for ever. `now_secs`, seconds since
    /// 1970 UTC, is for a KMS without a clock of its own; others put their own time under the
    /// signature.
    ///
    /// The call changes nothing, so that it may be repeated after every error.
    async fn env_public_key(&self, app: &AppId, now_secs: u64) -> Result<SignedEnvKey, KmsError>;

    /// Whether the call leaves this process: then it is not made within a transaction.
    fn is_remote(&self) -> bool {
        false
    }
}

/// Answer of `GetAppEnvEncryptPubKey`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedEnvKey {
    pub public_key: EnvPublicKey,
    /// Over app and key. Can be replayed; for old clients.
    pub signature: Signature,
    /// When it was signed, seconds since 1970 UTC.
    pub timestamp: u64,
    /// Over app, [`SignedEnvKey::timestamp`] and key.
    pub signature_v1: Signature,
}
