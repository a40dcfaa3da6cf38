//! A look at a vault without opening it: whether the master key fits, and whose secrets are there.
//!
//! Takes no lock and changes nothing, so it may run beside a live node; what the node is just
//! writing looks like the end. No secret leaves the SDK but as a type of its own.

use std::{collections::BTreeSet, path::Path};

use super::{MasterKey, VAULT_MAGIC, VaultKey, live::VaultRecord, seal, seal::Sealer};
use crate::store::{
    LedgerId, StoreError, StreamId, encoding,
    journal::{
        RECORD_LIMIT_BYTES,
        segment::{Identity, SegmentScanner, list_segments},
    },
};

/// Walks the vault in `dir` and opens every seal with `master_key`; the names of the secrets that
/// are there. `observer` is told bytes done and bytes in total. Blocks.
///
/// # Errors
/// [`StoreError::WrongMasterKey`], [`StoreError::OtherLedger`], [`StoreError::Corrupt`],
/// [`StoreError::FutureVersion`], [`StoreError::Io`] (also if there is no vault).
pub fn inspect_vault(
    dir: &Path,
    master_key: &MasterKey,
    origin: &str,
    observer: &mut dyn FnMut(u64, u64),
) -> Result<BTreeSet<VaultKey>, StoreError> {
    let mut found = BTreeSet::new();
    walk(dir, master_key, origin, observer, &mut |step| match step {
        Step::Put(key, _) => drop(found.insert(key)),
        Step::Remove(key) => drop(found.remove(&key)),
        Step::RemoveStream(stream) => found.retain(|key| key.stream != stream),
    })?;
    Ok(found)
}

/// What one record of the vault's file does.
pub(crate) enum Step<'a> {
    /// A secret is kept, opened here.
    Put(VaultKey, &'a [u8]),
    /// A secret is forgotten.
    Remove(VaultKey),
    /// All secrets of a stream are forgotten.
    RemoveStream(StreamId),
}

/// Walks the vault in `dir` as [`inspect_vault`] does and tells each step; gives the bytes of an unfinished last
/// write, which an opening would cut.
///
/// # Errors
/// As [`inspect_vault`].
pub(crate) fn walk(
    dir: &Path,
    master_key: &MasterKey,
    origin: &str,
    observer: &mut dyn FnMut(u64, u64),
    tell: &mut dyn FnMut(Step<'_>),
) -> Result<u64, StoreError> {
    let identity = Identity {
        magic: VAULT_MAGIC,
        ledger: LedgerId {
            role: 0,
            origin: origin.to_owned(),
        },
    };
    let sealer = Sealer::new(master_key, origin);
    let mut torn = 0;
    let mut is_checked = false;
    let segments = list_segments(dir)?;
    let last = segments.last().copied().unwrap_or(1);
    for segment in 1..=last {
        let mut scanner = SegmentScanner::open(dir, segment)?;
        scanner.require(&identity)?;
        while let Some(scanned) = scanner.next_record()? {
            let corrupt = |reason| scanner.corrupt_at(scanned.position.offset, reason, None);
            let record = encoding::decode::<RECORD_LIMIT_BYTES, _>(&scanned.payload)
                .map_err(|_| corrupt("record is not in canonical form"))?;
            match record {
                VaultRecord::Check { sealed } if !is_checked => {
                    is_checked = true;
                    sealer.open(seal::CHECK_DATA, &sealed).ok_or_else(|| {
                        StoreError::WrongMasterKey {
                            dir: dir.to_path_buf(),
                        }
                    })?;
                }
                VaultRecord::Put { key, sealed } if is_checked => {
                    let secret = sealer
                        .open(&seal::key_data(&key), &sealed)
                        .ok_or_else(|| corrupt("secret does not open under its key"))?;
                    tell(Step::Put(key, &secret));
                }
                VaultRecord::Remove { key } if is_checked => tell(Step::Remove(key)),
                VaultRecord::RemoveStream { stream } if is_checked => {
                    tell(Step::RemoveStream(stream));
                }
                _ => return Err(corrupt("key check is missing or repeated")),
            }
            observer(scanned.end, scanner.length());
        }
        torn = scanner.torn_bytes();
    }
    Ok(torn)
}
