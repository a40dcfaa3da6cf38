//! How a party's records and secrets are named, for whoever looks at a directory without opening it, and the openers there.
//!
//! Decides nothing: the names are [`Keeper`](super::Keeper)'s.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use warifu_consensus::{body::ContentKey, log::Opener, party::Sub};

use super::keeper::{KIND_CONTENT_KEY, KIND_IDENTITY, KIND_OPENER, KIND_SHARE, key};
use crate::store::{MasterKey, Step, StoreError, VaultKey, walk};

/// A secret that an account's party keeps in its vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountSecret {
    /// The key share.
    Share,
    /// The content key; never at the trust operator.
    ContentKey,
    /// The device's identity key; only at the device.
    Identity,
}

impl AccountSecret {
    /// The secret's name in the vault.
    #[must_use]
    pub fn key(self, sub: &Sub) -> VaultKey {
        let kind = match self {
            AccountSecret::Share => KIND_SHARE,
            AccountSecret::ContentKey => KIND_CONTENT_KEY,
            AccountSecret::Identity => KIND_IDENTITY,
        };
        key(sub, kind, [0; 32])
    }
}

/// What a walk over a vault found for an auditor of the log.
#[derive(Debug, Default)]
pub struct KeptOpeners {
    /// The opener of each account: derived from its content key where the vault holds that, else as it was given.
    pub openers: BTreeMap<Sub, Opener>,
    /// Accounts of which the vault holds any secret, of any kind, and how many.
    pub holders: BTreeMap<Sub, u64>,
    /// The first account that was left out, where there were more than were asked for.
    pub next: Option<Sub>,
    /// Bytes of an unfinished last write, which an opening would cut.
    pub torn_bytes: u64,
}

/// What the vault holds of one account.
#[derive(Default)]
struct Kept {
    keys: BTreeSet<VaultKey>,
    derived: Option<Opener>,
    given: Option<Opener>,
}

/// The accounts from one on, of which some are left out where they are too many: the last in order.
struct Walked {
    from: Sub,
    most: usize,
    next: Option<Sub>,
    accounts: BTreeMap<Sub, Kept>,
    is_malformed: bool,
}

impl Walked {
    fn step(&mut self, step: &Step<'_>) {
        match step {
            Step::Put(key, secret) => self.put(*key, secret),
            Step::Remove(key) => {
                let sub = Sub(key.stream.0);
                let Some(kept) = self.accounts.get_mut(&sub) else {
                    return;
                };
                kept.keys.remove(key);
                match key.kind {
                    KIND_CONTENT_KEY => kept.derived = None,
                    KIND_OPENER => kept.given = None,
                    _ => {}
                }
                if kept.keys.is_empty() {
                    self.accounts.remove(&sub);
                }
            }
            Step::RemoveStream(stream) => drop(self.accounts.remove(&Sub(stream.0))),
        }
    }

    fn put(&mut self, key: VaultKey, secret: &[u8]) {
        let sub = Sub(key.stream.0);
        if let KIND_CONTENT_KEY | KIND_OPENER = key.kind {
            self.is_malformed |= secret.len() != 32;
        }
        if sub < self.from || self.next.is_some_and(|next| sub >= next) {
            return;
        }
        let kept = self.accounts.entry(sub).or_default();
        kept.keys.insert(key);
        if let Ok(bytes) = <[u8; 32]>::try_from(secret) {
            match key.kind {
                KIND_CONTENT_KEY => {
                    kept.derived = Some(Opener::of(&ContentKey::from_bytes(bytes), &sub));
                }
                KIND_OPENER => kept.given = Some(Opener::from_bytes(bytes)),
                _ => {}
            }
        }
        // A quarter more, so that they are seldom counted.
        if self.accounts.len() > self.most.saturating_add(self.most / 4) {
            self.leave_out();
        }
    }

    /// Leaves out those behind the most that were asked for.
    fn leave_out(&mut self) {
        let next = self.accounts.keys().nth(self.most).copied();
        if let Some(next) = next {
            drop(self.accounts.split_off(&next));
            self.next = Some(next);
        }
    }
}

/// Walks the vault in `dir` (the directory that it is opened with), opens every seal, and gives the openers of at most `most`
/// accounts, from `from` on in the order of their names. Takes no lock and changes nothing. `observer` is told bytes done and
/// bytes in total. Blocks.
///
/// # Errors
/// As [`inspect_vault`](crate::store::inspect_vault); [`StoreError::Corrupt`] also where a secret has another length
/// than its kind.
pub fn kept_openers(
    dir: &Path,
    master_key: &MasterKey,
    origin: &str,
    (from, most): (Sub, usize),
    observer: &mut dyn FnMut(u64, u64),
) -> Result<KeptOpeners, StoreError> {
    let mut walked = Walked {
        from,
        most,
        next: None,
        accounts: BTreeMap::new(),
        is_malformed: false,
    };
    let torn_bytes = walk(dir, master_key, origin, observer, &mut |step| {
        walked.step(&step);
    })?;
    if walked.is_malformed {
        return Err(StoreError::Corrupt {
            file: dir.to_path_buf(),
            offset: 0,
            stream: None,
            after: None,
            reason: "a content key or an opener has not 32 bytes",
        });
    }
    walked.leave_out();
    let mut found = KeptOpeners {
        next: walked.next,
        torn_bytes,
        ..KeptOpeners::default()
    };
    for (sub, kept) in walked.accounts {
        found.holders.insert(sub, kept.keys.len() as u64);
        if let Some(opener) = kept.derived.or(kept.given) {
            found.openers.insert(sub, opener);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StreamId;

    #[test]
    fn accounts_beyond_the_most_are_left_out_and_come_next() {
        let of = |number: u8, name: u8| VaultKey {
            stream: StreamId([number; 16]),
            kind: KIND_OPENER,
            name: [name; 32],
        };
        for order in [[1, 2, 3, 4, 5, 6, 7, 8, 9], [9, 8, 7, 6, 5, 4, 3, 2, 1]] {
            let (mut from, mut seen) = (Sub::ZERO, Vec::new());
            loop {
                let mut walked = Walked {
                    from,
                    most: 4,
                    next: None,
                    accounts: BTreeMap::new(),
                    is_malformed: false,
                };
                for number in order {
                    walked.step(&Step::Put(of(number, 0), &[number; 32]));
                    walked.step(&Step::Put(of(number, 1), &[number; 32]));
                    assert!(walked.accounts.len() <= 5);
                }
                // Gone, though it may have made others be left out.
                walked.step(&Step::RemoveStream(StreamId([2; 16])));
                walked.step(&Step::Remove(of(3, 0)));
                walked.leave_out();
                seen.extend(
                    walked
                        .accounts
                        .iter()
                        .map(|(sub, kept)| (sub.0[0], kept.keys.len())),
                );
                match walked.next {
                    Some(next) => from = next,
                    None => break,
                }
            }
            let expected = [
                (1, 2),
                (3, 1),
                (4, 2),
                (5, 2),
                (6, 2),
                (7, 2),
                (8, 2),
                (9, 2),
            ];
            assert_eq!(seen, expected);
        }
    }
}
