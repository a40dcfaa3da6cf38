//! Key generation: what a party accepts from the two others, and whom it names otherwise.

use std::collections::BTreeMap;

use frost_core::keys::dkg::{compute_proof_of_knowledge, part1, round1};
use frost_core::keys::{CoefficientCommitment, VerifiableSecretSharingCommitment};
use frost_ed25519::{Ed25519Group, Group};

use super::super::DecodeError;
use super::super::dkg::{DkgFault, DkgReason, Round2};
use super::super::library::{LibraryRng, Scalar, Suite, identifier, scalar};
use super::*;
use crate::random::Entropy;

fn peer(culprit: Role, reason: DkgReason) -> Option<DkgFault> {
    Some(DkgFault::Peer { culprit, reason })
}

fn inbox(role: Role, packages: &[Round1Package; 3]) -> [(Role, Round1Package); 2] {
    others(role).map(|other| (other, packages[at(other)].clone()))
}

/// All three after round one: their states, and the secrets on their way, by (from, to).
fn halfway(started: Started) -> (Vec<Round2>, BTreeMap<(Role, Role), Round2Secret>) {
    let mut states = Vec::new();
    let mut posted = BTreeMap::new();
    for (state, role) in started.states.into_iter().zip(Role::ALL) {
        let (state, secrets) = state.receive(inbox(role, &started.packages)).unwrap();
        states.push(state);
        posted.extend(secrets.map(|(to, secret)| ((role, to), secret)));
    }
    (states, posted)
}

#[test]
fn all_three_get_the_same_public_keys_and_their_own_share() {
    let shares = generate(3);
    for (share, role) in shares.iter().zip(Role::ALL) {
        assert_eq!(share.role(), role);
        assert_eq!(share.public_keys(), shares[0].public_keys());
    }
    assert_ne!(
        generate(4)[0].public_keys().group(),
        shares[0].public_keys().group()
    );
}

#[test]
fn packages_may_arrive_in_any_order() {
    let Started { states, packages } = start(3);
    for (state, role) in states.into_iter().zip(Role::ALL) {
        let [one, two] = inbox(role, &packages);
        let (_, secrets) = state.receive([two, one]).unwrap();
        assert_eq!(secrets.map(|(to, _)| to), others(role));
    }
}

#[test]
fn own_and_duplicate_senders_are_refused_without_blame() {
    for role in Role::ALL {
        let [a, b] = others(role);
        for senders in [[a, a], [b, b], [role, a], [b, role], [role, role]] {
            let Started { states, packages } = start(3);
            let state = states.into_iter().nth(at(role)).unwrap();
            let fault = state
                .receive(senders.map(|sender| (sender, packages[at(sender)].clone())))
                .err();
            assert_eq!(
                fault,
                Some(DkgFault::Senders {
                    own: role,
                    found: senders
                })
            );
            assert_eq!(fault.and_then(|fault| fault.culprit()), None);

            let (states, _) = halfway(start(3));
            let state = states.into_iter().nth(at(role)).unwrap();
            let secrets = senders.map(|s| {
                (
                    s,
                    Round2Secret::decode(&[1; 32]).unwrap_or_else(|_| unreachable!()),
                )
            });
            let fault = state.receive(secrets).err();
            assert_eq!(
                fault,
                Some(DkgFault::Senders {
                    own: role,
                    found: senders
                })
            );
        }
    }
}

#[test]
fn a_package_of_another_party_is_refused() {
    // The broker repeats the trust operator's package as its own: a rogue key without the secret.
    let Started {
        mut states,
        packages,
    } = start(3);
    let copied = packages[at(Role::TrustOperator)].clone();
    let fault = states
        .remove(0)
        .receive([
            (Role::Broker, copied.clone()),
            (Role::TrustOperator, copied),
        ])
        .err();
    assert_eq!(fault, peer(Role::Broker, DkgReason::Proof));
}

