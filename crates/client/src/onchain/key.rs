//! Private keys: read from where they are kept, used to sign, wiped when they are dropped.

use std::{
    fmt,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use alloy_primitives::{B256, Signature};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use casemate_core::{governance::plan::checksummed, id::Address};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::error::ChainError;

/// Files of keys and passwords are far smaller.
const MAX_FILE: usize = 4096;

/// The private key of an account. It shows its address and nothing else.
pub struct Key(PrivateKeySigner);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", checksummed(self.address()))
    }
}

/// Why there is no key. Nothing of what was read is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is no key.
    #[error("not a private key: 64 hex digits, with or without 0x, are one")]
    Form,
    /// The file cannot be read.
    #[error("{}: {reason}", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Others can read the file.
    #[error("{} has mode {mode:04o}: others than its owner can use it", .file.display())]
    Open {
        /// The file.
        file: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The keystore does not open.
    #[error("{}: {reason}", .file.display())]
    Keystore {
        /// The file.
        file: PathBuf,
        /// Why not.
        reason: &'static str,
    },
}

impl Key {
    /// A key as text.
    pub fn parse(text: &SecretString) -> Result<Self, KeyError> {
        let text = text.expose_secret().trim();
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(digits, &mut *bytes).map_err(|_| KeyError::Form)?;
        Self::of(&*bytes)
    }

    /// The key in a file that holds nothing else and that only its owner can read.
    pub fn from_file(file: &Path) -> Result<Self, KeyError> {
        Self::parse(&secret_file(file)?)
    }

    /// The key in an encrypted keystore of Ethereum (version 3), such as `cast wallet` and geth make.
    pub fn from_keystore(file: &Path, password: &SecretString) -> Result<Self, KeyError> {
        let opened = eth_keystore::decrypt_key(file, password.expose_secret().as_bytes());
        let bytes = Zeroizing::new(opened.map_err(|error| locked(file, &error))?);
        Self::of(&bytes)
    }

    /// The account.
    pub fn address(&self) -> Address {
        Address::from_bytes(self.0.address().into_array())
    }

    pub(super) fn sign(&self, hash: &B256) -> Result<Signature, ChainError> {
        self.0.sign_hash_sync(hash).map_err(|error| ChainError::Signing(error.to_string()))
    }

    fn of(bytes: &[u8]) -> Result<Self, KeyError> {
        PrivateKeySigner::from_slice(bytes).map(Self).map_err(|_| KeyError::Form)
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

/// The first line's worth of a file that only its owner can read: a key, a password.
pub fn secret_file(file: &Path) -> Result<SecretString, KeyError> {
    let failed = |reason: String| KeyError::File { file: file.to_owned(), reason };
    let mut opened = File::open(file).map_err(|error| failed(error.to_string()))?;
    // Of what was opened, not of what may be at the path by now.
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
