//! Claims about keys: the KMS, its signatures, the GPUs' token.

use jiff::Timestamp;

use super::{Guest, Judge, hex_of};
use crate::{
    ClaimId, Missing, Reason, Roots,
    bundle::Kms,
    claim::{Evidence, Proof, Root, Unproven},
    gpu, kms,
};

impl Judge<'_> {
    fn kms(&self) -> Result<&Kms, Unproven> {
        self.bundle.kms.as_ref().ok_or(Missing::NotInBundle { field: "kms" }.into())
    }

    pub(super) fn kms_root(&self) -> Result<Proof, Unproven> {
        let kms = self.kms()?;
        if self.policy.kms_roots.is_empty() {
            return Err(Missing::NoKmsPinned.into());
        }
        let same_ca = |pinned: &Option<_>| pinned.is_none() || *pinned == kms.ca_public_key;
        let found = self.policy.kms_roots.iter().find(|root| {
            root.root_public_key == kms.root_public_key && same_ca(&root.ca_public_key)
        });
        let Some(root) = found else {
            let root_public_key = hex_of(kms.root_public_key.as_slice());
            return Err(Reason::KmsRootNotAccepted { root_public_key }.into());
        };
        Ok(Proof { evidence: Evidence::PinnedKey, root: Root::Kms { name: root.name.clone() } })
    }

    pub(super) fn app_key(
        &self,
        root: &Result<Proof, Unproven>,
        guest: Option<&Guest>,
    ) -> Result<Proof, Unproven> {
        let kms = self.kms()?;
        let key = kms.app_key.as_ref().ok_or(Missing::NotInBundle { field: "kms.app_key" })?;
        let app_id = self.signed_app_id(guest)?;
        if !kms::signed_app_key(&kms.root_public_key.0, &app_id, key) {
            return Err(Reason::AppKeySignature.into());
        }
        under(root)
    }

    pub(super) fn env_key(
        &self,
        root: &Result<Proof, Unproven>,
        guest: Option<&Guest>,
    ) -> Result<Proof, Unproven> {
        let kms = self.kms()?;
        let key = kms.env_key.as_ref().ok_or(Missing::NotInBundle { field: "kms.env_key" })?;
        let app_id = self.signed_app_id(guest)?;
        if !kms::signed_env_key(&kms.root_public_key.0, &app_id, key) {
            return Err(Reason::EnvKeySignature.into());
        }
        under(root)
    }

    /// The app id that the guest recorded; without a proven record the one that the bundle states.
    fn signed_app_id(&self, guest: Option<&Guest>) -> Result<Vec<u8>, Unproven> {
        let recorded = guest.and_then(|guest| guest.app_id.clone());
        let stated = self.bundle.cvm.app_id.map(|id| id.0.to_vec());
        recorded.or(stated).ok_or(Missing::NotInBundle { field: "cvm.app_id" }.into())
    }

    pub(super) fn gpu(&self, roots: &Roots, now: Timestamp) -> Result<Proof, Unproven> {
        let token = self.bundle.gpu.as_ref().ok_or(Missing::NotInBundle { field: "gpu" })?;
        if roots.gpu_keys.is_empty() {
            return Err(Missing::NoGpuKeys.into());
        }
        let facts = gpu::judge(token, &roots.gpu_keys, self.expected.gpu_nonce.as_deref(), now)?;
        Ok(Proof {
            evidence: Evidence::GpuToken { devices: facts.devices },
            root: Root::GpuKeys { key_id: facts.key_id },
        })
    }
}

/// A signature under the bundle's own key proves something only if the policy accepts that key.
fn under(root: &Result<Proof, Unproven>) -> Result<Proof, Unproven> {
    match root {
        Ok(proof) => Ok(Proof { evidence: Evidence::KmsSignature, root: proof.root.clone() }),
        Err(Unproven::Missing(why)) => Err(why.clone().into()),
        Err(Unproven::Failed(_)) => Err(Missing::RestsOn { claim: ClaimId::KmsRoot }.into()),
    }
}
