//! The two root keys of the built-in KMS, and where they are kept.
//!
//! As text, in the file and in an environment variable alike: four words between any white space,
//!
//! ```text
//! p256 <64 hex digits>
//! k256 <64 hex digits>
//! ```
//!
//! the scalars, big endian, of the P-256 key of the root CA and of the secp256k1 key that signs.
//! Whoever has them can open every sealed environment and disk; once lost, nobody can.

use std::{
    fmt, fs,
    io::{self, ErrorKind, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use k256::ecdsa::SigningKey;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::files;

#[cfg(test)]
mod tests;

/// The root keys. Wiped when dropped; `Debug` shows nothing of them.
#[derive(Clone)]
pub struct RootKeys {
    pub(super) ca: p256::SecretKey,
    pub(super) k256: SigningKey,
}

/// Why a text or bytes are no root keys. Never quotes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRootKeys {
    /// Not the documented words.
    #[error("expected `p256 <64 hex digits> k256 <64 hex digits>`")]
    Shape,
    /// Zero, or not below the order of P-256.
    #[error("the p256 scalar is out of range")]
    P256,
    /// Zero, or not below the order of secp256k1.
    #[error("the k256 scalar is out of range")]
    K256,
}

/// Why there are no root keys from a file.
#[derive(Debug, thiserror::Error)]
pub enum RootFileError {
    /// The system would not let us.
    #[error("cannot {doing} the KMS root key file {}", path.display())]
    Io {
        /// What was tried: `read`, `create`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Others than its owner have access. Somebody must look who read it, so nothing is repaired.
    #[error(
        "KMS root key file {} has mode {mode:03o}: only its owner may have access (chmod 600)",
        path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is there and holds something else.
    #[error("KMS root key file {} holds no root keys", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: InvalidRootKeys,
    },
    /// The random bytes happen to make no key (1 in 2³²). Try again with others.
    #[error("random bytes make no root keys")]
    Entropy(#[source] InvalidRootKeys),
}

impl RootKeys {
    /// Keys of these scalars: first the 32 bytes for P-256, then those for secp256k1, big endian.
    pub fn from_bytes(scalars: &[u8; 64]) -> Result<Self, InvalidRootKeys> {
        let (ca, k256) = scalars.split_at(32);
        Ok(Self {
            ca: p256::SecretKey::from_slice(ca).map_err(|_| InvalidRootKeys::P256)?,
            k256: SigningKey::from_slice(k256).map_err(|_| InvalidRootKeys::K256)?,
        })
    }

    /// Keys of a text as in the file; made for an environment variable.
    pub fn from_hex(text: &SecretString) -> Result<Self, InvalidRootKeys> {
        Self::parse(text.expose_secret())
    }

    /// The keys in the file at `path`; if there is none, it is created with keys of these 64 random
    /// bytes.
    ///
    /// Created whole or not at all, mode 0600, and never over an existing file: of several processes
    /// creating it at once one wins and all return its keys. The directory must exist. Blocks on disk.
    pub fn load_or_create(path: &Path, entropy: &[u8; 64]) -> Result<Self, RootFileError> {
        if let Some(keys) = Self::load(path)? {
            return Ok(keys);
        }
        let keys = Self::from_bytes(entropy).map_err(RootFileError::Entropy)?;
        match files::write_new(path, keys.text().as_bytes(), 0o600) {
            Ok(()) => Ok(keys),
            Err(source) if source.kind() == ErrorKind::AlreadyExists => {
                Self::load(path)?.ok_or_else(|| io_error("create", path, source))
            }
            Err(source) => Err(io_error("create", path, source)),
        }
    }

    /// `None`: there is no file.
    fn load(path: &Path) -> Result<Option<Self>, RootFileError> {
        const READ_AT_MOST: u16 = 4096;
        let failed = |source| io_error("read", path, source);
        let file = match fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mode = file.metadata().map_err(failed)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(RootFileError::Exposed { path: path.to_owned(), mode });
        }
        let mut text = Zeroizing::new(String::with_capacity(READ_AT_MOST.into()));
        file.take(READ_AT_MOST.into()).read_to_string(&mut text).map_err(failed)?;
        let invalid = |source| RootFileError::Invalid { path: path.to_owned(), source };
        Self::parse(&text).map(Some).map_err(invalid)
    }

    fn text(&self) -> Zeroizing<String> {
        let ca = Zeroizing::new(hex::encode(Zeroizing::new(<[u8; 32]>::from(self.ca.to_bytes()))));
        let k256 =
            Zeroizing::new(hex::encode(Zeroizing::new(<[u8; 32]>::from(self.k256.to_bytes()))));
        Zeroizing::new(["p256 ", &ca, "\nk256 ", &k256, "\n"].concat())
    }

    fn parse(text: &str) -> Result<Self, InvalidRootKeys> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let ["p256", ca, "k256", k256] = words[..] else {
            return Err(InvalidRootKeys::Shape);
        };
        let mut scalars = Zeroizing::new([0; 64]);
        let (first, second) = scalars.split_at_mut(32);
        hex::decode_to_slice(ca, first).map_err(|_| InvalidRootKeys::Shape)?;
        hex::decode_to_slice(k256, second).map_err(|_| InvalidRootKeys::Shape)?;
        Self::from_bytes(&scalars)
    }
}

fn io_error(doing: &'static str, path: &Path, source: io::Error) -> RootFileError {
    RootFileError::Io { doing, path: path.to_owned(), source }
}

impl fmt::Debug for RootKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootKeys(..)")
    }
}
