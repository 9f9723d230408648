//! Why a KMS gave no key.

/// A call to a KMS without a usable answer. No call changes anything, so each may be repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KmsError {
    /// It refuses this app, for the reason given.
    #[error("{0}")]
    Rejected(String),
    /// No connection, or status 503; the cause.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// It asks for a credential, or a proxy before it does.
    #[error("it refuses us with status {0}")]
    Unauthorized(u16),
    /// No answer in time.
    #[error("it did not answer within {0} s")]
    Silent(u64),
    /// The connection ended before the answer did.
    #[error("the connection broke")]
    Broken,
    /// It failed with this status and text.
    #[error("it failed with status {status}: {why}")]
    Failed {
        /// HTTP status.
        status: u16,
        /// Its words.
        why: String,
    },
    /// The answer is longer than so many bytes.
    #[error("its answer is longer than {0} bytes")]
    TooLong(usize),
    /// The answer is no JSON object of the expected form.
    #[error("its answer cannot be read: {0}")]
    Unreadable(String),
    /// The answer lacks a field.
    #[error("its answer has no {0}")]
    MissingField(&'static str),
    /// A field of the answer has no value that it can have.
    #[error("{field} of its answer {why}")]
    InvalidField {
        /// Its name.
        field: &'static str,
        /// Begins with a verb.
        why: String,
    },
    /// A signature that no key can have made.
    #[error("{0} of its answer is not a signature over the key of this app")]
    InvalidSignature(&'static str),
    /// A signature, or the KMS itself, by a key that is not pinned.
    #[error("{field} of its answer is by the key {key}, which is not pinned")]
    UnknownKey {
        /// The field with the signature or the key.
        field: &'static str,
        /// The key, SEC1, compressed, hex. For a signature over something else: any key.
        key: String,
    },
    /// The two signatures are by different keys.
    #[error("signature and signature_v1 of its answer are by different keys")]
    MixedKeys,
    /// The signed time is this far from ours, in seconds; negative: before it.
    #[error("its answer was signed {} s {} our time", .0.abs(), if *.0 < 0 { "before" } else { "after" })]
    Stale(i64),
}

impl KmsError {
    /// Whether the KMS may answer well if asked again, with nobody changing a setting.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Silent(_) | Self::Broken | Self::Failed { .. })
    }

    /// What the operator can do, a sentence.
    pub const fn way_out(&self) -> &'static str {
        match self {
            Self::Rejected(_) => "Look at the log of the KMS, and at its authorisation webhook.",
            Self::Unreachable(_) | Self::Silent(_) | Self::Broken | Self::Failed { .. } => {
                "Check that the KMS runs and that its url and ca_file are right; then try again."
            }
            Self::Unauthorized(_) => {
                "Let this server through to the KMS: GetAppEnvEncryptPubKey asks for no credential."
            }
            Self::TooLong(_)
            | Self::Unreadable(_)
            | Self::MissingField(_)
            | Self::InvalidField { .. } => {
                "Check that url is the address of a dstack-kms 0.5.8 or newer, without /prpc."
            }
            Self::InvalidSignature(_) | Self::UnknownKey { .. } | Self::MixedKeys => {
                "Do not use this key. If the root keys of the KMS were rotated, verify the new key and add it \
                 to k256_public_keys; otherwise find out who answers at its url."
            }
            Self::Stale(_) => {
                "Set the clocks of the KMS and of this server; if they are right, somebody repeats old answers."
            }
        }
    }
}
