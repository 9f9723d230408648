//! SSH public keys in OpenSSH's format.

use ssh_key::{HashAlg, PublicKey, public::KeyData};

/// Maximum length of a key with its comment, bytes. An RSA key of 16,384 bits has 2.8 KiB.
pub const MAX_KEY: usize = 8192;
/// Minimum length of an RSA key, bits.
pub const MIN_RSA: usize = 2048;
const MAX_RSA: usize = 16_384;

/// A key that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshPublicKey {
    /// The text without white space around it.
    pub text: String,
    /// `SHA256:…` in unpadded base64, as `ssh-keygen -l` shows it.
    pub fingerprint: String,
    /// For example `ssh-ed25519`.
    pub algorithm: String,
    /// Length of an RSA key, bits.
    pub bits: Option<usize>,
}

/// Why a text is no key that is accepted. `Display` begins with a verb.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSshKey {
    #[error("is longer than {MAX_KEY} bytes")]
    TooLong,
    #[error("must be one line")]
    SeveralLines,
    /// Nothing of the text is repeated.
    #[error("is a private key: keep it, and give the public one")]
    Private,
    #[error("is not a public key in OpenSSH's format, for example ssh-ed25519 AAAA… comment")]
    Format,
    #[error("is of type {0}, which is not accepted: use ssh-ed25519")]
    Algorithm(String),
    #[error("is an RSA key of {0} bits: use 2048 to 16384, or ssh-ed25519")]
    RsaLength(usize),
}

impl SshPublicKey {
    /// Reads a key.
    pub fn parse(text: &str) -> Result<Self, InvalidSshKey> {
        let text = text.trim();
        if text.len() > MAX_KEY {
            return Err(InvalidSshKey::TooLong);
        }
        if text.contains("PRIVATE KEY") {
            return Err(InvalidSshKey::Private);
        }
        if text.contains(|c: char| c.is_control() && c != '\t') {
            return Err(InvalidSshKey::SeveralLines);
        }
        let key = PublicKey::from_openssh(text).map_err(|_| InvalidSshKey::Format)?;
        let bits = match key.key_data() {
            KeyData::Rsa(rsa) => {
                let modulus = rsa.n.as_positive_bytes().ok_or(InvalidSshKey::Format)?;
                let zeros = modulus.first().map_or(0, |first| first.leading_zeros());
                let bits = (modulus.len() * 8).saturating_sub(usize::try_from(zeros).unwrap_or(0));
                if !(MIN_RSA..=MAX_RSA).contains(&bits) {
                    return Err(InvalidSshKey::RsaLength(bits));
                }
                Some(bits)
            }
            KeyData::Ed25519(_)
            | KeyData::Ecdsa(_)
            | KeyData::SkEd25519(_)
            | KeyData::SkEcdsaSha2NistP256(_) => None,
            _ => return Err(InvalidSshKey::Algorithm(key.algorithm().as_str().to_owned())),
        };
        Ok(Self {
            text: text.to_owned(),
            fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
            algorithm: key.algorithm().as_str().to_owned(),
            bits,
        })
    }
}

/// Whether a text is a user name of GitHub: 1 to 39 letters, digits and single dashes inside.
pub fn is_github_username(text: &str) -> bool {
    let alphabet = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=39).contains(&text.len())
        && text.bytes().all(alphabet)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `ssh-keygen`, which also said the fingerprints.
    const KEYS: [(&str, &str, &str, Option<usize>); 3] = [
        (
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAjGgqcDhePenBbqLZfk0DOiXKtcN2Xrr+kwKtJpSPtj me@host",
            "SHA256:HpLpvPJV2obRSy/p/8QnztL3MA7mOYTnDF0dpdO6Luw",
            "ssh-ed25519",
            None,
        ),
        (
            "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBMTTuEUrv5IU8POdJf\
         XlIOcKCwF33vYyRfwpl+Vs2W/ISW/o0d+mAT073erlxP9NUb3vjY10vINL/7xPtI6QORg= me@host",
            "SHA256:23jOAjuGBnIYx4ymDseODp6ulI0SZq2spY8GjV4D7Hk",
            "ecdsa-sha2-nistp256",
            None,
        ),
        (
            "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQDFhkuCEZ8GR3DH8JwIW4StHduMqzVqK5iP7grGCnglAZsD4B/E9m\
         1vYhB0Q5nSJcd+8YtYoXnsZUVBNskQaTmlNxl85zJONnBYi3SMkJyCMwLYU11DB4QUSWOEmnQogix6mNmlRAtoZnjC\
         L/zQbQDdomsWVYP7M6wEqTBD7/6MIU9R5M6naOy4LbWnSxNCCvHAl3/2kNSM+8hHG+tlWtanGkwbSyBZHzEMNNfOu4\
         lnSQtFH66ju2Kswcmh1wu5shmuxM0W0ZKex2ezlye9miIo/HtF8XBdEZwis8L72sWAmfYAcAEe9PuZcnZrHjFRkarE\
         GuoASvLAvxU2ikeMOezd me@host",
            "SHA256:9DFp0vprNPdn612C8LU56HaNgnyuGkVKbcIvqnbgJUE",
            "ssh-rsa",
            Some(2048),
        ),
    ];
    const SHORT_RSA: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQCe7wL5ESrpMbjWPzzR+QDJ8hrEiOy8F1BAwWQZuRYdMlmceUgImt\
         eq+qY9IFSbJFFDa2gIEQemiXBtbEv/cShu+fuP61xgYMxxCvFuMv26UzKGus96M+d9SB1WFiCMoPcEfLtYWFRfVe0z\
         A5goTp1uUIj2OOXYvzwK3TO4GoMpsQ== weak";

    #[test]
    fn keys_are_read_with_the_fingerprints_that_openssh_shows() {
        for (text, fingerprint, algorithm, bits) in KEYS {
            let key = SshPublicKey::parse(&format!("  {text}\n")).unwrap();
            assert_eq!(key.text, text);
            assert_eq!((&*key.fingerprint, &*key.algorithm), (fingerprint, algorithm));
            assert_eq!(key.bits, bits);
        }
    }

    #[test]
    fn weak_foreign_and_private_keys_are_refused() {
        let [(ed25519, ..), ..] = KEYS;
        assert_eq!(SshPublicKey::parse(SHORT_RSA), Err(InvalidSshKey::RsaLength(1024)));
        for (text, why) in [
            ("", InvalidSshKey::Format),
            ("ssh-ed25519 AAAA a", InvalidSshKey::Format),
            ("command=\"x\" ssh-ed25519 AAAA", InvalidSshKey::Format),
            (&format!("{ed25519}\n{ed25519}"), InvalidSshKey::SeveralLines),
            ("-----BEGIN OPENSSH PRIVATE KEY-----", InvalidSshKey::Private),
            (&"x".repeat(MAX_KEY + 1), InvalidSshKey::TooLong),
        ] {
            assert_eq!(SshPublicKey::parse(text), Err(why), "{text}");
        }
    }

    #[test]
    fn names_of_github_users_cannot_leave_their_place_in_a_path() {
        for name in ["octocat", "a", "a-b", "0"] {
            assert!(is_github_username(name), "{name}");
        }
        let long = "x".repeat(40);
        for name in ["", "-a", "a-", "a/b", "..", "a.keys?", "a b", &long] {
            assert!(!is_github_username(name), "{name}");
        }
    }
}
