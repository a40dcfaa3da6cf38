//! The least that one login costs, by the library alone: what a measurement of the whole is held
//! against. Decides which calls of the library no login of three parties can do without. Keeps no
//! promise of this module (nonces are bound to no block, nothing is stored or sent) and therefore
//! signs only under keys that it made itself. Reads no clock: the caller times [`Floor::login`].

use core::fmt;
use std::collections::BTreeMap;

use frost_core::keys::{KeyPackage, PublicKeyPackage};
use frost_core::round1::{NonceCommitment, SigningCommitments};
use frost_core::{aggregate, round1, round2};

use super::commitment::join;
use super::dkg::{DkgFault, Round1};
use super::library::{self, LibraryRng, Suite};
use crate::party::Role;
use crate::random::Entropy;
use crate::signature::{BadSignature, verify_by_library};

/// Why the floor made no signature. It has no peers: this is a fault of the library or its use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FloorError {
    /// Key generation among the three shares failed.
    #[error(transparent)]
    Keys(#[from] DkgFault),
    /// The library refused a step.
    #[error("the library refused to {step}")]
    Library {
        /// The step.
        step: &'static str,
    },
    /// What came out is no signature of the message.
    #[error(transparent)]
    Signature(#[from] BadSignature),
}

/// Three shares of a key of its own, made once, so that [`Floor::login`] costs what a login costs.
pub struct Floor {
    shares: [KeyPackage<Suite>; 3],
    public: PublicKeyPackage<Suite>,
    group: [u8; 32],
}

impl Floor {
    /// Makes a key among three shares.
    ///
    /// # Errors
    /// [`FloorError::Keys`], with a probability of about 2⁻²⁵⁰.
    pub fn new(entropy: &mut impl Entropy) -> Result<Self, FloorError> {
        let [one, two, three] = Role::ALL.map(|role| Round1::start(role, entropy));
        let [(a, from_a), (b, from_b), (c, from_c)] = [one, two, three];
        let [device, broker, trust] = Role::ALL;
        let (a, [a_to_b, a_to_c]) =
            a.receive([(broker, from_b.clone()), (trust, from_c.clone())])?;
        let (b, [b_to_a, b_to_c]) = b.receive([(device, from_a.clone()), (trust, from_c)])?;
        let (c, [c_to_a, c_to_b]) = c.receive([(device, from_a), (broker, from_b)])?;
        let a = a.receive([(broker, b_to_a.1), (trust, c_to_a.1)])?;
        let b = b.receive([(device, a_to_b.1), (trust, c_to_b.1)])?;
        let c = c.receive([(device, a_to_c.1), (broker, b_to_c.1)])?;
        let group = *a.public_keys().group();
        let shares = [a, b, c].map(|share| share.secret().clone());
        let verifying = shares
            .iter()
            .map(|share| (*share.identifier(), *share.verifying_share()))
            .collect();
        let [first, ..] = &shares;
        let public =
            PublicKeyPackage::new(verifying, *first.verifying_key(), Some(library::PARTIES));
        Ok(Self {
            shares,
            public,
            group,
        })
    }

    /// The public key of these shares: a compressed Edwards point.
    pub fn group(&self) -> &[u8; 32] {
        &self.group
    }

    /// The work of one login: 3 commitments made and encoded, 6 decoded (each party those of the two
    /// others), 3 signature shares, the library's own aggregate, 2 strict verifications (broker and
    /// login service; the library's aggregate verifies for the trust operator). Gives the Ed25519
    /// signature (R 32 ‖ S 32) of `message`.
    ///
    /// # Errors
    /// [`FloorError`].
    pub fn login(
        &self,
        message: &[u8],
        entropy: &mut impl Entropy,
    ) -> Result<[u8; 64], FloorError> {
        let mut made = Vec::with_capacity(3);
        for share in &self.shares {
            let (nonces, commitments) =
                round1::commit(share.signing_share(), &mut LibraryRng(entropy));
            let sent = encode(&commitments)?;
            made.push((share, nonces, commitments, sent));
        }
        let mut signed = BTreeMap::new();
        let mut last = None;
        for (share, nonces, own, _) in &made {
            let own_identifier = *share.identifier();
            let mut package = BTreeMap::from([(own_identifier, *own)]);
            for (other, _, _, sent) in &made {
                if *other.identifier() != own_identifier {
                    package.insert(*other.identifier(), decode(sent)?);
                }
            }
            let package = frost_core::SigningPackage::new(package, message);
            let made = round2::sign(&package, nonces, share).map_err(|_| refused("sign"))?;
            signed.insert(own_identifier, made);
            last = Some(package);
        }
        // The last to sign is the trust operator, and it aggregates.
        let package = last.ok_or(refused("sign"))?;
        let signature =
            aggregate(&package, &signed, &self.public).map_err(|_| refused("aggregate"))?;
        let bytes = signature.serialize().map_err(|_| refused("encode"))?;
        let bytes: [u8; 64] = bytes.try_into().map_err(|_| refused("encode"))?;
        verify_by_library(&self.group, message, &bytes)?;
        verify_by_library(&self.group, message, &bytes)?;
        Ok(bytes)
    }
}

impl fmt::Debug for Floor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Floor(<redacted>)")
    }
}

const fn refused(step: &'static str) -> FloorError {
    FloorError::Library { step }
}

fn encode(commitments: &SigningCommitments<Suite>) -> Result<[u8; 64], FloorError> {
    let half = |nonce: &NonceCommitment<Suite>| -> Option<[u8; 32]> {
        library::encode_point(&nonce.value())
    };
    let hiding = half(commitments.hiding()).ok_or(refused("encode"))?;
    let binding = half(commitments.binding()).ok_or(refused("encode"))?;
    Ok(join(hiding, binding))
}

fn decode(bytes: &[u8; 64]) -> Result<SigningCommitments<Suite>, FloorError> {
    let (words, _) = bytes.as_chunks::<32>();
    let [hiding, binding] = words else {
        return Err(refused("decode"));
    };
    let half =
        |bytes: &[u8; 32]| NonceCommitment::deserialize(bytes).map_err(|_| refused("decode"));
    Ok(SigningCommitments::new(half(hiding)?, half(binding)?))
}
