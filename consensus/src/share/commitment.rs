//! Nonces, their commitments, and the package of three. Decides that a nonce exists for one block
//! and one try, because three uses of one nonce give the share away: it is not `Clone`, has no
//! encoding, and signing takes it by value. Never stores one.

use core::fmt;

use frost_core::Ciphersuite as _;
use zeroize::Zeroizing;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::arithmetic::{commit_to, decode_public_point};
use super::keys::write_hex;
use super::library::{Element, Scalar, Suite};
use super::{DecodeError, KeyShare, words};
use crate::party::Role;
use crate::random::Entropy;
use crate::signature::is_reduced;

/// A party's public commitment to one pair of nonces. Points are decoded once, here.
#[derive(Clone, Copy)]
pub struct Commitment {
    bytes: [u8; Self::LENGTH],
    points: [Element; 2],
}

impl Commitment {
    /// Bytes of the encoding.
    pub const LENGTH: usize = 64;

    const WHAT: &str = "commitment";

    /// Decodes hiding (32) ‖ binding (32), compressed Edwards points.
    ///
    /// # Errors
    /// [`DecodeError::Length`]; [`DecodeError::Point`] for an identity, torsion or non-canonical
    /// point.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let points = words::<2>(Self::WHAT, bytes)?;
        let [hiding, binding] = &points;
        let point = |bytes: &[u8; 32]| {
            // The check on y stands in for encoding again.
            let point = is_reduced(bytes)
                .then(|| decode_public_point(bytes))
                .flatten();
            point.ok_or(DecodeError::Point { what: Self::WHAT })
        };
        Ok(Self {
            bytes: join(*hiding, *binding),
            points: [point(hiding)?, point(binding)?],
        })
    }

    /// Hiding (32) ‖ binding (32).
    pub const fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.bytes
    }

    /// Hiding (32) ‖ binding (32).
    pub fn to_bytes(&self) -> [u8; Self::LENGTH] {
        self.bytes
    }

    /// Hiding and binding.
    pub(super) fn points(&self) -> &[Element; 2] {
        &self.points
    }
}

impl Serialize for Commitment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        crate::encoding::bytes::serialize(&self.bytes, serializer)
    }
}

impl<'de> Deserialize<'de> for Commitment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = crate::encoding::bytes::deserialize::<D, { Self::LENGTH }>(deserializer)?;
        Self::decode(&bytes).map_err(D::Error::custom)
    }
}

impl PartialEq for Commitment {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Commitment {}

impl fmt::Debug for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Commitment(")?;
        write_hex(f, &self.bytes)?;
        f.write_str(")")
    }
}

/// The bytes of a commitment for the party that made it: it compares them with its own and has no
/// need of the points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitmentBytes(
    /// Hiding (32) ‖ binding (32).
    #[serde(with = "crate::encoding::bytes")]
    pub [u8; Commitment::LENGTH],
);

impl From<&Commitment> for CommitmentBytes {
    fn from(commitment: &Commitment) -> Self {
        Self(commitment.to_bytes())
    }
}

pub(super) fn join(first: [u8; 32], second: [u8; 32]) -> [u8; 64] {
    let mut bytes = [0; 64];
    let (words, _) = bytes.as_chunks_mut::<32>();
    for (word, half) in words.iter_mut().zip([first, second]) {
        *word = half;
    }
    bytes
}

/// The commitments of all three parties to one signing. There is no package of fewer or of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Package {
    commitments: [Commitment; 3],
}

impl Package {
    /// A package of the commitments of device, broker and trust operator, in role order.
    pub const fn new(commitments: [Commitment; 3]) -> Self {
        Self { commitments }
    }

    /// The commitments in role order.
    pub fn commitments(&self) -> &[Commitment; 3] {
        &self.commitments
    }

    /// The commitment of one party.
    pub fn commitment(&self, role: Role) -> &Commitment {
        let [device, broker, trust] = &self.commitments;
        match role {
            Role::Device => device,
            Role::Broker => broker,
            Role::TrustOperator => trust,
        }
    }
}

/// A pair of secret nonces, bound to the block hash given to [`commit`]. Lives in memory only, is
/// used up by [`sign`](super::sign), and is wiped when dropped.
///
/// ```compile_fail,E0382
/// # use warifu_consensus::share::{KeyShare, Nonces, Package, sign};
/// fn twice(share: &KeyShare, nonces: Nonces, block: &[u8; 32], one: &Package, two: &Package) {
///     let _ = sign(share, nonces, b"header.claims", block, one);
///     let _ = sign(share, nonces, b"header.claims", block, two);
/// }
/// ```
///
/// ```compile_fail,E0599
/// # use warifu_consensus::share::Nonces;
/// fn twin(nonces: Nonces) -> (Nonces, Nonces) {
///     (nonces.clone(), nonces)
/// }
/// ```
pub struct Nonces {
    secret: Zeroizing<[Scalar; 2]>,
    commitment: Commitment,
    block_hash: [u8; 32],
}

impl Nonces {
    /// The public commitment to these nonces.
    pub fn commitment(&self) -> &Commitment {
        &self.commitment
    }

    /// The hash of the one block that these nonces may sign.
    pub fn block_hash(&self) -> &[u8; 32] {
        &self.block_hash
    }

    /// Hiding and binding.
    pub(super) fn secret(&self) -> &[Scalar; 2] {
        &self.secret
    }
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonces(<redacted>)")
    }
}

/// One nonce (RFC 9591 §4.1): H3 over 32 random bytes and the share, in a buffer that is wiped. The
/// library's own function leaves the share behind in memory that it gives back.
fn draw(share: &KeyShare, entropy: &mut impl Entropy) -> Scalar {
    let mut input = Zeroizing::new([0; 64]);
    let (random, secret) = input.split_at_mut(32);
    entropy.fill(random);
    let bytes = Zeroizing::new(share.secret().signing_share().to_scalar().to_bytes());
    secret.copy_from_slice(&*bytes);
    Suite::H3(&*input)
}

/// Makes fresh nonces for one try at signing the block with this hash, and the commitment to send
/// (RFC 9591 round one). The nonces hash fresh randomness together with the share, so weak
/// randomness alone does not make them predictable; a repeated `entropy` still repeats them.
pub fn commit(
    share: &KeyShare,
    block_hash: [u8; 32],
    entropy: &mut impl Entropy,
) -> (Nonces, Commitment) {
    let mut secret = Zeroizing::new([Scalar::ZERO; 2]);
    for nonce in secret.iter_mut() {
        // A zero nonce would give the share away; it is drawn with probability 2^-252.
        while *nonce == Scalar::ZERO {
            *nonce = draw(share, entropy);
        }
    }
    let [hiding, binding] = &*secret;
    let ((hiding, hiding_point), (binding, binding_point)) =
        (commit_to(hiding), commit_to(binding));
    let commitment = Commitment {
        bytes: join(hiding, binding),
        points: [hiding_point, binding_point],
    };
    (
        Nonces {
            secret,
            commitment,
            block_hash,
        },
        commitment,
    )
}
