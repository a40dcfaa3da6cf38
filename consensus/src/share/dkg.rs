//! Distributed key generation, 3-of-3 (FROST key generation, Pedersen's with proofs of knowledge):
//! after it the three parties hold shares of a key that nobody ever held whole. Decides which of the
//! others' packages a party may use, and who is at fault otherwise. Each state is used up by the next.
//!
//! Never decides that all three saw the same packages, nor which session they belong to: proofs of
//! knowledge carry no session, so a replayed first package is found out only by the second round.
//! Both are the transcript's work, which every party signs before the share counts. Secrets of round
//! two travel sealed to session keys ([`crate::session`]); roles come from the line, never from the
//! package.

use core::fmt;
use std::collections::BTreeMap;

use frost_core::Signature;
use frost_core::keys::dkg::{part1, part2, part3, round1, round2};
use frost_core::keys::{
    CoefficientCommitment, PublicKeyPackage, SigningShare, VerifiableSecretSharingCommitment,
};
use frost_ed25519::Identifier;
use zeroize::{Zeroize, Zeroizing};

use super::library::{self, LibraryRng, PARTIES, Suite};
use super::{DecodeError, KeyShare, PublicKeys, words};
use crate::party::Role;
use crate::random::Entropy;

/// Why generation stopped. Nothing of it is kept; a new attempt starts at round one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DkgFault {
    /// The packages are not those of the two others. The caller takes roles from its lines, so this
    /// blames nobody.
    #[error("{own} received packages of {} and {}, expected one of each other party", found[0], found[1])]
    Senders {
        /// The receiving party.
        own: Role,
        /// Whose packages were handed in.
        found: [Role; 2],
    },
    /// One party's package is wrong.
    #[error("{culprit} sent a bad package: {reason}")]
    Peer {
        /// Who sent it.
        culprit: Role,
        /// What is wrong.
        reason: DkgReason,
    },
    /// The packages add up to an identity point, or to keys that do not fit each other. Each alone
    /// is well-formed, so this blames nobody.
    #[error("packages do not add up to a usable key")]
    NoKey,
}

impl DkgFault {
    /// Bytes from `culprit` that did not decode.
    pub const fn encoding(culprit: Role, error: DecodeError) -> Self {
        Self::Peer {
            culprit,
            reason: DkgReason::Encoding(error),
        }
    }

    /// The party at fault, if it is certain which one.
    pub const fn culprit(&self) -> Option<Role> {
        match self {
            Self::Peer { culprit, .. } => Some(*culprit),
            Self::Senders { .. } | Self::NoKey => None,
        }
    }
}

/// What is wrong with one party's package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DkgReason {
    /// It does not decode; a threshold other than three shows here as another length.
    #[error(transparent)]
    Encoding(DecodeError),
    /// The sender does not know the secret that it commits to, or took another party's package.
    #[error("proof of knowledge does not verify")]
    Proof,
    /// The secret of round two does not lie on the polynomial committed to in round one.
    #[error("secret does not fit the sender's commitment")]
    Secret,
}

/// A party's broadcast of round one: commitments to the three coefficients of its polynomial and a
/// proof that it knows the first. Public; the transcript covers its bytes.
#[derive(Clone)]
pub struct Round1Package {
    bytes: [u8; Self::LENGTH],
    decoded: round1::Package<Suite>,
}

impl Round1Package {
    /// Bytes of the encoding.
    pub const LENGTH: usize = 160;

    const WHAT: &str = "round 1 package";

    /// Decodes coefficient commitments (3 × 32, compressed points) ‖ proof (R 32 ‖ z 32).
    ///
    /// # Errors
    /// [`DecodeError`]; a polynomial of another degree has another length.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let [zeroth, first, second, r, z] = words::<5>(Self::WHAT, bytes)?;
        let coefficients = [
            library::point(Self::WHAT, &zeroth)?,
            library::point(Self::WHAT, &first)?,
            library::point(Self::WHAT, &second)?,
        ];
        let proof = Signature::new(
            library::point(Self::WHAT, &r)?,
            library::scalar(Self::WHAT, &z)?,
        );
        let commitment = VerifiableSecretSharingCommitment::new(
            coefficients.map(CoefficientCommitment::new).to_vec(),
        );
        let decoded = round1::Package::new(commitment, proof);
        let found = bytes.len();
        let bytes = bytes.try_into().map_err(|_| DecodeError::Length {
            what: Self::WHAT,
            found,
            expected: Self::LENGTH,
        })?;
        Ok(Self { bytes, decoded })
    }

    /// Coefficient commitments (3 × 32) ‖ proof (R 32 ‖ z 32).
    pub fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.bytes
    }

    pub(super) fn from_library(package: &round1::Package<Suite>) -> Option<Self> {
        let mut bytes = package.commitment().serialize_whole().ok()?;
        bytes.extend_from_slice(&package.proof_of_knowledge().serialize().ok()?);
        Self::decode(&bytes).ok()
    }
}

impl PartialEq for Round1Package {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Round1Package {}

impl fmt::Debug for Round1Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Round1Package(")?;
        super::keys::write_hex(f, &self.bytes)?;
        f.write_str(")")
    }
}

/// One party's secret for one other party: the value of its polynomial there. Travels sealed only.
/// Wiped on drop, never printed or cloned.
pub struct Round2Secret(Zeroizing<[u8; Self::LENGTH]>);

impl Round2Secret {
    /// Bytes of the encoding.
    pub const LENGTH: usize = 32;

    const WHAT: &str = "round 2 secret";

