//! Private keys: loading, signing, and wiping on drop.

use std::{
    fmt,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use alloy_primitives::{B256, Signature};
use casemate_core::{governance::plan::checksummed, id::Address};
use k256::ecdsa::SigningKey;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::error::ChainError;

/// Maximum size of a key or password file in bytes.
const MAX_FILE: usize = 4096;

/// The private key of an account. `Debug` shows only its address.
pub struct Key(SigningKey);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", checksummed(self.address()))
    }
}

/// Why a key cannot be loaded. Errors contain nothing of what was read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is not a key.
    #[error("not a private key: 64 hex digits, with or without 0x, are one")]
    Form,
    /// The file cannot be read.
    #[error("{}: {reason}", .file.display())]
    File { file: PathBuf, reason: String },
    /// Others can read the file.
    #[error("{} has mode {mode:04o}: others than its owner can use it", .file.display())]
    Open { file: PathBuf, mode: u32 },
    /// The keystore cannot be opened.
    #[error("{}: {reason}", .file.display())]
    Keystore { file: PathBuf, reason: &'static str },
}

impl Key {
    /// Parses a key.
    pub fn parse(text: &SecretString) -> Result<Self, KeyError> {
        let text = text.expose_secret().trim();
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(digits, &mut *bytes).map_err(|_| KeyError::Form)?;
        Self::of(&*bytes)
    }

    /// Loads a key from a file that has nothing else and that only its owner can read.
    pub fn from_file(file: &Path) -> Result<Self, KeyError> {
        Self::parse(&secret_file(file)?)
    }

    /// Loads a key from an encrypted Ethereum keystore (version 3), as created by `cast wallet` and geth.
    pub fn from_keystore(file: &Path, password: &SecretString) -> Result<Self, KeyError> {
        let opened = eth_keystore::decrypt_key(file, password.expose_secret().as_bytes());
        let bytes = Zeroizing::new(opened.map_err(|error| locked(file, &error))?);
        Self::of(&bytes)
    }

    pub fn address(&self) -> Address {
        let address = alloy_primitives::Address::from_public_key(self.0.verifying_key());
        Address::from_bytes(address.into_array())
    }

    pub(super) fn sign(&self, hash: &B256) -> Result<Signature, ChainError> {
        let signed = self.0.sign_prehash_recoverable(hash.as_slice());
        signed.map(Signature::from).map_err(|error| ChainError::Signing(error.to_string()))
    }

    /// The signature of a text as an EIP-191 personal message: 65 bytes as `0x` and hex.
    pub fn sign_message(&self, text: &str) -> Result<String, ChainError> {
        let signature = self.sign(&alloy_primitives::eip191_hash_message(text))?;
        Ok(format!("0x{}", hex::encode(signature.as_bytes())))
    }

    fn of(bytes: &[u8]) -> Result<Self, KeyError> {
        SigningKey::from_slice(bytes).map(Self).map_err(|_| KeyError::Form)
    }
}

fn locked(file: &Path, error: &eth_keystore::KeystoreError) -> KeyError {
    use eth_keystore::KeystoreError as Error;
    let reason = match error {
        Error::MacMismatch => "the password does not open this keystore",
        Error::StdIo(_) => "the keystore cannot be read",
        _ => "this is not a keystore of version 3",
    };
    KeyError::Keystore { file: file.to_owned(), reason }
}

/// The trimmed content of a file that only its owner can read: a key or a password.
pub fn secret_file(file: &Path) -> Result<SecretString, KeyError> {
    let failed = |reason: String| KeyError::File { file: file.to_owned(), reason };
    let mut opened = File::open(file).map_err(|error| failed(error.to_string()))?;
    // The mode of the opened file, not of what the path names now.
    refuse_open(file, &opened)?;
    let mut bytes = Zeroizing::new(vec![0; MAX_FILE]);
    let mut length = 0;
    loop {
        match opened.read(&mut bytes[length..]).map_err(|error| failed(error.to_string()))? {
            0 => break,
            read => length += read,
        }
    }
    if length == MAX_FILE {
        return Err(failed("is too large for a key or password".to_owned()));
    }
    let text = std::str::from_utf8(&bytes[..length])
        .map_err(|_| failed("is not text".to_owned()))?
        .trim_end_matches(['\r', '\n']);
    Ok(SecretString::from(text))
}

