//! What the three parties of a share must do together, and what each must refuse.

mod arithmetic;
mod dkg;
mod encoding;
mod floor;
mod rfc9591;
mod signing;

use super::dkg::{Round1, Round1Package, Round2Secret};
use super::{Commitment, KeyShare, Nonces, Package, SignatureShare, commit, sign};
use crate::party::Role;
use crate::random::SeededEntropy;

const MESSAGE: &[u8] = b"header.claims";
const BLOCK: [u8; 32] = [0xb1; 32];

/// Position of a party in every list of three.
fn at(role: Role) -> usize {
    usize::from(role.number()) - 1
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
        .collect()
}

/// Any small-order or otherwise unwanted encodings: identity, its non-canonical twins, order 2, 4, 8,
/// y = p, and a base point with a torsion component.
fn bad_points() -> Vec<[u8; 32]> {
    [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        // minus the base point's y: the base point plus the point of order two, up to sign
        "9599999999999999999999999999999999999999999999999999999999999919",
        // no point has this y
        "0200000000000000000000000000000000000000000000000000000000000000",
    ]
    .map(|text| hex(text).try_into().unwrap())
    .to_vec()
}

struct Started {
    states: Vec<Round1>,
    packages: [Round1Package; 3],
}

fn start(seed: u8) -> Started {
    let mut entropy = SeededEntropy::new([seed; 32]);
    let (states, packages): (Vec<_>, Vec<_>) = Role::ALL
        .map(|role| Round1::start(role, &mut entropy))
        .into_iter()
        .unzip();
    Started {
        states,
        packages: packages.try_into().unwrap(),
    }
}

fn others(role: Role) -> [Role; 2] {
    let [one, two]: [Role; 2] = Role::ALL
        .into_iter()
        .filter(|&other| other != role)
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
    [one, two]
}

/// Runs all of key generation honestly.
fn generate(seed: u8) -> [KeyShare; 3] {
    let Started { states, packages } = start(seed);
    let mut inboxes: [Vec<(Role, Round2Secret)>; 3] = Default::default();
    let mut waiting = Vec::new();
    for (state, role) in states.into_iter().zip(Role::ALL) {
        let inbox = others(role).map(|other| (other, packages[at(other)].clone()));
        let (state, secrets) = state.receive(inbox).unwrap();
        waiting.push(state);
        for (to, secret) in secrets {
            inboxes[at(to)].push((role, secret));
        }
    }
    let shares: Vec<_> = waiting
        .into_iter()
        .zip(inboxes)
        .map(|(state, inbox)| state.receive(inbox.try_into().unwrap()).unwrap())
        .collect();
    shares.try_into().unwrap()
}

struct Committed {
    nonces: [Nonces; 3],
    package: Package,
}

fn commit_all(shares: &[KeyShare; 3], seed: u8) -> Committed {
    let mut entropy = SeededEntropy::new([seed; 32]);
    let [(one, a), (two, b), (three, c)]: [(Nonces, Commitment); 3] =
        [0, 1, 2].map(|i| commit(&shares[i], BLOCK, &mut entropy));
    Committed {
        nonces: [one, two, three],
        package: Package::new([a, b, c]),
    }
}

fn sign_all(shares: &[KeyShare; 3], committed: Committed) -> (Package, [SignatureShare; 3]) {
    let Committed { nonces, package } = committed;
    let signed: Vec<_> = shares
        .iter()
        .zip(nonces)
        .map(|(share, nonces)| sign(share, nonces, MESSAGE, &BLOCK, &package).unwrap())
        .collect();
    (package, signed.try_into().unwrap())
}