#[test]
fn an_altered_proof_names_its_sender() {
    for culprit in [Role::Broker, Role::TrustOperator] {
        let Started {
            mut states,
            packages,
        } = start(3);
        let mut inbox = inbox(Role::Device, &packages);
        let mut bytes = *packages[at(culprit)].as_bytes();
        bytes[128] ^= 1;
        let altered = Round1Package::decode(&bytes).unwrap();
        inbox
            .iter_mut()
            .filter(|(role, _)| *role == culprit)
            .for_each(|entry| entry.1 = altered.clone());
        assert_eq!(
            states.remove(0).receive(inbox).err(),
            peer(culprit, DkgReason::Proof)
        );
    }
}

#[test]
fn a_bad_secret_names_its_sender() {
    for role in Role::ALL {
        for culprit in others(role) {
            let (states, mut posted) = halfway(start(3));
            let state = states.into_iter().nth(at(role)).unwrap();
            let secrets = others(role).map(|from| {
                let mut bytes = *posted.remove(&(from, role)).unwrap().as_bytes();
                bytes[0] ^= u8::from(from == culprit);
                (from, Round2Secret::decode(&bytes).unwrap())
            });
            assert_eq!(
                state.receive(secrets).err(),
                peer(culprit, DkgReason::Secret)
            );
        }
    }
}

#[test]
fn a_secret_for_somebody_else_names_its_sender() {
    let (states, mut posted) = halfway(start(3));
    let state = states.into_iter().next().unwrap();
    let misdirected = posted.remove(&(Role::Broker, Role::TrustOperator)).unwrap();
    let right = posted.remove(&(Role::TrustOperator, Role::Device)).unwrap();
    let fault = state
        .receive([(Role::Broker, misdirected), (Role::TrustOperator, right)])
        .err();
    assert_eq!(fault, peer(Role::Broker, DkgReason::Secret));
}

/// A proof of knowledge carries no session, so the package itself passes; whoever replays it does
/// not know the polynomial and is named when its secret does not fit.
#[test]
fn a_replayed_package_of_another_session_names_its_sender() {
    let old = start(3);
    let Started {
        mut states,
        packages,
    } = start(4);
    let replayed = old.packages[at(Role::Broker)].clone();
    let (device, _) = states
        .remove(0)
        .receive([
            (Role::Broker, replayed),
            (
                Role::TrustOperator,
                packages[at(Role::TrustOperator)].clone(),
            ),
        ])
        .unwrap();
    let (_, mut posted) = halfway(start(4));
    let secrets = [Role::Broker, Role::TrustOperator]
        .map(|from| (from, posted.remove(&(from, Role::Device)).unwrap()));
    assert_eq!(
        device.receive(secrets).err(),
        peer(Role::Broker, DkgReason::Secret)
    );
}

/// Two different packages from one sender (equivocation) pass each receiver's checks when the
/// secrets match, and give different keys: exactly what the signed transcript compares.
#[test]
fn equivocation_shows_as_different_public_keys() {
    let honest = generate(3);
    let Started {
        mut states,
        packages,
    } = start(3);
    let mut entropy = SeededEntropy::new([99; 32]);
    let (second, forked) = Round1::start(Role::Broker, &mut entropy);
    let trust = packages[at(Role::TrustOperator)].clone();
    let (device, _) = states
        .remove(0)
        .receive([(Role::Broker, forked), (Role::TrustOperator, trust.clone())])
        .unwrap();
    let (_, [(_, to_device), _]) = second
        .receive([
            (Role::Device, packages[0].clone()),
            (Role::TrustOperator, trust),
        ])
        .unwrap();
    let (_, mut posted) = halfway(start(3));
    let from_trust = posted.remove(&(Role::TrustOperator, Role::Device)).unwrap();
    let share = device
        .receive([(Role::Broker, to_device), (Role::TrustOperator, from_trust)])
        .unwrap();
    assert_ne!(share.public_keys(), honest[1].public_keys());
}