    /// Decodes a little-endian scalar.
    ///
    /// # Errors
    /// [`DecodeError::Length`], and [`DecodeError::Scalar`] if not reduced.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let read = Zeroizing::new(words::<1>(Self::WHAT, bytes)?);
        let [secret] = &*read;
        library::scalar(Self::WHAT, secret)?.zeroize();
        Ok(Self(Zeroizing::new(*secret)))
    }

    /// The little-endian scalar, to be sealed to its recipient's session key.
    pub fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }

    fn to_library(&self) -> Result<round2::Package<Suite>, DecodeError> {
        Ok(round2::Package::new(SigningShare::new(library::scalar(
            Self::WHAT,
            &self.0,
        )?)))
    }
}

impl fmt::Debug for Round2Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Round2Secret(<redacted>)")
    }
}

/// A party that sent its first package and waits for those of the others. Wiped on drop.
pub struct Round1 {
    role: Role,
    secret: round1::SecretPackage<Suite>,
}

impl Round1 {
    /// Draws this party's polynomial, and the package to send to both others.
    pub fn start(role: Role, entropy: &mut impl Entropy) -> (Self, Round1Package) {
        loop {
            #[expect(
                clippy::expect_used,
                reason = "fails for thresholds that 3-of-3 is not"
            )]
            let (secret, package) = part1(
                library::identifier(role),
                PARTIES,
                PARTIES,
                LibraryRng(entropy),
            )
            .expect("3-of-3 is a valid threshold");
            // A zero coefficient or proof nonce has no encoding; probability 2^-250.
            if let Some(package) = Round1Package::from_library(&package) {
                return (Self { role, secret }, package);
            }
        }
    }

    /// A state with chosen coefficients.
    #[cfg(test)]
    pub(super) fn from_library(role: Role, secret: round1::SecretPackage<Suite>) -> Self {
        Self { role, secret }
    }

    /// Takes the packages of the two others, in any order, and returns the secrets to seal to them,
    /// in role order.
    ///
    /// # Errors
    /// [`DkgFault::Senders`], or [`DkgFault::Peer`] with [`DkgReason::Proof`].
    pub fn receive(
        self,
        packages: [(Role, Round1Package); 2],
    ) -> Result<(Round2, [(Role, Round2Secret); 2]), DkgFault> {
        let [one, two] = ordered(self.role, packages)?;
        let peers = BTreeMap::from(
            [&one, &two]
                .map(|(role, package)| (library::identifier(*role), package.decoded.clone())),
        );
        let (secret, mut outgoing) = part2(self.secret, &peers)
            .map_err(|error| peer_fault(&error.culprits(), DkgReason::Proof))?;
        let mut take = |role: Role| {
            let package = outgoing
                .remove(&library::identifier(role))
                .ok_or(DkgFault::NoKey)?;
            let scalar = Zeroizing::new(package.signing_share().serialize());
            let secret = Round2Secret::decode(&scalar).map_err(|_| DkgFault::NoKey)?;
            Ok((role, secret))
        };
        let secrets = [take(one.0)?, take(two.0)?];
        Ok((
            Round2 {
                role: self.role,
                secret,
                peers,
            },
            secrets,
        ))
    }
}

impl fmt::Debug for Round1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Round1({}, <redacted>)", self.role)
    }
}

/// A party that sent its secrets and waits for those of the others. Wiped on drop.
pub struct Round2 {
    role: Role,
    secret: round2::SecretPackage<Suite>,
    peers: BTreeMap<Identifier, round1::Package<Suite>>,
}

impl Round2 {
    /// Takes the secrets of the two others, in any order, and finishes: the share counts once all
    /// three signed the same transcript.
    ///
    /// # Errors
    /// [`DkgFault::Senders`]; [`DkgFault::Peer`] with [`DkgReason::Secret`]; [`DkgFault::NoKey`].
    pub fn receive(self, secrets: [(Role, Round2Secret); 2]) -> Result<KeyShare, DkgFault> {
        let mut incoming = BTreeMap::new();
        for (role, secret) in ordered(self.role, secrets)? {
            let package = secret
                .to_library()
                .map_err(|error| DkgFault::encoding(role, error))?;
            incoming.insert(library::identifier(role), package);
        }
        let (key, public) = part3(&self.secret, &self.peers, &incoming)
            .map_err(|error| peer_fault(&error.culprits(), DkgReason::Secret))?;
        let public = public_keys(&public).ok_or(DkgFault::NoKey)?;
        KeyShare::assemble(self.role, *key.signing_share(), public).map_err(|_| DkgFault::NoKey)
    }
}

impl fmt::Debug for Round2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Round2({}, <redacted>)", self.role)
    }
}

/// The two entries in role order, if they are exactly the others of `own`.
fn ordered<T>(own: Role, mut both: [(Role, T); 2]) -> Result<[(Role, T); 2], DkgFault> {
    let found = both.each_ref().map(|(role, _)| *role);
    let [one, two] = found;
    if one == two || one == own || two == own {
        return Err(DkgFault::Senders { own, found });
    }
    both.sort_by_key(|(role, _)| *role);
    Ok(both)
}

fn peer_fault(culprits: &[Identifier], reason: DkgReason) -> DkgFault {
    culprits
        .first()
        .and_then(|&culprit| library::role_of(culprit))
        .map_or(DkgFault::NoKey, |culprit| DkgFault::Peer {
            culprit,
            reason,
        })
}

fn public_keys(package: &PublicKeyPackage<Suite>) -> Option<PublicKeys> {
    let share = |role| {
        let share = package.verifying_shares().get(&library::identifier(role))?;
        library::encode_point(&share.to_element())
    };
    let group = library::encode_point(&package.verifying_key().to_element())?;
    let shares = [
        share(Role::Device)?,
        share(Role::Broker)?,
        share(Role::TrustOperator)?,
    ];
    PublicKeys::new(group, shares).ok()
}
