//! Enrolment session keys. Decides how one party closes a DKG round-2 package so that only the
//! intended party opens it and knows who closed it, whoever relays it: HPKE (RFC 9180) in auth mode,
//! with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and ChaCha20Poly1305. Never decides whose a public
//! key is (a session-key vote does) and never outlives one enrolment session.

use core::convert::Infallible;
use core::fmt;

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use zeroize::{Zeroize, Zeroizing};

use crate::random::Entropy;

type PublicKey = <X25519HkdfSha256 as Kem>::PublicKey;
type PrivateKey = <X25519HkdfSha256 as Kem>::PrivateKey;
type EncappedKey = <X25519HkdfSha256 as Kem>::EncappedKey;

/// Bytes that sealing adds: encapsulated key 32, authentication tag 16.
pub const SEAL_OVERHEAD: usize = ENCAPSULATED_KEY + 16;

/// Longest `info` in bytes; the key schedule of RFC 9180 has a bound, this lies well inside it.
pub const MAX_INFO: usize = 1024;

const ENCAPSULATED_KEY: usize = 32;

/// Why nothing was sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The context string is too long.
    #[error("info has {found} bytes, expected at most {expected}")]
    Info {
        /// Bytes given.
        found: usize,
        /// [`MAX_INFO`].
        expected: usize,
    },
    /// The peer's public key gives no shared secret (it has small order).
    #[error("session key of the peer gives no shared secret")]
    PeerKey,
    /// Shorter than any sealed message.
    #[error("sealed message has {found} bytes, expected at least {expected}")]
    TooShort {
        /// Bytes given.
        found: usize,
        /// [`SEAL_OVERHEAD`].
        expected: usize,
    },
    /// Not sealed by that party for this one with this `info` and `aad`, or altered.
    #[error("sealed message does not open")]
    Unopened,
}

/// One party's secret X25519 key for one enrolment session. Wiped on drop, never printed or stored.
pub struct SessionSecret {
    private: PrivateKey,
    public: PublicKey,
}

impl SessionSecret {
    /// A fresh key (RFC 9180 `DeriveKeyPair` over 32 random bytes).
    pub fn generate(entropy: &mut impl Entropy) -> Self {
        let mut ikm = Zeroizing::new([0; 32]);
        entropy.fill(ikm.as_mut_slice());
        let (private, public) = X25519HkdfSha256::derive_keypair(ikm.as_slice());
        Self { private, public }
    }

    /// The public key: 32 bytes, X25519 u coordinate (RFC 7748).
    pub fn public(&self) -> [u8; 32] {
        self.public.to_bytes().into()
    }

    /// Seals `plaintext` from this key to the public key `to`. `info` names the purpose, `aad` is
    /// authenticated and not sent. Returns encapsulated key (32) ‖ ciphertext ‖ tag (16).
    ///
    /// # Errors
    /// [`SessionError::Info`] and [`SessionError::PeerKey`].
    pub fn seal(
        &self,
        to: &[u8; 32],
        info: &[u8],
        aad: &[u8],
        plaintext: &[u8],
        entropy: &mut impl Entropy,
    ) -> Result<Vec<u8>, SessionError> {
        check_info(info)?;
        let to = PublicKey::from_bytes(to).map_err(|_| SessionError::PeerKey)?;
        let mode = OpModeS::Auth((self.private.clone(), self.public.clone()));
        let (encapsulated, ciphertext) = hpke::single_shot_seal_with_rng::<
            ChaCha20Poly1305,
            HkdfSha256,
            X25519HkdfSha256,
        >(
            &mode, &to, info, plaintext, aad, &mut HpkeRng(entropy)
        )
        .map_err(|_| SessionError::PeerKey)?;
        let mut sealed = encapsulated.to_bytes().to_vec();
        sealed.extend_from_slice(&ciphertext);
        Ok(sealed)
    }

    /// Opens what the holder of public key `from` sealed to this key with the same `info` and `aad`.
    ///
    /// # Errors
    /// [`SessionError`]; one answer for everything that a forger could learn from.
    pub fn open(
        &self,
        from: &[u8; 32],
        info: &[u8],
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SessionError> {
        check_info(info)?;
        let (encapsulated, ciphertext) = sealed
            .split_first_chunk::<ENCAPSULATED_KEY>()
            .filter(|_| sealed.len() >= SEAL_OVERHEAD)
            .ok_or(SessionError::TooShort {
                found: sealed.len(),
                expected: SEAL_OVERHEAD,
            })?;
        let from = PublicKey::from_bytes(from).map_err(|_| SessionError::PeerKey)?;
        let encapsulated =
            EncappedKey::from_bytes(encapsulated).map_err(|_| SessionError::Unopened)?;
        hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Auth(from),
            &self.private,
            &encapsulated,
            info,
            ciphertext,
            aad,
        )
        .map(Zeroizing::new)
        .map_err(|_| SessionError::Unopened)
    }
}

