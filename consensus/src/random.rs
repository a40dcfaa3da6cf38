//! Randomness as an argument. Decides the one interface by which this crate receives random bytes,
//! because a core that draws its own cannot be replayed by a simulator. Never asks the operating
//! system and never keeps bytes that it handed out.

use core::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// A source of bytes that nobody else can predict. Keys and nonces are only as secret as this.
pub trait Entropy {
    /// Overwrites all of `bytes` with fresh random bytes. Never repeats an earlier answer.
    fn fill(&mut self, bytes: &mut [u8]);
}

/// A reproducible stream from a 32-byte seed: the n-th call to [`Entropy::fill`] answers with the
/// BLAKE3 extendable output of the counter n (u64 little endian), keyed with the seed.
///
/// Tests and the simulator give it a printed seed. A node makes one for each call into this crate,
/// with 32 bytes from the operating system, and drops it afterwards. The same seed always gives
/// the same nonces, so in production a seed is used for one value of this type only; for the same
/// reason the type is not `Clone`. The seed is wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SeededEntropy {
    seed: [u8; 32],
    calls: u64,
}

impl SeededEntropy {
    /// A stream that starts at the beginning for this `seed`.
    pub const fn new(seed: [u8; 32]) -> Self {
        Self { seed, calls: 0 }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&mut self, bytes: &mut [u8]) {
        let mut hasher = blake3::Hasher::new_keyed(&self.seed);
        hasher.update(&self.calls.to_le_bytes());
        let mut output = hasher.finalize_xof();
        output.fill(bytes);
        output.zeroize();
        hasher.zeroize();
        // 2^64 calls cannot happen; wrapping would repeat the stream, saturating repeats one answer.
        self.calls = self.calls.saturating_add(1);
    }
}

impl fmt::Debug for SeededEntropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SeededEntropy(<redacted>)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(entropy: &mut impl Entropy, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        entropy.fill(&mut bytes);
        bytes
    }

    #[test]
    fn same_seed_same_stream_and_no_answer_twice() {
        let (mut one, mut two) = (SeededEntropy::new([7; 32]), SeededEntropy::new([7; 32]));
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..64 {
            let bytes = draw(&mut one, 32);
            assert_eq!(bytes, draw(&mut two, 32));
            assert!(seen.insert(bytes), "the stream repeated itself");
        }
        assert!(!seen.contains(&draw(&mut SeededEntropy::new([8; 32]), 32)));
    }

    #[test]
    fn long_answers_are_filled_to_the_end() {
        let bytes = draw(&mut SeededEntropy::new([1; 32]), 1000);
        assert!(
            bytes
                .chunks(100)
                .all(|chunk| chunk.iter().any(|&byte| byte != 0))
        );
    }

    #[test]
    fn debug_shows_no_seed() {
        assert_eq!(
            format!("{:?}", SeededEntropy::new([0x41; 32])),
            "SeededEntropy(<redacted>)"
        );
    }
}
