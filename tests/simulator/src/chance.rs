//! Every choice of a scenario, from one seed. Never reads a clock or the system's randomness.

use warifu_consensus::random::{Entropy, SeededEntropy};

/// A reproducible stream of choices.
#[derive(Debug)]
pub struct Chance(SeededEntropy);

impl Chance {
    /// The stream of this seed for this purpose: streams of two purposes are independent.
    #[must_use]
    pub fn new(seed: u64, purpose: u8) -> Self {
        let mut bytes = [purpose; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self(SeededEntropy::new(bytes))
    }

    /// The stream of this seed for this named decision.
    #[must_use]
    pub fn of(seed: u64, name: [u32; 3]) -> Self {
        let mut bytes = [0xD0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        for (place, part) in bytes[8..].chunks_exact_mut(4).zip(name) {
            place.copy_from_slice(&part.to_le_bytes());
        }
        Self(SeededEntropy::new(bytes))
    }

    /// A number from 0 to `n` - 1; 0 for `n` = 0.
    pub fn below(&mut self, n: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes) % n.max(1)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// Fresh bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill(&mut bytes);
        bytes
    }
}

impl Entropy for Chance {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}
