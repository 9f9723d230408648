//! The operating system's randomness: the only place of this crate that touches it.

use casemate_core::time::Entropy;

/// Random bytes from the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    #[expect(clippy::disallowed_methods, reason = "this is the randomness that is passed in")]
    fn fill(&self, buffer: &mut [u8]) {
        if getrandom::fill(buffer).is_err() {
            // Whatever were sealed with a guessable key would not be sealed.
            std::process::abort();
        }
    }
}
