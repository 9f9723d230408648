//! The operating system's randomness; the only place in this crate that uses it.

use casemate_core::time::Entropy;

#[derive(Debug, Clone, Copy, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    #[expect(clippy::disallowed_methods, reason = "this is the randomness that is passed in")]
    fn fill(&self, buffer: &mut [u8]) {
        if getrandom::fill(buffer).is_err() {
            // A sealed value with a guessable key would not be protected.
            std::process::abort();
        }
    }
}
