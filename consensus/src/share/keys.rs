//! A party's share of an account key, and the public half of all three. Decides that what is loaded
//! from a vault is one consistent 3-of-3 key: the group key follows from the verifying shares, the
//! secret from nothing else. Never signs.

use core::fmt;

use frost_core::VerifyingKey;
use frost_core::keys::{KeyPackage, SigningShare, VerifyingShare};
use zeroize::{Zeroize, Zeroizing};

use super::library::{self, Element, PARTIES, Suite};
use super::{DecodeError, words};
use crate::party::Role;

/// The public side of one account key: the group key and each party's verifying share, decoded once
/// and consistent (the shares interpolate to the group key).
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKeys {
    group: [u8; 32],
    verifying_shares: [[u8; 32]; 3],
    group_point: VerifyingKey<Suite>,
    share_points: [VerifyingShare<Suite>; 3],
}

impl PublicKeys {
    /// Bytes of the encoding.
    pub const LENGTH: usize = 128;

    const WHAT: &str = "public keys";

    /// Checks and decodes a group key and the three verifying shares in role order, each a
    /// compressed Edwards point.
    ///
    /// # Errors
    /// [`DecodeError::Point`] for an identity, torsion or non-canonical point,
    /// [`DecodeError::GroupKey`] if the shares make another group key.
    pub fn new(group: [u8; 32], verifying_shares: [[u8; 32]; 3]) -> Result<Self, DecodeError> {
        let group_point = library::point(Self::WHAT, &group)?;
        let [device, broker, trust] = &verifying_shares;
        let points = [
            library::point(Self::WHAT, device)?,
            library::point(Self::WHAT, broker)?,
            library::point(Self::WHAT, trust)?,
        ];
        if interpolate_at_zero(&points) != group_point {
            return Err(DecodeError::GroupKey);
        }
        Ok(Self {
            group,
            verifying_shares,
            group_point: VerifyingKey::new(group_point),
            share_points: points.map(VerifyingShare::new),
        })
    }

    /// Decodes group key (32) ‖ verifying shares of device, broker, trust operator (32 each).
    ///
    /// # Errors
    /// As [`PublicKeys::new`], and [`DecodeError::Length`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let [group, shares @ ..] = words::<4>(Self::WHAT, bytes)?;
        Self::new(group, shares)
    }

    /// Group key (32) ‖ verifying shares in role order (32 each).
    pub fn encode(&self) -> [u8; Self::LENGTH] {
        let [device, broker, trust] = self.verifying_shares;
        let mut bytes = [0; Self::LENGTH];
        let (words, _) = bytes.as_chunks_mut::<32>();
        for (word, key) in words.iter_mut().zip([self.group, device, broker, trust]) {
            *word = key;
        }
        bytes
    }

    /// The account key: an Ed25519 public key, compressed.
    pub fn group(&self) -> &[u8; 32] {
        &self.group
    }

    /// The public side of each party's share, compressed points in role order.
    pub fn verifying_shares(&self) -> &[[u8; 32]; 3] {
        &self.verifying_shares
    }

    pub(super) fn group_point(&self) -> &VerifyingKey<Suite> {
        &self.group_point
    }

    pub(super) fn share_point(&self, role: Role) -> &VerifyingShare<Suite> {
        let [device, broker, trust] = &self.share_points;
        match role {
            Role::Device => device,
            Role::Broker => broker,
            Role::TrustOperator => trust,
        }
    }
}

impl fmt::Debug for PublicKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicKeys(")?;
        write_hex(f, &self.group)?;
        f.write_str(")")
    }
}

/// The value at 0 of the quadratic through the points at 1, 2 and 3; its Lagrange coefficients are
/// 3, −3 and 1.
fn interpolate_at_zero([one, two, three]: &[Element; 3]) -> Element {
    let difference = one - two;
    difference + difference + difference + three
}

pub(super) fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// One party's secret share of an account key, with the public keys of all. Belongs to the signer
/// set {1, 2, 3} with threshold 3; the encoding has no room for another. Wiped on drop, never
/// printed, cloned or sent.
pub struct KeyShare {
    role: Role,
    secret: KeyPackage<Suite>,
    public: PublicKeys,
}

impl KeyShare {
    /// Bytes of the encoding.
    pub const LENGTH: usize = 162;

    const VERSION: u8 = 1;
    const WHAT: &str = "key share";

    pub(super) fn assemble(
        role: Role,
        signing_share: SigningShare<Suite>,
        public: PublicKeys,
    ) -> Result<Self, DecodeError> {
        let verifying_share = VerifyingShare::from(signing_share);
        if verifying_share != *public.share_point(role) {
            return Err(DecodeError::SigningShare { role });
        }
        let secret = KeyPackage::new(
            library::identifier(role),
            signing_share,
            verifying_share,
            *public.group_point(),
            PARTIES,
        );
        Ok(Self {
            role,
            secret,
            public,
        })
    }

    /// Decodes what [`KeyShare::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`] if anything is off; the secret part is checked against the public one.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let found = bytes.len();
        let ([version, party], rest) = bytes
            .split_first_chunk::<2>()
            .filter(|_| found == Self::LENGTH)
            .ok_or(DecodeError::Length {
                what: Self::WHAT,
                found,
                expected: Self::LENGTH,
            })?;
        if *version != Self::VERSION {
            return Err(DecodeError::Version {
                found: *version,
                expected: Self::VERSION,
            });
        }
        let role = Role::try_from(*party).map_err(|e| DecodeError::Party { found: e.found })?;
        let words = Zeroizing::new(words::<5>(Self::WHAT, rest)?);
        let [signing_share, group, shares @ ..] = &*words;
        let public = PublicKeys::new(*group, *shares)?;
        let mut scalar = library::scalar(Self::WHAT, signing_share)?;
        let share = Self::assemble(role, SigningShare::new(scalar), public);
        scalar.zeroize();
        share
    }

    /// Version (1 byte, value 1) ‖ party number (1) ‖ signing share (32, little-endian scalar) ‖
    /// group key (32) ‖ verifying shares in role order (32 each). Secret: for a vault only.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let signing_share = Zeroizing::new(self.secret.signing_share().serialize());
        let mut bytes = Zeroizing::new(Vec::with_capacity(Self::LENGTH));
        bytes.extend_from_slice(&[Self::VERSION, self.role.number()]);
        bytes.extend_from_slice(&signing_share);
        bytes.extend_from_slice(&self.public.encode());
        bytes
    }

    /// The party that owns the share.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The public keys of the account key.
    pub fn public_keys(&self) -> &PublicKeys {
        &self.public
    }

    pub(super) fn secret(&self) -> &KeyPackage<Suite> {
        &self.secret
    }
}

impl fmt::Debug for KeyShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyShare({}, <redacted>)", self.role)
    }
}