#[cfg(unix)]
fn refuse_open(path: &Path, file: &File) -> Result<(), KeyError> {
    use std::os::unix::fs::PermissionsExt;
    let meta = file
        .metadata()
        .map_err(|error| KeyError::File { file: path.to_owned(), reason: error.to_string() })?;
    let mode = meta.permissions().mode() & 0o7777;
    let others = mode & 0o077;
    if others == 0 { Ok(()) } else { Err(KeyError::Open { file: path.to_owned(), mode }) }
}

#[cfg(not(unix))]
fn refuse_open(_: &Path, _: &File) -> Result<(), KeyError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Ethereum's test vector for keystores (PBKDF2); the password is `testpassword`.
    const KEYSTORE: &str = r#"{"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"6087dab2f9fdbbfaddc31a909735c1e6"},"ciphertext":"5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46","kdf":"pbkdf2","kdfparams":{"c":262144,"dklen":32,"prf":"hmac-sha256","salt":"ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd"},"mac":"517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2"},"id":"3198bc9c-6672-5ab3-d995-4942343ae5b6","version":3}"#;
    const SECRET: &str = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d";
    const ADDRESS: &str = "0x008AeEda4D805471dF9b2A5B0f38A0C3bCBA786b";

    fn file(dir: &tempfile::TempDir, name: &str, text: &str, mode: u32) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_key_is_read_from_wherever_it_is_kept_and_shows_its_address_only() {
        let dir = tempfile::tempdir().unwrap();
        let keystore = file(&dir, "keystore.json", KEYSTORE, 0o600);
        let password = file(&dir, "password", "testpassword\r\n", 0o600);
        let keys = [
            Key::parse(&SECRET.into()),
            Key::parse(&format!("0x{SECRET}\n").into()),
            Key::from_file(&file(&dir, "key", &format!("{SECRET}\n"), 0o400)),
            Key::from_keystore(&keystore, &secret_file(&password).unwrap()),
        ];
        for key in keys {
            assert_eq!(format!("{:?}", key.unwrap()), format!("Key({ADDRESS})"));
        }
    }

    #[test]
    fn what_others_can_read_or_what_is_no_key_is_refused_without_repeating_it() {
        let dir = tempfile::tempdir().unwrap();
        for mode in [0o644, 0o640, 0o604, 0o620] {
            let error = Key::from_file(&file(&dir, "key", SECRET, mode)).unwrap_err();
            assert!(matches!(error, KeyError::Open { mode: seen, .. } if seen == mode), "{error}");
        }
        let short = &SECRET[..62];
        for text in [short, "", "hunter2", &"00".repeat(32), &"ff".repeat(32)] {
            let error = Key::parse(&text.into()).unwrap_err();
            assert_eq!(error, KeyError::Form, "{text}");
        }
        let large = file(&dir, "large", &"a".repeat(MAX_FILE), 0o600);
        assert!(secret_file(&large).unwrap_err().to_string().contains("too large"));
        let keystore = file(&dir, "keystore.json", KEYSTORE, 0o600);
        let error = Key::from_keystore(&keystore, &"wrong".into()).unwrap_err().to_string();
        assert!(error.contains("does not open") && !error.contains("wrong"), "{error}");
        let broken = file(&dir, "broken.json", "{}", 0o600);
        let error = Key::from_keystore(&broken, &"x".into()).unwrap_err().to_string();
        assert!(error.contains("version 3"), "{error}");
    }

    #[test]
    fn signatures_are_those_of_the_account() {
        let key = Key::parse(&SECRET.into()).unwrap();
        let hash = B256::repeat_byte(7);
        let signature = key.sign(&hash).unwrap();
        let signer = signature.recover_address_from_prehash(&hash).unwrap();
        assert_eq!(signer.into_array(), *key.address().as_bytes());
    }
}
