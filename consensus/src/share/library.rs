//! The seam to the library: its types under our names, and the few conversions that every part of
//! this module needs. Decides nothing.

use std::collections::BTreeMap;

use frost_core::round1::{NonceCommitment, SigningCommitments};
use frost_ed25519::rand_core::{CryptoRng, Error, RngCore, impls};
use frost_ed25519::{Ed25519Group, Ed25519ScalarField, Field, Group};

use super::{DecodeError, Package};
use crate::party::Role;
use crate::random::Entropy;
use crate::signature::is_reduced;

pub(super) use frost_ed25519::Ed25519Sha512 as Suite;
pub(super) use frost_ed25519::Identifier;

pub(super) type Element = <Ed25519Group as Group>::Element;
pub(super) type Scalar = <Ed25519ScalarField as Field>::Scalar;

/// Signers needed, and signers there are.
pub(super) const PARTIES: u16 = 3;

pub(super) fn identifier(role: Role) -> Identifier {
    #[expect(
        clippy::expect_used,
        reason = "a party's number is 1, 2 or 3, never zero"
    )]
    Identifier::try_from(u16::from(role.number())).expect("nonzero")
}

pub(super) fn role_of(identifier: Identifier) -> Option<Role> {
    Role::ALL
        .into_iter()
        .find(|&role| self::identifier(role) == identifier)
}

/// Decodes a point of the prime-order subgroup that is not the identity. The check on y stands in
/// for encoding again. The order alone would do (no non-canonical encoding is of prime order,
/// eprint 2020/1244), but that is a theorem about the curve, this is visible.
pub(super) fn point(what: &'static str, bytes: &[u8; 32]) -> Result<Element, DecodeError> {
    if !is_reduced(bytes) {
        return Err(DecodeError::Point { what });
    }
    Ed25519Group::deserialize(bytes).map_err(|_| DecodeError::Point { what })
}

/// Encodes a point; `None` for the identity, which no structure here may hold.
pub(super) fn encode_point(point: &Element) -> Option<[u8; 32]> {
    Ed25519Group::serialize(point).ok()
}

pub(super) fn scalar(what: &'static str, bytes: &[u8; 32]) -> Result<Scalar, DecodeError> {
    Ed25519ScalarField::deserialize(bytes).map_err(|_| DecodeError::Scalar { what })
}

pub(super) fn signing_package(package: &Package, message: &[u8]) -> frost_ed25519::SigningPackage {
    let commitments: BTreeMap<_, _> = Role::ALL
        .into_iter()
        .zip(package.commitments())
        .map(|(role, commitment)| {
            let [hiding, binding] = commitment.points().map(NonceCommitment::new);
            (identifier(role), SigningCommitments::new(hiding, binding))
        })
        .collect();
    frost_ed25519::SigningPackage::new(commitments, message)
}

/// Lends an [`Entropy`] to the library, which wants rand_core 0.6.
pub(super) struct LibraryRng<'a, E: ?Sized>(pub(super) &'a mut E);

impl<E: Entropy + ?Sized> RngCore for LibraryRng<'_, E> {
    fn next_u32(&mut self) -> u32 {
        impls::next_u32_via_fill(self)
    }

    fn next_u64(&mut self) -> u64 {
        impls::next_u64_via_fill(self)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl<E: Entropy + ?Sized> CryptoRng for LibraryRng<'_, E> {}

#[cfg(test)]
mod tests {
    use super::{LibraryRng, RngCore};
    use crate::random::{Entropy, SeededEntropy};

    #[test]
    fn numbers_that_the_library_may_draw_are_of_the_entropy_given() {
        // It fills bytes today; whatever it draws tomorrow must be as random.
        let (mut given, mut bytes) = (SeededEntropy::new([6; 32]), SeededEntropy::new([6; 32]));
        let mut rng = LibraryRng(&mut given);
        let (mut four, mut eight, mut long) = ([0; 4], [0; 8], [[0; 40]; 2]);
        bytes.fill(&mut four);
        assert_eq!(rng.next_u32(), u32::from_le_bytes(four));
        bytes.fill(&mut eight);
        assert_eq!(rng.next_u64(), u64::from_le_bytes(eight));
        let [drawn, expected] = &mut long;
        bytes.fill(expected);
        rng.try_fill_bytes(drawn).unwrap();
        assert_eq!(drawn, expected);
    }
}
