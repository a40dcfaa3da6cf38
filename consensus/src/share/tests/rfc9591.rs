//! The pinned library against the vectors of RFC 9591, appendix E.1. They are 2-of-3, which this
//! module refuses to be, so the library is driven directly, but through our randomness adapter.

use std::collections::BTreeMap;

use frost_core::keys::{KeyPackage, SigningShare, VerifyingShare};
use frost_core::round1::{Nonce, SigningCommitments, SigningNonces};
use frost_core::{SigningPackage, VerifyingKey, round2};
use frost_ed25519::Identifier;
use serde_json::Value;

use super::super::library::{LibraryRng, Suite};
use super::hex;
use crate::random::Entropy;
use crate::signature::verify_strict;

const VECTORS: &str = include_str!("../../../tests/vectors/rfc9591-frost-ed25519-sha512.json");

/// Answers with the vector's randomness, once.
struct Given(Vec<u8>);

impl Entropy for Given {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&std::mem::take(&mut self.0));
    }
}

fn bytes(value: &Value) -> Vec<u8> {
    hex(value.as_str().expect("a hexadecimal string"))
}

fn identifier(value: &Value) -> Identifier {
    u16::try_from(value["identifier"].as_u64().unwrap())
        .unwrap()
        .try_into()
        .unwrap()
}

struct Signer {
    key: KeyPackage<Suite>,
    nonces: SigningNonces<Suite>,
}

fn signer(inputs: &Value, output: &Value) -> Signer {
    let share = inputs["participant_shares"]
        .as_array()
        .unwrap()
        .iter()
        .find(|share| share["identifier"] == output["identifier"])
        .unwrap();
    let share = SigningShare::<Suite>::deserialize(&bytes(&share["participant_share"])).unwrap();
    let nonce = |name: &str| {
        let mut given = Given(bytes(&output[format!("{name}_nonce_randomness")]));
        let nonce = Nonce::<Suite>::new(&share, &mut LibraryRng(&mut given));
        assert_eq!(
            nonce.serialize(),
            bytes(&output[format!("{name}_nonce")]),
            "{name} nonce"
        );
        nonce
    };
    let nonces = SigningNonces::from_nonces(nonce("hiding"), nonce("binding"));
    let commitments = SigningCommitments::from(&nonces);
    for (name, commitment) in [
        ("hiding", commitments.hiding()),
        ("binding", commitments.binding()),
    ] {
        let expected = bytes(&output[format!("{name}_nonce_commitment")]);
        assert_eq!(
            commitment.serialize().unwrap(),
            expected,
            "{name} commitment"
        );
    }
    let group = VerifyingKey::deserialize(&bytes(&inputs["group_public_key"])).unwrap();
    let verifying_share = VerifyingShare::from(share);
    Signer {
        key: KeyPackage::new(identifier(output), share, verifying_share, group, 2),
        nonces,
    }
}

#[test]
fn library_reproduces_the_vectors() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let inputs = &vectors["inputs"];
    let outputs = vectors["round_one_outputs"]["outputs"].as_array().unwrap();
    let signers: Vec<_> = outputs
        .iter()
        .map(|output| signer(inputs, output))
        .collect();
    assert_eq!(signers.len(), 2);

    let message = bytes(&inputs["message"]);
    let commitments: BTreeMap<_, _> = signers
        .iter()
        .map(|signer| {
            (
                *signer.key.identifier(),
                SigningCommitments::from(&signer.nonces),
            )
        })
        .collect();
    let package = SigningPackage::new(commitments, &message);
    let group_point = signers[0].key.verifying_key();
    let preimages: BTreeMap<_, _> = package
        .binding_factor_preimages(group_point, &[])
        .unwrap()
        .into_iter()
        .collect();
    let factors = frost_core::compute_binding_factor_list(&package, group_point, &[]).unwrap();
    for output in outputs {
        let id = identifier(output);
        assert_eq!(preimages[&id], bytes(&output["binding_factor_input"]));
        assert_eq!(
            factors.get(&id).unwrap().serialize(),
            bytes(&output["binding_factor"])
        );
    }

    let expected = vectors["round_two_outputs"]["outputs"].as_array().unwrap();
    let shares: BTreeMap<_, _> = signers
        .iter()
        .zip(expected)
        .map(|(signer, expected)| {
            let share = round2::sign(&package, &signer.nonces, &signer.key).unwrap();
            assert_eq!(*signer.key.identifier(), identifier(expected));
            assert_eq!(share.serialize(), bytes(&expected["sig_share"]));
            (identifier(expected), share)
        })
        .collect();
    let keys = frost_core::keys::PublicKeyPackage::new(
        signers
            .iter()
            .map(|s| (*s.key.identifier(), *s.key.verifying_share()))
            .collect(),
        *group_point,
        Some(2),
    );
    let signature = frost_core::aggregate(&package, &shares, &keys)
        .unwrap()
        .serialize()
        .unwrap();
    assert_eq!(signature, bytes(&vectors["final_output"]["sig"]));
    let public = bytes(&inputs["group_public_key"]).try_into().unwrap();
    assert!(verify_strict(&public, &message, &signature.try_into().unwrap()).is_ok());
}
