//! RFC 9591's formulas for signing, for the one signer set {1, 2, 3}. Decides nothing: it computes
//! what the library computes, with the base point's table for secret nonces, and in variable time
//! where everything is public. Tests hold every result against the library's. Key generation and
//! finding a culprit stay the library's.

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{IsIdentity, VartimeMultiscalarMul};
use frost_core::Ciphersuite;
use zeroize::Zeroizing;

use super::Package;
use super::library::Suite;
use crate::party::Role;

/// The scalar of a party's identifier, encoded: 1, 2 or 3, little endian (RFC 9591 §6.1).
fn identifier(role: Role) -> [u8; 32] {
    let mut bytes = [0; 32];
    if let Some(first) = bytes.first_mut() {
        *first = role.number();
    }
    bytes
}

/// The Lagrange coefficient at 0 of one point of the set {1, 2, 3}: 3, −3 and 1.
fn lagrange(role: Role) -> Scalar {
    match role {
        Role::Device => Scalar::from(3u8),
        Role::Broker => -Scalar::from(3u8),
        Role::TrustOperator => Scalar::ONE,
    }
}

/// The compressed point of a secret scalar, and the point: constant time, fixed base.
pub(super) fn commit_to(nonce: &Scalar) -> ([u8; 32], EdwardsPoint) {
    let point = EdwardsPoint::mul_base(nonce);
    (point.compress().to_bytes(), point)
}

/// Whether a public point has no torsion component: ℓ·P = 0, as (ℓ − 1)·P = −P, since ℓ itself is
/// no canonical scalar. Variable time.
fn is_torsion_free(point: &EdwardsPoint) -> bool {
    let most = -Scalar::ONE;
    let product = EdwardsPoint::vartime_double_scalar_mul_basepoint(&most, point, &Scalar::ZERO);
    product == -point
}

/// Decodes a public point of prime order that is not the identity. Variable time.
pub(super) fn decode_public_point(bytes: &[u8; 32]) -> Option<EdwardsPoint> {
    let point = CompressedEdwardsY(*bytes).decompress()?;
    (!point.is_identity() && is_torsion_free(&point)).then_some(point)
}

/// What all three compute alike from a package and a message (RFC 9591 §4.4 to §4.6).
pub(super) struct Round {
    factors: [Scalar; 3],
    r: [u8; 32],
    challenge: Scalar,
}

impl Round {
    /// Binding factors, group commitment and challenge; `None` if the commitments add up to the
    /// identity. Every input is public: variable time.
    pub(super) fn new(group: &[u8; 32], package: &Package, message: &[u8]) -> Option<Self> {
        let mut encoded = Vec::with_capacity(3 * 96);
        for (role, commitment) in Role::ALL.into_iter().zip(package.commitments()) {
            encoded.extend_from_slice(&identifier(role));
            encoded.extend_from_slice(commitment.as_bytes());
        }
        let mut input = Vec::with_capacity(192);
        input.extend_from_slice(group);
        input.extend_from_slice(&Suite::H4(message));
        input.extend_from_slice(&Suite::H5(&encoded));
        let prefix = input.len();
        let factors = Role::ALL.map(|role| {
            input.truncate(prefix);
            input.extend_from_slice(&identifier(role));
            Suite::H1(&input)
        });

        let points = package.commitments().map(|commitment| *commitment.points());
        let bound =
            EdwardsPoint::vartime_multiscalar_mul(factors, points.map(|[_, binding]| binding));
        let sum = points
            .into_iter()
            .fold(bound, |sum, [hiding, _]| sum + hiding);
        if sum.is_identity() {
            return None;
        }
        let r = sum.compress().to_bytes();
        let mut signed = Vec::with_capacity(64 + message.len());
        signed.extend_from_slice(&r);
        signed.extend_from_slice(group);
        signed.extend_from_slice(message);
        let challenge = Suite::H2(&signed);
        Some(Self {
            factors,
            r,
            challenge,
        })
    }

    /// The signature's first half: the group commitment, compressed.
    pub(super) fn r(&self) -> [u8; 32] {
        self.r
    }

    /// One party's share of the second half: hiding + binding·ρ + λ·secret·challenge. Constant time.
    pub(super) fn share(
        &self,
        role: Role,
        [hiding, binding]: &[Scalar; 2],
        secret: &Scalar,
    ) -> Scalar {
        let [device, broker, trust] = &self.factors;
        let factor = match role {
            Role::Device => device,
            Role::Broker => broker,
            Role::TrustOperator => trust,
        };
        // The challenge is public: this product alone gives the secret.
        let part = Zeroizing::new(lagrange(role) * secret * self.challenge);
        hiding + binding * factor + *part
    }
}
