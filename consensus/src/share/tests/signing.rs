//! Signing: three shares make one Ed25519 signature, a party refuses what it must, and blame falls
//! on whom it should and on nobody else.

use super::super::{AggregateError, Commitment, Package, SignError, SignatureShare, aggregate};
use super::*;
use crate::signature::verify_strict;

fn culprits(roles: &[Role]) -> Result<[u8; 64], AggregateError> {
    Err(AggregateError::Culprits {
        roles: roles.to_vec(),
    })
}

/// Another valid scalar: one bit away.
fn altered(share: &SignatureShare) -> SignatureShare {
    let mut bytes = share.to_bytes();
    bytes[0] ^= 1;
    SignatureShare::decode(&bytes).unwrap()
}

#[test]
fn three_shares_sign_and_any_verifier_accepts() {
    for seed in 0..8 {
        let shares = generate(seed);
        let (package, signed) = sign_all(&shares, commit_all(&shares, seed + 100));
        let keys = shares[0].public_keys();
        let signature = aggregate(keys, &package, MESSAGE, &signed).unwrap();
        assert_eq!(verify_strict(keys.group(), MESSAGE, &signature), Ok(()));
        assert!(verify_strict(keys.group(), b"header.other", &signature).is_err());
    }
}

#[test]
fn two_commitments_of_one_party_differ() {
    let shares = generate(1);
    let mut entropy = SeededEntropy::new([1; 32]);
    let (_, one) = commit(&shares[0], BLOCK, &mut entropy);
    let (_, two) = commit(&shares[0], BLOCK, &mut entropy);
    assert_ne!(one, two);
}

#[test]
fn another_block_hash_is_refused() {
    let shares = generate(1);
    let Committed {
        nonces: [nonces, ..],
        package,
    } = commit_all(&shares, 2);
    let refused = sign(&shares[0], nonces, MESSAGE, &[0xb2; 32], &package);
    assert_eq!(refused, Err(SignError::OtherBlock));
}

#[test]
fn the_empty_message_is_refused() {
    let shares = generate(1);
    let Committed {
        nonces: [nonces, ..],
        package,
    } = commit_all(&shares, 2);
    assert_eq!(
        sign(&shares[0], nonces, b"", &BLOCK, &package),
        Err(SignError::EmptyMessage)
    );
    let (package, signed) = sign_all(&shares, commit_all(&shares, 3));
    let refused = aggregate(shares[0].public_keys(), &package, b"", &signed);
    assert_eq!(refused, Err(AggregateError::EmptyMessage));
}

#[test]
fn a_package_without_the_own_commitment_is_refused() {
    let shares = generate(1);
    for role in Role::ALL {
        let Committed { nonces, package } = commit_all(&shares, 2);
        let foreign = commit_all(&shares, 3).package;
        let mut commitments = *package.commitments();
        commitments[at(role)] = *foreign.commitment(role);
        let own = nonces.into_iter().nth(at(role)).unwrap();
        let refused = sign(
            &shares[at(role)],
            own,
            MESSAGE,
            &BLOCK,
            &Package::new(commitments),
        );
        assert_eq!(refused, Err(SignError::OwnCommitment { role }));
    }
}

#[test]
fn a_package_in_another_order_is_refused_by_those_who_moved() {
    let shares = generate(1);
    let Committed {
        nonces: [one, two, three],
        package,
    } = commit_all(&shares, 2);
    let [a, b, c] = *package.commitments();
    let swapped = Package::new([b, a, c]);
    for (role, nonces) in [(Role::Device, one), (Role::Broker, two)] {
        let refused = sign(&shares[at(role)], nonces, MESSAGE, &BLOCK, &swapped);
        assert_eq!(refused, Err(SignError::OwnCommitment { role }));
    }
    assert!(sign(&shares[2], three, MESSAGE, &BLOCK, &swapped).is_ok());
}

