//! The files that the settings of a node or of a gateway cluster name: a credential, and certificates that are trusted.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use secrecy::SecretString;

use super::Credential;

/// Why a node or a cluster cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file of a credential or of certificates.
    #[error("{}: {why}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The client cannot be made.
    #[error("{0}")]
    Client(String),
}

/// Where a credential and trusted certificates are. A file that is rotated is read again.
#[derive(Debug, Clone, Default)]
pub struct AccessFiles {
    /// File with a token, or with the password of `user`; mode 0600. `None`: no credential is sent.
    pub token: Option<PathBuf>,
    /// A user of the other side's htpasswd file.
    pub user: Option<String>,
    /// Certificates, PEM.
    pub ca: Option<PathBuf>,
}

impl AccessFiles {
    /// The credential as it is in the file now.
    pub async fn credential(&self) -> Result<Credential, OpenError> {
        let Some(path) = &self.token else { return Ok(Credential::None) };
        let secret = secret(path).await?;
        Ok(match &self.user {
            Some(user) => Credential::Basic { user: user.clone(), password: secret },
            None => Credential::Token(secret),
        })
    }

    /// The certificates, PEM.
    pub async fn certificates(&self) -> Result<Option<Vec<u8>>, OpenError> {
        let Some(path) = &self.ca else { return Ok(None) };
        tokio::fs::read(path).await.map(Some).map_err(|error| wrong(path, error.to_string()))
    }
}

fn wrong(path: &Path, why: String) -> OpenError {
    OpenError::File { path: path.to_owned(), why }
}

/// Reads a file that holds a secret: not empty, and readable for its owner only.
pub async fn secret(path: &Path) -> Result<SecretString, OpenError> {
    let failed = |error: std::io::Error| wrong(path, error.to_string());
    let mode = tokio::fs::metadata(path).await.map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let why = format!("others can read it (mode {mode:o}): run chmod 600 on it");
        return Err(wrong(path, why));
    }
    match tokio::fs::read_to_string(path).await.map_err(failed)?.trim() {
        "" => Err(wrong(path, "it is empty".to_owned())),
        secret => Ok(SecretString::from(secret.to_owned())),
    }
}
