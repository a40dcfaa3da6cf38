//! Signature shares and the signature. Decides what a party refuses before its share leaves, and who
//! is at fault when three shares make no signature. The sum is verified once, with the same strict
//! function as everything else; single shares are checked only after that failed, to name a culprit.
//! Never decides what to do about a culprit: a share is evidence only against the package that its
//! sender signed.

use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use frost_core::round2;
use frost_ed25519::Ciphersuite;
use zeroize::Zeroizing;

use super::arithmetic::Round;
use super::commitment::join;
use super::library::{self, Scalar, Suite};
use super::{DecodeError, KeyShare, Nonces, Package, PublicKeys, words};
use crate::party::Role;
use crate::signature::verify_strict;

/// One party's share of one signature. Not printed: whoever holds the other two holds the signature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SignatureShare {
    bytes: [u8; Self::LENGTH],
    scalar: Scalar,
}

impl SignatureShare {
    /// Bytes of the encoding.
    pub const LENGTH: usize = 32;

    const WHAT: &str = "signature share";

    /// Decodes a little-endian scalar.
    ///
    /// # Errors
    /// [`DecodeError::Length`], and [`DecodeError::Scalar`] if not reduced.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let [bytes] = words::<1>(Self::WHAT, bytes)?;
        library::scalar(Self::WHAT, &bytes).map(Self::of)
    }

    fn of(scalar: Scalar) -> Self {
        Self {
            bytes: scalar.to_bytes(),
            scalar,
        }
    }

    /// The little-endian scalar.
    pub fn to_bytes(&self) -> [u8; Self::LENGTH] {
        self.bytes
    }
}

impl Serialize for SignatureShare {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        crate::encoding::bytes::serialize(&self.to_bytes(), serializer)
    }
}

impl<'de> Deserialize<'de> for SignatureShare {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = crate::encoding::bytes::deserialize::<D, { Self::LENGTH }>(deserializer)?;
        Self::decode(&bytes).map_err(D::Error::custom)
    }
}

impl fmt::Debug for SignatureShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignatureShare(<redacted>)")
    }
}

/// Why a party gave no share. The nonces are used up all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// There is nothing to sign.
    #[error("message is empty")]
    EmptyMessage,
    /// The nonces were made for another block.
    #[error("nonces are bound to another block than the one to sign")]
    OtherBlock,
    /// The package holds something else in this party's place.
    #[error("package holds another commitment of the {role} than the one it made")]
    OwnCommitment {
        /// This party.
        role: Role,
    },
    /// The commitments add up to nothing that can be signed with.
    #[error("package gives no group commitment")]
    Package,
}

/// Gives this party's share of the signature over `message` (RFC 9591 round two).
///
/// `block_hash` is the hash of the block that `message` is the signing input of; the caller computes
/// it from `message`.
///
/// # Errors
/// [`SignError`]; nothing secret has left then.
#[expect(
    clippy::needless_pass_by_value,
    reason = "a nonce is used up by one try"
)]
pub fn sign(
    share: &KeyShare,
    nonces: Nonces,
    message: &[u8],
    block_hash: &[u8; 32],
    package: &Package,
) -> Result<SignatureShare, SignError> {
    let round = check(share, &nonces, message, block_hash, package)?;
    Ok(own_share(&round, share, &nonces))
}

/// Refuses what this party must not sign.
fn check(
    share: &KeyShare,
    nonces: &Nonces,
    message: &[u8],
    block_hash: &[u8; 32],
    package: &Package,
) -> Result<Round, SignError> {
    if message.is_empty() {
        return Err(SignError::EmptyMessage);
    }
    if nonces.block_hash() != block_hash {
        return Err(SignError::OtherBlock);
    }
    let role = share.role();
    if nonces.commitment() != package.commitment(role) {
        return Err(SignError::OwnCommitment { role });
    }
    Round::new(share.public_keys().group(), package, message).ok_or(SignError::Package)
}

fn own_share(round: &Round, share: &KeyShare, nonces: &Nonces) -> SignatureShare {
    let secret = Zeroizing::new(share.secret().signing_share().to_scalar());
    SignatureShare::of(round.share(share.role(), nonces.secret(), &secret))
}

