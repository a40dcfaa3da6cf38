//! Rewriting the vault's file with nothing but what is live.

use super::{
    Shared,
    live::VaultRecord,
    seal::{CHECK_DATA, CHECK_TEXT},
};
use crate::store::{
    StoreError, encoding,
    journal::{
        RECORD_LIMIT_BYTES,
        frame::CHAIN_START,
        segment::{Tail, create_segment},
    },
};

/// Replaces the file in one step; a crash leaves the old one or the new one. The caller holds the
/// vault's writer stopped.
pub(super) fn rewrite(shared: &Shared) -> Result<Tail, StoreError> {
    let check = VaultRecord::Check {
        sealed: shared.sealer.seal(CHECK_DATA, CHECK_TEXT)?,
    };
    let live = shared.file.live.all();
    let puts = live
        .into_iter()
        .map(|(key, sealed)| VaultRecord::Put { key, sealed });
    let payloads = std::iter::once(check)
        .chain(puts)
        .map(|record| encoding::encode::<RECORD_LIMIT_BYTES, _>(&record))
        .collect::<Result<Vec<_>, _>>()?;
    let file = &shared.file;
    let disk = &file.options.disk;
    let tail = create_segment(disk, &file.dir, &file.identity, 1, CHAIN_START, &payloads)?;
    shared.file.live.compacted(tail.offset);
    Ok(tail)
}
