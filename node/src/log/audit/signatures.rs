//! Many signatures, one by one or in batches.
//!
//! Strict is the ledger's own verdict, the one that every party gives. A batch (ed25519-dalek, 64 at once) costs half of
//! it, and is weaker: whoever holds a key can make signatures that pass in a batch and fail alone. Where a batch fails,
//! each of its signatures is looked at alone, so that the culprit is named.

use std::{fmt, str::FromStr};

use ed25519_dalek::{Signature, VerifyingKey, verify_batch};
use serde::Serialize;
use warifu_consensus::signature::{BadSignature, verify_strict};

/// Signatures of one batch.
const BATCH: usize = 64;

/// Keys kept ready: about 200 bytes each.
const KEYS: usize = 4096;

/// How signatures are verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Each alone, by the verdict that every party gives: evidence.
    #[default]
    Strict,
    /// 64 at once: holders of a key could make signatures that pass so and fail alone.
    Batch,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Strict => "strict",
            Self::Batch => "batch",
        })
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "strict" => Ok(Self::Strict),
            "batch" => Ok(Self::Batch),
            _ => Err(format!("found {text:?}, expected strict or batch")),
        }
    }
}

/// One that waits for its batch.
struct Waiting<T> {
    public: [u8; 32],
    key: VerifyingKey,
    message: Vec<u8>,
    signature: [u8; 64],
    of: T,
}

/// Verifies signatures; `T` says what each is of.
pub(super) struct Signatures<T> {
    mode: Mode,
    waiting: Vec<Waiting<T>>,
    keys: Vec<Option<([u8; 32], VerifyingKey)>>,
}

impl<T: Copy> Signatures<T> {
    pub(super) fn new(mode: Mode) -> Self {
        let keys = match mode {
            Mode::Strict => Vec::new(),
            Mode::Batch => vec![None; KEYS],
        };
        Self {
            mode,
            waiting: Vec::with_capacity(2 * BATCH),
            keys,
        }
    }

    /// Verifies one, or takes it for the next batch.
    pub(super) fn take(
        &mut self,
        public: &[u8; 32],
        message: &[u8],
        signature: &[u8; 64],
        of: T,
    ) -> Result<(), BadSignature> {
        if self.mode == Mode::Strict {
            return verify_strict(public, message, signature);
        }
        let key = self.key(public)?;
        self.waiting.push(Waiting {
            public: *public,
            key,
            message: message.to_vec(),
            signature: *signature,
            of,
        });
        Ok(())
    }

    /// A key's point, from the ones kept ready if it is among them. Weak keys sign nothing, as alone.
    fn key(&mut self, public: &[u8; 32]) -> Result<VerifyingKey, BadSignature> {
        let [first, second, ..] = *public;
        let place = usize::from(u16::from_le_bytes([first, second])) % KEYS;
        if let Some(Some((known, key))) = self.keys.get(place)
            && known == public
        {
            return Ok(*key);
        }
        let key = VerifyingKey::from_bytes(public).map_err(|_| BadSignature)?;
        if key.is_weak() {
            return Err(BadSignature);
        }
        if let Some(kept) = self.keys.get_mut(place) {
            *kept = Some((*public, key));
        }
        Ok(key)
    }

    /// Verifies full batches, or all that wait.
    ///
    /// # Errors
    /// What the first one that does not verify is of.
    pub(super) fn settle(&mut self, all: bool) -> Result<(), T> {
        while self.waiting.len() >= BATCH || (all && !self.waiting.is_empty()) {
            let rest = self.waiting.split_off(BATCH.min(self.waiting.len()));
            let batch = std::mem::replace(&mut self.waiting, rest);
            verify(&batch)?;
        }
        Ok(())
    }
}

fn verify<T: Copy>(batch: &[Waiting<T>]) -> Result<(), T> {
    let messages: Vec<&[u8]> = batch.iter().map(|one| one.message.as_slice()).collect();
    let signatures: Vec<Signature> = batch
        .iter()
        .map(|one| Signature::from_bytes(&one.signature))
        .collect();
    let keys: Vec<VerifyingKey> = batch.iter().map(|one| one.key).collect();
    if verify_batch(&messages, &signatures, &keys).is_ok() {
        return Ok(());
    }
    let bad = |one: &&Waiting<T>| verify_strict(&one.public, &one.message, &one.signature).is_err();
    batch.iter().find(bad).map_or(Ok(()), |one| Err(one.of))
}

#[cfg(test)]
mod tests {
    use warifu_consensus::signature::IdentityKey;

    use super::*;

    #[test]
    fn one_bad_signature_is_found_in_either_mode_wherever_it_stands() {
        let key = IdentityKey::from_seed([3; 32]);
        for mode in [Mode::Strict, Mode::Batch] {
            for bad in [0, 63, 64, 130, 149] {
                let mut signatures = Signatures::new(mode);
                let mut found = None;
                for number in 0..150_usize {
                    let message = number.to_le_bytes();
                    let mut signature = key.sign(&message);
                    if number == bad {
                        signature[40] ^= 1;
                    }
                    if signatures
                        .take(&key.public(), &message, &signature, number)
                        .is_err()
                    {
                        found = Some(number);
                    }
                    if let Err(number) = signatures.settle(false) {
                        found = Some(number);
                    }
                }
                found = signatures.settle(true).err().or(found);
                assert_eq!(found, Some(bad), "{mode}");
            }
        }
    }

    #[test]
    fn weak_keys_sign_nothing_in_a_batch_either() {
        let mut identity = [0; 32];
        identity[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        for mode in [Mode::Strict, Mode::Batch] {
            let mut signatures = Signatures::new(mode);
            assert!(signatures.take(&identity, b"any", &signature, 0).is_err());
        }
    }
}
