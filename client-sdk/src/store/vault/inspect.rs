//! A look at a vault without opening it: whether the master key fits, and whose secrets are there.
//!
//! Takes no lock and changes nothing, so it may run beside a live node; what the node is just
//! writing looks like the end. No secret leaves this module.

use std::{collections::BTreeSet, path::Path};

use super::{MasterKey, VAULT_MAGIC, VaultKey, live::VaultRecord, seal, seal::Sealer};
use crate::store::{
    LedgerId, StoreError, encoding,
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
    let identity = Identity {
        magic: VAULT_MAGIC,
        ledger: LedgerId {
            role: 0,
            origin: origin.to_owned(),
        },
    };
    let sealer = Sealer::new(master_key, origin);
    let mut found = BTreeSet::new();
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
                    sealer
                        .open(&seal::key_data(&key), &sealed)
                        .ok_or_else(|| corrupt("secret does not open under its key"))?;
                    found.insert(key);
                }
                VaultRecord::Remove { key } if is_checked => {
                    found.remove(&key);
                }
                VaultRecord::RemoveStream { stream } if is_checked => {
                    found.retain(|key| key.stream != stream);
                }
                _ => return Err(corrupt("key check is missing or repeated")),
            }
            observer(scanned.end, scanner.length());
        }
    }
    Ok(found)
}
