//! Where randomness enters: always as an argument, so that a run can be replayed from a seed.

/// A source of cryptographically secure random bytes, owned by the caller.
pub trait Entropy {
    /// Overwrites all of `bytes` with fresh random bytes.
    fn fill(&mut self, bytes: &mut [u8]);
}

impl<T: Entropy + ?Sized> Entropy for &mut T {
    fn fill(&mut self, bytes: &mut [u8]) {
        (**self).fill(bytes);
    }
}