#[test]
fn another_threshold_is_refused() {
    for threshold in [2_u16, 4, 5] {
        let mut entropy = SeededEntropy::new([7; 32]);
        let parties = threshold.max(3);
        let (_, package) = part1::<Suite, _>(
            identifier(Role::Broker),
            parties,
            threshold,
            LibraryRng(&mut entropy),
        )
        .unwrap();
        let mut bytes = package.commitment().serialize_whole().unwrap();
        bytes.extend(package.proof_of_knowledge().serialize().unwrap());
        let found = usize::from(threshold) * 32 + 64;
        let expected = Round1Package::LENGTH;
        let refused = Round1Package::decode(&bytes).unwrap_err();
        assert_eq!(
            refused,
            DecodeError::Length {
                what: "round 1 package",
                found,
                expected
            }
        );
        let fault = DkgFault::encoding(Role::Broker, refused);
        assert_eq!(fault.culprit(), Some(Role::Broker));
    }
}

#[test]
fn a_vanishing_leading_coefficient_is_refused() {
    // The identity as last coefficient would lower the threshold at the same length.
    let bytes = *start(3).packages[0].as_bytes();
    for bad in bad_points() {
        for word in 0..4 {
            let mut altered = bytes;
            altered[word * 32..][..32].copy_from_slice(&bad);
            let refused = Round1Package::decode(&altered);
            assert_eq!(
                refused,
                Err(DecodeError::Point {
                    what: "round 1 package"
                }),
                "{bad:02x?}"
            );
        }
    }
}

/// A package for this role with chosen coefficients and a true proof.
fn crafted(role: Role, coefficients: [Scalar; 3]) -> round1::Package<Suite> {
    let commitment = VerifiableSecretSharingCommitment::new(
        coefficients
            .map(|c| CoefficientCommitment::new(Ed25519Group::generator() * c))
            .to_vec(),
    );
    let mut entropy = SeededEntropy::new([role.number(); 32]);
    let rng = LibraryRng(&mut entropy);
    let proof =
        compute_proof_of_knowledge(identifier(role), &coefficients, &commitment, rng).unwrap();
    round1::Package::new(commitment, proof)
}

fn random_scalar(entropy: &mut SeededEntropy) -> Scalar {
    let mut bytes = [0; 32];
    entropy.fill(&mut bytes);
    bytes[31] &= 0x0f;
    scalar("random", &bytes).unwrap()
}

/// Two others who collude and somehow know the device's secret cancel it: the group key would be
/// the identity, under which everything verifies.
#[test]
fn an_identity_group_key_is_refused() {
    let mut entropy = SeededEntropy::new([21; 32]);
    let mut draw = || random_scalar(&mut entropy);
    let device = [draw(), draw(), draw()];
    let broker = [draw(), draw(), draw()];
    let trust = [-(device[0] + broker[0]), draw(), draw()];
    let secret = round1::SecretPackage::new(
        identifier(Role::Device),
        device.to_vec(),
        crafted(Role::Device, device).commitment().clone(),
        3,
        3,
    );
    let state = Round1::from_library(Role::Device, secret);
    let peers = [(Role::Broker, broker), (Role::TrustOperator, trust)];
    let (state, _) = state
        .receive(peers.map(|(role, coefficients)| {
            (
                role,
                Round1Package::from_library(&crafted(role, coefficients)).unwrap(),
            )
        }))
        .unwrap();
    let at_one = peers
        .map(|(role, [a, b, c])| (role, Round2Secret::decode(&(a + b + c).to_bytes()).unwrap()));
    assert_eq!(state.receive(at_one).err(), Some(DkgFault::NoKey));
}

#[test]
fn states_and_secrets_are_not_printed() {
    let started = start(3);
    let text = format!("{:?}", started.states[0]);
    assert_eq!(text, "Round1(device, <redacted>)");
    let (states, posted) = halfway(started);
    assert_eq!(format!("{:?}", states[1]), "Round2(broker, <redacted>)");
    let secret = &posted[&(Role::Device, Role::Broker)];
    assert_eq!(format!("{secret:?}"), "Round2Secret(<redacted>)");
}
