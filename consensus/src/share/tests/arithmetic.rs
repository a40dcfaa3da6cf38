//! Our arithmetic against the library's: the same points decode, the same nonces commit to the same
//! points, and every share is the share that the library gives.

use frost_core::round1::{Nonce, SigningNonces};
use frost_core::round2;
use proptest::prelude::*;

use super::super::arithmetic::{commit_to, decode_public_point};
use super::super::library;
use super::*;
use crate::signature::is_reduced;

fn ours(bytes: &[u8; 32]) -> bool {
    is_reduced(bytes) && decode_public_point(bytes).is_some()
}

#[test]
fn bad_points_are_refused_as_the_library_refuses_them() {
    for bytes in bad_points() {
        assert!(library::point("point", &bytes).is_err());
        assert!(!ours(&bytes), "{bytes:02x?}");
    }
}

/// Every sum of a point of prime order and one of the eight torsion points.
#[test]
fn a_torsion_component_of_any_order_is_refused() {
    use curve25519_dalek::constants::EIGHT_TORSION;
    let (_, point) = commit_to(&curve25519_dalek::Scalar::from(77u8));
    for (at, torsion) in EIGHT_TORSION.iter().enumerate() {
        let bytes = (point + torsion).compress().to_bytes();
        assert_eq!(ours(&bytes), at == 0, "torsion point {at}");
        assert_eq!(library::point("point", &bytes).is_ok(), at == 0);
    }
}

#[test]
fn nonces_are_the_librarys() {
    for (seed, share) in generate(3).iter().enumerate() {
        let entropy = || SeededEntropy::new([seed as u8; 32]);
        let (nonces, _) = commit(share, BLOCK, &mut entropy());
        let mut again = entropy();
        for found in nonces.secret() {
            let mut rng = library::LibraryRng(&mut again);
            let expected = Nonce::<library::Suite>::new(share.secret().signing_share(), &mut rng);
            assert_eq!(*found, expected.to_scalar());
        }
    }
}

#[test]
fn shares_are_the_librarys() {
    for seed in 0..16 {
        let shares = generate(seed);
        let Committed { nonces, package } = commit_all(&shares, seed + 50);
        let signing_package = library::signing_package(&package, MESSAGE);
        for (share, nonces) in shares.iter().zip(nonces) {
            let [hiding, binding] = nonces.secret().map(Nonce::from_scalar);
            let theirs = SigningNonces::from_nonces(hiding, binding);
            let encoded = [
                theirs.commitments().hiding(),
                theirs.commitments().binding(),
            ]
            .map(|commitment| commitment.serialize().unwrap());
            assert_eq!(encoded.concat(), nonces.commitment().to_bytes());
            let expected = round2::sign(&signing_package, &theirs, share.secret()).unwrap();
            let found = sign(share, nonces, MESSAGE, &BLOCK, &package).unwrap();
            assert_eq!(found.to_bytes().to_vec(), expected.serialize());
        }
    }
}

proptest! {
    #[test]
    fn points_decode_as_the_librarys(bytes in any::<[u8; 32]>()) {
        prop_assert_eq!(ours(&bytes), library::point("point", &bytes).is_ok());
    }
}
