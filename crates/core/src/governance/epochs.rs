//! Whether an app approves by epoch. ERC-165 tells.

use super::returned::{self, CallResult};

/// ERC-165 id of epoch-aware apps since dstack 0.6.5.
pub const EPOCH_AUTH: [u8; 4] = [0xc3, 0x96, 0xc1, 0xb0];
/// ERC-165 id of epoch-aware apps of dstack 0.6.4.
pub const OLD_EPOCH_AUTH: [u8; 4] = [0xd3, 0x38, 0x35, 0xbd];

/// How an app approves. What is asked here (`allowedComposeHashes`, `isAppAllowed`) is all that a contract
/// without epochs has; of one with epochs it covers epoch 0 only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Epochs {
    /// It has no epochs.
    #[default]
    None,
    /// By epoch, as of dstack 0.6.4. Contracts of the KMS since 0.6.5 see it as one without epochs.
    Old,
    /// By epoch.
    Current,
}

impl Epochs {
    /// From the answers to `supportsInterface` of [`EPOCH_AUTH`] and [`OLD_EPOCH_AUTH`].
    #[must_use]
    pub fn of(current: &CallResult, old: &CallResult) -> Self {
        if returned::flag(current) == Some(true) {
            Self::Current
        } else if returned::flag(old) == Some(true) {
            Self::Old
        } else {
            Self::None
        }
    }
}
