//! The journal, read to its end without a lock: every frame, hash and entry, and whether the index
//! knows the same heads.
//!
//! It proves that the files are what was written. Whether the blocks in them are what three parties
//! agreed on is `warifu ledger verify`'s question.

use std::collections::{BTreeMap, BTreeSet};

use warifu_client_sdk::{
    runtime::NodeRecord,
    store::{Coverage, Index, JournalReader, JournalRecord, LedgerId, StoreError, StreamId},
};
use warifu_consensus::{
    agree::Record,
    log::Digest,
    party::{Role, Sub},
    wire,
};

use super::{Patient, finding::Report, index::Copied};
use crate::{
    export::{self, MAX_ENTRY},
    log::LogRecord,
    output::Exit,
    progress,
};

type Heads = BTreeMap<StreamId, Option<[u8; 32]>>;

/// What the journal says, for the checks that follow.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// Accounts that stand, or are being founded.
    pub(super) accounts: BTreeSet<Sub>,
    /// Accounts with a tombstone.
    pub(super) erased: BTreeSet<Sub>,
    /// Leaves of the log.
    pub(super) log_size: u64,
    /// Its roots at the sizes that were asked for, where a batch ends there.
    pub(super) log_roots: BTreeMap<u64, Option<Digest>>,
    /// At a device: where the operators listen.
    pub(super) addresses: BTreeMap<Role, BTreeSet<String>>,
    heads: Heads,
    /// The heads where the index's coverage ends.
    covered: Option<Heads>,
    records: u64,
    /// Records after the index's coverage.
    behind: u64,
}

/// Why the walk ended before the journal did.
enum Stopped {
    Store(StoreError),
    Entry { place: String, reason: String },
}

pub(super) fn check(
    patient: &Patient<'_>,
    index: Option<&Copied>,
    log_sizes: impl Iterator<Item = u64>,
    report: &mut Report,
) -> Option<Journal> {
    let data = &patient.config.node.data;
    if !export::has_segments(&data.join("journal")) {
        let found = "there is none yet";
        let advice = "nothing, if this node never ran; otherwise put data/journal back";
        report.note("journal", found, "", advice);
        return Some(Journal::default());
    }
    let covered = index.and_then(|copied| copied.index.covered().ok().flatten());
    let journal = Journal {
        log_roots: log_sizes.map(|size| (size, None)).collect(),
        ..Journal::default()
    };
    match walk(patient, covered, journal) {
        Ok((journal, torn)) => {
            tell(patient, &journal, torn, report);
            if let Some(copied) = index {
                agreement(&copied.index, &journal, report);
            }
            Some(journal)
        }
        Err(stopped) => {
            tell_stopped(stopped, report);
            None
        }
    }
}

fn walk(
    patient: &Patient<'_>,
    covered: Option<Coverage>,
    mut journal: Journal,
) -> Result<(Journal, u64), Stopped> {
    let config = patient.config;
    let mut reader = JournalReader::open(&config.node.data).map_err(Stopped::Store)?;
    let expected = LedgerId {
        role: config.role().number(),
        origin: config.ledger.iss.clone(),
    };
    if *reader.ledger() != expected {
        let found = reader.ledger().clone();
        return Err(Stopped::Store(StoreError::OtherLedger { found, expected }));
    }
    let bar = progress::bytes("journal", patient.output.is_json());
    let sizes = export::segment_sizes(&config.node.data.join("journal"));
    let total = sizes.iter().sum();
    while let Some(record) = reader.next().transpose().map_err(Stopped::Store)? {
        journal.take(&record)?;
        if covered.is_some_and(|covered| covered.chain == record.chain) {
            journal.covered = Some(journal.heads.clone());
            journal.behind = 0;
        } else {
            journal.behind = journal.behind.saturating_add(1);
        }
        let before = usize::try_from(record.segment.saturating_sub(1)).unwrap_or(0);
        let done: u64 = sizes.iter().take(before).sum();
        progress::show(&bar, done.saturating_add(record.offset), total);
    }
    bar.finish_and_clear();
    Ok((journal, reader.torn_bytes()))
}

