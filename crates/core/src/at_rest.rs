//! Secrets that must be shown or used again, sealed for the database: AES-256-GCM under a key that is derived
//! from the root keys. A sealed secret is `nonce (12) ‖ ciphertext ‖ tag (16)`, in hex. It opens only in its own
//! context (the id of its row), so rows cannot be exchanged.

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, Payload},
};
use secrecy::{ExposeSecret, SecretBox, SecretString};
use zeroize::Zeroizing;

const NONCE: usize = 12;

/// The key for secrets at rest.
#[derive(Debug)]
pub struct AtRestKey(SecretBox<[u8; 32]>);

/// The text was sealed with another key or for another row, or was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret at rest does not open: it was sealed with other root keys, or for another row")]
pub struct DoesNotOpen;

impl AtRestKey {
    pub fn new(key: &[u8; 32]) -> Self {
        Self(SecretBox::new(Box::new(*key)))
    }

    /// Seals a secret for a context. `nonce` is random and used once.
    pub fn seal(&self, secret: &SecretString, context: &str, nonce: [u8; NONCE]) -> String {
        let payload = Payload { msg: secret.expose_secret().as_bytes(), aad: context.as_bytes() };
        // Fails only for plaintexts of many gigabytes.
        let sealed = self.cipher().encrypt((&nonce).into(), payload).unwrap_or_default();
        hex::encode([nonce.as_slice(), &sealed].concat())
    }

    /// Opens what was sealed for this context.
    pub fn open(&self, sealed: &str, context: &str) -> Result<SecretString, DoesNotOpen> {
        let bytes = hex::decode(sealed).map_err(|_| DoesNotOpen)?;
        let (nonce, text) = bytes.split_first_chunk::<NONCE>().ok_or(DoesNotOpen)?;
        let payload = Payload { msg: text, aad: context.as_bytes() };
        let plain = self
            .cipher()
            .decrypt(nonce.into(), payload)
            .map(Zeroizing::new)
            .map_err(|_| DoesNotOpen)?;
        let text = std::str::from_utf8(&plain).map_err(|_| DoesNotOpen)?;
        Ok(SecretString::from(text))
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(self.0.expose_secret().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_only_with_its_key_in_its_row() {
        let [key, other] = [1, 2].map(|byte| AtRestKey::new(&[byte; 32]));
        let secret = SecretString::from("whsec_abc");
        let sealed = key.seal(&secret, "wh_1", [9; 12]);
        assert!(!sealed.contains(&hex::encode("whsec_abc")));
        assert_eq!(key.open(&sealed, "wh_1").unwrap().expose_secret(), "whsec_abc");
        assert_eq!(key.open(&sealed, "wh_2").unwrap_err(), DoesNotOpen);
        assert_eq!(other.open(&sealed, "wh_1").unwrap_err(), DoesNotOpen);
        for broken in ["", "00", "zz", &sealed[2..], &format!("{sealed}00")] {
            assert_eq!(key.open(broken, "wh_1").unwrap_err(), DoesNotOpen, "{broken}");
        }
    }
}