#[test]
fn a_bad_share_names_exactly_its_sender() {
    let shares = generate(4);
    let (package, signed) = sign_all(&shares, commit_all(&shares, 5));
    let keys = shares[1].public_keys();
    for bad in 0_u8..8 {
        let mut given = signed;
        let blamed: Vec<_> = Role::ALL
            .into_iter()
            .filter(|&role| bad & (1 << at(role)) != 0)
            .collect();
        for &role in &blamed {
            given[at(role)] = altered(&given[at(role)]);
        }
        let result = aggregate(keys, &package, MESSAGE, &given);
        if bad == 0 {
            assert!(result.is_ok());
        } else {
            assert_eq!(result, culprits(&blamed), "bad {bad:03b}");
        }
    }
}

/// The sum is right, each share is wrong: two cheaters who cancel out still make a signature, and a
/// signature that verifies is all that counts.
#[test]
fn shares_that_cancel_out_still_sign() {
    let shares = generate(4);
    let (package, signed) = sign_all(&shares, commit_all(&shares, 5));
    let keys = shares[0].public_keys();
    let one = super::super::library::scalar("one", &{
        let mut one = [0; 32];
        one[0] = 1;
        one
    })
    .unwrap();
    let shifted = |share: &SignatureShare, up: bool| {
        let scalar = super::super::library::scalar("share", &share.to_bytes()).unwrap();
        let moved = if up { scalar + one } else { scalar - one };
        SignatureShare::decode(&moved.to_bytes()).unwrap()
    };
    let given = [
        shifted(&signed[0], true),
        shifted(&signed[1], false),
        signed[2],
    ];
    assert_ne!(given, signed);
    let signature = aggregate(keys, &package, MESSAGE, &given).unwrap();
    assert_eq!(verify_strict(keys.group(), MESSAGE, &signature), Ok(()));
}

/// A commitment altered after the others signed makes the sum fail, and no share fits the altered
/// package any more: every one was computed for another. That is why commitments travel signed, and
/// why a share is a fault only against the package that its sender signed.
#[test]
fn an_altered_commitment_never_signs() {
    let shares = generate(6);
    let (package, signed) = sign_all(&shares, commit_all(&shares, 7));
    let foreign = commit_all(&shares, 8).package;
    for role in Role::ALL {
        let mut commitments = *package.commitments();
        commitments[at(role)] = *foreign.commitment(role);
        let result = aggregate(
            shares[0].public_keys(),
            &Package::new(commitments),
            MESSAGE,
            &signed,
        );
        assert_eq!(result, culprits(&Role::ALL));
    }
}

#[test]
fn shares_over_another_message_are_all_blamed() {
    let shares = generate(6);
    let (package, signed) = sign_all(&shares, commit_all(&shares, 7));
    let result = aggregate(shares[0].public_keys(), &package, b"header.other", &signed);
    assert_eq!(result, culprits(&Role::ALL));
}

#[test]
fn a_share_of_another_account_is_blamed() {
    let (ours, theirs) = (generate(1), generate(2));
    let Committed {
        nonces: [one, two, three],
        package,
    } = commit_all(&ours, 3);
    let given = [
        sign(&ours[0], one, MESSAGE, &BLOCK, &package).unwrap(),
        sign(&theirs[1], two, MESSAGE, &BLOCK, &package).unwrap(),
        sign(&ours[2], three, MESSAGE, &BLOCK, &package).unwrap(),
    ];
    let result = aggregate(ours[0].public_keys(), &package, MESSAGE, &given);
    assert_eq!(result, culprits(&[Role::Broker]));
}

#[test]
fn culprits_are_named_in_the_message() {
    let error = AggregateError::Culprits {
        roles: vec![Role::Device, Role::TrustOperator],
    };
    let expected = "signature shares do not fit the package, at fault: device, trust operator";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn shares_are_not_printed() {
    let shares = generate(1);
    let committed = commit_all(&shares, 2);
    for text in [
        format!("{:?}", shares[0]),
        format!("{:?}", committed.nonces[0]),
        format!("{:?}", sign_all(&shares, commit_all(&shares, 3)).1[0]),
    ] {
        assert!(text.contains("<redacted>"), "{text}");
        assert!(text.len() < 40, "{text}");
    }
    let commitment: Commitment = *committed.package.commitment(Role::Device);
    assert!(format!("{commitment:?}").len() > 128);
}
