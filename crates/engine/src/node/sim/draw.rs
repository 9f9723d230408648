//! Chance without a generator: a number is a function of the host's seed and of what it is for, so
//! no draw depends on how many came before it, and nothing has to be saved.

use casemate_core::time::Entropy;
use sha2::{Digest, Sha256};

/// The number for this purpose.
#[must_use]
pub(super) fn draw(seed: u64, purpose: &str, a: u64, b: u64) -> u64 {
    let [first, ..] = digest(seed, purpose, a, b).map(u64::from_be_bytes);
    first
}

/// Whether something of this probability happens.
#[must_use]
pub(super) fn happens(probability: f64, draw: u64) -> bool {
    let upper = u32::try_from(draw >> 32).unwrap_or(0);
    f64::from(upper) / 4_294_967_296.0 < probability
}

/// Randomness for one VM: bytes of `entropy` mixed with the place of the VM, so that two VMs differ
/// even where every process starts with the same entropy.
#[derive(Debug)]
pub(super) struct Mixed {
    seed: u64,
    seq: u64,
    random: u64,
}

impl Mixed {
    pub(super) fn new(entropy: &dyn Entropy, seed: u64, seq: u64) -> Self {
        Self { seed, seq, random: entropy.u64() }
    }
}

impl Entropy for Mixed {
    fn fill(&self, buffer: &mut [u8]) {
        for (i, chunk) in buffer.chunks_mut(32).enumerate() {
            let purpose = format!("vm {i} {}", chunk.len());
            let bytes = digest(self.seed, &purpose, self.seq, self.random);
            chunk.copy_from_slice(&bytes.as_flattened()[..chunk.len()]);
        }
    }
}

fn digest(seed: u64, purpose: &str, a: u64, b: u64) -> [[u8; 8]; 4] {
    let mut hash = Sha256::new();
    for number in [seed, a, b] {
        hash.update(number.to_be_bytes());
    }
    hash.update(purpose);
    let bytes: [u8; 32] = hash.finalize().into();
    let mut words = [[0; 8]; 4];
    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        word.copy_from_slice(chunk);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_repeat_and_differ_by_seed_and_purpose() {
        assert_eq!(draw(1, "boot", 2, 3), draw(1, "boot", 2, 3));
        assert_ne!(draw(1, "boot", 2, 3), draw(2, "boot", 2, 3));
        assert_ne!(draw(1, "boot", 2, 3), draw(1, "stop", 2, 3));
    }

    #[test]
    fn probabilities_are_met() {
        let hits = |p| (0..10_000).filter(|i| happens(p, draw(7, "p", *i, 0))).count();
        assert_eq!(hits(0.0), 0);
        assert_eq!(hits(1.0), 10_000);
        assert!((2_300..2_700).contains(&hits(0.25)));
    }
}
