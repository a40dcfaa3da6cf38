//! One form for each object: what decodes encodes to the same bytes, and no other bytes decode.

use proptest::prelude::*;

use super::super::{DecodeError, PublicKeys};
use super::*;

/// The order of the group, little endian: the smallest scalar that is not reduced.
const ORDER: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";

/// Every shorter and longer encoding of `good` is refused for its length.
fn only_this_length<T>(good: &[u8], decode: impl Fn(&[u8]) -> Result<T, DecodeError>) {
    assert!(decode(good).is_ok());
    let longer = [good, good].concat();
    for length in (0..=longer.len()).filter(|&length| length != good.len()) {
        let expected = good.len();
        match decode(&longer[..length]) {
            Err(DecodeError::Length {
                found, expected: e, ..
            }) => assert_eq!((found, e), (length, expected)),
            other => panic!("{length} bytes: {:?}", other.err()),
        }
    }
}

fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}

#[test]
fn lengths_are_exact() {
    let shares = generate(1);
    let (package, signed) = sign_all(&shares, commit_all(&shares, 2));
    only_this_length(&shares[0].encode(), KeyShare::decode);
    only_this_length(&shares[0].public_keys().encode(), PublicKeys::decode);
    only_this_length(
        &package.commitment(Role::Device).to_bytes(),
        Commitment::decode,
    );
    only_this_length(&signed[0].to_bytes(), SignatureShare::decode);
    only_this_length(start(1).packages[0].as_bytes(), Round1Package::decode);
    only_this_length(&signed[0].to_bytes(), Round2Secret::decode);
}

#[test]
fn what_decodes_encodes_to_the_same_bytes() {
    let shares = generate(1);
    let (package, signed) = sign_all(&shares, commit_all(&shares, 2));
    for (share, role) in shares.iter().zip(Role::ALL) {
        let bytes = share.encode();
        let again = KeyShare::decode(&bytes).unwrap();
        assert_eq!(again.encode(), bytes);
        assert_eq!(again.role(), role);
        let public = again.public_keys();
        assert_eq!(
            &PublicKeys::decode(&public.encode()).unwrap(),
            share.public_keys()
        );
        let commitment = package.commitment(role);
        assert_eq!(
            Commitment::decode(&commitment.to_bytes()).unwrap(),
            *commitment
        );
        let share = signed[at(role)];
        assert_eq!(SignatureShare::decode(&share.to_bytes()).unwrap(), share);
    }
    let package = start(1).packages[2].clone();
    assert_eq!(Round1Package::decode(package.as_bytes()).unwrap(), package);
}

#[test]
fn a_decoded_share_signs() {
    let shares = generate(1).map(|share| KeyShare::decode(&share.encode()).unwrap());
    let (package, signed) = sign_all(&shares, commit_all(&shares, 2));
    let signature =
        super::super::aggregate(shares[0].public_keys(), &package, MESSAGE, &signed).unwrap();
    let group = shares[0].public_keys().group();
    assert!(crate::signature::verify_strict(group, MESSAGE, &signature).is_ok());
}

/// Version, owner, secret, group key and all three verifying shares are tied together.
#[test]
fn no_flipped_bit_leaves_a_key_share_valid() {
    let bytes = generate(1)[1].encode();
    for bit in 0..bytes.len() * 8 {
        assert!(
            KeyShare::decode(&flipped(&bytes, bit)).is_err(),
            "bit {bit}"
        );
    }
}

#[test]
fn key_shares_of_other_parties_and_versions_are_refused() {
    let bytes = generate(1)[0].encode().to_vec();
    for byte in 0..=u8::MAX {
        let mut version = bytes.clone();
        version[0] = byte;
        let mut party = bytes.clone();
        party[1] = byte;
        if byte != 1 {
            let expected = DecodeError::Version {
                found: byte,
                expected: 1,
            };
            assert_eq!(KeyShare::decode(&version).err(), Some(expected));
            let another = |role| DecodeError::SigningShare { role };
            let expected = match byte {
                2 => another(Role::Broker),
                3 => another(Role::TrustOperator),
                found => DecodeError::Party { found },
            };
            assert_eq!(KeyShare::decode(&party).err(), Some(expected));
        }
    }
}