impl Journal {
    fn take(&mut self, record: &JournalRecord) -> Result<(), Stopped> {
        self.records = self.records.saturating_add(1);
        let head = self.heads.entry(record.stream).or_default();
        let stopped = |reason: String| Stopped::Entry {
            place: format!("segment {}, byte {}", record.segment, record.offset),
            reason,
        };
        if let Some(moved) = record.head {
            if moved.expected != *head {
                let reason = "it moves its stream's head from another than it has";
                return Err(stopped(reason.to_owned()));
            }
            *head = Some(moved.next);
        }
        for entry in &record.entries {
            if record.stream == StreamId::NODE {
                let own = NodeRecord::decode(entry).map_err(|e| stopped(e.to_string()))?;
                self.take_own(own);
                continue;
            }
            if record.stream == StreamId::LOG {
                let batch = LogRecord::decode(entry).map_err(|e| stopped(e.to_string()))?;
                self.log_size = batch.size;
                if let Some(root) = self.log_roots.get_mut(&batch.size) {
                    *root = Some(batch.root);
                }
                continue;
            }
            let sub = Sub(record.stream.0);
            match wire::decode::<Record, MAX_ENTRY>(entry) {
                Ok(Record::Founding(_)) => {
                    self.accounts.insert(sub);
                }
                // Neither has secrets any more.
                Ok(Record::Dead) => {
                    self.accounts.remove(&sub);
                }
                Ok(Record::Erased { .. }) => {
                    self.accounts.remove(&sub);
                    self.erased.insert(sub);
                }
                Ok(_) => {}
                Err(error) => return Err(stopped(error.to_string())),
            }
        }
        Ok(())
    }

    fn take_own(&mut self, own: NodeRecord) {
        if let NodeRecord::Addresses {
            broker,
            trust_operator,
            ..
        } = own
        {
            self.addresses
                .entry(Role::Broker)
                .or_default()
                .extend(broker);
            let addresses = self.addresses.entry(Role::TrustOperator).or_default();
            addresses.extend(trust_operator);
        }
    }
}

fn tell(patient: &Patient<'_>, journal: &Journal, torn: u64, report: &mut Report) {
    let found = format!(
        "{} records of {} accounts, every byte as it was written, format {}",
        journal.records,
        journal.accounts.len(),
        warifu_client_sdk::store::JOURNAL_FORMAT
    );
    report.ok("journal", found);
    if torn > 0 && patient.is_running() {
        report.note("journal", "the node is writing its last record", "", "");
    } else if torn > 0 {
        let found = format!("{torn} bytes of an unfinished last write");
        let advice = "nothing: nobody was promised it, and the next start cuts it";
        report.note("journal", found, "", advice);
    }
}

fn tell_stopped(stopped: Stopped, report: &mut Report) {
    let (exit, found, expected, advice) = match stopped {
        Stopped::Entry { place, reason } => (
            Exit::Io,
            format!("{place}: entry is no record: {reason}"),
            "records of this release",
            "if a later release wrote it, use that one; otherwise docs/operating.md, corrupt journal",
        ),
        Stopped::Store(error) => {
            let found = error.to_string();
            let (exit, expected, advice) = match error {
                StoreError::FutureVersion { .. } | StoreError::PastVersion { .. } => (
                    Exit::Configuration,
                    "a format that this release reads",
                    "use the release that wrote it",
                ),
                StoreError::OtherLedger { .. } => (
                    Exit::Configuration,
                    "this ledger's and role's journal",
                    "put this node's data back, or mend node.data",
                ),
                StoreError::Io { .. } => (
                    Exit::Io,
                    "files that can be read",
                    "run doctor as the node's user, and check the disk",
                ),
                _ => (
                    Exit::Io,
                    "the bytes that were written",
                    "don't edit it: copy it, check the disk, then docs/operating.md, corrupt journal",
                ),
            };
            (exit, found, expected, advice)
        }
    };
    report.error("journal", exit, found, expected, advice);
}

/// Whether the index says of each stream what the journal says.
fn agreement(index: &impl Index, journal: &Journal, report: &mut Report) {
    let Some(heads) = &journal.covered else {
        let found = "it covers something else than this journal";
        let expected = "coverage that ends at a record of the journal";
        let advice = "compare heads with the other operator before you start: a journal that lost its last records looks like this; the next start rebuilds the index";
        report.warning("index", found, expected, advice);
        return;
    };
    match differing(index, heads) {
        Ok(0) if journal.behind == 0 => {
            let found = format!("covers the journal to its end, {} heads agree", heads.len());
            report.ok("index", found);
        }
        Ok(0) => {
            let found = format!(
                "{} heads agree, the last {} records are not in it yet",
                heads.len(),
                journal.behind
            );
            report.note("index", found, "", "nothing: the next start reads them");
        }
        Ok(found) => {
            let found = format!("{found} heads are not the journal's");
            let advice = "delete data/index while the node is stopped: it is rebuilt";
            report.error("index", Exit::Io, found, "the journal's heads", advice);
        }
        Err(error) => {
            let advice = "delete data/index while the node is stopped: it is rebuilt";
            report.error(
                "index",
                Exit::Io,
                error.to_string(),
                "an index that can be read",
                advice,
            );
        }
    }
}

fn differing(index: &impl Index, heads: &Heads) -> Result<usize, StoreError> {
    let streams = index.streams()?;
    let known: BTreeSet<StreamId> = streams.into_iter().collect();
    let mut differing = known.iter().filter(|s| !heads.contains_key(s)).count();
    for (stream, head) in heads {
        if index.head(*stream)? != *head || !known.contains(stream) {
            differing = differing.saturating_add(1);
        }
    }
    Ok(differing)
}