impl fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionSecret(<redacted>)")
    }
}

fn check_info(info: &[u8]) -> Result<(), SessionError> {
    if info.len() > MAX_INFO {
        return Err(SessionError::Info {
            found: info.len(),
            expected: MAX_INFO,
        });
    }
    Ok(())
}

/// Lends an [`Entropy`] to hpke, which wants rand_core 0.10.
struct HpkeRng<'a, E: ?Sized>(&'a mut E);

impl<E: Entropy + ?Sized> hpke::rand_core::TryRng for HpkeRng<'_, E> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        let word = u32::from_le_bytes(bytes);
        bytes.zeroize();
        Ok(word)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        let word = u64::from_le_bytes(bytes);
        bytes.zeroize();
        Ok(word)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl<E: Entropy + ?Sized> hpke::rand_core::TryCryptoRng for HpkeRng<'_, E> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededEntropy;

    const INFO: &[u8] = b"round 2";
    const AAD: &[u8] = b"device to broker";

    struct Line {
        device: SessionSecret,
        broker: SessionSecret,
        stranger: SessionSecret,
        entropy: SeededEntropy,
    }

    fn line() -> Line {
        let mut entropy = SeededEntropy::new([5; 32]);
        Line {
            device: SessionSecret::generate(&mut entropy),
            broker: SessionSecret::generate(&mut entropy),
            stranger: SessionSecret::generate(&mut entropy),
            entropy,
        }
    }

    impl Line {
        fn sealed(&mut self, plaintext: &[u8]) -> Vec<u8> {
            self.device
                .seal(
                    &self.broker.public(),
                    INFO,
                    AAD,
                    plaintext,
                    &mut self.entropy,
                )
                .unwrap()
        }
    }

    /// Answers with the vector's randomness, once.
    struct Given([u8; 32]);

    impl Entropy for Given {
        fn fill(&mut self, bytes: &mut [u8]) {
            bytes.copy_from_slice(&std::mem::take(&mut self.0));
        }
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits = |i| u8::from_str_radix(&text[i..i + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(digits).collect()
    }

    fn given(text: &str) -> Given {
        Given(hex(text).try_into().unwrap())
    }

    /// RFC 9180, appendix A.2.3, sequence number 0; secrets from the vector's keying material.
    #[test]
    fn seals_what_rfc_9180_seals() {
        let recipient = SessionSecret::generate(&mut given(
            "64835d5ee64aa7aad57c6f2e4f758f7696617f8829e70bc9ac7a5ef95d1c756c",
        ));
        let sender = SessionSecret::generate(&mut given(
            "9d8f94537d5a3ddef71234c0baedfad4ca6861634d0b94c3007fed557ad17df6",
        ));
        let public = hex("1a478716d63cb2e16786ee93004486dc151e988b34b475043d3e0175bdb01c44");
        assert_eq!(recipient.public().as_slice(), public);
        let public = hex("f0f4f9e96c54aeed3f323de8534fffd7e0577e4ce269896716bcb95643c8712b");
        assert_eq!(sender.public().as_slice(), public);

        let info = hex("4f6465206f6e2061204772656369616e2055726e");
        let aad = hex("436f756e742d30");
        let plaintext = hex("4265617574792069732074727574682c20747275746820626561757479");
        let mut ephemeral =
            given("938d3daa5a8904540bc24f48ae90eed3f4f7f11839560597b55e7c9598c996c0");
        let sealed = sender
            .seal(&recipient.public(), &info, &aad, &plaintext, &mut ephemeral)
            .unwrap();
        let expected = hex(concat!(
            "f7674cc8cd7baa5872d1f33dbaffe3314239f6197ddf5ded1746760bfc847e0e",
            "ab1a13c9d4f01a87ec3440dbd756e2677bd2ecf9df0ce7ed73869b98e00c09be",
            "111cb9fdf077347aeb88e61bdf",
        ));
        assert_eq!(sealed, expected);
        let opened = recipient
            .open(&sender.public(), &info, &aad, &sealed)
            .unwrap();
        assert_eq!(*opened, plaintext);
    }

    #[test]
    fn opens_for_the_recipient_only() {
        let mut line = line();
        for plaintext in [&b""[..], b"x", &[7; 300]] {
            let sealed = line.sealed(plaintext);
            assert_eq!(sealed.len(), plaintext.len() + SEAL_OVERHEAD);
            let opened = line
                .broker
                .open(&line.device.public(), INFO, AAD, &sealed)
                .unwrap();
            assert_eq!(opened.as_slice(), plaintext);
            let from = line.device.public();
            assert_eq!(
                line.stranger.open(&from, INFO, AAD, &sealed),
                Err(SessionError::Unopened)
            );
        }
    }

    #[test]
    fn sender_info_and_aad_are_authenticated() {
        let mut line = line();
        let sealed = line.sealed(b"share");
        let (device, stranger) = (line.device.public(), line.stranger.public());
        for (from, info, aad) in [
            (&stranger, INFO, AAD),
            (&device, &b"round 3"[..], AAD),
            (&device, INFO, &b""[..]),
        ] {
            assert_eq!(
                line.broker.open(from, info, aad, &sealed),
                Err(SessionError::Unopened)
            );
        }
    }

    #[test]
    fn every_altered_byte_and_every_other_length_is_refused() {
        let mut line = line();
        let sealed = line.sealed(b"share");
        let from = line.device.public();
        for index in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[index] ^= 1;
            assert!(
                line.broker.open(&from, INFO, AAD, &altered).is_err(),
                "byte {index}"
            );
            let expected = if index < SEAL_OVERHEAD {
                SessionError::TooShort {
                    found: index,
                    expected: SEAL_OVERHEAD,
                }
            } else {
                SessionError::Unopened
            };
            let truncated = line.broker.open(&from, INFO, AAD, &sealed[..index]);
            assert_eq!(truncated, Err(expected));
        }
        let mut longer = sealed;
        longer.push(0);
        assert_eq!(
            line.broker.open(&from, INFO, AAD, &longer),
            Err(SessionError::Unopened)
        );
    }

    #[test]
    fn the_same_plaintext_never_seals_to_the_same_bytes() {
        let mut line = line();
        assert_ne!(line.sealed(b"share"), line.sealed(b"share"));
    }

    #[test]
    fn small_order_keys_are_refused() {
        let mut line = line();
        let zero = [0; 32];
        let sealed = line
            .device
            .seal(&zero, INFO, AAD, b"share", &mut line.entropy);
        assert_eq!(sealed, Err(SessionError::PeerKey));
        let good = line.sealed(b"share");
        assert_eq!(
            line.broker.open(&zero, INFO, AAD, &good),
            Err(SessionError::Unopened)
        );
    }

    #[test]
    fn long_info_is_an_error_and_no_panic() {
        let mut line = line();
        let info = vec![0; usize::from(u16::MAX)];
        let expected = SessionError::Info {
            found: info.len(),
            expected: MAX_INFO,
        };
        let to = line.broker.public();
        assert_eq!(
            line.device.seal(&to, &info, AAD, b"", &mut line.entropy),
            Err(expected)
        );
        assert_eq!(line.broker.open(&to, &info, AAD, &[0; 64]), Err(expected));
        for (length, is_good) in [(MAX_INFO, true), (MAX_INFO + 1, false)] {
            let info = vec![0; length];
            let sealed = line.device.seal(&to, &info, AAD, b"", &mut line.entropy);
            assert_eq!(sealed.is_ok(), is_good, "{length}");
        }
    }

    #[test]
    fn numbers_that_hpke_may_draw_are_of_the_entropy_given() {
        // It draws bytes today; whatever it draws tomorrow must be as random.
        use hpke::rand_core::TryRng;
        let (mut given, mut bytes) = (SeededEntropy::new([6; 32]), SeededEntropy::new([6; 32]));
        let mut rng = HpkeRng(&mut given);
        let (mut four, mut eight) = ([0; 4], [0; 8]);
        bytes.fill(&mut four);
        assert_eq!(rng.try_next_u32(), Ok(u32::from_le_bytes(four)));
        bytes.fill(&mut eight);
        assert_eq!(rng.try_next_u64(), Ok(u64::from_le_bytes(eight)));
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", line().device), "SessionSecret(<redacted>)");
    }
}
