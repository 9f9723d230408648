//! What a guest asks the KMS for.

use std::fmt;

use casemate_core::{id::AppId, seal::EnvSecretKey};

use crate::{
    error::CallError,
    kms::{BuiltinKms, GuestKey},
};

/// The keys of guests, as a KMS inside this process releases them. A docker node has no TEE: it
/// simply asks, and nothing is attested.
pub trait GuestKeys: Send + Sync + fmt::Debug {
    /// The key that opens the app's sealed environment.
    fn env_secret(&self, app: &AppId) -> Result<EnvSecretKey, CallError>;

    /// `GetKey` of the guest agent: the app's secp256k1 key for a path, and the proof whose it is.
    fn get_key(&self, app: &AppId, path: &str, purpose: &str) -> Result<GuestKey, CallError>;
}

impl GuestKeys for BuiltinKms {
    fn env_secret(&self, app: &AppId) -> Result<EnvSecretKey, CallError> {
        self.env_secret_key(app)
    }
    fn get_key(&self, app: &AppId, path: &str, purpose: &str) -> Result<GuestKey, CallError> {
        BuiltinKms::get_key(self, app, path, purpose)
    }
}
