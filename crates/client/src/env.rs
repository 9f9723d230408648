//! Seals environment variables before they leave this machine.

use casemate_core::{
    id::InvalidId,
    seal::{EnvPublicKey, EnvVar, Inadmissible, SealError, SealedEnv, admit, seal},
    time::Entropy,
};
use secrecy::SecretString;

/// Why variables cannot be sealed. Texts name variables, never values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealEnvError {
    /// The app's public key is invalid.
    #[error(transparent)]
    Key(#[from] InvalidId),
    /// The guest would refuse them and stop its boot.
    #[error(transparent)]
    Inadmissible(#[from] Inadmissible),
    /// Too large, or a weak key.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// Seals variables to the public key that provision returns (`app_env_encrypt_pubkey`, 64 hex digits). They
/// are checked by the guest's own rules first, so that errors are reported now instead of at boot. The result
/// goes into `encrypted_env`.
pub fn seal_env(
    vars: &[(String, SecretString)],
    public_key: &str,
    entropy: &dyn Entropy,
) -> Result<SealedEnv, SealEnvError> {
    let key: EnvPublicKey = public_key.parse()?;
    let vars: Vec<EnvVar> =
        vars.iter().map(|(key, value)| EnvVar { key: key.clone(), value: value.clone() }).collect();
    let names: Vec<String> = vars.iter().map(|var| var.key.clone()).collect();
    admit(vars.clone(), &names)?;
    let (mut ephemeral, mut iv) = ([0; 32], [0; 12]);
    entropy.fill(&mut ephemeral);
    entropy.fill(&mut iv);
    Ok(seal(&vars, &key, ephemeral, iv)?)
}

#[cfg(test)]
mod tests {
    use casemate_core::seal::{EnvSecretKey, unseal};
    use secrecy::ExposeSecret;

    use super::*;
    use crate::OsEntropy;

    fn vars(all: &[(&str, &str)]) -> Vec<(String, SecretString)> {
        all.iter().map(|(key, value)| ((*key).to_owned(), SecretString::from(*value))).collect()
    }

    #[test]
    fn what_is_sealed_opens_with_the_apps_key_and_never_looks_the_same() {
        let secret = EnvSecretKey::from_bytes([7; 32]);
        let public = secret.public().to_string();
        let seal = || seal_env(&vars(&[("A", "1"), ("B", "")]), &public, &OsEntropy).unwrap();
        let (first, second) = (seal(), seal());
        assert_ne!(first.to_string(), second.to_string());
        let opened = unseal(&first, &secret).unwrap();
        let opened: Vec<_> =
            opened.iter().map(|var| (var.key.as_str(), var.value.expose_secret())).collect();
        assert_eq!(opened, [("A", "1"), ("B", "")]);
    }

    #[test]
    fn what_a_guest_refuses_is_refused_here_without_its_value() {
        let public = EnvSecretKey::from_bytes([7; 32]).public().to_string();
        let error = seal_env(&vars(&[("1A", "hunter2")]), &public, &OsEntropy).unwrap_err();
        assert_eq!(error, SealEnvError::Inadmissible(Inadmissible::Name("1A".to_owned())));
        assert!(!error.to_string().contains("hunter2"));
        assert!(matches!(seal_env(&[], "zz", &OsEntropy), Err(SealEnvError::Key(_))));
    }
}
