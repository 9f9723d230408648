//! The one source of chance of a life.

use std::sync::Mutex;

use casemate_core::time::Entropy;

/// A sequence of numbers that its seed decides (SplitMix64).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub const fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to, and without, `bound`.
    pub fn below(&mut self, bound: u32) -> u32 {
        u32::try_from(self.roll() % u64::from(bound.max(1))).unwrap_or(0)
    }

    /// Whether something happens that happens in so many of a hundred cases.
    pub fn chance(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        let index = self.below(u32::try_from(from.len()).unwrap_or(1));
        from[usize::try_from(index).unwrap_or(0)].clone()
    }
}

/// Randomness that is the same in every life with one seed.
#[derive(Debug)]
pub struct Loaded(Mutex<Dice>);

impl Loaded {
    pub const fn new(seed: u64) -> Self {
        Self(Mutex::new(Dice::new(seed)))
    }
}

impl Entropy for Loaded {
    fn fill(&self, buffer: &mut [u8]) {
        let mut dice = self.0.lock().unwrap();
        for chunk in buffer.chunks_mut(8) {
            let bytes = dice.roll().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}