#[test]
fn public_keys_that_do_not_interpolate_are_refused() {
    let (ours, theirs) = (generate(1), generate(2));
    let (ours, theirs) = (ours[0].public_keys(), theirs[0].public_keys());
    let [a, b, c] = *ours.verifying_shares();
    for (group, shares) in [
        (*theirs.group(), [a, b, c]),
        (*ours.group(), *theirs.verifying_shares()),
        (*ours.group(), [b, a, c]),
        (*ours.group(), [a, c, b]),
    ] {
        assert_eq!(PublicKeys::new(group, shares), Err(DecodeError::GroupKey));
    }
    assert_eq!(PublicKeys::new(*ours.group(), [a, b, c]).as_ref(), Ok(ours));
}

#[test]
fn identity_torsion_and_non_canonical_points_are_refused() {
    let good = commit_all(&generate(1), 2)
        .package
        .commitment(Role::Broker)
        .to_bytes();
    let public = generate(1)[0].public_keys().encode();
    for bad in bad_points() {
        for word in 0..2 {
            let mut bytes = good;
            bytes[word * 32..][..32].copy_from_slice(&bad);
            let refused = Commitment::decode(&bytes).unwrap_err();
            assert_eq!(
                refused,
                DecodeError::Point { what: "commitment" },
                "{bad:02x?}"
            );
        }
        for word in 0..4 {
            let mut bytes = public;
            bytes[word * 32..][..32].copy_from_slice(&bad);
            assert_eq!(
                PublicKeys::decode(&bytes),
                Err(DecodeError::Point {
                    what: "public keys"
                })
            );
        }
    }
}

#[test]
fn scalars_are_reduced() {
    let order = hex(ORDER);
    let mut below = order.clone();
    below[0] -= 1;
    assert!(SignatureShare::decode(&below).is_ok());
    assert!(Round2Secret::decode(&below).is_ok());
    for bytes in [order, vec![0xff; 32]] {
        let refused = SignatureShare::decode(&bytes);
        assert_eq!(
            refused,
            Err(DecodeError::Scalar {
                what: "signature share"
            })
        );
        let refused = Round2Secret::decode(&bytes).err();
        assert_eq!(
            refused,
            Some(DecodeError::Scalar {
                what: "round 2 secret"
            })
        );
        let mut package = *start(1).packages[0].as_bytes();
        package[128..].copy_from_slice(&bytes);
        let refused = Round1Package::decode(&package);
        assert_eq!(
            refused,
            Err(DecodeError::Scalar {
                what: "round 1 package"
            })
        );
    }
}

proptest! {
    #[test]
    fn any_bytes_decode_to_themselves_or_not_at_all(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for length in [bytes.len(), 32, 64, 128, 160, 162] {
            let Some(bytes) = bytes.get(..length) else { continue };
            if let Ok(share) = SignatureShare::decode(bytes) {
                prop_assert_eq!(&share.to_bytes()[..], bytes);
            }
            if let Ok(commitment) = Commitment::decode(bytes) {
                prop_assert_eq!(&commitment.to_bytes()[..], bytes);
            }
            if let Ok(package) = Round1Package::decode(bytes) {
                prop_assert_eq!(&package.as_bytes()[..], bytes);
            }
            if let Ok(secret) = Round2Secret::decode(bytes) {
                prop_assert_eq!(&secret.as_bytes()[..], bytes);
            }
            prop_assert!(PublicKeys::decode(bytes).is_err());
            prop_assert!(KeyShare::decode(bytes).is_err());
        }
    }

    #[test]
    fn a_commitment_that_decodes_is_what_its_points_encode_to(seed in any::<[u8; 32]>(), bit in 0_usize..512) {
        let mut entropy = SeededEntropy::new(seed);
        let share = &generate(1)[0];
        let (_, commitment) = commit(share, BLOCK, &mut entropy);
        if let Ok(other) = Commitment::decode(&flipped(&commitment.to_bytes(), bit)) {
            let encoded = other.points().map(|point| point.compress().to_bytes());
            prop_assert_eq!(encoded.concat(), other.to_bytes());
        }
    }
}
