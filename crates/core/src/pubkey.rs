//! Keccak-256 digests that a KMS signs with its root secp256k1 key.
//!
//! Formats of dstack-kms 0.6.0, `kms/src/crypto.rs`: `prefix ‖ ":" ‖ app id ‖ [timestamp] ‖ message`. A
//! signature over such a digest is 65 bytes: r ‖ s ‖ recovery id (0 or 1). Clients verify it by recovering
//! the signer (`verifyEnvEncryptPublicKey` of npm `@phala/dstack-sdk`).

use sha3::{Digest, Keccak256};

use crate::{id::AppId, seal::EnvPublicKey};

/// "This is the key to seal the environment of `app` to."
///
/// `timestamp`: when it was signed, in seconds since 1970 UTC, eight bytes big endian. With it the digest is
/// that of `signature_v1`, which clients accept for five minutes. Without it the digest is that of the older
/// `signature`, which can be replayed forever.
#[must_use]
pub fn env_pubkey_digest(app: &AppId, key: &EnvPublicKey, timestamp: Option<u64>) -> [u8; 32] {
    let timestamp = timestamp.map(u64::to_be_bytes);
    let timestamp = timestamp.as_ref().map_or(&[][..], |bytes| bytes);
    digest(&[b"dstack-env-encrypt-pubkey", b":", app.as_bytes(), timestamp, key.as_bytes()])
}

/// "This KMS gave `app` its secp256k1 key": the link from an app key to the KMS in the signature chains of
/// guests. `compressed_pubkey` is the app's public key, SEC1, 33 bytes.
#[must_use]
pub fn kms_issued_digest(app: &AppId, compressed_pubkey: &[u8; 33]) -> [u8; 32] {
    digest(&[b"dstack-kms-issued", b":", app.as_bytes(), compressed_pubkey])
}

fn digest(parts: &[&[u8]]) -> [u8; 32] {
    parts.iter().fold(Keccak256::new(), Keccak256::chain_update).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values: `keccak_256` of npm `@noble/hashes` 1 over the documented bytes. The tests of
    /// casemate-engine check the same digests against signatures of a real dstack-kms.
    #[test]
    fn digests_are_over_the_documented_bytes() {
        let app = "1122334455667788990011223344556677889900".parse().unwrap();
        let key = "d92581fce83e2d484a248315426841c26fe9158768ad0f33b3f798b58dd71231";
        let key = key.parse().unwrap();
        let mut compressed = [0; 33];
        let text = "02157eb504b033963ac4835f59ef822a68a259f556e67600f0face202712803024";
        hex::decode_to_slice(text, &mut compressed).unwrap();
        assert_eq!(
            hex::encode(env_pubkey_digest(&app, &key, None)),
            "b01e579fd450426a819244d0ce5632b34dae364431b0954ae0c999ed546a04a8"
        );
        assert_eq!(
            hex::encode(env_pubkey_digest(&app, &key, Some(1_795_229_871))),
            "fd0aaf7e40234354ab1dfc825c35d6f3ad152a0a2fb45b31680b2113d2705af5"
        );
        assert_eq!(
            hex::encode(kms_issued_digest(&app, &compressed)),
            "fe07dd91f3dfb71f4b777dcf989cf1166515c0e78f5673a09269cbc681cf0661"
        );
    }
}
