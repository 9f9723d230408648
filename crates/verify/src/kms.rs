//! Signatures of a KMS root key over the keys that it derives for an app.

use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
use sha3::{Digest, Keccak256};

use crate::bundle::{AppKey, EnvKey};

/// Whether the root key signed the app's signing key for this app.
pub(crate) fn signed_app_key(root: &[u8; 33], app_id: &[u8], key: &AppKey) -> bool {
    let message = [b"dstack-kms-issued:", app_id, &key.public_key.0].concat();
    recover(&message, &key.signature.0) == Some(*root)
}

/// Whether the root key signed the app's key for environment variables for this app. The newer form of the
/// signature covers a time.
pub(crate) fn signed_env_key(root: &[u8; 33], app_id: &[u8], key: &EnvKey) -> bool {
    let time = key.timestamp.map(u64::to_be_bytes);
    let time = time.as_ref().map_or(&[][..], |bytes| bytes);
    let message = [b"dstack-env-encrypt-pubkey:", app_id, time, &key.public_key.0].concat();
    recover(&message, &key.signature.0) == Some(*root)
}

/// The compressed public key that signed the Keccak-256 of the message. A signature is `r`, `s`, recovery id.
fn recover(message: &[u8], signature: &[u8; 65]) -> Option<[u8; 33]> {
    let (bytes, recovery) = signature.split_at(64);
    // Ethereum writes 27 and 28 for 0 and 1.
    let recovery = recovery.first().map(|id| if *id >= 27 { id - 27 } else { *id })?;
    let recovery = RecoveryId::from_byte(recovery)?;
    let signature = Signature::from_slice(bytes).ok()?;
    let digest = Keccak256::new_with_prefix(message);
    let key = VerifyingKey::recover_from_digest(digest, &signature, recovery).ok()?;
    key.to_encoded_point(true).as_bytes().try_into().ok()
}
