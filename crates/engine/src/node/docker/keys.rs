//! What a guest asks the KMS for.

use std::{collections::BTreeMap, fmt, sync::Arc};

use casemate_core::{
    id::{AppId, KmsId},
    seal::EnvSecretKey,
};

use casemate_verify::simulate::DevelopmentRoot;

use crate::{
    error::CallError,
    kms::{BuiltinKms, GuestKey, KmsError},
};

/// The keys of guests, as a KMS inside this process releases them. A docker node has no TEE: it
/// simply asks, and nothing is attested.
pub trait GuestKeys: Send + Sync + fmt::Debug {
    /// The key that opens the app's sealed environment.
    fn env_secret(&self, app: &KeyOwner) -> Result<EnvSecretKey, CallError>;

    /// `GetKey` of the guest agent: the app's secp256k1 key for a path, and the proof whose it is.
    fn get_key(&self, app: &KeyOwner, path: &str, purpose: &str) -> Result<GuestKey, CallError>;

    /// The root of the quotes of guests.
    fn development_root(&self) -> Result<DevelopmentRoot, CallError>;
}

/// Whose keys are asked for, and of which KMS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyOwner {
    /// The app.
    pub app: AppId,
    /// Its KMS; `None`: the VM was made when a node had one KMS.
    pub kms: Option<KmsId>,
}

/// Several KMS, each with its own root keys.
#[derive(Debug, Clone)]
pub struct KmsKeys {
    first: Arc<BuiltinKms>,
    all: BTreeMap<KmsId, Arc<BuiltinKms>>,
}

impl KmsKeys {
    /// These; `first` is also that of VMs that name none.
    pub fn new(first: Arc<BuiltinKms>, all: BTreeMap<KmsId, Arc<BuiltinKms>>) -> Self {
        Self { first, all }
    }

    fn of(&self, owner: &KeyOwner) -> Result<&BuiltinKms, CallError> {
        let Some(id) = &owner.kms else { return Ok(&self.first) };
        self.all.get(id).map(|kms| &**kms).ok_or_else(|| {
            CallError::Rejected(format!(
                "the KMS {id} of this app is not configured on this server"
            ))
        })
    }
}

impl GuestKeys for KmsKeys {
    fn env_secret(&self, owner: &KeyOwner) -> Result<EnvSecretKey, CallError> {
        self.of(owner)?.env_secret_key(&owner.app).map_err(|error| no_key(&error))
    }
    fn get_key(&self, owner: &KeyOwner, path: &str, purpose: &str) -> Result<GuestKey, CallError> {
        self.of(owner)?.get_key(&owner.app, path, purpose).map_err(|error| no_key(&error))
    }
    fn development_root(&self) -> Result<DevelopmentRoot, CallError> {
        self.first.development_root().map_err(|error| no_key(&error))
    }
}

fn no_key(error: &KmsError) -> CallError {
    CallError::Rejected(error.to_string())
}

/// One KMS for every app.
impl GuestKeys for BuiltinKms {
    fn env_secret(&self, owner: &KeyOwner) -> Result<EnvSecretKey, CallError> {
        self.env_secret_key(&owner.app).map_err(|error| no_key(&error))
    }
    fn get_key(&self, owner: &KeyOwner, path: &str, purpose: &str) -> Result<GuestKey, CallError> {
        BuiltinKms::get_key(self, &owner.app, path, purpose).map_err(|error| no_key(&error))
    }
    fn development_root(&self) -> Result<DevelopmentRoot, CallError> {
        BuiltinKms::development_root(self).map_err(|error| no_key(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kms::RootKeys;

    #[test]
    fn each_kms_opens_only_what_was_sealed_for_it() {
        let first = Arc::new(BuiltinKms::new(RootKeys::from_bytes(&[7; 64]).unwrap()));
        let named = |name: &[u8]| Arc::new(first.separate(&[name]).unwrap());
        let id = |text: &str| KmsId(text.to_owned());
        let all = [(id("kms_base"), named(b"base")), (id("kms_eth"), named(b"eth"))];
        let keys = KmsKeys::new(first.clone(), BTreeMap::from(all));
        let app = AppId::from_bytes([1; 20]);
        let public = |kms: Option<KmsId>| {
            let owner = KeyOwner { app, kms };
            keys.env_secret(&owner).map(|key| key.public())
        };
        let base = public(Some(id("kms_base"))).unwrap();
        assert_eq!(base, named(b"base").env_secret_key(&app).unwrap().public(), "the same again");
        assert_ne!(base, public(Some(id("kms_eth"))).unwrap());
        assert_ne!(base, public(None).unwrap());
        assert_eq!(public(None).unwrap(), first.env_secret_key(&app).unwrap().public());
        assert!(matches!(public(Some(id("kms_gone"))), Err(CallError::Rejected(_))));
        let owner = KeyOwner { app, kms: Some(id("kms_base")) };
        let proof = keys.get_key(&owner, "/", "x").unwrap().signature_chain;
        assert_ne!(proof, first.get_key(&app, "/", "x").unwrap().signature_chain);
    }
}
