//! Sealed environment variables, byte for byte as Phala's clients seal them and dstack's guests open them
//! (`encryptEnvVars` of npm `@phala/dstack-sdk` 0.5.8; `dh_decrypt` and `parse_env` of dstack-util 0.6.0).
//!
//! ```text
//! plaintext  {"env":[{"key":"K","value":"V"},…]}       JSON, UTF-8
//! sealed     ephemeral X25519 public key (32) ‖ iv (12) ‖ AES-256-GCM ciphertext ‖ tag (16)
//! ```
//!
//! Guests of every version open this envelope. dstack 0.6.4 added another one, [`EpochEnvelope`], which is another type:
//! a [`SealedEnv`] never holds one.
//!
//! The AES key is the raw X25519 shared secret: no KDF, no associated data. On the wire a sealed environment
//! is hex ([`SealedEnv`]). Sealing does not authenticate the sender.
//!
//! Buffers with plaintext are wiped, except those that the JSON parser uses to unescape strings. No error of
//! this module contains plaintext.

mod admit;
mod blob;
mod epochs;
mod keys;
#[cfg(test)]
mod tests;

use aes_gcm::{AeadInPlace, Aes256Gcm, KeyInit};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use x25519_dalek::{PublicKey, SharedSecret, StaticSecret};
use zeroize::Zeroizing;

pub use self::{
    admit::{
        Admitted, Inadmissible, MAX_ITEMS, MAX_KEY, MAX_TOTAL, MAX_VALUE, admit, valid_env_name,
    },
    blob::{InvalidSealedEnv, SealedEnv},
    epochs::EpochEnvelope,
    keys::{EnvPublicKey, EnvSecretKey},
};

use self::blob::{IV, PUBLIC_KEY, TAG};

/// One environment variable. Only the value is secret; `Debug` does not show it.
#[derive(Debug, Clone, Deserialize)]
pub struct EnvVar {
    /// Any text can be sealed; [`admit`] decides which names a guest accepts.
    pub key: String,
    pub value: SecretString,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The result would be larger than a guest reads.
    #[error("environment is larger than {} bytes when sealed", SealedEnv::MAX)]
    TooLarge,
    /// The public key is one of the few for which every shared secret is zero; guests refuse these.
    #[error("env public key is not usable")]
    WeakKey,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnsealError {
    /// The ephemeral public key makes the shared secret zero.
    #[error("ephemeral public key of the sealed environment is not usable")]
    WeakKey,
    /// Sealed to another key, or modified.
    #[error("sealed environment does not open with this key")]
    Mismatch,
    /// The plaintext does not have the documented format. The error does not repeat it.
    #[error("sealed environment holds no list of variables")]
    Malformed,
}

#[derive(Serialize)]
struct PlainOut<'a> {
    env: Vec<VarOut<'a>>,
}

#[derive(Serialize)]
struct VarOut<'a> {
    key: &'a str,
    value: &'a str,
}

#[derive(Deserialize)]
struct PlainIn {
    env: Vec<EnvVar>,
}

/// Seals variables, in this order, to an app's public key.
///
/// `ephemeral` (a secret key) and `iv` must be fresh random bytes for every call: if a pair is used twice,
/// AES-GCM protects neither text.
pub fn seal(
    vars: &[EnvVar],
    to: &EnvPublicKey,
    ephemeral: [u8; 32],
    iv: [u8; 12],
) -> Result<SealedEnv, SealError> {
    let ephemeral = StaticSecret::from(ephemeral);
    let public = PublicKey::from(&ephemeral);
    let cipher = cipher(&ephemeral, to.as_bytes()).ok_or(SealError::WeakKey)?;
    let mut text = plaintext(vars).ok_or(SealError::TooLarge)?;
    let tag = cipher
        .encrypt_in_place_detached(&iv.into(), b"", &mut text)
        .map_err(|_| SealError::TooLarge)?;
    let sealed = [public.as_bytes().as_slice(), &iv, &text, &tag].concat();
    SealedEnv::from_bytes(sealed).map_err(|_| SealError::TooLarge)
}

/// Opens a sealed environment. Variables are returned as they were sealed: unchecked, in order, with
/// duplicates. [`admit`] applies the guest's rules.
pub fn unseal(sealed: &SealedEnv, key: &EnvSecretKey) -> Result<Vec<EnvVar>, UnsealError> {
    let parts = sealed.parts().ok_or(UnsealError::Mismatch)?;
    let cipher = cipher(key.secret(), parts.ephemeral).ok_or(UnsealError::WeakKey)?;
    let mut text = Zeroizing::new(parts.ciphertext.to_vec());
    cipher
        .decrypt_in_place_detached(parts.iv.into(), b"", &mut text, parts.tag.into())
        .map_err(|_| UnsealError::Mismatch)?;
    // The parser's error is dropped, because it would quote the text.
    let plain: PlainIn = serde_json::from_slice(&text).map_err(|_| UnsealError::Malformed)?;
    Ok(plain.env)
}

/// `None`: the shared secret is zero.
fn cipher(ours: &StaticSecret, theirs: &[u8; PUBLIC_KEY]) -> Option<Aes256Gcm> {
    let shared: SharedSecret = ours.diffie_hellman(&PublicKey::from(*theirs));
    shared.was_contributory().then(|| Aes256Gcm::new(shared.as_bytes().into()))
}

/// The JSON text. `None`: certainly larger than [`SealedEnv::MAX`].
fn plaintext(vars: &[EnvVar]) -> Option<Zeroizing<Vec<u8>>> {
    const PER_VAR: usize = r#"{"key":"","value":""},"#.len();
    // JSON writes a byte as at most six (`\u0000`). With this capacity the buffer never moves and leaves no
    // copy behind.
    const LONGEST_ESCAPE: usize = 6;
    let content: usize =
        vars.iter().map(|var| var.key.len() + var.value.expose_secret().len()).sum();
    let least = content + vars.len() * (PER_VAR - 1);
    if least > SealedEnv::MAX {
        return None;
    }
    let room = content * LONGEST_ESCAPE + vars.len() * PER_VAR + r#"{"env":[]}"#.len();
    let mut text = Zeroizing::new(Vec::with_capacity(room));
    let env = vars.iter().map(|var| VarOut { key: &var.key, value: var.value.expose_secret() });
    serde_json::to_writer(&mut *text, &PlainOut { env: env.collect() }).ok()?;
    (text.len() <= SealedEnv::MAX - PUBLIC_KEY - IV - TAG).then_some(text)
}
