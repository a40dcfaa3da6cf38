//! What the files of journal and vault are measured by, under names of their own each.
//!
//! Every `fdatasync` and `fsync` of this store is counted where it is made, so that a count of syncs per
//! login can be read from outside. Counts nothing unless the program has installed a recorder of the
//! `metrics` facade before the files were opened. Never decides anything.

use std::time::Duration;

use metrics::{Counter, Histogram, counter, histogram};

use super::journal::{JOURNAL_MAGIC, segment::Identity};

/// Handles for one file's measures.
#[derive(Clone)]
pub(crate) struct Measures {
    /// Syncs of data, metadata or a directory that succeeded.
    pub(crate) syncs: Counter,
    records: Counter,
    bytes: Counter,
    sync_seconds: Histogram,
}

impl Measures {
    /// A group of `records` with `bytes` of framing and content became durable in one sync, which took
    /// `synced_in`.
    pub(crate) fn group(&self, records: usize, bytes: usize, synced_in: Duration) {
        self.records.increment(records as u64);
        self.bytes.increment(bytes as u64);
        self.sync_seconds.record(synced_in);
    }
}

impl Identity {
    /// The measures of the file that has this magic.
    pub(crate) fn measures(&self) -> Measures {
        if self.magic == JOURNAL_MAGIC {
            Measures {
                syncs: counter!("warifu_journal_syncs_total"),
                records: counter!("warifu_journal_records_total"),
                bytes: counter!("warifu_journal_bytes_total"),
                sync_seconds: histogram!("warifu_journal_sync_seconds"),
            }
        } else {
            Measures {
                syncs: counter!("warifu_vault_syncs_total"),
                records: counter!("warifu_vault_records_total"),
                bytes: counter!("warifu_vault_bytes_total"),
                sync_seconds: histogram!("warifu_vault_sync_seconds"),
            }
        }
    }
}