/// Why the last party made no signature. Its nonces are used up all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompleteError {
    /// It refuses to sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The three shares make no signature.
    #[error(transparent)]
    Aggregate(#[from] AggregateError),
}

/// The trust operator's last step: its own share and the sum of all three, so that its share leaves
/// only inside a signature that verified strictly. `theirs`: the device's and the broker's.
///
/// # Errors
/// [`CompleteError`], as of [`sign`] and [`aggregate`].
#[expect(
    clippy::needless_pass_by_value,
    reason = "a nonce is used up by one try"
)]
pub fn complete(
    share: &KeyShare,
    nonces: Nonces,
    message: &[u8],
    block_hash: &[u8; 32],
    package: &Package,
    theirs: [SignatureShare; 2],
) -> Result<[u8; 64], CompleteError> {
    let round = check(share, &nonces, message, block_hash, package)?;
    let [device, broker] = theirs;
    let shares = [device, broker, own_share(&round, share, &nonces)];
    Ok(add_up(
        &round,
        share.public_keys(),
        package,
        message,
        &shares,
    )?)
}

/// Why three shares made no signature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AggregateError {
    /// There is nothing to sign.
    #[error("message is empty")]
    EmptyMessage,
    /// The shares of these parties do not fit their commitments in this package; in role order.
    #[error("signature shares do not fit the package, at fault: {}", list(roles))]
    Culprits {
        /// Who gave them.
        roles: Vec<Role>,
    },
    /// The commitments add up to nothing that can be signed with; no single party is to blame.
    #[error("package gives no group commitment")]
    Package,
}

fn list(roles: &[Role]) -> String {
    roles
        .iter()
        .map(Role::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Adds up the shares (in role order) to the Ed25519 signature (R 32 ‖ S 32) of `message` under the
/// group key, and verifies it strictly before it is returned.
///
/// # Errors
/// [`AggregateError`], naming every party whose share is wrong and nobody else.
pub fn aggregate(
    keys: &PublicKeys,
    package: &Package,
    message: &[u8],
    shares: &[SignatureShare; 3],
) -> Result<[u8; 64], AggregateError> {
    if message.is_empty() {
        return Err(AggregateError::EmptyMessage);
    }
    let round = Round::new(keys.group(), package, message).ok_or(AggregateError::Package)?;
    add_up(&round, keys, package, message, shares)
}

fn add_up(
    round: &Round,
    keys: &PublicKeys,
    package: &Package,
    message: &[u8],
    shares: &[SignatureShare; 3],
) -> Result<[u8; 64], AggregateError> {
    let sum: Scalar = shares.iter().map(|share| share.scalar).sum();
    let signature = join(round.r(), sum.to_bytes());
    match verify_strict(keys.group(), message, &signature) {
        Ok(()) => Ok(signature),
        Err(_) => Err(find_culprits(keys, package, message, shares)),
    }
}

/// Who gave a share that does not fit, by the library's own check of each.
fn find_culprits(
    keys: &PublicKeys,
    package: &Package,
    message: &[u8],
    shares: &[SignatureShare; 3],
) -> AggregateError {
    // Shares that all fit sum to a signature, since the public keys are consistent and R is of prime
    // order: somebody's does not.
    culprits(keys, package, message, shares).map_or(AggregateError::Package, |roles| {
        AggregateError::Culprits { roles }
    })
}

fn culprits(
    keys: &PublicKeys,
    package: &Package,
    message: &[u8],
    shares: &[SignatureShare; 3],
) -> Result<Vec<Role>, frost_ed25519::Error> {
    let signing_package = library::signing_package(package, message);
    let group_point = keys.group_point();
    let factors = frost_core::compute_binding_factor_list(&signing_package, group_point, &[])?;
    let commitment = frost_core::compute_group_commitment(&signing_package, &factors)?;
    let challenge = Suite::challenge(&commitment.clone().to_element(), group_point, message)?;
    let misfits = Role::ALL.into_iter().zip(shares).filter(|(role, share)| {
        !round2::SignatureShare::deserialize(&share.bytes).is_ok_and(|share| {
            frost_core::verify_signature_share_precomputed(
                library::identifier(*role),
                &signing_package,
                &factors,
                &commitment,
                &share,
                keys.share_point(*role),
                challenge,
            )
            .is_ok()
        })
    });
    Ok(misfits.map(|(role, _)| role).collect())
}
